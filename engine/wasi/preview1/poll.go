package preview1

import (
	"encoding/binary"
	"slices"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

const (
	eventSize = 32
	// maxSubs is how many subscriptions one call may have: more than a guest
	// can have open files.
	maxSubs = 1 << 17
)

// layout is where the fields of a subscription stand.
type layout struct{ size, clock, timeout, flags int }

var (
	subscription         = layout{size: 48, clock: 16, timeout: 24, flags: 40}
	unstableSubscription = layout{size: 56, clock: 24, timeout: 32, flags: 48}
)

func pollOneoff(h *Host, mem []byte, a []uint64) wasi.Errno { return poll(h, mem, a, subscription) }

func unstablePollOneoff(h *Host, mem []byte, a []uint64) wasi.Errno {
	return poll(h, mem, a, unstableSubscription)
}

// poll keeps the rules for the two lists: they may overlap, so that all is read
// before anything is written.
func poll(h *Host, mem []byte, a []uint64, l layout) wasi.Errno {
	n := a[2]
	if n == 0 || n > maxSubs {
		return wasi.EINVAL
	}
	in, ok := memory(mem).span(a[0], n*uint64(l.size))
	if !ok {
		return wasi.EFAULT
	}
	out, ok := memory(mem).span(a[1], n*eventSize)
	if !ok || !memory(mem).writable(a[3], 4) {
		return wasi.EFAULT
	}
	h.subs = h.subs[:0]
	for i := range int(n) {
		sub, errno := l.decode(in[i*l.size:])
		if errno != 0 {
			return errno
		}
		h.subs = append(h.subs, sub)
	}
	h.events = slices.Grow(h.events[:0], int(n))[:n]
	count, errno := h.sys.Poll(h.subs, h.events)
	if errno != 0 {
		return errno
	}
	for i, e := range h.events[:count] {
		putEvent(out[i*eventSize:][:eventSize], e)
	}
	return memory(mem).putU32(a[3], uint32(count))
}

func (l layout) decode(b []byte) (wasi.Subscription, wasi.Errno) {
	const absolute = 1
	s := wasi.Subscription{Userdata: binary.LittleEndian.Uint64(b), Type: wasi.Eventtype(b[8])}
	switch s.Type {
	case wasi.EventClock:
		flags := binary.LittleEndian.Uint16(b[l.flags:])
		if flags&^absolute != 0 {
			return s, wasi.EINVAL
		}
		s.Clock = wasi.ClockID(binary.LittleEndian.Uint32(b[l.clock:]))
		s.Timeout = binary.LittleEndian.Uint64(b[l.timeout:])
		s.Absolute = flags&absolute != 0
	case wasi.EventFdRead, wasi.EventFdWrite:
		s.FD = binary.LittleEndian.Uint32(b[16:])
	default:
		return s, wasi.EINVAL
	}
	return s, 0
}

func putEvent(b []byte, e wasi.Event) {
	clear(b)
	binary.LittleEndian.PutUint64(b, e.Userdata)
	binary.LittleEndian.PutUint16(b[8:], uint16(e.Errno))
	b[10] = byte(e.Type)
	if e.Type != wasi.EventClock {
		binary.LittleEndian.PutUint64(b[16:], e.NBytes)
		binary.LittleEndian.PutUint16(b[24:], e.Flags)
	}
}
