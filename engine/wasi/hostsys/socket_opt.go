package hostsys

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// Sizes of options that are no int. A struct timeval of a guest has a 32-bit
// count of microseconds with 4 bytes of padding behind it.
const (
	intSize     = 4
	lingerSize  = 8
	timevalSize = 16
	maxDevice   = unix.IFNAMSIZ
)

// option is a socket option on Linux. size is that of its value, 0 for a
// string.
type option struct{ level, name, size int }

var socketOptions = [...]option{
	wasi.SoReuseaddr:    {unix.SOL_SOCKET, unix.SO_REUSEADDR, intSize},
	wasi.SoType:         {unix.SOL_SOCKET, unix.SO_TYPE, intSize},
	wasi.SoError:        {unix.SOL_SOCKET, unix.SO_ERROR, intSize},
	wasi.SoDontroute:    {unix.SOL_SOCKET, unix.SO_DONTROUTE, intSize},
	wasi.SoBroadcast:    {unix.SOL_SOCKET, unix.SO_BROADCAST, intSize},
	wasi.SoSndbuf:       {unix.SOL_SOCKET, unix.SO_SNDBUF, intSize},
	wasi.SoRcvbuf:       {unix.SOL_SOCKET, unix.SO_RCVBUF, intSize},
	wasi.SoKeepalive:    {unix.SOL_SOCKET, unix.SO_KEEPALIVE, intSize},
	wasi.SoOobinline:    {unix.SOL_SOCKET, unix.SO_OOBINLINE, intSize},
	wasi.SoLinger:       {unix.SOL_SOCKET, unix.SO_LINGER, lingerSize},
	wasi.SoRcvlowat:     {unix.SOL_SOCKET, unix.SO_RCVLOWAT, intSize},
	wasi.SoRcvtimeo:     {unix.SOL_SOCKET, unix.SO_RCVTIMEO, timevalSize},
	wasi.SoSndtimeo:     {unix.SOL_SOCKET, unix.SO_SNDTIMEO, timevalSize},
	wasi.SoAcceptconn:   {unix.SOL_SOCKET, unix.SO_ACCEPTCONN, intSize},
	wasi.SoBindtodevice: {unix.SOL_SOCKET, unix.SO_BINDTODEVICE, 0},
}

func optionOf(level, name uint32) (option, wasi.Errno) {
	switch {
	case level == wasi.SolTCP && name == wasi.TCPNodelay:
		return option{unix.IPPROTO_TCP, unix.TCP_NODELAY, intSize}, 0
	case level != wasi.SolSocket:
		return option{}, wasi.EINVAL
	case uint64(name) >= uint64(len(socketOptions)):
		return option{}, wasi.ENOPROTOOPT
	}
	return socketOptions[name], 0
}

// SockGetopt reads an option into buf and gives its size.
func (s *System) SockGetopt(fd uint32, level, name uint32, buf []byte) (int, wasi.Errno) {
	f, errno := s.sockOf(fd, 0)
	if errno != 0 {
		return 0, errno
	}
	o, errno := optionOf(level, name)
	if errno != 0 {
		return 0, errno
	}
	if len(buf) < o.size {
		return 0, wasi.EINVAL
	}
	var value [maxDevice]byte
	size := uint32(len(value))
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(f.fd), uintptr(o.level), uintptr(o.name),
		uintptr(unsafe.Pointer(&value)), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 {
		return 0, wasi.ErrnoOf(e)
	}
	if int(size) > len(buf) {
		return 0, wasi.EINVAL
	}
	if o.level == unix.SOL_SOCKET {
		translate(name, value[:intSize])
	}
	return copy(buf, value[:size]), 0
}

// translate turns the values that are numbers of Linux into the guest's.
func translate(name uint32, value []byte) {
	v := binary.NativeEndian.Uint32(value)
	switch name {
	case wasi.SoError:
		if v != 0 {
			v = uint32(wasi.ErrnoOf(unix.Errno(v)))
		}
	case wasi.SoType:
		v = map[uint32]uint32{unix.SOCK_DGRAM: uint32(wasi.SocketDatagram), unix.SOCK_STREAM: uint32(wasi.SocketStream)}[v]
	}
	binary.LittleEndian.PutUint32(value, v)
}

// SockSetopt sets an option.
func (s *System) SockSetopt(fd uint32, level, name uint32, value []byte) wasi.Errno {
	f, errno := s.sockOf(fd, 0)
	if errno != 0 {
		return errno
	}
	o, errno := optionOf(level, name)
	if errno != 0 {
		return errno
	}
	var v [maxDevice]byte
	switch {
	case len(value) < o.size || len(value) > len(v):
		return wasi.EINVAL
	case o.size == 0 && len(value) == len(v): // a name needs its NUL
		return wasi.EINVAL
	}
	n := copy(v[:], value)
	if o.size > 0 {
		n = o.size
	}
	if o.size == timevalSize {
		clear(v[12:]) // the padding
	}
	_, _, e := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(f.fd), uintptr(o.level), uintptr(o.name),
		uintptr(unsafe.Pointer(&v)), uintptr(n), 0)
	if e != 0 {
		return wasi.ErrnoOf(e)
	}
	return 0
}
