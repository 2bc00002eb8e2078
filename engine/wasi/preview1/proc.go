package preview1

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// sizes writes the number of strings and the bytes that they take with their
// NULs.
func sizes(m memory, list [][]byte, count, size uint64) wasi.Errno {
	total := uint64(0)
	for _, s := range list {
		total += uint64(len(s)) + 1
	}
	if !m.writable(size, 4) {
		return wasi.EFAULT
	}
	if errno := m.putU32(count, uint32(len(list))); errno != 0 {
		return errno
	}
	return m.putU32(size, uint32(total))
}

// putStrings writes pointers to the strings, and the strings with their NULs.
func putStrings(m memory, list [][]byte, pointers, buf uint64) wasi.Errno {
	table, ok := m.span(pointers, uint64(len(list))*4)
	if !ok {
		return wasi.EFAULT
	}
	for i, s := range list {
		dst, ok := m.span(buf, uint64(len(s))+1)
		if !ok {
			return wasi.EFAULT
		}
		copy(dst, s)
		dst[len(s)] = 0
		binary.LittleEndian.PutUint32(table[4*i:], uint32(buf))
		buf += uint64(len(dst))
	}
	return 0
}

func argsGet(h *Host, mem []byte, a []uint64) wasi.Errno {
	return putStrings(mem, h.sys.Args(), a[0], a[1])
}

func argsSizesGet(h *Host, mem []byte, a []uint64) wasi.Errno {
	return sizes(mem, h.sys.Args(), a[0], a[1])
}

func environGet(h *Host, mem []byte, a []uint64) wasi.Errno {
	return putStrings(mem, h.sys.Env(), a[0], a[1])
}

func environSizesGet(h *Host, mem []byte, a []uint64) wasi.Errno {
	return sizes(mem, h.sys.Env(), a[0], a[1])
}

func clockResGet(h *Host, mem []byte, a []uint64) wasi.Errno {
	t, errno := h.sys.ClockRes(wasi.ClockID(a[0]))
	if errno != 0 {
		return errno
	}
	return memory(mem).putU64(a[1], t)
}

func clockTimeGet(h *Host, mem []byte, a []uint64) wasi.Errno {
	t, errno := h.sys.ClockTime(wasi.ClockID(a[0]))
	if errno != 0 {
		return errno
	}
	return memory(mem).putU64(a[2], t)
}

func randomGet(h *Host, mem []byte, a []uint64) wasi.Errno {
	b, ok := memory(mem).span(a[0], a[1])
	if !ok {
		return wasi.EFAULT
	}
	return h.sys.Random(b)
}

// schedYield gives the processor to another thread. The guest has its own: the
// runtime's way to yield would hand it over to another goroutine and back.
func schedYield(*Host, []byte, []uint64) wasi.Errno {
	unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // it cannot fail
	return 0
}

// procExit ends the guest: the engine unwinds it when Exited is true.
func procExit(h *Host, _ []byte, a []uint64) wasi.Errno {
	h.exited, h.code = true, uint32(a[0])
	return 0
}

// Signals of preview1 that end a program by their default action.
const (
	signalNone = 0
	signalChld = 16
	signalCont = 17
	signalUrg  = 22
	signalWin  = 27
	signalMax  = 30
)

// linuxSignals gives Linux' number for each signal of preview1.
var linuxSignals = [signalMax + 1]uint32{
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
}

// procRaise raises a signal in the guest, which can handle none: it is ignored
// or ends the guest, as its default action has it.
func procRaise(h *Host, _ []byte, a []uint64) wasi.Errno {
	switch sig := a[0]; {
	case sig > signalMax:
		return wasi.EINVAL
	case sig == signalNone, sig == signalChld, sig == signalCont, sig == signalUrg, sig == signalWin:
		return 0
	default:
		h.exited, h.code = true, 128+linuxSignals[sig]
		return 0
	}
}
