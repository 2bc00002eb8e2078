package hostsys

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

var clocks = [...]int32{
	wasi.ClockRealtime: unix.CLOCK_REALTIME, wasi.ClockMonotonic: unix.CLOCK_MONOTONIC,
	wasi.ClockProcessCPU: unix.CLOCK_PROCESS_CPUTIME_ID, wasi.ClockThreadCPU: unix.CLOCK_THREAD_CPUTIME_ID,
}

// vdsoClock reads the two wall clocks without a system call, as the Go runtime
// does. Its monotonic clock is CLOCK_MONOTONIC with an origin of its own.
type vdsoClock struct {
	origin time.Time
	at     uint64 // CLOCK_MONOTONIC at the origin
}

func newVDSOClock() vdsoClock {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return vdsoClock{origin: time.Now()}
	}
	return vdsoClock{origin: time.Now(), at: nanos(t)}
}

func (c *vdsoClock) monotonic() uint64 { return c.at + uint64(time.Since(c.origin)) }

// ClockTime reads a clock, in nanoseconds.
func (s *System) ClockTime(id wasi.ClockID) (uint64, wasi.Errno) {
	switch {
	case id == wasi.ClockMonotonic:
		return s.clock.monotonic(), 0
	case id == wasi.ClockRealtime:
		return uint64(time.Now().UnixNano()), 0
	case uint64(id) >= uint64(len(clocks)):
		return 0, wasi.EINVAL
	}
	var t unix.Timespec
	if err := unix.ClockGettime(clocks[id], &t); err != nil {
		return 0, wasi.ErrnoOf(err)
	}
	return nanos(t), 0
}

// ClockRes gives the resolution of a clock, in nanoseconds.
func (s *System) ClockRes(id wasi.ClockID) (uint64, wasi.Errno) {
	if uint64(id) >= uint64(len(clocks)) {
		return 0, wasi.EINVAL
	}
	return 1, 0 // of every high-resolution clock of Linux
}

// Random fills p from the kernel's generator.
func (s *System) Random(p []byte) wasi.Errno {
	for len(p) > 0 {
		n, err := unix.Getrandom(p, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return wasi.ErrnoOf(err)
		}
		p = p[n:]
	}
	return 0
}
