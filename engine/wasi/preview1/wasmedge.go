package preview1

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// The socket extension of WasmEdge comes in two versions, which are told apart
// by the types of the imports and by the sizes of address buffers:
//
//	v1: an address is 4 or 16 bytes
//	v2: an address is 128 bytes: the family (u16), and 4, 16 or a NUL-ended path
//
// A buffer itself is described by a pointer and a size in memory. WasmEdge
// serves v2 under names of its own too, which end in _v2.

// wasmEdge gives the functions of a name, one for each version.
func wasmEdge(name string) []function {
	if first, ok := strings.CutSuffix(name, secondSuffix); ok && slices.Contains(secondNames[:], name) {
		return second(first)
	}
	switch name {
	case "sock_open":
		return []function{{params: "iii", call: sockOpen}}
	case "sock_bind":
		return []function{{params: "iii", call: sockBind}}
	case "sock_listen":
		return []function{{params: "ii", call: sockListen}}
	case "sock_accept":
		return []function{{params: "ii", call: sockAcceptV1}}
	case "sock_connect":
		return []function{{params: "iii", call: sockConnect}}
	case "sock_recv_from":
		return []function{{params: "iiiiiiii", call: sockRecvFromV2}, {params: "iiiiiii", call: sockRecvFromV1}}
	case "sock_send_to":
		return []function{{params: "iiiiiii", call: sockSendTo}}
	case "sock_getsockopt":
		return []function{{params: "iiiii", call: sockGetsockopt}}
	case "sock_setsockopt":
		return []function{{params: "iiiii", call: sockSetsockopt}}
	case "sock_getlocaladdr":
		return []function{{params: "iii", call: sockLocalAddrV2}, {params: "iiii", call: sockLocalAddrV1}}
	case "sock_getpeeraddr":
		return []function{{params: "iii", call: sockPeerAddrV2}, {params: "iiii", call: sockPeerAddrV1}}
	case "sock_getaddrinfo":
		return []function{{params: "iiiiiiii", call: sockGetaddrinfo}}
	}
	return nil
}

// second gives the function of v2 alone, which is listed first or is that of
// preview1.
func second(name string) []function {
	if f, ok := functions(name); ok {
		return []function{f}
	}
	return wasmEdge(name)[:1]
}

const secondSuffix = "_v2"

var wasmEdgeNames = [...]string{
	"sock_open", "sock_bind", "sock_listen", "sock_accept", "sock_connect", "sock_recv_from", "sock_send_to", "sock_getsockopt",
	"sock_setsockopt", "sock_getlocaladdr", "sock_getpeeraddr", "sock_getaddrinfo",
}

var secondNames = [...]string{
	"sock_open_v2", "sock_bind_v2", "sock_listen_v2", "sock_accept_v2", "sock_connect_v2", "sock_recv_v2", "sock_recv_from_v2",
	"sock_send_v2", "sock_send_to_v2", "sock_getlocaladdr_v2", "sock_getpeeraddr_v2",
}

const (
	sizeInet4   = 4
	sizeInet6   = 16
	sizeStorage = 128 // of v2
)

// buffer gives the memory that a pair of pointer and size at ptr describes.
func (m memory) buffer(ptr uint64) ([]byte, wasi.Errno) {
	pair, ok := m.span(ptr, 8)
	if !ok {
		return nil, wasi.EFAULT
	}
	b, ok := m.span(uint64(binary.LittleEndian.Uint32(pair)), uint64(binary.LittleEndian.Uint32(pair[4:])))
	if !ok {
		return nil, wasi.EFAULT
	}
	return b, 0
}

// address reads an address of either version.
func (m memory) address(ptr, port uint64) (a wasi.Addr, errno wasi.Errno) {
	b, errno := m.buffer(ptr)
	switch {
	case errno != 0:
		return a, errno
	case port > 0xffff:
		return a, wasi.EINVAL
	}
	a.Port = uint16(port)
	switch len(b) {
	case sizeInet4:
		a.Family = wasi.FamilyInet4
	case sizeInet6:
		a.Family = wasi.FamilyInet6
	case sizeStorage:
		family := binary.LittleEndian.Uint16(b)
		if family == 0 || family > uint16(wasi.FamilyUnix) {
			return a, wasi.EAFNOSUPPORT
		}
		a.Family, b = wasi.AddressFamily(family), b[2:]
	default:
		return a, wasi.EINVAL
	}
	switch a.Family {
	case wasi.FamilyInet4:
		copy(a.IP[:sizeInet4], b)
	case wasi.FamilyInet6:
		copy(a.IP[:], b)
	case wasi.FamilyUnix:
		path, _, ok := bytes.Cut(b, []byte{0})
		if !ok {
			return a, wasi.ENAMETOOLONG
		}
		a.Path = string(path)
	}
	return a, 0
}

// putAddress writes an address where a guest has room for one.
func putAddress(b []byte, a wasi.Addr) wasi.Errno {
	if len(b) == sizeStorage {
		clear(b)
		binary.LittleEndian.PutUint16(b, uint16(a.Family))
		b = b[2:]
	}
	switch a.Family {
	case wasi.FamilyInet4:
		if len(b) < sizeInet4 {
			return wasi.EINVAL
		}
		copy(b, a.IP[:sizeInet4])
	case wasi.FamilyInet6:
		if len(b) < sizeInet6 {
			return wasi.EINVAL
		}
		copy(b, a.IP[:])
	case wasi.FamilyUnix:
		if len(b) < len(a.Path)+1 {
			return wasi.ENAMETOOLONG
		}
		b[copy(b, a.Path)] = 0
	}
	return 0
}

func sockOpen(h *Host, mem []byte, a []uint64) wasi.Errno {
	if a[0] > 0xff || a[1] > 0xff {
		return wasi.EINVAL
	}
	if !memory(mem).writable(a[2], 4) {
		return wasi.EFAULT
	}
	fd, errno := h.sys.SockOpen(wasi.AddressFamily(a[0]), wasi.SocketType(a[1]))
	if errno != 0 {
		return errno
	}
	return memory(mem).putU32(a[2], fd)
}

func sockBind(h *Host, mem []byte, a []uint64) wasi.Errno {
	addr, errno := memory(mem).address(a[1], a[2])
	if errno != 0 {
		return errno
	}
	return h.sys.SockBind(uint32(a[0]), addr)
}

func sockListen(h *Host, _ []byte, a []uint64) wasi.Errno {
	return h.sys.SockListen(uint32(a[0]), int32(a[1]))
}

func sockAcceptV1(h *Host, mem []byte, a []uint64) wasi.Errno {
	return sockAccept(h, mem, []uint64{a[0], 0, a[1]})
}

func sockConnect(h *Host, mem []byte, a []uint64) wasi.Errno {
	addr, errno := memory(mem).address(a[1], a[2])
	if errno != 0 {
		return errno
	}
	return h.sys.SockConnect(uint32(a[0]), addr)
}

// places are where sock_recv_from writes what it gives.
type places struct {
	addr             []byte
	port, n, roflags uint64
	hasPort          bool
}

func sockRecvFromV2(h *Host, mem []byte, a []uint64) wasi.Errno {
	return recvFrom(h, mem, a, places{port: a[5], n: a[6], roflags: a[7], hasPort: true})
}

func sockRecvFromV1(h *Host, mem []byte, a []uint64) wasi.Errno {
	return recvFrom(h, mem, a, places{n: a[5], roflags: a[6]})
}

func recvFrom(h *Host, mem []byte, a []uint64, p places) wasi.Errno {
	bufs, errno := h.iovs(mem, a[1], a[2])
	if errno != 0 {
		return errno
	}
	m := memory(mem)
	if p.addr, errno = m.buffer(a[3]); errno != 0 {
		return errno
	}
	switch {
	case len(p.addr) != sizeInet4 && len(p.addr) != sizeInet6 && len(p.addr) != sizeStorage, a[4] > 0xffff:
		return wasi.EINVAL
	case !m.writable(p.n, 4) || !m.writable(p.roflags, 2) || p.hasPort && !m.writable(p.port, 2):
		return wasi.EFAULT
	}
	n, truncated, from, errno := h.sys.SockRecvFrom(uint32(a[0]), bufs, uint16(a[4]))
	if errno != 0 {
		return errno
	}
	if errno := putAddress(p.addr, from); errno != 0 {
		return errno
	}
	if p.hasPort {
		binary.LittleEndian.PutUint16(mem[p.port:], from.Port)
	}
	out := uint16(0)
	if truncated {
		out = wasi.RoflagsTrunc
	}
	binary.LittleEndian.PutUint16(mem[p.roflags:], out)
	return m.putU32(p.n, uint32(n))
}

func sockSendTo(h *Host, mem []byte, a []uint64) wasi.Errno {
	bufs, errno := h.iovs(mem, a[1], a[2])
	if errno != 0 {
		return errno
	}
	to, errno := memory(mem).address(a[3], a[4])
	switch {
	case errno != 0:
		return errno
	case a[5] != 0:
		return wasi.ENOTSUP
	case !memory(mem).writable(a[6], 4):
		return wasi.EFAULT
	}
	n, errno := h.sys.SockSendTo(uint32(a[0]), bufs, to)
	if errno != 0 {
		return errno
	}
	return memory(mem).putU32(a[6], uint32(n))
}

// maxLiteral is up to where the last argument of sock_getsockopt is a size: the
// extension has a pointer to a size there, and some guests (Go's) a size.
// No guest has an object of its own so low in its memory.
const maxLiteral = 16

func sockGetsockopt(h *Host, mem []byte, a []uint64) wasi.Errno {
	m := memory(mem)
	size := a[4]
	if size > maxLiteral {
		b, ok := m.span(a[4], 4)
		if !ok {
			return wasi.EFAULT
		}
		size = uint64(binary.LittleEndian.Uint32(b))
	}
	value, ok := m.span(a[3], size)
	if !ok {
		return wasi.EFAULT
	}
	n, errno := h.sys.SockGetopt(uint32(a[0]), uint32(a[1]), uint32(a[2]), value)
	if errno != 0 || a[4] <= maxLiteral {
		return errno
	}
	return m.putU32(a[4], uint32(n))
}

func sockSetsockopt(h *Host, mem []byte, a []uint64) wasi.Errno {
	value, ok := memory(mem).span(a[3], a[4])
	if !ok {
		return wasi.EFAULT
	}
	return h.sys.SockSetopt(uint32(a[0]), uint32(a[1]), uint32(a[2]), value)
}

func sockLocalAddrV2(h *Host, mem []byte, a []uint64) wasi.Errno {
	return endpointV2(h.sys.SockLocalAddr, mem, a)
}

func sockPeerAddrV2(h *Host, mem []byte, a []uint64) wasi.Errno {
	return endpointV2(h.sys.SockPeerAddr, mem, a)
}

type endpoint func(fd uint32) (wasi.Addr, wasi.Errno)

func endpointV2(get endpoint, mem []byte, a []uint64) wasi.Errno {
	b, errno := memory(mem).buffer(a[1])
	switch {
	case errno != 0:
		return errno
	case len(b) != sizeStorage:
		return wasi.EINVAL
	case !memory(mem).writable(a[2], 4):
		return wasi.EFAULT
	}
	addr, errno := get(uint32(a[0]))
	if errno != 0 {
		return errno
	}
	if errno := putAddress(b, addr); errno != 0 {
		return errno
	}
	return memory(mem).putU32(a[2], uint32(addr.Port))
}

func sockLocalAddrV1(h *Host, mem []byte, a []uint64) wasi.Errno {
	return endpointV1(h.sys.SockLocalAddr, mem, a)
}

func sockPeerAddrV1(h *Host, mem []byte, a []uint64) wasi.Errno {
	return endpointV1(h.sys.SockPeerAddr, mem, a)
}

// endpointV1 tells the kind of address as 4 or 6, which is what guests of the
// first version know.
func endpointV1(get endpoint, mem []byte, a []uint64) wasi.Errno {
	b, errno := memory(mem).buffer(a[1])
	switch {
	case errno != 0:
		return errno
	case len(b) != sizeInet4 && len(b) != sizeInet6:
		return wasi.EINVAL
	case !memory(mem).writable(a[2], 4) || !memory(mem).writable(a[3], 4):
		return wasi.EFAULT
	}
	addr, errno := get(uint32(a[0]))
	if errno != 0 {
		return errno
	}
	kind := uint32(4)
	switch addr.Family {
	case wasi.FamilyInet6:
		kind = 6
	case wasi.FamilyUnix:
		return wasi.EAFNOSUPPORT
	}
	if errno := putAddress(b, addr); errno != 0 {
		return errno
	}
	if errno := memory(mem).putU32(a[2], kind); errno != 0 {
		return errno
	}
	return memory(mem).putU32(a[3], uint32(addr.Port))
}
