package worker

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// attachTo attaches a client that wants stdout and gives its end.
func attachTo(t *testing.T, s *streams) (out *os.File, err error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	fd, err := unix.Dup(int(w.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	_, err = s.attach(workerv1.Attach{Stdout: true}, []int{fd})
	return r, err
}

func TestAttachedClientGetsTheEnd(t *testing.T) {
	s := &streams{}
	r, err := attachTo(t, s)
	if err != nil {
		t.Fatal(err)
	}
	s.stdout.Write([]byte("last words"))
	s.ended.Store(true)
	s.closeClients()
	if got, err := io.ReadAll(r); string(got) != "last words" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// A client that comes too late must learn that it did: its output is elsewhere.
func TestAttachAfterTheGuestsEndIsRefused(t *testing.T) {
	for name, end := range map[string]func(*streams){
		"ended":                  func(s *streams) { s.ended.Store(true) },
		"and clients are let go": func(s *streams) { s.ended.Store(true); s.closeClients() },
	} {
		s := &streams{}
		s.stdout.Write([]byte("before"))
		end(s)
		r, err := attachTo(t, s)
		if !errors.Is(err, unix.ESHUTDOWN) {
			t.Errorf("%s: attach gives %v, want %v", name, err, unix.ESHUTDOWN)
		}
		r.SetReadDeadline(time.Now().Add(10 * time.Second))
		if got, err := io.ReadAll(r); len(got) > 0 || err != nil {
			t.Errorf("%s: the client got %q, %v", name, got, err)
		}
	}
}
