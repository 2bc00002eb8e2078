package hostsys

import (
	"math"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// pollState is what poll_oneoff uses again from call to call.
type pollState struct {
	fds   []unix.PollFd
	index []int // of the subscription behind each of fds

	events []wasi.Event // those of the call under way, with room for all
}

func (p *pollState) emit(e wasi.Event) { p.events = append(p.events, e) }

// Poll waits until one subscription is due, and gives the events of all that
// are. A clock is never due early.
func (s *System) Poll(subs []wasi.Subscription, events []wasi.Event) (int, wasi.Errno) {
	if len(events) < len(subs) {
		return 0, wasi.EINVAL
	}
	s.poll.events = events[:0]
	errno := s.wait(subs)
	n := len(s.poll.events)
	s.poll.events = nil
	return n, errno
}

func (s *System) wait(subs []wasi.Subscription) wasi.Errno {
	if bad := s.immediate(subs); bad > 0 && bad == len(subs) { // as other hosts have it
		return wasi.EBADF
	}
	var started [len(clocks)]uint64 // what each clock showed
	hasClock := false
	for i := range subs {
		sub := &subs[i]
		if !isClock(sub) {
			continue
		}
		hasClock = true
		if started[sub.Clock] != 0 {
			continue
		}
		t, errno := s.ClockTime(sub.Clock)
		if errno != 0 {
			return errno
		}
		started[sub.Clock] = t
	}
	if len(s.poll.events) == 0 && !hasClock && len(s.poll.fds) == 0 {
		return wasi.EINVAL // nothing could ever happen
	}
	return s.await(subs, &started)
}

// immediate emits what is due without waiting, errors among it, and collects
// the descriptors that must be polled. bad counts those that are not open.
func (s *System) immediate(subs []wasi.Subscription) (bad int) {
	s.poll.fds, s.poll.index = s.poll.fds[:0], s.poll.index[:0]
	for i := range subs {
		sub := &subs[i]
		e := wasi.Event{Userdata: sub.Userdata, Type: sub.Type}
		switch {
		case isClock(sub):
			continue
		case sub.Type == wasi.EventClock:
			e.Errno = wasi.EINVAL
			s.poll.emit(e)
			continue
		}
		f, errno := s.with(sub.FD, wasi.RightPollFdReadwrite)
		switch {
		case errno == wasi.ENOTCAPABLE || (errno == 0 && f.kind == wasi.FiletypeDirectory):
			e.Errno = wasi.EBADF
			if errno != 0 {
				e.Errno = errno
			}
		case errno != 0:
			e.Errno = errno
			bad++
		case f.fd < 0:
			e.NBytes = 0
		case f.kind == wasi.FiletypeRegularFile:
			e.NBytes = f.left(sub.Type)
		default:
			s.poll.fds = append(s.poll.fds, unix.PollFd{Fd: int32(f.fd), Events: pollEvents(sub.Type)})
			s.poll.index = append(s.poll.index, i)
			continue
		}
		s.poll.emit(e)
	}
	return bad
}

// left is how much of a regular file is behind its position.
func (f *file) left(t wasi.Eventtype) uint64 {
	if t != wasi.EventFdRead {
		return 1
	}
	at, err := unix.Seek(f.fd, 0, unix.SEEK_CUR)
	var st unix.Stat_t
	if err != nil || unix.Fstat(f.fd, &st) != nil || st.Size <= at {
		return 0
	}
	return uint64(st.Size - at)
}

func pollEvents(t wasi.Eventtype) int16 {
	if t == wasi.EventFdRead {
		return unix.POLLIN
	}
	return unix.POLLOUT
}

// isClock says that a subscription is for a clock that there is.
func isClock(sub *wasi.Subscription) bool {
	return sub.Type == wasi.EventClock && uint64(sub.Clock) < uint64(len(clocks))
}

func isCPU(sub *wasi.Subscription) bool {
	return sub.Clock == wasi.ClockProcessCPU || sub.Clock == wasi.ClockThreadCPU
}

// await polls until a descriptor is ready or the shortest clock is due. Where
// there are events already, it looks but does not wait.
func (s *System) await(subs []wasi.Subscription, started *[len(clocks)]uint64) wasi.Errno {
	start := s.clock.monotonic()
	for {
		wait := uint64(0)
		if len(s.poll.events) == 0 {
			wait = s.shortest(subs, s.clock.monotonic()-start)
		}
		ready, errno := s.ppoll(wait)
		if errno != 0 {
			return errno
		}
		elapsed := s.clock.monotonic() - start
		if ready > 0 {
			s.emitReady(subs)
		}
		s.emitClocks(subs, started, elapsed)
		if len(s.poll.events) > 0 {
			return 0
		}
		// interrupted, or a clock that runs slower than this one
	}
}

// shortest is the least time until a clock subscription is due; MaxUint64
// when there is none. A clock of the CPU stands still while the guest sleeps,
// so that it is looked at only now and then.
func (s *System) shortest(subs []wasi.Subscription, elapsed uint64) uint64 {
	const moment = 100_000
	least := uint64(math.MaxUint64)
	for i := range subs {
		sub := &subs[i]
		switch {
		case !isClock(sub):
			continue
		case !sub.Absolute:
			least = min(least, max(sub.Timeout, elapsed)-elapsed)
			continue
		}
		t, errno := s.ClockTime(sub.Clock)
		if errno != 0 {
			continue
		}
		left := max(sub.Timeout, t) - t
		if left > 0 && isCPU(sub) {
			left = max(left, moment)
		}
		least = min(least, left)
	}
	return least
}

// ppoll waits for at most so many nanoseconds. An interruption is no event.
func (s *System) ppoll(ns uint64) (int, wasi.Errno) {
	if ns == 0 && len(s.poll.fds) == 0 { // a clock that is due already
		return 0, 0
	}
	var ts *unix.Timespec
	if ns != math.MaxUint64 {
		ns = min(ns, math.MaxInt64)
		ts = &unix.Timespec{Sec: int64(ns / 1e9), Nsec: int64(ns % 1e9)}
	}
	n, _, e := unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(s.poll.fds))), uintptr(len(s.poll.fds)),
		uintptr(unsafe.Pointer(ts)), 0, 0, 0)
	switch e {
	case 0:
		return int(n), 0
	case unix.EINTR:
		return 0, 0
	}
	return 0, wasi.ErrnoOf(e)
}

func (s *System) emitReady(subs []wasi.Subscription) {
	for i, p := range s.poll.fds {
		if p.Revents == 0 {
			continue
		}
		sub := &subs[s.poll.index[i]]
		e := wasi.Event{Userdata: sub.Userdata, Type: sub.Type, NBytes: 1}
		switch {
		case p.Revents&unix.POLLNVAL != 0:
			e.Errno = wasi.EBADF
		case p.Revents&unix.POLLERR != 0 && sub.Type == wasi.EventFdWrite:
			e.Flags, e.NBytes = wasi.EventHangup, 0
		case p.Revents&unix.POLLHUP != 0:
			e.Flags, e.NBytes = wasi.EventHangup, pending(p.Fd)
		case sub.Type == wasi.EventFdRead:
			e.NBytes = pending(p.Fd)
		}
		s.poll.emit(e)
	}
}

// pending is how much can be read at once.
func pending(fd int32) uint64 {
	n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
	if err != nil || n < 0 {
		return 0
	}
	return uint64(n)
}

// emitClocks emits the clocks that are due: a relative one by the time that has
// passed, an absolute one by its clock.
func (s *System) emitClocks(subs []wasi.Subscription, started *[len(clocks)]uint64, elapsed uint64) {
	for i := range subs {
		sub := &subs[i]
		if !isClock(sub) || !s.due(sub, started, elapsed) {
			continue
		}
		s.poll.emit(wasi.Event{Userdata: sub.Userdata, Type: wasi.EventClock})
	}
}

func (s *System) due(sub *wasi.Subscription, started *[len(clocks)]uint64, elapsed uint64) bool {
	if !sub.Absolute && elapsed >= sub.Timeout {
		return true // by the clock of the CPU too: that of a sleeping guest stands still
	}
	if !sub.Absolute && !isCPU(sub) {
		return false
	}
	t, errno := s.ClockTime(sub.Clock)
	if errno != 0 {
		return false
	}
	if sub.Absolute {
		return t >= sub.Timeout
	}
	return t-started[sub.Clock] >= sub.Timeout
}
