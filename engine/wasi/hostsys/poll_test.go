package hostsys_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/hostsys"
)

func (w *world) poll(subs ...wasi.Subscription) []wasi.Event {
	w.t.Helper()
	events := make([]wasi.Event, len(subs))
	n, errno := w.sys.Poll(subs, events)
	w.ok(errno)
	return events[:n]
}

func (w *world) now(id wasi.ClockID) uint64 {
	w.t.Helper()
	t, errno := w.sys.ClockTime(id)
	w.ok(errno)
	return t
}

func TestClocksAreNeverEarly(t *testing.T) {
	w := newWorld(t)
	for _, clock := range []wasi.ClockID{wasi.ClockRealtime, wasi.ClockMonotonic} {
		for i := range uint64(60) {
			ns := i * i * 997
			start := w.now(clock)
			w.poll(wasi.Subscription{Clock: clock, Timeout: ns})
			if got := w.now(clock) - start; got < ns {
				t.Fatalf("clock %d woke after %d of %d ns", clock, got, ns)
			}
			due := w.now(clock) + ns
			w.poll(wasi.Subscription{Clock: clock, Timeout: due, Absolute: true})
			if got := w.now(clock); got < due {
				t.Fatalf("clock %d woke %d ns before its time", clock, due-got)
			}
		}
	}
}

func TestTheShortestClockWakes(t *testing.T) {
	w := newWorld(t)
	start := time.Now()
	events := w.poll(
		wasi.Subscription{Userdata: 1, Clock: wasi.ClockMonotonic, Timeout: 3600e9},
		wasi.Subscription{Userdata: 2, Clock: wasi.ClockRealtime, Timeout: uint64(time.Now().Add(time.Hour).UnixNano()), Absolute: true},
		wasi.Subscription{Userdata: 3, Clock: wasi.ClockMonotonic, Timeout: 20e6},
	)
	if len(events) != 1 || events[0].Userdata != 3 {
		t.Errorf("events %v, want the third alone", events)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestAClockThatIsUnknownIsAnEvent(t *testing.T) {
	w := newWorld(t)
	events := w.poll(wasi.Subscription{Userdata: 9, Clock: 77, Timeout: 3600e9})
	if len(events) != 1 || events[0].Errno != wasi.EINVAL || events[0].Userdata != 9 {
		t.Errorf("events %+v, want EINVAL", events)
	}
}

// TestInterruptionsAreNoEvents sends signals to the polling thread.
func TestInterruptionsAreNoEvents(t *testing.T) {
	w := newWorld(t)
	done := make(chan bool)
	pid := os.Getpid()
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				unix.Kill(pid, unix.SIGURG) // which Go itself uses and ignores
			}
		}
	}()
	start := w.now(wasi.ClockMonotonic)
	w.poll(
		wasi.Subscription{Clock: wasi.ClockMonotonic, Timeout: 60e6},
		wasi.Subscription{Clock: wasi.ClockMonotonic, Timeout: start + 3600e9, Absolute: true},
	)
	close(done)
	if got := w.now(wasi.ClockMonotonic) - start; got < 60e6 || got > 10e9 {
		t.Errorf("woke after %d ns, want 60 ms", got)
	}
}

// pipes gives a world whose stdin and stdout are pipes, and the host's ends.
func pipes(t *testing.T) (w *world, toGuest, fromGuest int) {
	t.Helper()
	var in, out [2]int
	if err := unix.Pipe2(in[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := unix.Pipe2(out[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	w = newWorld(t, func(c *hostsys.Config) {
		c.Stdin, c.Stdout = hostsys.Stream{FD: in[0]}, hostsys.Stream{FD: out[1]}
	})
	return w, in[1], out[0]
}

func TestPollOfPipes(t *testing.T) {
	w, in, out := pipes(t)
	read, write := wasi.Subscription{Type: wasi.EventFdRead, FD: 0}, wasi.Subscription{Type: wasi.EventFdWrite, FD: 1}
	clock := wasi.Subscription{Clock: wasi.ClockMonotonic, Timeout: 1e6}
	if e := w.poll(read, clock); len(e) != 1 || e[0].Type != wasi.EventClock {
		t.Errorf("an empty pipe: %+v, want the clock alone", e)
	}
	unix.Write(in, []byte("hello"))
	if e := w.poll(read, clock); len(e) < 1 || e[0].Type != wasi.EventFdRead || e[0].NBytes != 5 || e[0].Flags != 0 {
		t.Errorf("5 bytes in a pipe: %+v", e)
	}
	if e := w.poll(write); len(e) != 1 || e[0].Type != wasi.EventFdWrite || e[0].Errno != 0 {
		t.Errorf("room in a pipe: %+v", e)
	}
	unix.Close(in)
	if e := w.poll(read); len(e) != 1 || e[0].Flags != wasi.EventHangup || e[0].NBytes != 5 {
		t.Errorf("a closed pipe with 5 bytes left: %+v, want a hang-up", e)
	}
	unix.Close(out)
	if e := w.poll(write); len(e) != 1 || e[0].Flags != wasi.EventHangup {
		t.Errorf("a pipe that nobody reads: %+v, want a hang-up", e)
	}
}

func TestPollOfFilesAndErrors(t *testing.T) {
	w := newWorld(t)
	w.check(os.WriteFile(w.path("root/f"), []byte("0123456789"), 0o644))
	fd := w.mustOpen(rootFD, "f", 0)
	w.sys.FdSeek(fd, 4, wasi.WhenceSet)
	events := w.poll(
		wasi.Subscription{Type: wasi.EventFdRead, FD: fd}, wasi.Subscription{Type: wasi.EventFdRead, FD: 99},
		wasi.Subscription{Type: wasi.EventFdRead, FD: rootFD}, wasi.Subscription{Type: wasi.EventFdWrite, FD: fd},
	)
	got := fmt.Sprint(events)
	want := fmt.Sprint([]wasi.Event{
		{Type: wasi.EventFdRead, NBytes: 6}, {Type: wasi.EventFdRead, Errno: wasi.EBADF},
		{Type: wasi.EventFdRead, Errno: wasi.EBADF}, {Type: wasi.EventFdWrite, NBytes: 1},
	})
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestPollOfNothingThatCanHappen(t *testing.T) {
	w := newWorld(t)
	if _, errno := w.sys.Poll(nil, nil); errno != wasi.EINVAL {
		t.Errorf("got %v, want EINVAL", errno)
	}
}
