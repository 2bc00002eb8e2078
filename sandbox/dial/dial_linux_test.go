package dial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// echo serves on an address and gives back what it was sent once that has ended.
func echo(t *testing.T, address string) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b, _ := io.ReadAll(c)
				c.Write(b)
			}()
		}
	}()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func TestDialLoopback(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			conn, err := Dialer{}.DialLoopback(t.Context(), "", echo(t, address))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, "half-closed")
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(conn); err != nil || string(b) != "half-closed" {
				t.Errorf("got %q, %v", b, err)
			}
		})
	}
}

func TestDialToNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	if _, err := (Dialer{}).DialLoopback(t.Context(), "", port); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("err = %v, want ECONNREFUSED", err)
	}
	if _, err := (Dialer{}).DialLoopback(t.Context(), "/nowhere/netns", port); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("err = %v, want ErrNotExist", err)
	}
}

// A listener that accepts nothing keeps a dialer waiting no longer than its
// context.
func TestDialEndsWithItsContext(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(name.(*unix.SockaddrInet4).Port)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	for range 10 { // the first ones fill the queue
		var conn io.Closer
		if conn, err = (Dialer{}).DialLoopback(ctx, "", port); err != nil {
			break
		}
		defer conn.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Errorf("after %v: %v, want DeadlineExceeded", time.Since(start), err)
	}
}

func TestDialIntoANamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	type made struct {
		path string
		port uint16
		err  error
	}
	result, end := make(chan made), make(chan struct{})
	t.Cleanup(func() { close(end) })
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with this goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- made{err: err}
			return
		}
		if err := loopbackUp(); err != nil {
			result <- made{err: err}
			return
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			result <- made{err: err}
			return
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(c, "from inside")
				c.Close()
			}
		}()
		result <- made{path: fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), port: uint16(l.Addr().(*net.TCPAddr).Port)}
		<-end
	}()
	r := <-result
	if r.err != nil {
		t.Fatal(r.err)
	}
	for range 20 {
		conn, err := Dialer{}.DialLoopback(t.Context(), r.path, r.port)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(conn); err != nil || string(b) != "from inside" {
			t.Errorf("got %q, %v", b, err)
		}
		conn.Close()
	}
	if _, err := (Dialer{}).DialLoopback(t.Context(), "", r.port); err == nil {
		t.Error("the port is open outside, too: the test shows nothing")
	}
}

func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r)
}
