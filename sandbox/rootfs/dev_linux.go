package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// defaultShmSize is the size of /dev/shm that containers are used to.
const defaultShmSize = 64 << 20

const (
	attrDev = unix.MOUNT_ATTR_NOSUID
	attrPts = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
	attrShm = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NODEV
)

// node is a device node.
type node struct {
	path string // relative to /dev
	mode uint32
	dev  uint64
	uid  int
	gid  int
}

// standard are the devices of every container.
var standard = []node{
	{path: "null", mode: unix.S_IFCHR | 0o666, dev: unix.Mkdev(1, 3)},
	{path: "zero", mode: unix.S_IFCHR | 0o666, dev: unix.Mkdev(1, 5)},
	{path: "full", mode: unix.S_IFCHR | 0o666, dev: unix.Mkdev(1, 7)},
	{path: "random", mode: unix.S_IFCHR | 0o666, dev: unix.Mkdev(1, 8)},
	{path: "urandom", mode: unix.S_IFCHR | 0o666, dev: unix.Mkdev(1, 9)},
	{path: "tty", mode: unix.S_IFCHR | 0o666, dev: unix.Mkdev(5, 0)},
}

// links of /dev, and what they lead to.
var links = [][2]string{
	{"fd", "/proc/self/fd"},
	{"stdin", "/proc/self/fd/0"},
	{"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"},
	{"ptmx", "pts/ptmx"},
}

// own directories of /dev, which devices of the host never replace.
var devDirs = []string{"shm", "pts", "mqueue"}

// addDev makes /dev with its filesystems and devices. What the request mounts there
// instead has devices of its own; memory is shared in the pod all the same.
func (b *build) addDev(p *plan) error {
	nodes, err := b.devices()
	if err != nil {
		return err
	}
	if b.overridden("/dev") {
		if p.late, err = b.bindNodes(nodes); err != nil {
			return err
		}
		return b.addShm(&p.onDev, attachment{ifThere: true})
	}
	inside, outside := splitNodes(append(standardNodes(), nodes...))
	made, bound := inside, []hostNode(nil)
	if !b.fs.kern.mknod {
		made, bound = nil, inside
	}
	if err := b.mountDev(p, made, bound); err != nil {
		return err
	}
	p.late, err = b.bindNodes(outside)
	return err
}

// hostNode is a device of the host and its place in the container.
type hostNode struct {
	node
	host   string
	target string // clean path of the container
}

func standardNodes() []hostNode {
	all := make([]hostNode, 0, len(standard))
	for _, n := range standard {
		all = append(all, hostNode{node: n, host: "/dev/" + n.path, target: "/dev/" + n.path})
	}
	return all
}

func splitNodes(nodes []hostNode) (inside, outside []hostNode) {
	for _, n := range nodes {
		if below(n.target, "/dev") {
			n.path = strings.TrimPrefix(n.target, "/dev/")
			inside = append(inside, n)
		} else {
			outside = append(outside, n)
		}
	}
	return inside, outside
}

// mountDev makes the filesystems of /dev with nodes of its own and nodes that
// are bound.
func (b *build) mountDev(p *plan, nodes, bound []hostNode) error {
	fd := -1
	err := b.do(StepDev, "", func() (err error) {
		fd, err = newTmpfs(attrDev, b.labelled("size", "64k", "mode", "0755")...)
		if err == nil {
			b.own(fd)
		}
		return err
	})
	if err != nil {
		return err
	}
	for i := range nodes {
		n := &nodes[i]
		if err := b.do(StepDevice, n.target, func() error { return makeNode(fd, &n.node) }); err != nil {
			return err
		}
	}
	if err := b.do(StepDev, "", func() error { return errors.Join(fillDev(fd), b.ownDev(fd)) }); err != nil {
		return err
	}
	binds, err := b.bindNodes(bound)
	if err != nil {
		return err
	}
	p.mounts = append(p.mounts, attachment{fd: fd, target: "/dev", dir: true, fixed: true})
	p.mounts = append(p.mounts, binds...)
	if err := b.addPts(p); err != nil {
		return err
	}
	return b.addShm(&p.mounts, attachment{fixed: true})
}

// fillDev makes the directories and links of /dev. A device that was asked for
// under the name of a link wins.
func fillDev(fd int) error {
	for _, dir := range devDirs {
		if err := unix.Mkdirat(fd, dir, 0o755); err != nil {
			return fmt.Errorf("mkdir %s: %w", dir, err)
		}
		if err := unix.Fchmodat(fd, dir, 0o755, 0); err != nil {
			return fmt.Errorf("chmod %s: %w", dir, err)
		}
	}
	for _, l := range links {
		if err := unix.Symlinkat(l[1], fd, l[0]); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("link %s: %w", l[0], err)
		}
	}
	return nil
}

// makeNode makes a device node below dir, which holds no links yet. The same
// node asked for twice is made once: the later request decides.
func makeNode(dir int, n *node) error {
	for i, c := range n.path {
		if c != '/' {
			continue
		}
		sub := n.path[:i]
		err := unix.Mkdirat(dir, sub, 0o755)
		if err == nil {
			err = unix.Fchmodat(dir, sub, 0o755, 0)
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	err := unix.Mknodat(dir, n.path, n.mode, int(n.dev))
	if errors.Is(err, unix.EEXIST) {
		if err = unix.Unlinkat(dir, n.path, 0); err == nil {
			err = unix.Mknodat(dir, n.path, n.mode, int(n.dev))
		}
	}
	if err != nil {
		return err
	}
	if n.uid != 0 || n.gid != 0 {
		if err := unix.Fchownat(dir, n.path, n.uid, n.gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
	}
	return unix.Fchmodat(dir, n.path, n.mode&0o7777, 0)
}

// bindNodes shows nodes of the host by a bind mount each.
func (b *build) bindNodes(nodes []hostNode) ([]attachment, error) {
	var binds []attachment
	for i := range nodes {
		n := &nodes[i]
		err := b.do(StepDevice, n.host, func() error {
			if n.mode&unix.S_ISVTX != 0 { // it is the host's, with the host's mode
				return invalid("device permissions without r or without w at %q: only below /dev, and where the server may make device nodes", n.target)
			}
			fd, err := cloneTree(n.host, 0)
			if err != nil {
				return err
			}
			binds = append(binds, attachment{fd: b.own(fd), target: n.target})
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return binds, nil
}

func (b *build) addPts(p *plan) error {
	return b.do(StepPts, "", func() error {
		fd, err := newMount("devpts", attrPts, b.labelled("ptmxmode", "0666", "mode", "0620", "gid", ttyGroup(b.spec.UserNS))...)
		if err != nil {
			return err
		}
		p.mounts = append(p.mounts, attachment{fd: b.own(fd), target: "/dev/pts", dir: true, fixed: true})
		return nil
	})
}

func (b *build) addShm(to *[]attachment, a attachment) error {
	if b.overridden("/dev/shm") {
		return nil
	}
	return b.do(StepShm, b.spec.ShmPath, func() error {
		fd, err := b.openShm()
		if err != nil {
			return err
		}
		a.fd, a.target, a.dir = b.own(fd), "/dev/shm", true
		*to = append(*to, a)
		return nil
	})
}

func (b *build) openShm() (int, error) {
	if b.spec.ShmPath == "" {
		size := b.spec.ShmSize
		if size == 0 {
			size = defaultShmSize
		}
		uid, gid := b.spec.UserNS.HostRoot()
		return newTmpfs(attrShm, b.labelled("size", strconv.FormatInt(size, 10), "mode", "1777", "uid", fmt.Sprint(uid), "gid", fmt.Sprint(gid))...)
	}
	fd, err := cloneTree(b.spec.ShmPath, 0)
	if err != nil {
		return -1, err
	}
	attr := unix.MountAttr{Attr_set: attrShm, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// devices lists the nodes that the request asks for. A privileged container
// gets those of the host first, so that the request can place one elsewhere.
func (b *build) devices() ([]hostNode, error) {
	var all []hostNode
	if b.spec.Privileged {
		err := b.do(StepDevice, "/dev", func() error {
			return walkDevices("/dev", "/dev", func(n hostNode) { all = append(all, n) })
		})
		if err != nil {
			return nil, err
		}
	}
	for _, d := range b.spec.Devices {
		err := b.do(StepDevice, d.HostPath, func() error {
			found, err := deviceNodes(d)
			all = append(all, found...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// deviceNodes gives the node of d, or the nodes below it when it is a
// directory such as /dev/snd.
func deviceNodes(d sandbox.Device) ([]hostNode, error) {
	target := d.ContainerPath
	if target == "" {
		target = d.HostPath
	}
	target = inRoot(target)
	less, err := lessMode(d.Permissions)
	if err != nil {
		return nil, err
	}
	host, err := filepath.EvalSymlinks(d.HostPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, invalid("the host has no device %q", d.HostPath)
	}
	if err != nil {
		return nil, err
	}
	var nodes []hostNode
	err = walkDevices(host, target, func(n hostNode) {
		if less != 0 {
			n.mode = n.mode&^less | unix.S_ISVTX
		}
		nodes = append(nodes, n)
	})
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, invalid("%q is not a device", d.HostPath)
	}
	if target == "/" || target == "/dev" && !isDirectory(host) || inDevDir(target) || below(target, "/proc") {
		return nil, invalid("device %q cannot be at %q, where a container has something of its own: choose another path", d.HostPath, target)
	}
	return nodes, nil
}

// lessMode gives the bits that the mode of a node loses, so that it can be opened
// as its permissions say. The worker sees by the sticky bit of a node that this
// binds root as well, whom the kernel would let through; there is no cgroup of
// devices. No guest can make a node, so m says nothing. Without permissions all
// are meant.
func lessMode(permissions string) (uint32, error) {
	if strings.Trim(permissions, "rwm") != "" {
		return 0, invalid("device permissions %q: only r, w and m", permissions)
	}
	var less uint32
	if permissions != "" && !strings.Contains(permissions, "r") {
		less |= 0o444
	}
	if permissions != "" && !strings.Contains(permissions, "w") {
		less |= 0o222
	}
	return less, nil
}

// inDevDir says whether path is where a container has a filesystem of its own.
func inDevDir(path string) bool {
	return slices.ContainsFunc(devDirs, func(dir string) bool { return below(path, "/dev/"+dir) })
}

func isDirectory(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// walkDevices reports the device nodes at and below host, except those in
// directories that a container has of its own.
func walkDevices(host, target string, found func(hostNode)) error {
	return filepath.WalkDir(host, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if path != host && errors.Is(err, fs.ErrNotExist) {
				return nil // unplugged meanwhile
			}
			return err
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(path, host), "/")
		if e.IsDir() && host == "/dev" && ownDevDir(rel) {
			return filepath.SkipDir
		}
		if e.Type()&fs.ModeDevice == 0 || host == "/dev" && rel == "console" {
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			if errors.Is(err, unix.ENOENT) && path != host {
				return nil
			}
			return &os.PathError{Op: "stat", Path: path, Err: err}
		}
		found(hostNode{
			node:   node{mode: st.Mode &^ unix.S_ISVTX, dev: st.Rdev, uid: int(st.Uid), gid: int(st.Gid)},
			host:   path,
			target: filepath.Join(target, rel),
		})
		return nil
	})
}

func ownDevDir(name string) bool {
	switch name {
	case "shm", "pts", "mqueue", "fd", ".lxc", ".lxd-mounts", ".udev":
		return true
	}
	return false
}
