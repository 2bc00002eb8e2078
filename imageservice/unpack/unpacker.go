package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

// unpacker writes below one directory. Not safe for concurrent use.
type unpacker struct {
	lim     Limits
	root    *os.Root
	fd      int // of the root
	entries int
	written int64

	lastDir string // whose descriptor is lastFD
	lastFD  int

	dirs     map[string][]unix.Timespec // set at the end: writing entries changes them
	depths   map[uint64]int             // of directories, by inode; the root has none
	implicit map[string]bool
	opaque   map[string]bool // set at the end, with more rights
	sums     map[uint64]uint32
	buf      []byte
}

func newUnpacker(dir string, lim Limits) (*unpacker, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	return &unpacker{
		lim: lim, root: root, fd: fd, lastDir: ".", lastFD: fd,
		dirs: map[string][]unix.Timespec{}, depths: map[uint64]int{}, implicit: map[string]bool{}, opaque: map[string]bool{}, sums: map[uint64]uint32{},
		buf: make([]byte, 128<<10),
	}, nil
}

func (u *unpacker) close() {
	u.forget()
	unix.Close(u.fd)
	u.root.Close()
}

// forget closes the remembered directory.
func (u *unpacker) forget() {
	if u.lastFD != u.fd {
		unix.Close(u.lastFD)
	}
	u.lastDir, u.lastFD = ".", u.fd
}

// beneath opens a path that must stay below the root. Links that stay below
// are followed: "lib" may be a link to "usr/lib".
func (u *unpacker) beneath(name string, flags uint64) (int, error) {
	for {
		fd, err := unix.Openat2(u.fd, name, &unix.OpenHow{
			Flags:   flags | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
		})
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err == unix.EXDEV || err == unix.ELOOP:
			return -1, unsafe("the path leads through a symbolic link out of the layer")
		}
		return fd, err
	}
}

// openDir gives the directory, and makes it when it is missing. The descriptor
// belongs to the unpacker and is good until the next call.
func (u *unpacker) openDir(dir string) (int, error) {
	if dir == u.lastDir {
		return u.lastFD, nil
	}
	fd, err := u.beneath(dir, unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		if err := u.makeDirs(dir); err != nil {
			return -1, err
		}
		fd, err = u.beneath(dir, unix.O_PATH|unix.O_DIRECTORY)
	}
	if errors.Is(err, unix.ENOTDIR) {
		return -1, fmt.Errorf("%w: its directory is no directory in this layer", imgerr.ErrMalformed)
	}
	if err != nil {
		return -1, err
	}
	u.forget()
	u.lastDir, u.lastFD = dir, fd
	return fd, nil
}

// makeDirs makes the missing directories of a path from the root down.
func (u *unpacker) makeDirs(dir string) error {
	parts := strings.Split(dir, "/")
	for i := range parts {
		p := strings.Join(parts[:i+1], "/")
		fd, err := u.beneath(p, unix.O_PATH|unix.O_DIRECTORY)
		if err == nil {
			unix.Close(fd)
			continue
		}
		if !errors.Is(err, unix.ENOENT) {
			return err
		}
		if err := u.count(1); err != nil {
			return err
		}
		up, err := u.beneath(path.Dir(p), unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		if err = u.mkdir(up, parts[i]); err == nil {
			err = unix.Fchmodat(up, parts[i], 0o755, 0) // whatever the umask
		}
		unix.Close(up)
		if errors.Is(err, unix.EEXIST) {
			return unsafe("the path leads through a dangling symbolic link")
		}
		if err != nil {
			return err
		}
		u.implicit[p] = true
	}
	return nil
}

// mkdir makes a directory. How deep it is, its name does not say: that may lead
// through links. What is too deep for the file descriptors of a process could not
// be removed again.
func (u *unpacker) mkdir(parent int, base string) error {
	if err := unix.Mkdirat(parent, base, 0o755); err != nil {
		return err
	}
	var up, st unix.Stat_t
	if err := unix.Fstat(parent, &up); err != nil {
		return err
	}
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	depth := u.depths[up.Ino] + 1
	if depth > u.lim.MaxDepth {
		return fmt.Errorf("%w: directories are more than %d deep", imgerr.ErrLimit, u.lim.MaxDepth)
	}
	u.depths[st.Ino] = depth
	return nil
}

func (u *unpacker) implicitDirs() []string {
	list := make([]string, 0, len(u.implicit))
	for d := range u.implicit {
		list = append(list, d)
	}
	slices.Sort(list)
	return list
}

// vacate removes what has the name already: the later entry counts.
func (u *unpacker) vacate(parent int, name, base string) error {
	err := unix.Unlinkat(parent, base, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return err
	}
	if u.lastDir == name || strings.HasPrefix(u.lastDir, name+"/") {
		return unsafe("replaces the directory that it is in")
	}
	below := func(d string) bool { return d == name || strings.HasPrefix(d, name+"/") }
	maps.DeleteFunc(u.dirs, func(d string, _ []unix.Timespec) bool { return below(d) })
	maps.DeleteFunc(u.implicit, func(d string, _ bool) bool { return below(d) })
	maps.DeleteFunc(u.opaque, func(d string, _ bool) bool { return below(d) })
	return u.root.RemoveAll(name)
}

func ids(h *tar.Header) (uid, gid int, err error) {
	if h.Uid < 0 || h.Gid < 0 || h.Uid >= math.MaxUint32 || h.Gid >= math.MaxUint32 {
		return 0, 0, fmt.Errorf("%w: owner %d:%d is out of range", imgerr.ErrMalformed, h.Uid, h.Gid)
	}
	return h.Uid, h.Gid, nil
}

func (u *unpacker) dir(parent int, name, base string, h *tar.Header) error {
	err := u.mkdir(parent, base)
	if errors.Is(err, unix.EEXIST) {
		var st unix.Stat_t
		if err = unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if err = u.vacate(parent, name, base); err == nil {
				err = u.mkdir(parent, base)
			}
		}
	}
	if err != nil {
		return err
	}
	return u.dirAttrs(name, h)
}

func (u *unpacker) dirAttrs(name string, h *tar.Header) error {
	uid, gid, err := ids(h)
	if err != nil {
		return err
	}
	fd, err := u.beneath(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	delete(u.implicit, name)
	u.dirs[name] = timespec(h.ModTime)
	return setAttrs(fd, uid, gid, h)
}

// setAttrs sets owner, mode and attributes, in this order: a change of owner
// clears the set-user-id bit and file capabilities.
func setAttrs(fd, uid, gid int, h *tar.Header) error {
	if err := unix.Fchown(fd, uid, gid); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	if err := unix.Fchmod(fd, uint32(h.Mode)&0o7777); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	for key, value := range h.PAXRecords {
		attr, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if !ok || !keepXattr(attr) {
			continue
		}
		if err := unix.Fsetxattr(fd, attr, []byte(value), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("set attribute %s: %w", attr, err)
		}
	}
	return nil
}

// keepXattr says which attributes an image may set. Those of overlayfs would
// let it redirect lookups, the others belong to the host.
func keepXattr(attr string) bool {
	return attr == "security.capability" || (strings.HasPrefix(attr, "user.") && !strings.HasPrefix(attr, "user.overlay."))
}

func (u *unpacker) file(parent int, name, base string, h *tar.Header, r io.Reader) error {
	uid, gid, err := ids(h)
	if err != nil {
		return err
	}
	fd, err := u.create(parent, name, base)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	sum, err := u.copy(f, r)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	u.sums[st.Ino] = sum
	if err := setAttrs(fd, uid, gid, h); err != nil {
		return err
	}
	if err := setTimes(fd, timespec(h.ModTime)); err != nil {
		return err
	}
	return f.Close()
}

func (u *unpacker) create(parent int, name, base string) (int, error) {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat(parent, base, flags, 0o600)
	if errors.Is(err, unix.EEXIST) {
		if err := u.vacate(parent, name, base); err != nil {
			return -1, err
		}
		fd, err = unix.Openat(parent, base, flags, 0o600)
	}
	return fd, err
}

// copy writes the content and gives its checksum.
func (u *unpacker) copy(f *os.File, r io.Reader) (sum uint32, err error) {
	for {
		n, err := r.Read(u.buf)
		if u.written += int64(n); u.written > u.lim.MaxBytes {
			return 0, fmt.Errorf("%w: files of the layer hold more than %d bytes", imgerr.ErrLimit, u.lim.MaxBytes)
		}
		if n > 0 {
			sum = crc32.Update(sum, SumTable, u.buf[:n])
			if _, werr := f.Write(u.buf[:n]); werr != nil {
				return 0, werr
			}
		}
		if err == io.EOF {
			return sum, nil
		}
		if err != nil {
			return 0, readError(err)
		}
	}
}

// setTimes works on any descriptor by way of an empty path.
func setTimes(fd int, ts []unix.Timespec) error {
	if err := unix.UtimesNanoAt(fd, "", ts, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

func (u *unpacker) symlink(parent int, name, base string, h *tar.Header) error {
	if h.Linkname == "" || len(h.Linkname) >= unix.PathMax || strings.IndexByte(h.Linkname, 0) >= 0 {
		return fmt.Errorf("%w: bad target of a symbolic link", imgerr.ErrMalformed)
	}
	if err := u.vacate(parent, name, base); err != nil {
		return err
	}
	if err := unix.Symlinkat(h.Linkname, parent, base); err != nil {
		return err
	}
	return ownAt(parent, base, h)
}

func (u *unpacker) fifo(parent int, name, base string, h *tar.Header) error {
	if err := u.vacate(parent, name, base); err != nil {
		return err
	}
	if err := unix.Mknodat(parent, base, unix.S_IFIFO|0o600, 0); err != nil {
		return err
	}
	if err := ownAt(parent, base, h); err != nil {
		return err
	}
	return unix.Fchmodat(parent, base, uint32(h.Mode)&0o7777, 0) // made by us just now: no link
}

func ownAt(parent int, base string, h *tar.Header) error {
	uid, gid, err := ids(h)
	if err != nil {
		return err
	}
	if err := unix.Fchownat(parent, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	if err := unix.UtimesNanoAt(parent, base, timespec(h.ModTime), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

func (u *unpacker) hardlink(parent int, name, base string, h *tar.Header) error {
	target, err := u.cleanName(h.Linkname)
	if err != nil {
		return fmt.Errorf("target of a hard link: %w", err)
	}
	if target == name {
		return nil
	}
	up, err := u.beneath(path.Dir(target), unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		defer unix.Close(up)
		var st unix.Stat_t
		if err = unix.Fstatat(up, path.Base(target), &st, unix.AT_SYMLINK_NOFOLLOW); err == nil {
			if t := st.Mode & unix.S_IFMT; t != unix.S_IFREG && t != unix.S_IFLNK {
				return unsafe("hard link to %q, which is no file", target)
			}
		}
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("%w: hard link to %q, which is not in this layer", imgerr.ErrMalformed, target)
	}
	if err != nil {
		return err
	}
	if err := u.vacate(parent, name, base); err != nil {
		return err
	}
	return unix.Linkat(up, path.Base(target), parent, base, 0)
}

// whiteout marks a name as deleted from the layers below.
func (u *unpacker) whiteout(parent int, base string) error {
	if base == "" || base == "." || base == ".." {
		return unsafe("whiteout of nothing")
	}
	err := unix.Mknodat(parent, base, unix.S_IFCHR, 0)
	if errors.Is(err, unix.EEXIST) { // the layer itself has it: only what is below goes
		return nil
	}
	return err
}

// noteOpaque notes that the directory hides what the layers below have in it.
func (u *unpacker) noteOpaque(dir string) error {
	fd, err := u.beneath(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	u.opaque[dir] = true
	return unix.Close(fd)
}

// finishOpaque marks those directories: an attribute of the kind trusted needs
// more rights than unpacking has.
func (u *unpacker) finishOpaque() error {
	for dir := range u.opaque {
		fd, err := u.beneath(dir, unix.O_RDONLY|unix.O_DIRECTORY)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue // replaced by a later entry
		}
		if err != nil {
			return err
		}
		err = unix.Fsetxattr(fd, OpaqueXattr, []byte("y"), 0)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("mark opaque directory: %w", err)
		}
	}
	return nil
}

// OpaqueXattr marks a directory that hides those of lower layers.
const OpaqueXattr = "trusted.overlay.opaque"

func (u *unpacker) finishDirs() error {
	for name, ts := range u.dirs {
		fd, err := u.beneath(name, unix.O_RDONLY|unix.O_DIRECTORY)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue // replaced by a later entry
		}
		if err != nil {
			return err
		}
		err = setTimes(fd, ts)
		unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}
