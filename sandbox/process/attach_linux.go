package process

import (
	"context"
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Attach implements sandbox.Process: the worker serves its clients itself, so
// that a restart of the daemon changes nothing for later ones.
func (p *process) Attach(ctx context.Context, files sandbox.AttachFiles) (sandbox.Attachment, error) {
	var fds []int
	for _, f := range []*os.File{files.Stdin, files.Stdout, files.Stderr} {
		if f != nil {
			fds = append(fds, int(f.Fd()))
		}
	}
	a := workerv1.Attach{Stdin: files.Stdin != nil, Stdout: files.Stdout != nil, Stderr: files.Stderr != nil}
	s, err := p.ask(ctx, workerv1.Request{Op: workerv1.OpAttach, Data: a.Encode()}, fds...)
	if err != nil {
		return nil, err
	}
	return &attachment{socket: s}, nil
}

// attachment implements sandbox.Attachment by a connection to the worker.
type attachment struct {
	mu     sync.Mutex
	socket int // -1 once closed
}

func (a *attachment) Resize(size sandbox.WindowSize) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.socket < 0 {
		return os.ErrClosed
	}
	r := workerv1.Request{Op: workerv1.OpResize, Data: workerv1.Resize{Rows: size.Rows, Cols: size.Cols}.Encode()}
	// A worker that does not read its sizes misses one.
	err := unix.Sendmsg(a.socket, r.Encode(), nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EPIPE) {
		return nil
	}
	return os.NewSyscallError("sendmsg", err)
}

func (a *attachment) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.socket < 0 {
		return nil
	}
	err := unix.Close(a.socket)
	a.socket = -1
	return os.NewSyscallError("close", err)
}
