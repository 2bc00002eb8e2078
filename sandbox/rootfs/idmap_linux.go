package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// With a user namespace, the image's layers are shown to the overlay with the
// ids of the pod, so that what belongs to root in the image belongs to the pod's
// root. The writable layer is not mapped: on disk it belongs to whom it belongs.

// openUsers opens the user namespace of the container.
func (b *build) openUsers(*plan) error {
	if b.spec.UserNS == nil {
		return nil
	}
	return b.do(StepUserNS, b.spec.UserNSPath, func() (err error) {
		b.users, err = os.Open(b.spec.UserNSPath)
		return err
	})
}

// idMap shows the owners in a mount that is not attached yet as the user
// namespace has them.
func idMap(fd int, users *os.File, flags uint) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(users.Fd())}
	err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|flags, &attr)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: %s cannot show mapped ids on this kernel: use another volume, or set hostUsers of the pod to true: %w",
			ErrUnsupported, filesystemOf(fd), err)
	}
	return err
}

// filesystemOf names the filesystem of a mount for a message.
func filesystemOf(fd int) string {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return "its filesystem"
	}
	names := map[int64]string{
		unix.NFS_SUPER_MAGIC: "NFS", unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.TMPFS_MAGIC: "tmpfs", unix.FUSE_SUPER_MAGIC: "FUSE",
		unix.PROC_SUPER_MAGIC: "proc", unix.SYSFS_MAGIC: "sysfs", unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "XFS",
	}
	if name, ok := names[int64(st.Type)]; ok {
		return "filesystem " + name
	}
	return fmt.Sprintf("filesystem of type %#x", st.Type)
}

// mapIDs maps the owners in a whole tree as its mount asks for.
func (b *build) mapIDs(fd int, m *sandbox.Mount) error {
	if m.IDMap.Equal(b.spec.UserNS) {
		return idMap(fd, b.users, unix.AT_RECURSIVE)
	}
	if b.fs.user == nil {
		return fmt.Errorf("%w: ids that are mapped otherwise than the pod's", ErrUnsupported)
	}
	users, err := b.fs.user(m.IDMap)
	if err != nil {
		return err
	}
	defer users.Close()
	return idMap(fd, users, unix.AT_RECURSIVE)
}

// mapped is an overlay whose lower layers have mapped ids. The kernel takes
// layers by their path, and before Linux 6.15 only where they are attached: a
// builder attaches them in its own namespace for a moment.
type mapped struct {
	lower    []int // mounts, the lowest first
	writable int   // mount of the directory that holds upper and work; -1: none
	attr     int
	label    string // of overlay
}

// mapOverlay makes the mounts of o's layers.
func (b *build) mapOverlay(o overlay) (*mapped, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	m := &mapped{writable: -1, attr: o.attr, label: o.label}
	for _, dir := range o.lower {
		fd, err := b.cloneLayer(dir)
		if err != nil {
			return nil, err
		}
		if err := idMap(fd, b.users, 0); err != nil {
			return nil, fmt.Errorf("image layer %s: %w", dir, err)
		}
		m.lower = append(m.lower, fd)
	}
	if o.upper == "" {
		return m, nil
	}
	var err error
	m.writable, err = b.cloneLayer(filepath.Dir(o.upper))
	return m, err
}

// cloneLayer gives a private mount of a directory of ours.
func (b *build) cloneLayer(dir string) (int, error) {
	fd, err := cloneTree(dir, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return b.own(fd), propagate(fd, 0, unix.MS_PRIVATE)
}

// assemble mounts the overlay of m. It belongs to the site.
func (s *site) assemble(m *mapped) (int, error) {
	if err := attachLayers(m); err != nil {
		return -1, err
	}
	defer unix.Unmount(templateScratch, unix.MNT_DETACH)
	fd, err := s.kernel.mountAttached(m)
	if err == nil {
		s.fds = append(s.fds, fd)
	}
	return fd, err
}

func (s *site) assembleImage(a *attachment) (err error) {
	if a.fd, err = s.assemble(a.mapped); err != nil {
		return err
	}
	return a.attr.apply(a.fd)
}

// attachLayers puts the mounts of m into a tmpfs at the scratch directory: layers
// by their number, the writable directory as "w".
func attachLayers(m *mapped) error {
	scratch, err := newTmpfs(0, "size", "64k", "mode", "0700")
	if err != nil {
		return err
	}
	defer unix.Close(scratch)
	if err := attachAt(scratch, templateScratch); err != nil {
		return err
	}
	for i, fd := range m.lower {
		if err := attachIn(scratch, fmt.Sprint(i), fd); err != nil {
			return err
		}
	}
	if m.writable < 0 {
		return nil
	}
	return attachIn(scratch, "w", m.writable)
}

func attachIn(dir int, name string, fd int) error {
	if err := unix.Mkdirat(dir, name, 0o700); err != nil {
		return err
	}
	return attachAt(fd, filepath.Join(templateScratch, name))
}

// mountAttached mounts the overlay of the layers in the scratch directory, which
// is the calling thread's current one for as long as their names must be short.
func (k *kernel) mountAttached(m *mapped) (int, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.Chdir(templateScratch); err != nil {
		return -1, err
	}
	defer unix.Chdir("/")
	if err := k.setAttached(fs, m); err != nil {
		return -1, err
	}
	if m.writable >= 0 {
		if err := setDir(fs, "upperdir", filepath.Join(templateScratch, "w", upperName)); err != nil {
			return -1, err
		}
		if err := setDir(fs, "workdir", filepath.Join(templateScratch, "w", workName)); err != nil {
			return -1, err
		}
		if err := k.setWritable(fs); err != nil {
			return -1, err
		}
	}
	return createLabelled(fs, m.label, m.attr)
}

// setAttached names the lower layers, the uppermost first.
func (k *kernel) setAttached(fs int, m *mapped) error {
	var names []string
	for i := len(m.lower) - 1; i >= 0; i-- {
		if k.layerList {
			if err := setDir(fs, "lowerdir+", filepath.Join(templateScratch, fmt.Sprint(i))); err != nil {
				return err
			}
			continue
		}
		names = append(names, fmt.Sprint(i))
	}
	if k.layerList {
		return nil
	}
	layers := strings.Join(names, ":")
	if len(layers) > maxString {
		return fmt.Errorf("%w: %d image layers are too many before Linux 6.7", ErrUnsupported, len(m.lower))
	}
	if err := unix.FsconfigSetString(fs, "lowerdir", layers); err != nil {
		return fsError(fs, "overlay lowerdir", err)
	}
	return nil
}

// owner is whom files belong to that are made in a root.
type owner struct{ uid, gid uint32 }

func ownerOf(u *sandbox.UserNS) *owner {
	if u == nil {
		return nil
	}
	uid, gid := u.HostRoot()
	return &owner{uid, gid}
}

// asOwner runs fn with the calling thread's files belonging to the plan's owner,
// and all the same with root's right to make them anywhere.
func (s *site) asOwner(fn func() error) (err error) {
	if s.owner == nil {
		return fn()
	}
	if err := setFSIDs(int(s.owner.uid), int(s.owner.gid)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, setFSIDs(0, 0)) }()
	return fn()
}

// setFSIDs changes as whom the calling thread uses filesystems. The kernel takes
// the capabilities for files away with the change and only gives back what is
// asked for again.
func setFSIDs(uid, gid int) error {
	for _, set := range []func() error{func() error { return unix.Setfsgid(gid) }, func() error { return unix.Setfsuid(uid) }} {
		if err := set(); err != nil {
			return fmt.Errorf("set ids for files to %d:%d: %w", uid, gid, err)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	for i := range caps {
		caps[i].Effective = caps[i].Permitted
	}
	if err := unix.Capset(&header, &caps[0]); err != nil {
		return fmt.Errorf("keep capabilities: %w", err)
	}
	return nil
}

// chown gives a path to ids of the container; those that it does not have
// become root's.
func (b *build) chown(path string, uid, gid uint32) error {
	if b.spec.UserNS == nil && uid == 0 && gid == 0 {
		return nil
	}
	hostUID, ok := b.spec.UserNS.HostUID(uid)
	if !ok {
		hostUID, _ = b.spec.UserNS.HostRoot()
	}
	hostGID, ok := b.spec.UserNS.HostGID(gid)
	if !ok {
		_, hostGID = b.spec.UserNS.HostRoot()
	}
	return os.Chown(path, int(hostUID), int(hostGID))
}

// ownDev gives what is in a new /dev to the container's root. Nodes of the host
// that belong to others keep their owner.
func (b *build) ownDev(fd int) error {
	if b.spec.UserNS == nil {
		return nil
	}
	uid, gid := b.spec.UserNS.HostRoot()
	root := fmt.Sprintf("/proc/thread-self/fd/%d/.", fd)
	return filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		var st syscall.Stat_t
		if err == nil {
			err = syscall.Lstat(path, &st)
		}
		if err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Mode&unix.S_IFMT != unix.S_IFLNK && st.Mode&0o007 != 0o006 {
			return nil
		}
		return os.Lchown(path, int(uid), int(gid))
	})
}

// ttyGroup is the group of terminals, 5 by convention.
func ttyGroup(u *sandbox.UserNS) string {
	gid, ok := u.HostGID(5)
	if !ok {
		_, gid = u.HostRoot()
	}
	return fmt.Sprint(gid)
}

// ProbeUserNS says why containers cannot have user namespaces here, by building
// the root of one. path is where a user namespace with the mappings of u is
// bound.
func (f *FS) ProbeUserNS(ctx context.Context, u *sandbox.UserNS, path string) error {
	const id = "probe-of-user-namespaces"
	layer := filepath.Join(f.dir, ".probe")
	if err := os.MkdirAll(filepath.Join(layer, "of-the-image"), 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(layer)
	spec := sandbox.RootSpec{ID: id, Layers: []string{layer}, WorkingDir: "/made", UserNS: u, UserNSPath: path}
	root, err := f.Build(ctx, spec)
	if err != nil {
		return errors.Join(err, f.Remove(ctx, id))
	}
	err = errors.Join(wantOwner(root, "of-the-image", u), wantOwner(root, "made", u), probeTmpfs(path))
	return errors.Join(err, root.Close(), f.Remove(ctx, id))
}

func wantOwner(root *sandbox.Root, name string, u *sandbox.UserNS) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(root.Dir.Fd()), name, &st, 0); err != nil {
		return err
	}
	if uid, gid := u.HostRoot(); st.Uid != uid || st.Gid != gid {
		return fmt.Errorf("%w: files of an image belong to %d:%d instead of %d:%d", ErrUnsupported, st.Uid, st.Gid, uid, gid)
	}
	return nil
}

// probeTmpfs asks for what volumes of secrets and configuration need.
func probeTmpfs(path string) error {
	users, err := os.Open(path)
	if err != nil {
		return err
	}
	defer users.Close()
	fd, err := newTmpfs(0, "size", "64k")
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return idMap(fd, users, 0)
}
