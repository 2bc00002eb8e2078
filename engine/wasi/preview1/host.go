// Package preview1 is the binary interface of WASI preview1, and of its
// predecessor wasi_unstable: it decodes arguments from the guest's memory,
// checks every bound, calls the System, and writes results last.
//
// Guest numbers are widened to 64 bits before any arithmetic, memory is never
// kept beyond a call, and nothing is allocated by a size that a guest chose.
package preview1

import (
	"encoding/binary"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// Host serves one guest. Not safe for concurrent use.
type Host struct {
	sys    wasi.System
	exited bool
	code   uint32

	// Room for the call under way, used again by the next: what is passed
	// through an interface would be allocated for each call.
	vectors [wasi.MaxIovs][]byte
	subs    []wasi.Subscription
	events  []wasi.Event
	dirents dirents
}

// NewHost serves a guest on a System.
func NewHost(sys wasi.System) *Host { return &Host{sys: sys} }

// Exited gives the code that the guest passed to proc_exit; ok is false when
// it did not.
func (h *Host) Exited() (code uint32, ok bool) { return h.code, h.exited }

// Func serves one imported function. mem is the guest's whole memory, valid
// during the call; args are raw wasm values, i32 zero-extended.
type Func func(h *Host, mem []byte, args []uint64) wasi.Errno

// memory gives bounded views of the guest's memory.
type memory []byte

// span gives n bytes at ptr, which is an i32 of the guest.
func (m memory) span(ptr, n uint64) ([]byte, bool) {
	if n > uint64(len(m)) || ptr > uint64(len(m))-n {
		return nil, false
	}
	return m[ptr : ptr+n : ptr+n], true
}

// str copies a string out of the guest's memory, so that the guest cannot
// change it while it is used.
func (m memory) str(ptr, n uint64) (string, wasi.Errno) {
	const most = 4096 // PATH_MAX
	b, ok := m.span(ptr, n)
	switch {
	case !ok:
		return "", wasi.EFAULT
	case n > most:
		return "", wasi.ENAMETOOLONG
	}
	return string(b), 0
}

func (m memory) putU32(ptr uint64, v uint32) wasi.Errno {
	b, ok := m.span(ptr, 4)
	if !ok {
		return wasi.EFAULT
	}
	binary.LittleEndian.PutUint32(b, v)
	return 0
}

func (m memory) putU64(ptr, v uint64) wasi.Errno {
	b, ok := m.span(ptr, 8)
	if !ok {
		return wasi.EFAULT
	}
	binary.LittleEndian.PutUint64(b, v)
	return 0
}

// writable says whether a result of n bytes fits at ptr, before anything is
// done that a fault would lose.
func (m memory) writable(ptr, n uint64) bool {
	_, ok := m.span(ptr, n)
	return ok
}

// iovs reads a list of vectors into the room for them.
func (h *Host) iovs(m memory, ptr, n uint64) ([][]byte, wasi.Errno) {
	room := &h.vectors
	if n > uint64(len(room)) {
		return nil, wasi.EINVAL
	}
	list, ok := m.span(ptr, n*8)
	if !ok {
		return nil, wasi.EFAULT
	}
	total := uint64(0)
	for i := range room[:n] {
		size := uint64(binary.LittleEndian.Uint32(list[8*i+4:]))
		if room[i], ok = m.span(uint64(binary.LittleEndian.Uint32(list[8*i:])), size); !ok {
			return nil, wasi.EFAULT
		}
		if total += size; total > 1<<31-1 {
			return nil, wasi.EINVAL
		}
	}
	return room[:n], 0
}
