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
	case f.rights&right != right:
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
	case s.full():
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
		return s.insertSocket(conn, flags)
	}
}

func (s *System) insertSocket(fd int, flags wasi.Fdflags) (uint32, wasi.Errno) {
	f := &file{fd: fd, kind: socketKind(fd), flags: flags, rights: wasi.RightsSocket, inheriting: wasi.RightsSocket}
	n, errno := s.insert(f)
	if errno != 0 {
		f.close()
	}
	return n, errno
}

// SockRecv receives; truncated says that a datagram was longer.
func (s *System) SockRecv(fd uint32, bufs [][]byte, flags uint16) (n int, truncated bool, errno wasi.Errno) {
	f, errno := s.sockOf(fd, wasi.RightFdRead)
	if errno != 0 {
		return 0, false, errno
	}
	if flags&^(wasi.RiflagsPeek|wasi.RiflagsWaitall) != 0 {
		return 0, false, wasi.ENOTSUP
	}
	linux := 0
	if flags&wasi.RiflagsPeek != 0 {
		linux |= unix.MSG_PEEK
	}
	if flags&wasi.RiflagsWaitall != 0 {
		linux |= unix.MSG_WAITALL
	}
	for {
		n, _, got, _, err := unix.RecvmsgBuffers(f.fd, bufs, nil, linux)
		if err == unix.EINTR {
			continue
		}
		return max(n, 0), got&unix.MSG_TRUNC != 0, wasi.ErrnoOf(err)
	}
}

// SockSend sends.
func (s *System) SockSend(fd uint32, bufs [][]byte) (int, wasi.Errno) {
	f, errno := s.sockOf(fd, wasi.RightFdWrite)
	if errno != 0 {
		return 0, errno
	}
	for {
		n, err := unix.SendmsgBuffers(f.fd, bufs, nil, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		return max(n, 0), wasi.ErrnoOf(err)
	}
}

// SockShutdown ends one or both directions.
func (s *System) SockShutdown(fd uint32, how uint8) wasi.Errno {
	f, errno := s.sockOf(fd, wasi.RightSockShutdown)
	if errno != 0 {
		return errno
	}
	linux := map[uint8]int{wasi.SdflagsRd: unix.SHUT_RD, wasi.SdflagsWr: unix.SHUT_WR, wasi.SdflagsRd | wasi.SdflagsWr: unix.SHUT_RDWR}
	h, ok := linux[how]
	if !ok {
		return wasi.EINVAL
	}
	return wasi.ErrnoOf(unix.Shutdown(f.fd, h))
}

func (f *file) isSocket() bool {
	return f.kind == wasi.FiletypeSocketStream || f.kind == wasi.FiletypeSocketDgram
}
