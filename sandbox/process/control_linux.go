package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// ReopenLog implements sandbox.Process.
func (p *process) ReopenLog(ctx context.Context, path string, label sandbox.Label) error {
	log, err := openLog(path)
	if err != nil {
		return err
	}
	defer log.Close()
	if err := p.launcher.labels.OwnLog(log, label); err != nil {
		return err
	}
	return p.request(ctx, workerv1.Request{Op: workerv1.OpReopenLog}, int(log.Fd()))
}

// request asks the worker over its control socket.
func (p *process) request(ctx context.Context, r workerv1.Request, fds ...int) error {
	s, err := p.ask(ctx, r, fds...)
	if err != nil {
		return err
	}
	return os.NewSyscallError("close", unix.Close(s))
}

// ask sends a request over a new connection, which it gives back once the worker
// has agreed.
func (p *process) ask(ctx context.Context, r workerv1.Request, fds ...int) (int, error) {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := p.askOn(ctx, s, r, fds); err != nil {
		return -1, errors.Join(err, unix.Close(s))
	}
	return s, nil
}

func (p *process) askOn(ctx context.Context, s int, r workerv1.Request, fds []int) error {
	patience := controlTimeout(ctx)
	timeout := unix.NsecToTimeval(int64(patience))
	for _, option := range []int{unix.SO_SNDTIMEO, unix.SO_RCVTIMEO} {
		if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, option, &timeout); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	err := withShortPath(p.dir, func(path string) error {
		return uninterrupted("connect", func() error { return unix.Connect(s, &unix.SockaddrUnix{Name: path}) })
	})
	if err == nil {
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		err = uninterrupted("sendmsg", func() error { return unix.Sendmsg(s, r.Encode(), rights, nil, unix.MSG_NOSIGNAL) })
	}
	if err == nil {
		err = readReply(s)
	}
	if hungUp(err) {
		return fmt.Errorf("process %d has ended: %w: %w", p.ref.PID, sandbox.ErrPrecondition, err)
	}
	if errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("worker %d does not answer within %s, being stopped or starved of CPU: %w", p.ref.PID, patience.Round(time.Millisecond), err)
	}
	if err != nil {
		return fmt.Errorf("reach worker %d: %w", p.ref.PID, err)
	}
	return nil
}

// uninterrupted repeats a system call that a signal ended. The runtime's own
// signals do not end others, but do end those of a socket with a timeout.
func uninterrupted(name string, call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError(name, err)
		}
	}
}

// hungUp says whether an error of the control socket means that its worker ends.
func hungUp(err error) bool {
	for _, e := range []error{unix.ECONNREFUSED, unix.ECONNRESET, unix.EPIPE, unix.ESHUTDOWN, io.EOF} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func controlTimeout(ctx context.Context) time.Duration {
	const most = 30 * time.Second
	if d, ok := ctx.Deadline(); ok {
		return max(min(time.Until(d), most), time.Millisecond)
	}
	return most
}

func readReply(s int) error {
	var n int
	buf := make([]byte, workerv1.MaxControl)
	err := uninterrupted("read", func() (err error) {
		n, err = unix.Read(s, buf)
		return err
	})
	if err != nil {
		return fmt.Errorf("it does not answer: %w", err)
	}
	if n == 0 {
		return fmt.Errorf("it does not answer: %w", io.EOF)
	}
	reply, err := workerv1.DecodeReply(buf[:n])
	if err != nil {
		return err
	}
	if reply.Errno != 0 {
		return fmt.Errorf("it refuses: %s: %w", reply.Text, unix.Errno(reply.Errno))
	}
	return nil
}
