package worker

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// The number of the control socket is that of something else in an exec.
func TestOnlyASocketThatListensIsTheControlSocket(t *testing.T) {
	socket := func(listen bool) int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		if !listen {
			return fd
		}
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: t.TempDir() + "/s"}); err != nil {
			t.Fatal(err)
		}
		if err := unix.Listen(fd, 1); err != nil {
			t.Fatal(err)
		}
		return fd
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(event)
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, tc := range map[string]struct {
		fd   int
		want bool
	}{
		"a socket that listens":   {socket(true), true},
		"a socket that does not":  {socket(false), false},
		"an eventfd":              {event, false},
		"a file":                  {int(file.Fd()), false},
		"a number that is unused": {1 << 20, false},
	} {
		if got := isListener(tc.fd); got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}
