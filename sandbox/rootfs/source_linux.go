package rootfs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// cloneTree gives a detached copy of the mount at path, or of a whole tree with
// AT_RECURSIVE. A symbolic link is followed. The copy stays in the peer group
// of the original.
func cloneTree(path string, flags uint) (int, error) {
	return cloneAt(unix.AT_FDCWD, path, flags)
}

func cloneAt(dir int, path string, flags uint) (int, error) {
	return unix.OpenTree(dir, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|flags)
}

// open makes the source of a mount of the request.
func (b *build) open(m *sandbox.Mount) (attachment, error) {
	opt, err := parseOptions(m.Options)
	if err != nil {
		return attachment{}, &Error{Step: StepCheck, Path: m.ContainerPath, Err: err}
	}
	if len(m.Layers) > 0 {
		return b.openImage(m, opt)
	}
	a := attachment{target: inRoot(m.ContainerPath)}
	err = b.do(StepSource, m.HostPath, func() error {
		fd, err := cloneTree(m.HostPath, unix.AT_RECURSIVE)
		if err != nil {
			return err
		}
		a.fd = b.own(fd)
		a.dir, err = isDir(fd)
		return err
	})
	if err != nil {
		return a, err
	}
	err = b.do(StepPropagation, m.HostPath, func() error { return setPropagation(a.fd, m) })
	if err != nil {
		return a, err
	}
	err = b.do(StepAttributes, m.HostPath, func() error {
		return b.setAttributes(a.fd, m, opt)
	})
	if err != nil || m.IDMap == nil {
		return a, err
	}
	return a, b.do(StepIDMap, m.HostPath, func() error { return b.mapIDs(a.fd, m) })
}

// setPropagation makes the tree of fd a private copy, a slave or a peer of the
// host's. A clone of a shared mount is a peer already.
func setPropagation(fd int, m *sandbox.Mount) error {
	switch m.Propagation {
	case "", sandbox.PropagationPrivate:
		return propagate(fd, unix.AT_RECURSIVE, unix.MS_PRIVATE)
	case sandbox.PropagationSlave:
		if err := checkPeer(m.HostPath, "shared:", "master:"); err != nil {
			return err
		}
		return propagate(fd, unix.AT_RECURSIVE, unix.MS_SLAVE)
	case sandbox.PropagationShared:
		return checkPeer(m.HostPath, "shared:")
	default:
		return invalid("propagation %q", m.Propagation)
	}
}

func propagate(fd int, flags uint, how uint64) error {
	return unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|flags, &unix.MountAttr{Propagation: how})
}

// checkPeer says whether the mount that holds path has one of the optional
// fields of /proc/self/mountinfo.
func checkPeer(path string, fields ...string) error {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := findMount(f, unix.AT_FDCWD, path)
	if err != nil || m.has(fields...) {
		return err
	}
	return fmt.Errorf("%w: it is mounted on %q, which is not a shared mount (mount --make-rshared %s)",
		ErrNotShared, m.point, m.point)
}

// setAttributes makes the tree of fd read-only and applies the mount options.
// Device nodes of the host work only in privileged containers, at their places
// in /dev, or where the option dev says so: there is no device cgroup.
func (b *build) setAttributes(fd int, m *sandbox.Mount, opt options) error {
	if !b.spec.Privileged {
		opt.tree.Attr_set |= unix.MOUNT_ATTR_NODEV
		if opt.top.Attr_clr&unix.MOUNT_ATTR_NODEV != 0 || opt.tree.Attr_clr&unix.MOUNT_ATTR_NODEV != 0 {
			opt.tree.Attr_set &^= unix.MOUNT_ATTR_NODEV
		}
	}
	if m.Readonly {
		opt.top.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if m.RecursiveReadonly {
		opt.tree.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	return opt.apply(fd)
}

// options are mount attributes for the top mount of a tree and for all of it.
type options struct {
	top, tree unix.MountAttr
}

func (o *options) apply(fd int) error {
	if o.tree.Attr_set|o.tree.Attr_clr != 0 {
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &o.tree); err != nil {
			if errors.Is(err, unix.ENOSYS) {
				return fmt.Errorf("%w: %w", ErrUnsupported, err)
			}
			return err
		}
	}
	if o.top.Attr_set|o.top.Attr_clr != 0 {
		return unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &o.top)
	}
	return nil
}

// attribute is what a mount option does.
type attribute struct{ set, clr uint64 }

// attributes by the names that mount(8) gives them; with an r in front they
// hold for the whole tree.
var attributes = map[string]attribute{
	"ro":          {set: unix.MOUNT_ATTR_RDONLY},
	"rw":          {clr: unix.MOUNT_ATTR_RDONLY},
	"nosuid":      {set: unix.MOUNT_ATTR_NOSUID},
	"suid":        {clr: unix.MOUNT_ATTR_NOSUID},
	"nodev":       {set: unix.MOUNT_ATTR_NODEV},
	"dev":         {clr: unix.MOUNT_ATTR_NODEV},
	"noexec":      {set: unix.MOUNT_ATTR_NOEXEC},
	"exec":        {clr: unix.MOUNT_ATTR_NOEXEC},
	"nodiratime":  {set: unix.MOUNT_ATTR_NODIRATIME},
	"diratime":    {clr: unix.MOUNT_ATTR_NODIRATIME},
	"relatime":    {set: unix.MOUNT_ATTR_RELATIME, clr: unix.MOUNT_ATTR__ATIME},
	"noatime":     {set: unix.MOUNT_ATTR_NOATIME, clr: unix.MOUNT_ATTR__ATIME},
	"strictatime": {set: unix.MOUNT_ATTR_STRICTATIME, clr: unix.MOUNT_ATTR__ATIME},
	"nosymfollow": {set: unix.MOUNT_ATTR_NOSYMFOLLOW},
	"symfollow":   {clr: unix.MOUNT_ATTR_NOSYMFOLLOW},
	"bind":        {},
	"rbind":       {},
	"defaults":    {},
}

// parseOptions turns mount options into attributes. A later option wins over an
// earlier one. Unknown options are an error that wraps ErrInvalid.
func parseOptions(names []string) (options, error) {
	var o options
	for _, name := range names {
		if a, ok := attributes[name]; ok {
			a.applyTo(&o.top)
			continue
		}
		a, ok := attributes[strings.TrimPrefix(name, "r")]
		if !ok || !strings.HasPrefix(name, "r") {
			return o, invalid("mount option %q is not known", name)
		}
		a.applyTo(&o.tree)
	}
	return o, nil
}

func (a attribute) applyTo(m *unix.MountAttr) {
	m.Attr_set &^= a.clr
	m.Attr_clr &^= a.set
	if a.clr == unix.MOUNT_ATTR__ATIME {
		m.Attr_set &^= unix.MOUNT_ATTR__ATIME
	}
	m.Attr_set |= a.set
	m.Attr_clr |= a.clr
}
