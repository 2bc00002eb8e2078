// Package dial opens connections and listeners inside network namespaces.
//
// A socket belongs for ever to the namespace of the thread that made it. So a
// thread enters the namespace for as long as it takes to make one, and
// everything else happens outside.
package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// timeout bounds a connection over loopback, which takes no time unless its
// listener accepts nothing.
const timeout = 30 * time.Second

// Dialer implements sandbox.Dialer. The zero value is ready.
type Dialer struct{}

var _ sandbox.Dialer = Dialer{}

// DialLoopback implements sandbox.Dialer.
func (Dialer) DialLoopback(ctx context.Context, netns string, port uint16) (sandbox.DuplexConn, error) {
	addresses := []struct {
		family int
		addr   unix.Sockaddr
	}{
		{unix.AF_INET, &unix.SockaddrInet4{Port: int(port), Addr: [4]byte{127, 0, 0, 1}}},
		{unix.AF_INET6, &unix.SockaddrInet6{Port: int(port), Addr: [16]byte{15: 1}}},
	}
	var errs []error
	for _, a := range addresses {
		conn, err := dial(ctx, netns, a.family, a.addr)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

var familyNames = map[int]string{unix.AF_INET: "127.0.0.1", unix.AF_INET6: "[::1]"}

func dial(ctx context.Context, netns string, family int, addr unix.Sockaddr) (*net.TCPConn, error) {
	fd, err := socketIn(netns, family, unix.SOCK_STREAM)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), familyNames[family])
	defer f.Close()
	if err := connect(ctx, f, addr); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// connect waits for a connection of a socket that does not block.
func connect(ctx context.Context, f *os.File, addr unix.Sockaddr) error {
	if err := f.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { f.SetWriteDeadline(time.Now()) })()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Write(func(fd uintptr) bool {
		// Asked again, connect says how the first call fared.
		result = unix.Connect(int(fd), addr)
		return !errors.Is(result, unix.EINPROGRESS) && !errors.Is(result, unix.EALREADY) && !errors.Is(result, unix.EINTR)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(result, unix.EISCONN) {
		result = nil
	}
	return errors.Join(err, os.NewSyscallError("connect", result))
}

// socketIn makes a socket of a network namespace; empty: of this process's.
func socketIn(netns string, family, kind int) (int, error) {
	if netns == "" {
		return socket(family, kind)
	}
	target, err := unix.Open(netns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open network namespace: %w", &os.PathError{Op: "open", Path: netns, Err: err})
	}
	defer unix.Close(target)
	type made struct {
		fd  int
		err error
	}
	result := make(chan made)
	go func() {
		runtime.LockOSThread()
		fd, err, home := socketAway(target, family, kind)
		if home {
			runtime.UnlockOSThread() // else the thread ends with this goroutine
		}
		result <- made{fd, err}
	}()
	r := <-result
	return r.fd, r.err
}

// socketAway makes a socket on a thread that visits a namespace; home says that
// the thread is back.
func socketAway(target, family, kind int) (fd int, err error, home bool) {
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("open own network namespace", err), true
	}
	defer unix.Close(own)
	if err := unix.Setns(target, unix.CLONE_NEWNET); err != nil {
		return -1, fmt.Errorf("enter network namespace: %w", err), true
	}
	fd, err = socket(family, kind)
	return fd, err, unix.Setns(own, unix.CLONE_NEWNET) == nil
}

func socket(family, kind int) (int, error) {
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	return fd, os.NewSyscallError("socket", err)
}
