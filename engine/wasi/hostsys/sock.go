package hostsys

import (
	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

func socketKind(fd int) wasi.Filetype {
	if t, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil && t == unix.SOCK_DGRAM {
		return wasi.FiletypeSocketDgram
	}
	return wasi.FiletypeSocketStream
}

// sockOf finds a socket.
func (s *System) sockOf(fd uint32, right wasi.Rights) (*file, wasi.Errno) {
	f, errno := s.get(fd)
	switch {
	case errno != 0:
		return nil, errno
	case f.kind != wasi.FiletypeSocketStream && f.kind != wasi.FiletypeSocketDgram:
		return nil, wasi.ENOTSOCK
	case f.denied&right != 0:
		return nil, wasi.ENOTCAPABLE
	}
	return f, 0
}

// SockAccept takes a connection from a listener.
func (s *System) SockAccept(fd uint32, flags wasi.Fdflags) (uint32, wasi.Errno) {
	f, errno := s.sockOf(fd, wasi.RightSockAccept)
	switch {
	case errno != 0:
		return 0, errno
	case flags&^wasi.FdflagsNonblock != 0:
		return 0, wasi.EINVAL
	case s.table.Full():
		return 0, wasi.EMFILE
	}
	linux := unix.SOCK_CLOEXEC
	if flags&wasi.FdflagsNonblock != 0 {
		linux |= unix.SOCK_NONBLOCK
	}
	for {
		conn, _, err := unix.Accept4(f.fd, linux)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, wasi.ErrnoOf(err)
		}
		n, errno := s.insertSocket(conn, flags)
		if errno == 0 {
			s.table.Get(n).local = f.local
		}
		return n, errno
	}
}

func (s *System) insertSocket(fd int, flags wasi.Fdflags) (uint32, wasi.Errno) {
	f := &file{fd: fd, kind: socketKind(fd), flags: flags, rights: wasi.RightsSocket, inheriting: wasi.RightsSocket}
	n, errno := s.table.Insert(f)
	if errno != 0 {
		f.close()
	}
	return n, errno
}

// SockShutdown ends one or both directions.
func (s *System) SockShutdown(fd uint32, how uint8) wasi.Errno {
	f, errno := s.sockOf(fd, wasi.RightSockShutdown)
	if errno != 0 {
		return errno
	}
	linux := unix.SHUT_RDWR
	switch how {
	case wasi.SdflagsRd:
		linux = unix.SHUT_RD
	case wasi.SdflagsWr:
		linux = unix.SHUT_WR
	case wasi.SdflagsRd | wasi.SdflagsWr:
	default:
		return wasi.EINVAL
	}
	return wasi.ErrnoOf(unix.Shutdown(f.fd, linux))
}

func (f *file) isSocket() bool {
	return f.kind == wasi.FiletypeSocketStream || f.kind == wasi.FiletypeSocketDgram
}
