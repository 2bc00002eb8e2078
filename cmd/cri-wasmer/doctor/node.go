package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
	"github.com/cri-wasmer/cri-wasmer/sandbox/rootfs"
)

func (d *Doctor) configuration(context.Context) {
	if len(d.Files) == 0 {
		d.ok("no file, defaults hold (`cri-wasmer config default` prints them)")
	} else {
		d.ok("%s", strings.Join(d.Files, ", "))
	}
	for _, name := range d.Unknown {
		d.warn("correct its name: `cri-wasmer config default` lists the options", "the environment variable %s is no option", name)
	}
}

func (d *Doctor) askDaemon(ctx context.Context) {
	var err error
	if d.Ask != nil {
		d.daemon, err = d.Ask(ctx)
	}
	switch {
	case err != nil:
		d.problem("look at its log: journalctl -u cri-wasmer", "something listens at %s and does not answer as it should: %v", d.Options.Socket, err)
	case d.daemon == nil:
		d.note("no daemon runs at %s", d.Options.Socket)
		if _, err := os.Lstat(d.Options.Socket); err == nil {
			d.note("its socket is left from an earlier one; the next takes its place")
		}
	default:
		d.ok("the daemon answers at %s, version %s", d.Options.Socket, d.daemon.Version)
		d.conditions()
	}
	d.socket()
}

func (d *Doctor) conditions() {
	if d.daemon.Version != d.Version {
		d.warn("restart it: systemctl restart cri-wasmer (containers go on)", "the daemon is of version %s, this binary of %s", d.daemon.Version, d.Version)
	}
	for _, c := range d.daemon.Conditions {
		if c.OK {
			d.ok("condition %s", c.Type)
			continue
		}
		d.problem("see the message; the kubelet shows the node as NotReady until then", "condition %s is not met: %s: %s", c.Type, c.Reason, c.Message)
	}
}

// socket looks at who may use the socket.
func (d *Doctor) socket() {
	var st unix.Stat_t
	if unix.Stat(d.Options.Socket, &st) != nil {
		return
	}
	mode := fs.FileMode(st.Mode & 0o777)
	if mode != d.Options.SocketMode || int(st.Gid) != d.Options.SocketGID {
		d.warn("restart the daemon", "the socket has mode %#o and group %d, the configuration says %#o and %d", mode, st.Gid, d.Options.SocketMode, d.Options.SocketGID)
	}
	if mode&0o002 != 0 {
		d.problem("set socket_mode to 0660", "everybody may use the socket, and whoever does is root on this machine")
	}
}

func (d *Doctor) directories(context.Context) {
	d.ownDirectory(d.Options.Root, "root")
	d.ownDirectory(d.Options.State, "state")
	for _, sub := range []string{"images", "code", "rootfs", "pods", "containers"} {
		dir := filepath.Join(d.Options.Root, sub)
		if _, err := os.Stat(dir); err == nil {
			d.notWritable(dir)
		}
	}
	if kind := filesystem(existing(d.Options.State)); kind != "tmpfs" {
		d.note("%s is on %s: best is a tmpfs, since a reboot ends what it holds", d.Options.State, kind)
	}
	if kind := filesystem(existing(d.Options.Root)); kind == "overlay" {
		d.problem("set the option root to a directory on a disk or a volume", "%s is on an overlay filesystem, on which containers cannot have another one", d.Options.Root)
	}
}

func (d *Doctor) ownDirectory(dir, option string) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.ok("%s (option %s) does not exist yet", dir, option)
	case err != nil:
		d.problem("", "%s (option %s): %v", dir, option, err)
	case !info.IsDir():
		d.problem("move it away, or set the option "+option, "%s is no directory", dir)
	default:
		if d.notWritable(dir) {
			d.ok("%s (option %s)", dir, option)
		}
	}
}

// notWritable checks that nobody but root can write to a directory.
func (d *Doctor) notWritable(dir string) bool {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		d.problem("", "%s: %v", dir, err)
		return false
	}
	if st.Uid != 0 || st.Mode&0o022 != 0 {
		d.problem(fmt.Sprintf("chown root: %s && chmod go-w %s", dir, dir),
			"%s belongs to user %d with mode %#o: whoever may write there is root on this machine", dir, st.Uid, st.Mode&0o7777)
		return false
	}
	return true
}

// existing gives the directory itself or the nearest one above that exists.
func existing(dir string) string {
	for dir != "/" {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

var filesystems = map[int64]string{
	unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs",
	unix.BTRFS_SUPER_MAGIC: "btrfs", unix.NFS_SUPER_MAGIC: "nfs", unix.RAMFS_MAGIC: "ramfs", unix.F2FS_SUPER_MAGIC: "f2fs", 0x2fc12fc1: "zfs",
}

func filesystem(dir string) string {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return "unknown"
	}
	if name, ok := filesystems[int64(st.Type)]; ok {
		return name
	}
	return fmt.Sprintf("type %#x", st.Type)
}

// rootFilesystems builds one, in a directory of its own on the filesystem that
// containers use.
func (d *Doctor) rootFilesystems(ctx context.Context) {
	if os.Geteuid() != 0 {
		return
	}
	dir, err := os.MkdirTemp(existing(d.Options.Root), ".cri-wasmer-doctor-*")
	if err != nil {
		d.problem("make the directory writable", "nothing can be written to %s: %v", d.Options.Root, err)
		return
	}
	defer os.RemoveAll(dir)
	if err := buildRoot(ctx, dir); err != nil {
		d.problem("use a kernel since 5.12 with overlay, and a disk filesystem such as ext4 or xfs for the option root",
			"a root filesystem on %s (%s) cannot be built: %v", d.Options.Root, filesystem(dir), err)
		return
	}
	d.ok("overlay on %s, on %s", d.Options.Root, filesystem(dir))
}

func buildRoot(ctx context.Context, dir string) (err error) {
	layer := filepath.Join(dir, "layer")
	if err := os.MkdirAll(filepath.Join(layer, "etc"), 0o755); err != nil {
		return err
	}
	f, err := rootfs.New(rootfs.Config{Dir: filepath.Join(dir, "rootfs")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	const id = "doctor"
	root, err := f.Build(ctx, sandbox.RootSpec{ID: id, Layers: []string{layer}})
	if err != nil {
		return err
	}
	return errors.Join(root.Close(), f.Remove(ctx, id))
}

const (
	gibibyte = 1 << 30
	// lowSpace is where a kubelet begins to evict, by default.
	lowSpace = 15
)

func (d *Doctor) disk(context.Context) {
	for _, dir := range []string{d.Options.Root, d.Options.State} {
		dir = existing(dir)
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil || st.Blocks == 0 {
			continue
		}
		free, total := st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize)
		percent := free * 100 / total
		text := fmt.Sprintf("%s: %.1f of %.1f GiB are free", dir, float64(free)/gibibyte, float64(total)/gibibyte)
		remedy := "free space: `cri-wasmer rmi --unused` removes images that nothing uses"
		switch {
		case dir == existing(d.Options.State) && dir != existing(d.Options.Root):
			if free < gibibyte/16 {
				d.problem("free space there", "%s", text)
			}
		case percent < 2 || free < gibibyte/4:
			d.problem(remedy, "%s", text)
		case percent < lowSpace:
			d.warn(remedy, "%s; a kubelet evicts pods below %d %%", text, lowSpace)
		default:
			d.ok("%s", text)
		}
		if st.Files > 0 && st.Ffree*100/st.Files < 5 {
			d.warn(remedy, "%s: %d of %d inodes are free", dir, st.Ffree, st.Files)
		}
	}
}

func (d *Doctor) ports(ctx context.Context) {
	if d.daemon != nil {
		return // it has them
	}
	for _, a := range []struct{ option, address string }{{"stream.address", d.Options.Stream.Address}, {"metrics.address", d.Options.Metrics.Address}} {
		if a.address == "" {
			continue
		}
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.address)
		if err != nil {
			d.problem("set the option "+a.option+" to a free address, or end who has it (ss -ltnp)", "option %s: %v", a.option, err)
			continue
		}
		l.Close()
		if host, port, err := net.SplitHostPort(a.address); err == nil && port == "0" {
			d.ok("%s has free ports, one of which is chosen (option %s)", host, a.option)
			continue
		}
		d.ok("%s is free (option %s)", a.address, a.option)
	}
}
