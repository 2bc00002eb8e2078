package hostsys

import (
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// resolveFlags keep a path beneath the directory it starts from.
func (f *file) resolveFlags() uint64 {
	if f.isRoot {
		return unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	}
	return unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS
}

// openat opens a path beneath a directory.
func (f *file) openat(path string, flags int, mode uint32) (int, wasi.Errno) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Mode: uint64(mode), Resolve: f.resolveFlags()}
	for races := 0; ; {
		fd, err := unix.Openat2(f.fd, path, &how)
		switch {
		case err == nil:
			return fd, 0
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN && races < maxRaces: // a rename somewhere raced with the resolution
			races++
			continue
		case err == unix.EXDEV: // the path leaves the directory
			return f.openFromRoot(path, flags, mode)
		}
		return -1, wasi.ErrnoOf(err)
	}
}

// maxRaces bounds how often a path is resolved again because of renames that
// others make.
const maxRaces = 1000

// dirOf finds a directory that holds a right, for a path that starts there.
func (s *System) dirOf(fd uint32, right wasi.Rights, path string) (*file, wasi.Errno) {
	f, errno := s.get(fd)
	switch {
	case errno != 0:
		return nil, errno
	case f.kind != wasi.FiletypeDirectory:
		return nil, wasi.ENOTDIR
	case f.denied&right != 0:
		return nil, wasi.ENOTCAPABLE
	case path == "":
		return nil, wasi.ENOENT
	case strings.IndexByte(path, 0) >= 0:
		return nil, wasi.EINVAL
	case path[0] == '/' && !f.isRoot:
		return nil, wasi.EPERM
	}
	return f, 0
}

// parent opens the directory that holds the last part of a path, which is not
// resolved. The part keeps a trailing slash, which has a meaning to the
// kernel.
func (f *file) parent(path string) (fd int, last string, closeFD bool, errno wasi.Errno) {
	trimmed := strings.TrimRight(path, "/")
	if trimmed == "" { // the root of the tree
		return f.fd, ".", false, 0
	}
	i := strings.LastIndexByte(trimmed, '/')
	last = path[i+1:]
	if name := trimmed[i+1:]; name == ".." || name == "." { // resolve it: the kernel must see that it stays beneath
		fd, errno = f.openat(path, unix.O_PATH|unix.O_DIRECTORY, 0)
		return fd, ".", true, errno
	}
	if i < 0 {
		return f.fd, last, false, 0
	}
	fd, errno = f.openat(path[:i+1], unix.O_PATH|unix.O_DIRECTORY, 0)
	return fd, last, true, errno
}

// inParent runs a call on the last part of a path and its directory.
func (f *file) inParent(path string, call func(dir int, last string) error) wasi.Errno {
	dir, last, opened, errno := f.parent(path)
	if errno != 0 {
		return errno
	}
	if opened {
		defer unix.Close(dir)
	}
	return wasi.ErrnoOf(call(dir, last))
}

// PathOpen opens a file or directory. Rights of 0 mean: all that the directory
// may give.
func (s *System) PathOpen(fd uint32, lookup wasi.Lookupflags, path string, oflags wasi.Oflags, rights, inheriting wasi.Rights, flags wasi.Fdflags) (uint32, wasi.Errno) {
	dir, errno := s.dirOf(fd, wasi.RightPathOpen, path)
	switch {
	case errno != 0:
		return 0, errno
	case oflags&^wasi.OflagsAll != 0 || flags&^wasi.FdflagsAll != 0:
		return 0, wasi.EINVAL
	case oflags&wasi.OflagsCreat != 0 && dir.denied&wasi.RightPathCreateFile != 0:
		return 0, wasi.ENOTCAPABLE
	case oflags&wasi.OflagsTrunc != 0 && dir.denied&wasi.RightPathFilestatSetSize != 0:
		return 0, wasi.ENOTCAPABLE
	case oflags&(wasi.OflagsCreat|wasi.OflagsDirectory) == wasi.OflagsCreat|wasi.OflagsDirectory:
		return 0, wasi.EINVAL
	case s.table.Full():
		return 0, wasi.EMFILE
	}
	all := rights == 0
	if all {
		rights = dir.inheriting
	}
	mode, errno := openMode(rights&dir.inheriting, oflags, flags, lookup)
	if errno != 0 {
		return 0, errno
	}
	if !all && oflags&wasi.OflagsDirectory != 0 && rights&wasi.RightFdWrite != 0 {
		return 0, wasi.EISDIR
	}
	host, kind, errno := dir.openFile(path, mode, all)
	if errno != 0 {
		return 0, errno
	}
	n, errno := s.adopt(host, kind, dir, rights&dir.inheriting, inheriting&dir.inheriting, flags, mode)
	if errno == 0 {
		s.table.Get(n).locate(dir, path)
	}
	return n, errno
}

// openMode turns what the guest wants into flags of open(2).
func openMode(rights wasi.Rights, oflags wasi.Oflags, flags wasi.Fdflags, lookup wasi.Lookupflags) (int, wasi.Errno) {
	mode := unix.O_RDONLY
	switch { // the other rights that need writing come along in what Go asks for to read
	case oflags&wasi.OflagsDirectory != 0 || rights&wasi.RightFdWrite == 0:
	case rights&(wasi.RightFdRead|wasi.RightFdReaddir) != 0:
		mode = unix.O_RDWR
	default:
		mode = unix.O_WRONLY
	}
	if oflags&wasi.OflagsCreat != 0 {
		mode |= unix.O_CREAT
	}
	if oflags&wasi.OflagsDirectory != 0 {
		mode |= unix.O_DIRECTORY
	}
	if oflags&wasi.OflagsExcl != 0 {
		mode |= unix.O_EXCL
	}
	if oflags&wasi.OflagsTrunc != 0 {
		mode |= unix.O_TRUNC
	}
	if lookup&wasi.LookupSymlinkFollow == 0 {
		mode |= unix.O_NOFOLLOW
	}
	for _, f := range []struct {
		wasi  wasi.Fdflags
		linux int
	}{
		{wasi.FdflagsAppend, unix.O_APPEND}, {wasi.FdflagsDsync, unix.O_DSYNC}, {wasi.FdflagsNonblock, unix.O_NONBLOCK},
		{wasi.FdflagsRsync, unix.O_RSYNC}, {wasi.FdflagsSync, unix.O_SYNC},
	} {
		if flags&f.wasi != 0 {
			mode |= f.linux
		}
	}
	return mode | unix.O_NOCTTY, 0
}

// openFile opens with the mode that was asked for. Where the guest asked for all
// rights, writing is a wish: a directory, or a file that may only be read, is
// opened for reading.
func (f *file) openFile(path string, mode int, all bool) (int, wasi.Filetype, wasi.Errno) {
	if f.readonly && mode&(unix.O_CREAT|unix.O_TRUNC) != 0 {
		return -1, 0, wasi.EROFS
	}
	if f.readonly {
		mode = mode&^unix.O_ACCMODE | unix.O_RDONLY
	}
	host, kind, errno := f.openKind(path, mode)
	if !all || mode&(unix.O_CREAT|unix.O_TRUNC|unix.O_EXCL) != 0 {
		return host, kind, errno
	}
	switch errno {
	case wasi.EISDIR, wasi.EACCES, wasi.EROFS, wasi.EPERM, wasi.ETXTBSY:
		if h, k, e := f.openKind(path, mode&^unix.O_ACCMODE); e == 0 {
			return h, k, 0
		}
	}
	return host, kind, errno
}

// openKind opens a file and tells what it is. The permissions of a device bind
// also who may do everything, if the daemon has marked its node so.
func (f *file) openKind(path string, mode int) (int, wasi.Filetype, wasi.Errno) {
	const perm = 0o666
	host, errno := f.openat(path, mode, permIf(mode, perm))
	if errno != 0 {
		return -1, 0, errno
	}
	var st unix.Stat_t
	err := unix.Fstat(host, &st)
	if err == nil && forbidden(&st, mode) {
		err = unix.EPERM
	}
	if err != nil {
		unix.Close(host)
		return -1, 0, wasi.ErrnoOf(err)
	}
	return host, kindIn(host, &st), 0
}

// forbidden says whether a device was opened in a way in which nobody may. The
// mark is the sticky bit, which means nothing else on a device; no guest can
// change it.
func forbidden(st *unix.Stat_t, mode int) bool {
	if st.Mode&unix.S_ISVTX == 0 || st.Mode&unix.S_IFMT != unix.S_IFCHR && st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return false
	}
	access := mode & unix.O_ACCMODE
	return access != unix.O_WRONLY && st.Mode&0o444 == 0 || access != unix.O_RDONLY && st.Mode&0o222 == 0
}

// permIf gives the mode only where openat2 accepts one.
func permIf(mode int, perm uint32) uint32 {
	if mode&unix.O_CREAT != 0 {
		return perm
	}
	return 0
}

// adopt makes a descriptor of a host file that was just opened beneath dir.
func (s *System) adopt(host int, kind wasi.Filetype, dir *file, rights, inheriting wasi.Rights, flags wasi.Fdflags, mode int) (uint32, wasi.Errno) {
	f := &file{fd: host, kind: kind, flags: flags, denied: dir.deniedHeir, deniedHeir: dir.deniedHeir, isRoot: dir.isRoot, readonly: dir.readonly}
	if kind == wasi.FiletypeDirectory {
		f.isRoot = false // beneath it, not beneath the root: ".." of a directory must be able to end there
		f.rights, f.inheriting = rights&wasi.RightsDirectory, inheriting
		if inheriting == 0 {
			f.inheriting = dir.inheriting
		}
	} else {
		f.rights, f.inheriting = rights&wasi.RightsFile, inheriting&wasi.RightsFile
		access, err := unix.FcntlInt(uintptr(host), unix.F_GETFL, 0)
		if err == nil {
			f.rights &^= lacking(access & unix.O_ACCMODE)
		}
		if kind == wasi.FiletypeCharacterDevice && isTerminal(host) {
			f.rights &^= wasi.RightFdSeek | wasi.RightFdTell // by which guests know one
		}
	}
	n, errno := s.table.Insert(f)
	if errno != 0 {
		f.close()
	}
	return n, errno
}

// lacking are the rights that a mode of opening cannot give.
func lacking(access int) wasi.Rights {
	switch access {
	case unix.O_RDONLY:
		return wasi.RightFdWrite | wasi.RightFdAllocate | wasi.RightFdFilestatSetSize
	case unix.O_WRONLY:
		return wasi.RightFdRead
	}
	return 0
}

// PathFilestat describes what a path leads to.
func (s *System) PathFilestat(fd uint32, lookup wasi.Lookupflags, path string) (wasi.Filestat, wasi.Errno) {
	dir, errno := s.dirOf(fd, wasi.RightPathFilestatGet, path)
	if errno != 0 {
		return wasi.Filestat{}, errno
	}
	var st unix.Stat_t
	if simple(path) { // one system call, unless it is a link to follow
		err := unix.Fstatat(dir.fd, path, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
		if err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK || lookup&wasi.LookupSymlinkFollow == 0 {
			return filestat(&st), wasi.ErrnoOf(err)
		}
	}
	host, errno := dir.openat(path, pathFlags(lookup), 0)
	if errno != 0 {
		return wasi.Filestat{}, errno
	}
	defer unix.Close(host)
	if err := unix.Fstat(host, &st); err != nil {
		return wasi.Filestat{}, wasi.ErrnoOf(err)
	}
	return filestat(&st), 0
}

// simple says that a path is a name in the directory itself, which the kernel
// may look up without keeping it beneath.
func simple(path string) bool { return path != ".." && strings.IndexByte(path, '/') < 0 }

func pathFlags(lookup wasi.Lookupflags) int {
	if lookup&wasi.LookupSymlinkFollow != 0 {
		return unix.O_PATH
	}
	return unix.O_PATH | unix.O_NOFOLLOW
}

// PathFilestatSetTimes sets the times of what a path leads to.
func (s *System) PathFilestatSetTimes(fd uint32, lookup wasi.Lookupflags, path string, atim, mtim uint64, flags wasi.Fstflags) wasi.Errno {
	dir, errno := s.dirOf(fd, wasi.RightPathFilestatSetTimes, path)
	if errno != 0 {
		return errno
	}
	times, errno := timespecs(atim, mtim, flags)
	if errno != 0 {
		return errno
	}
	if dir.readonly {
		return wasi.EROFS
	}
	host, errno := dir.openat(path, pathFlags(lookup), 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(host)
	empty := [1]byte{}
	_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(host), uintptr(unsafe.Pointer(&empty)), uintptr(unsafe.Pointer(&times)), unix.AT_EMPTY_PATH, 0, 0)
	if e != 0 {
		return wasi.ErrnoOf(e)
	}
	return 0
}

// change is dirOf for calls that change the tree.
func (s *System) change(fd uint32, right wasi.Rights, path string) (*file, wasi.Errno) {
	dir, errno := s.dirOf(fd, right, path)
	if errno == 0 && dir.readonly {
		return nil, wasi.EROFS
	}
	return dir, errno
}

// PathCreateDirectory makes a directory.
func (s *System) PathCreateDirectory(fd uint32, path string) wasi.Errno {
	dir, errno := s.change(fd, wasi.RightPathCreateDirectory, path)
	if errno != 0 {
		return errno
	}
	return dir.inParent(path, func(d int, last string) error { return unix.Mkdirat(d, last, 0o777) })
}

// PathRemoveDirectory removes an empty directory.
func (s *System) PathRemoveDirectory(fd uint32, path string) wasi.Errno {
	dir, errno := s.change(fd, wasi.RightPathRemoveDirectory, path)
	if errno != 0 {
		return errno
	}
	return dir.inParent(path, func(d int, last string) error { return unix.Unlinkat(d, last, unix.AT_REMOVEDIR) })
}

// PathUnlinkFile removes a file.
func (s *System) PathUnlinkFile(fd uint32, path string) wasi.Errno {
	dir, errno := s.change(fd, wasi.RightPathUnlinkFile, path)
	if errno != 0 {
		return errno
	}
	return dir.inParent(path, func(d int, last string) error { return unix.Unlinkat(d, last, 0) })
}

// PathRename moves a file or directory.
func (s *System) PathRename(fd uint32, path string, toFD uint32, to string) wasi.Errno {
	from, errno := s.change(fd, wasi.RightPathRenameSource, path)
	if errno != 0 {
		return errno
	}
	target, errno := s.change(toFD, wasi.RightPathRenameTarget, to)
	if errno != 0 {
		return errno
	}
	return from.inParent(path, func(d int, last string) error {
		return goError(target.inParent(to, func(d2 int, last2 string) error { return unix.Renameat2(d, last, d2, last2, 0) }))
	})
}

// goError carries an errno through a function that gives a Go error.
func goError(e wasi.Errno) error {
	if e == 0 {
		return nil
	}
	if l := e.Linux(); l != 0 {
		return l
	}
	return unix.EIO
}

// PathLink makes a hard link. Links are never followed: the field's hosts
// differ there, and a link to what a link leads to is a way out.
func (s *System) PathLink(fd uint32, lookup wasi.Lookupflags, path string, toFD uint32, to string) wasi.Errno {
	from, errno := s.change(fd, wasi.RightPathLinkSource, path)
	if errno != 0 {
		return errno
	}
	target, errno := s.change(toFD, wasi.RightPathLinkTarget, to)
	if errno != 0 {
		return errno
	}
	if lookup&wasi.LookupSymlinkFollow != 0 {
		return wasi.EINVAL
	}
	if strings.HasSuffix(path, "/") { // the kernel would follow a link there, out of the directory
		if _, errno := s.PathFilestat(fd, 0, path); errno != 0 && errno != wasi.ENOTCAPABLE {
			return errno
		}
		return wasi.EPERM // a directory has no hard links
	}
	return from.inParent(path, func(d int, last string) error {
		return goError(target.inParent(to, func(d2 int, last2 string) error { return unix.Linkat(d, last, d2, last2, 0) }))
	})
}

// PathSymlink makes a symbolic link. An absolute target is refused, as by every
// other host: it would mean another file outside of WASI.
func (s *System) PathSymlink(target string, fd uint32, path string) wasi.Errno {
	dir, errno := s.change(fd, wasi.RightPathSymlink, path)
	switch {
	case errno != 0:
		return errno
	case target == "":
		return wasi.ENOENT
	case strings.IndexByte(target, 0) >= 0:
		return wasi.EINVAL
	case target[0] == '/':
		return wasi.EPERM
	}
	errno = dir.inParent(path, func(d int, last string) error { return unix.Symlinkat(target, d, last) })
	if errno == wasi.EEXIST && strings.HasSuffix(path, "/") {
		if st, e := s.PathFilestat(fd, 0, strings.TrimRight(path, "/")); e == 0 && st.Filetype != wasi.FiletypeDirectory {
			return wasi.ENOTDIR
		}
	}
	return errno
}

// PathReadlink reads a symbolic link into buf, cut to its length.
func (s *System) PathReadlink(fd uint32, path string, buf []byte) (int, wasi.Errno) {
	dir, errno := s.dirOf(fd, wasi.RightPathReadlink, path)
	if errno != 0 {
		return 0, errno
	}
	link, errno := dir.openat(path, pathFlags(0), 0)
	if errno != 0 {
		return 0, errno
	}
	defer unix.Close(link)
	kind, err := kindOf(link)
	switch {
	case err != nil:
		return 0, wasi.ErrnoOf(err)
	case kind != wasi.FiletypeSymbolicLink:
		return 0, wasi.EINVAL
	case len(buf) == 0: // the kernel refuses what the interface allows
		return 0, 0
	}
	n, err := unix.Readlinkat(link, "", buf)
	return max(n, 0), wasi.ErrnoOf(err)
}
