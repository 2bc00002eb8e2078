package stdio

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func readAll(t *testing.T, r *os.File) string {
	t.Helper()
	r.SetReadDeadline(time.Now().Add(10 * time.Second))
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFanoutGivesOutputToAll(t *testing.T) {
	var f Fanout
	f.Write([]byte("before, "))
	r1, w1 := pipe(t)
	f.Add(w1)
	f.Write([]byte("one, "))
	r2, w2 := pipe(t)
	f.Add(w2)
	f.Write([]byte("both"))
	f.Close(time.Now().Add(10 * time.Second))
	if got, want := readAll(t, r1), "one, both"; got != want {
		t.Errorf("first client got %q, want %q", got, want)
	}
	if got, want := readAll(t, r2), "both"; got != want {
		t.Errorf("second client got %q, want %q", got, want)
	}
}

// A client that does not read is not waited for, and gets all the same what fits
// into its pipe.
func TestFanoutEndsWithoutWaiting(t *testing.T) {
	var f Fanout
	r, w := pipe(t)
	f.Add(w)
	want := strings.Repeat("0123456789abcdef", 50<<10) // 800 KiB
	f.Write([]byte(want))
	f.Close(time.Now().Add(time.Hour))
	if got := readAll(t, r); got != want {
		t.Errorf("the client got %d bytes, want %d", len(got), len(want))
	}
}

// On a busy machine the time is over before the client's goroutine comes to write.
func TestFanoutWritesWhenTheTimeIsOver(t *testing.T) {
	var f Fanout
	r, w := pipe(t)
	f.Add(w)
	f.Write([]byte("late"))
	f.Close(time.Now().Add(-time.Hour))
	if got := readAll(t, r); got != "late" {
		t.Errorf("the client got %q", got)
	}
}

func TestFanoutNeverWaits(t *testing.T) {
	var f Fanout
	r, w := pipe(t)
	c := f.Add(w)
	block := bytes.Repeat([]byte("x"), 64<<10)
	const blocks = 200
	start := time.Now()
	for range blocks {
		if n, err := f.Write(block); n != len(block) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("writes to a client that does not read took %v", took)
	}
	c.mu.Lock()
	held := len(c.pending) + c.writing
	c.mu.Unlock()
	if held > maxPending {
		t.Errorf("%d bytes wait for one client, at most %d may", held, maxPending)
	}
	got := make(chan string)
	go func() { got <- readAll(t, r) }()
	for !idle(c) {
		time.Sleep(time.Millisecond)
	}
	f.Write([]byte("after"))
	f.Close(time.Now().Add(10 * time.Second))
	text := <-got
	if !strings.Contains(text, "bytes of output are lost here") || !strings.HasSuffix(text, "after") {
		t.Errorf("got %d bytes that end with %q, want a note and what came after", len(text), text[max(0, len(text)-100):])
	}
	if kept := strings.Count(text, "x"); kept < maxPending || kept >= blocks*len(block) {
		t.Errorf("%d bytes came through", kept)
	}
}

func idle(c *Client) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending) == 0 && c.lost == 0 && c.writing == 0
}

func TestFanoutForgetsClientsThatHaveGone(t *testing.T) {
	var f Fanout
	r, w := pipe(t)
	c := f.Add(w)
	r.Close()
	f.Write([]byte("to nobody"))
	select {
	case <-c.done:
	case <-time.After(10 * time.Second):
		t.Fatal("a client that has gone is still served")
	}
	if f.some.Load() {
		t.Error("the client is still counted")
	}
	r2, w2 := pipe(t)
	c2 := f.Add(w2)
	c2.Close()
	if got := readAll(t, r2); got != "" || f.some.Load() {
		t.Errorf("a detached client got %q", got)
	}
}

func TestFanoutsCloseIsBounded(t *testing.T) {
	var f Fanout
	_, w := pipe(t)
	f.Add(w)
	f.Write(make([]byte, maxPending))
	start := time.Now()
	f.Close(time.Now().Add(50 * time.Millisecond))
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	_, late := pipe(t)
	c := f.Add(late)
	<-c.done
}

func TestInputStaysOpenBetweenClients(t *testing.T) {
	in, guest, err := NewPipe(false)
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	in.Feed(strings.NewReader("one "))
	in.Feed(strings.NewReader("two"))
	b := make([]byte, 7)
	if _, err := io.ReadFull(guest, b); err != nil || string(b) != "one two" {
		t.Errorf("guest reads %q, %v", b, err)
	}
}

func TestInputOnceEndsWithItsFirstClient(t *testing.T) {
	in, guest, err := NewPipe(true)
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	in.Feed(strings.NewReader("one"))
	in.Feed(strings.NewReader("two"))
	if got := readAll(t, guest); got != "one" {
		t.Errorf("guest reads %q, want %q", got, "one")
	}
}
