package wasitest

import (
	"encoding/binary"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

const (
	subscriptionSize = 48
	eventSize        = 32
	absolute         = 1
)

// subscribe lays out subscriptions in memory.
func (g *guest) subscribe(subs ...wasi.Subscription) (ptr, n uint64) {
	g.Helper()
	ptr = g.alloc(subscriptionSize * len(subs))
	for i, s := range subs {
		b := g.mem[ptr+uint64(i*subscriptionSize):]
		binary.LittleEndian.PutUint64(b, s.Userdata)
		b[8] = byte(s.Type)
		binary.LittleEndian.PutUint32(b[16:], s.FD)
		if s.Type == wasi.EventClock {
			binary.LittleEndian.PutUint32(b[16:], uint32(s.Clock))
			binary.LittleEndian.PutUint64(b[24:], s.Timeout)
			if s.Absolute {
				b[40] = absolute
			}
		}
	}
	return ptr, uint64(len(subs))
}

// poll waits and gives the events by their user data.
func (g *guest) poll(subs ...wasi.Subscription) map[uint64]wasi.Event {
	g.Helper()
	in, n := g.subscribe(subs...)
	out, result := g.alloc(int(n*eventSize)), g.alloc(4)
	g.ok("poll_oneoff", in, out, n, result)
	events := map[uint64]wasi.Event{}
	for i := range uint64(g.u32(result)) {
		at := out + i*eventSize
		events[g.u64(at)] = wasi.Event{
			Userdata: g.u64(at), Errno: wasi.Errno(g.u16(at + 8)), Type: wasi.Eventtype(g.mem[at+10]), NBytes: g.u64(at + 16), Flags: g.u16(at + 24),
		}
	}
	if len(events) != int(g.u32(result)) || len(events) == 0 {
		g.Errorf("%d events, of which %d are different", g.u32(result), len(events))
	}
	return events
}

func (g *guest) now(id wasi.ClockID) uint64 {
	g.Helper()
	at := g.alloc(8)
	g.ok("clock_time_get", uint64(id), 0, at)
	return g.u64(at)
}

const millisecond = 1_000_000

var pollTests = []test{
	{name: "no clock is early", run: func(g *guest) {
		for id := range wasi.ClockThreadCPU + 1 {
			for _, abs := range []bool{false, true} {
				clock, start := id, g.now(id)
				if id >= wasi.ClockProcessCPU && !abs {
					clock, start = wasi.ClockMonotonic, g.now(wasi.ClockMonotonic) // a clock that stands still while one sleeps
				}
				timeout := uint64(3 * millisecond)
				if abs {
					timeout += start
					if id >= wasi.ClockProcessCPU { // what has passed already: no sleep uses CPU
						timeout = start
					}
				}
				events := g.poll(wasi.Subscription{Userdata: 9, Type: wasi.EventClock, Clock: id, Timeout: timeout, Absolute: abs})
				if e := events[9]; e.Type != wasi.EventClock || e.Errno != 0 {
					g.Errorf("clock %d: event %+v", id, e)
				}
				passed := g.now(clock) - start
				if want := uint64(3 * millisecond); passed < want && (!abs || id < wasi.ClockProcessCPU) {
					g.Errorf("clock %d, absolute %v: %d ns passed, want %d", id, abs, passed, want)
				}
			}
		}
	}},
	{name: "the first clock wakes", run: func(g *guest) {
		const hour = 3600_000 * millisecond
		events := g.poll(
			wasi.Subscription{Userdata: 1, Type: wasi.EventClock, Clock: wasi.ClockMonotonic, Timeout: hour},
			wasi.Subscription{Userdata: 2, Type: wasi.EventClock, Clock: wasi.ClockRealtime, Timeout: g.now(wasi.ClockRealtime) + hour, Absolute: true},
			wasi.Subscription{Userdata: 3, Type: wasi.EventClock, Clock: wasi.ClockMonotonic, Timeout: millisecond},
			wasi.Subscription{Userdata: 4, Type: wasi.EventClock, Clock: wasi.ClockProcessCPU, Timeout: hour},
			wasi.Subscription{Userdata: 5, Type: wasi.EventFdRead, FD: ListenerFD},
		)
		if _, ok := events[3]; len(events) != 1 || !ok {
			g.Errorf("events %v, want the third alone", events)
		}
	}},
	{name: "files, pipes, sockets and a clock together", config: Config{Stdin: "12345"}, run: func(g *guest) {
		a, b := g.pair()
		g.write(b, "data")
		file := g.file("f", "text")
		g.read(file, 1)
		g.waitReadable(a)
		events := g.poll(
			wasi.Subscription{Userdata: 1, Type: wasi.EventFdRead, FD: 0},
			wasi.Subscription{Userdata: 2, Type: wasi.EventFdRead, FD: uint32(file)},
			wasi.Subscription{Userdata: 3, Type: wasi.EventFdWrite, FD: uint32(file)},
			wasi.Subscription{Userdata: 4, Type: wasi.EventFdRead, FD: uint32(a)},
			wasi.Subscription{Userdata: 5, Type: wasi.EventFdWrite, FD: uint32(a)},
			wasi.Subscription{Userdata: 6, Type: wasi.EventFdRead, FD: uint32(b)}, // nothing there
			wasi.Subscription{Userdata: 7, Type: wasi.EventFdRead, FD: closed},
			wasi.Subscription{Userdata: 8, Type: wasi.EventClock, Clock: 77},
			wasi.Subscription{Userdata: 9, Type: wasi.EventClock, Clock: wasi.ClockMonotonic},
			wasi.Subscription{Userdata: 10, Type: wasi.EventFdRead, FD: RootFD},
			wasi.Subscription{Userdata: 11, Type: wasi.EventFdWrite, FD: 1},
		)
		for id, want := range map[uint64]wasi.Event{
			1: {Type: wasi.EventFdRead, NBytes: 5}, 2: {Type: wasi.EventFdRead, NBytes: 3}, 3: {Type: wasi.EventFdWrite, NBytes: events[3].NBytes},
			4: {Type: wasi.EventFdRead, NBytes: 4}, 5: {Type: wasi.EventFdWrite, NBytes: events[5].NBytes},
			7: {Type: wasi.EventFdRead, Errno: wasi.EBADF}, 8: {Errno: wasi.EINVAL}, 9: {}, 10: {Type: wasi.EventFdRead, Errno: wasi.EBADF}, 11: {Type: wasi.EventFdWrite, NBytes: events[11].NBytes},
		} {
			want.Userdata = id
			if got := events[id]; id != 1 && got != want || id == 1 && (got.NBytes != 5 || got.Errno != 0) {
				g.Errorf("event %d: got %+v, want %+v", id, got, want)
			}
		}
		if _, ok := events[6]; ok || len(events) != 10 {
			g.Errorf("%d events: %v", len(events), events)
		}
	}},
	{name: "hang-up and end of file", run: func(g *guest) {
		a, b := g.pair()
		g.ok("fd_close", b)
		g.waitReadable(a)
		e := g.poll(wasi.Subscription{Userdata: 1, Type: wasi.EventFdRead, FD: uint32(a)})[1]
		if e.Errno != 0 || e.NBytes != 0 {
			g.Errorf("a socket whose peer has gone: %+v", e)
		}
		if got := g.read(a, 4); got != "" {
			g.Errorf("it reads %q", got)
		}
		e = g.poll(wasi.Subscription{Userdata: 1, Type: wasi.EventFdRead, FD: 0})[1]
		if e.Errno != 0 || e.Flags&wasi.EventHangup == 0 || e.NBytes != 0 {
			g.Errorf("a pipe whose writer has gone: %+v, want the flag for a hang-up", e)
		}
	}},
	{name: "errors of poll_oneoff", run: func(g *guest) {
		in, n := g.subscribe(wasi.Subscription{Type: wasi.EventClock, Clock: wasi.ClockMonotonic})
		out, result := g.alloc(eventSize), g.alloc(4)
		g.want(wasi.EINVAL, "poll_oneoff", in, out, 0, result)
		g.want(wasi.EFAULT, "poll_oneoff", beyond(subscriptionSize), out, n, result)
		g.want(wasi.EFAULT, "poll_oneoff", in, beyond(eventSize), n, result)
		g.want(wasi.EFAULT, "poll_oneoff", in, out, n, beyond(4))
		g.mem[in+40] = 2
		g.want(wasi.EINVAL, "poll_oneoff", in, out, n, result)
		g.mem[in+40], g.mem[in+8] = 0, 3
		g.want(wasi.EINVAL, "poll_oneoff", in, out, n, result)
		in, n = g.subscribe(wasi.Subscription{Type: wasi.EventFdRead, FD: closed})
		g.want(wasi.EBADF, "poll_oneoff", in, out, n, result)
		poor := g.file("f", "")
		g.narrow(poor, wasi.RightPollFdReadwrite)
		e := g.poll(wasi.Subscription{Userdata: 1, Type: wasi.EventFdRead, FD: uint32(poor)}, wasi.Subscription{Type: wasi.EventClock})[1]
		if e.Errno != wasi.ENOTCAPABLE {
			g.Errorf("without the right: %+v", e)
		}
	}},
	{name: "the lists may overlap", run: func(g *guest) {
		in, n := g.subscribe(
			wasi.Subscription{Userdata: 1, Type: wasi.EventClock, Clock: wasi.ClockMonotonic}, wasi.Subscription{Userdata: 2, Type: wasi.EventClock, Clock: wasi.ClockRealtime},
		)
		g.ok("poll_oneoff", in, in, n, g.alloc(4))
		if a, b := g.u64(in), g.u64(in+eventSize); a != 1 || b != 2 {
			g.Errorf("events of %d and %d, want 1 and 2", a, b)
		}
	}},
}
