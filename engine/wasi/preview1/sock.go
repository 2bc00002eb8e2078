package preview1

import (
	"encoding/binary"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

func sockAccept(h *Host, mem []byte, a []uint64) wasi.Errno {
	if a[1] > 0xffff {
		return wasi.EINVAL
	}
	if !memory(mem).writable(a[2], 4) {
		return wasi.EFAULT
	}
	fd, errno := h.sys.SockAccept(uint32(a[0]), wasi.Fdflags(a[1]))
	if errno != 0 {
		return errno
	}
	return memory(mem).putU32(a[2], fd)
}

func sockRecv(h *Host, mem []byte, a []uint64) wasi.Errno {
	bufs, errno := h.iovs(mem, a[1], a[2])
	if errno != 0 {
		return errno
	}
	flags, ok := memory(mem).span(a[5], 2)
	if !ok || !memory(mem).writable(a[4], 4) {
		return wasi.EFAULT
	}
	if a[3] > 0xffff {
		return wasi.EINVAL
	}
	n, truncated, errno := h.sys.SockRecv(uint32(a[0]), bufs, uint16(a[3]))
	if errno != 0 {
		return errno
	}
	out := uint16(0)
	if truncated {
		out = wasi.RoflagsTrunc
	}
	binary.LittleEndian.PutUint16(flags, out)
	return memory(mem).putU32(a[4], uint32(n))
}

func sockSend(h *Host, mem []byte, a []uint64) wasi.Errno {
	bufs, errno := h.iovs(mem, a[1], a[2])
	if errno != 0 {
		return errno
	}
	if !memory(mem).writable(a[4], 4) {
		return wasi.EFAULT
	}
	if a[3] != 0 {
		return wasi.ENOTSUP
	}
	n, errno := h.sys.SockSend(uint32(a[0]), bufs)
	if errno != 0 {
		return errno
	}
	return memory(mem).putU32(a[4], uint32(n))
}

func sockShutdown(h *Host, _ []byte, a []uint64) wasi.Errno {
	if a[1] > 0xff {
		return wasi.EINVAL
	}
	return h.sys.SockShutdown(uint32(a[0]), uint8(a[1]))
}
