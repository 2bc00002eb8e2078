package hostsys

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// message is one recvmsg or sendmsg, without allocation for up to 16 vectors.
type message struct {
	head unix.Msghdr
	room [16]unix.Iovec
	name unix.RawSockaddrAny
}

// vectors sets what is moved. A datagram must not be split, so that all of
// them are given to the kernel.
func (m *message) vectors(bufs [][]byte) {
	v := m.room[:0]
	if len(bufs) > len(m.room) {
		v = make([]unix.Iovec, 0, len(bufs))
	}
	for _, b := range bufs {
		if len(b) > 0 {
			v = append(v, unix.Iovec{Base: unsafe.SliceData(b), Len: uint64(len(b))})
		}
	}
	m.head.Iov, m.head.Iovlen = unsafe.SliceData(v), uint64(len(v))
}

// do makes the system call, again after an interruption.
func (m *message) do(trap uintptr, fd int, flags int) (int, wasi.Errno) {
	for {
		n, _, e := unix.Syscall(trap, uintptr(fd), uintptr(unsafe.Pointer(&m.head)), uintptr(flags))
		switch e {
		case 0:
			return int(n), 0
		case unix.EINTR:
			continue
		}
		return 0, wasi.ErrnoOf(e)
	}
}

func recvFlags(flags uint16) (int, wasi.Errno) {
	if flags&^(wasi.RiflagsPeek|wasi.RiflagsWaitall) != 0 {
		return 0, wasi.ENOTSUP
	}
	linux := 0
	if flags&wasi.RiflagsPeek != 0 {
		linux |= unix.MSG_PEEK
	}
	if flags&wasi.RiflagsWaitall != 0 {
		linux |= unix.MSG_WAITALL
	}
	return linux, 0
}

// SockRecv receives; truncated says that a datagram was longer.
func (s *System) SockRecv(fd uint32, bufs [][]byte, flags uint16) (n int, truncated bool, errno wasi.Errno) {
	f, errno := s.sockOf(fd, wasi.RightFdRead)
	if errno != 0 {
		return 0, false, errno
	}
	linux, errno := recvFlags(flags)
	if errno != 0 {
		return 0, false, errno
	}
	m := &s.message
	*m = message{}
	m.vectors(bufs)
	n, errno = m.do(unix.SYS_RECVMSG, f.fd, linux)
	return n, m.head.Flags&unix.MSG_TRUNC != 0, errno
}

// SockRecvFrom is SockRecv that tells the sender; a stream has none.
func (s *System) SockRecvFrom(fd uint32, bufs [][]byte, flags uint16) (n int, truncated bool, from wasi.Addr, errno wasi.Errno) {
	f, errno := s.sockOf(fd, wasi.RightFdRead)
	if errno != 0 {
		return 0, false, from, errno
	}
	linux, errno := recvFlags(flags)
	if errno != 0 {
		return 0, false, from, errno
	}
	m := &s.message
	*m = message{}
	m.vectors(bufs)
	m.head.Name, m.head.Namelen = (*byte)(unsafe.Pointer(&m.name)), unix.SizeofSockaddrAny
	n, errno = m.do(unix.SYS_RECVMSG, f.fd, linux)
	if errno != 0 {
		return 0, false, from, errno
	}
	if m.head.Namelen == 0 {
		from, _ = s.SockPeerAddr(fd)
	} else {
		from = m.sender()
	}
	return n, m.head.Flags&unix.MSG_TRUNC != 0, from, 0
}

// sender is the address that a message came from.
func (m *message) sender() (a wasi.Addr) {
	raw := (*[unix.SizeofSockaddrAny]byte)(unsafe.Pointer(&m.name))
	switch m.name.Addr.Family {
	case unix.AF_INET:
		a.Family, a.Port = wasi.FamilyInet4, binary.BigEndian.Uint16(raw[2:])
		copy(a.IP[:4], raw[4:])
	case unix.AF_INET6:
		a.Family, a.Port = wasi.FamilyInet6, binary.BigEndian.Uint16(raw[2:])
		copy(a.IP[:], raw[8:])
	case unix.AF_UNIX:
		a.Family = wasi.FamilyUnix
	}
	return a
}

// SockSend sends.
func (s *System) SockSend(fd uint32, bufs [][]byte) (int, wasi.Errno) {
	f, errno := s.sockOf(fd, wasi.RightFdWrite)
	if errno != 0 {
		return 0, errno
	}
	m := &s.message
	*m = message{}
	m.vectors(bufs)
	return m.do(unix.SYS_SENDMSG, f.fd, unix.MSG_NOSIGNAL)
}

// SockSendTo sends to an address.
func (s *System) SockSendTo(fd uint32, bufs [][]byte, to wasi.Addr) (int, wasi.Errno) {
	f, errno := s.sockOf(fd, wasi.RightFdWrite)
	if errno != 0 {
		return 0, errno
	}
	if to.Family == wasi.FamilyUnix {
		n := 0
		errno := s.withSocketFile(to.Path, func(sa *unix.SockaddrUnix) wasi.Errno {
			var err error
			n, err = unix.SendmsgBuffers(f.fd, bufs, nil, sa, unix.MSG_NOSIGNAL)
			return wasi.ErrnoOf(err)
		})
		return max(n, 0), errno
	}
	m := &s.message
	*m = message{}
	m.vectors(bufs)
	m.target(to)
	return m.do(unix.SYS_SENDMSG, f.fd, unix.MSG_NOSIGNAL)
}

// target sets where a message goes.
func (m *message) target(to wasi.Addr) {
	raw := (*[unix.SizeofSockaddrAny]byte)(unsafe.Pointer(&m.name))
	binary.BigEndian.PutUint16(raw[2:], to.Port)
	m.head.Name = (*byte)(unsafe.Pointer(&m.name))
	if to.Family == wasi.FamilyInet4 {
		m.name.Addr.Family, m.head.Namelen = unix.AF_INET, unix.SizeofSockaddrInet4
		copy(raw[4:8], to.IP[:4])
		return
	}
	m.name.Addr.Family, m.head.Namelen = unix.AF_INET6, unix.SizeofSockaddrInet6
	copy(raw[8:24], to.IP[:])
}
