// Package hostsys is the system behind a guest's WASI calls, on Linux.
//
// A System is a table of descriptors over host files. Paths are resolved by the
// kernel beneath the directory that they start from (openat2 with
// RESOLVE_IN_ROOT for the root filesystem, RESOLVE_BENEATH elsewhere), so that
// no check of strings stands between a guest and the host. The guest is
// single-threaded: a System is not safe for concurrent use.
package hostsys

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// DefaultMaxFiles bounds the open descriptors of a guest.
const DefaultMaxFiles = 65536

// Writer takes what a guest writes to a stream that is no host file.
type Writer interface{ Write(p []byte) (int, error) }

// Stream is a standard stream: a host descriptor, or a Writer, or nothing.
type Stream struct {
	FD     int // used when Writer is nil; negative: at end of file, or discarded
	Writer Writer
}

// Null is at end of file and discards.
var Null = Stream{FD: -1}

// Preopen is a directory that the guest finds open.
type Preopen struct {
	Name     string // as the guest knows it
	FD       int    // owned by the System
	IsRoot   bool   // absolute links and ".." stay inside, as in a chroot
	Readonly bool
}

// Config says what a guest starts with.
type Config struct {
	Args, Env             [][]byte
	Stdin, Stdout, Stderr Stream
	Preopens              []Preopen
	Listeners             []int // sockets, behind the preopens
	MaxFiles              int   // 0: DefaultMaxFiles
}

// System is a guest's view of the host.
type System struct {
	args, env [][]byte

	table   wasi.Table[file]
	poll    pollState
	listing listing // of the fd_readdir under way
	message message // of the recvmsg or sendmsg under way
	clock   vdsoClock
}

var _ wasi.System = (*System)(nil)

// Args implements wasi.System.
func (s *System) Args() [][]byte { return s.args }

// Env implements wasi.System.
func (s *System) Env() [][]byte { return s.env }

// file is an open descriptor.
type file struct {
	fd         int // on the host; -1: none
	kind       wasi.Filetype
	flags      wasi.Fdflags // as the guest set them
	rights     wasi.Rights  // as reported: what was asked for, of what can be
	inheriting wasi.Rights
	denied     wasi.Rights // as enforced: what the guest gave up
	deniedHeir wasi.Rights // likewise, for what is opened beneath
	writer     Writer
	isStream   bool   // one of the three that a guest starts with
	preopen    string // name; only with isPreopen
	isPreopen  bool
	isRoot     bool
	readonly   bool
	root       *file  // of a directory beneath one: the preopened root filesystem
	at         string // and the path that it was opened by there
	local      string // path of a unix socket, as the guest knows it
	peer       string
}

// New takes ownership of the descriptors of preopens and listeners.
func New(c Config) (*System, error) {
	s := &System{args: c.Args, env: c.Env, clock: newVDSOClock()}
	s.table.Limit(math.MaxInt) // what a guest starts with is not bounded
	streams := []struct {
		Stream
		rights wasi.Rights
	}{{c.Stdin, wasi.RightFdRead}, {c.Stdout, wasi.RightFdWrite}, {c.Stderr, wasi.RightFdWrite}}
	for _, st := range streams {
		s.table.Insert(newStream(st.Stream, st.rights))
	}
	for _, p := range c.Preopens {
		s.table.Insert(&file{
			fd: p.FD, kind: wasi.FiletypeDirectory, rights: wasi.RightsDirectory, inheriting: wasi.RightsDirectory | wasi.RightsFile,
			preopen: p.Name, isPreopen: true, isRoot: p.IsRoot, readonly: p.Readonly,
		})
	}
	for _, fd := range c.Listeners {
		kind, err := kindOf(fd)
		if err != nil {
			return nil, fmt.Errorf("listener %d: %w", fd, err)
		}
		flags := wasi.Fdflags(0)
		if linux, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err == nil && linux&unix.O_NONBLOCK != 0 {
			flags = wasi.FdflagsNonblock
		}
		s.table.Insert(&file{fd: fd, kind: kind, flags: flags, rights: wasi.RightsSocket, inheriting: wasi.RightsSocket})
	}
	if c.MaxFiles <= 0 {
		c.MaxFiles = DefaultMaxFiles
	}
	s.table.Limit(c.MaxFiles)
	return s, nil
}

func newStream(st Stream, right wasi.Rights) *file {
	f := &file{fd: -1, kind: wasi.FiletypeUnknown, writer: st.Writer, isStream: true}
	if st.FD < 0 || st.Writer != nil { // no host file is there to refuse the other direction
		f.denied = (wasi.RightFdRead | wasi.RightFdWrite) &^ right
	}
	f.rights = right | wasi.RightFdFdstatSetFlags | wasi.RightFdFilestatGet | wasi.RightPollFdReadwrite
	if st.Writer == nil && st.FD >= 0 {
		f.fd = st.FD
		if kind, err := kindOf(st.FD); err == nil {
			f.kind = kind
		}
		// A character device that cannot seek is how guests tell a terminal.
		if f.kind == wasi.FiletypeRegularFile || (f.kind == wasi.FiletypeCharacterDevice && !isTerminal(st.FD)) {
			f.rights |= wasi.RightFdSeek | wasi.RightFdTell
		}
	}
	return f
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

func kindOf(fd int) (wasi.Filetype, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	return kindIn(fd, &st), nil
}

func kindIn(fd int, st *unix.Stat_t) wasi.Filetype {
	if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		return socketKind(fd)
	}
	return filetype(st.Mode)
}

func filetype(mode uint32) wasi.Filetype {
	switch mode & unix.S_IFMT {
	case unix.S_IFBLK:
		return wasi.FiletypeBlockDevice
	case unix.S_IFCHR:
		return wasi.FiletypeCharacterDevice
	case unix.S_IFDIR:
		return wasi.FiletypeDirectory
	case unix.S_IFREG:
		return wasi.FiletypeRegularFile
	case unix.S_IFLNK:
		return wasi.FiletypeSymbolicLink
	case unix.S_IFSOCK:
		return wasi.FiletypeSocketStream
	}
	return wasi.FiletypeUnknown
}

// get finds a descriptor.
func (s *System) get(fd uint32) (*file, wasi.Errno) {
	if f := s.table.Get(fd); f != nil {
		return f, 0
	}
	return nil, wasi.EBADF
}

// with finds a descriptor that holds a right.
func (s *System) with(fd uint32, right wasi.Rights) (*file, wasi.Errno) {
	f, errno := s.get(fd)
	if errno != 0 {
		return nil, errno
	}
	if f.denied&right != 0 {
		return nil, wasi.ENOTCAPABLE
	}
	return f, 0
}

// FdClose closes a descriptor; preopens and streams too.
func (s *System) FdClose(fd uint32) wasi.Errno {
	f, errno := s.get(fd)
	if errno != 0 {
		return errno
	}
	s.table.Remove(fd)
	return f.close()
}

func (f *file) close() wasi.Errno {
	if f.fd < 0 {
		return 0
	}
	fd := f.fd
	f.fd = -1
	if fd <= 2 {
		return plug(fd)
	}
	return wasi.ErrnoOf(unix.Close(fd))
}

// plug closes a standard stream of the process, but keeps its number taken: what
// the runtime or the worker writes there must not land in a file that the guest
// opens next.
func plug(fd int) wasi.Errno {
	inert, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return wasi.ErrnoOf(err)
	}
	defer unix.Close(inert)
	return wasi.ErrnoOf(unix.Dup3(inert, fd, unix.O_CLOEXEC))
}

// FdRenumber moves a descriptor onto another one, which is closed.
func (s *System) FdRenumber(from, to uint32) wasi.Errno {
	if s.table.Get(from) == nil || s.table.Get(to) == nil {
		return wasi.EBADF
	}
	if from != to {
		s.table.Renumber(from, to).close() // as dup2 does, its error is lost
	}
	return 0
}

// FdPrestat gives the name of a preopened directory.
func (s *System) FdPrestat(fd uint32) (string, wasi.Errno) {
	f, errno := s.get(fd)
	if errno != 0 {
		return "", errno
	}
	if !f.isPreopen {
		return "", wasi.EBADF
	}
	return f.preopen, 0
}
