package cri

import (
	"context"
	"fmt"
	"io"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// guests runs commands and attaches for the library, with the streams that were
// asked for; it may offer more.
type guests struct {
	*Streams
	options *remotecommand.Options
}

var (
	_ remotecommand.Executor = guests{}
	_ remotecommand.Attacher = guests{}
)

// ExecInContainer implements remotecommand.Executor.
func (g guests) ExecInContainer(ctx context.Context, _, _, id string, command []string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize, _ time.Duration) error {
	s := sandbox.ExecStreams{Command: command, TTY: tty, Stdout: writer(out, g.options.Stdout), Stderr: writer(err, g.options.Stderr)}
	if g.options.Stdin {
		s.Stdin = in
	}
	if tty {
		s.Resize = windowSizes(ctx, resize)
	}
	return g.execute(ctx, id, s)
}

// execute runs a command. One that somebody talks to, by a terminal or its
// stdin, is killed when its client goes; another one goes on, unheard, as a job
// that was started in the background.
func (g guests) execute(ctx context.Context, id string, s sandbox.ExecStreams) error {
	if s.Stdin == nil && !s.TTY {
		ctx = g.ctx
	}
	code, err := g.Manager.Exec(ctx, id, s)
	if err != nil {
		return err
	}
	if code != 0 {
		return exitStatus(code)
	}
	return nil
}

// AttachContainer implements remotecommand.Attacher.
func (g guests) AttachContainer(ctx context.Context, _, _, id string, in io.Reader, out, err io.WriteCloser, _ bool, resize <-chan remotecommand.TerminalSize) error {
	s := sandbox.AttachStreams{Stdout: writer(out, g.options.Stdout), Stderr: writer(err, g.options.Stderr), Resize: windowSizes(ctx, resize)}
	if g.options.Stdin {
		s.Stdin = in
	}
	return g.Manager.Attach(ctx, id, s)
}

// exitStatus is the exit code of a command, in the form in which the library
// looks for it (k8s.io/utils/exec.ExitError).
type exitStatus int32

func (e exitStatus) Error() string   { return fmt.Sprintf("exit status %d", int32(e)) }
func (e exitStatus) String() string  { return e.Error() }
func (e exitStatus) Exited() bool    { return true }
func (e exitStatus) ExitStatus() int { return int(e) }

// writer is nil for a stream that is not there or not wanted.
func writer(w io.WriteCloser, wanted bool) io.Writer {
	if w == nil || !wanted {
		return nil
	}
	return w
}

// windowSizes converts sizes until their channel or ctx ends.
func windowSizes(ctx context.Context, sizes <-chan remotecommand.TerminalSize) <-chan sandbox.WindowSize {
	if sizes == nil {
		return nil
	}
	converted := make(chan sandbox.WindowSize)
	go func() {
		defer close(converted)
		for size := range sizes {
			select {
			case converted <- sandbox.WindowSize{Rows: size.Height, Cols: size.Width}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return converted
}

// ports forwards ports for the library, for one connection.
type ports struct {
	*Streams
	conn context.Context // ends with the connection
}

// PortForward implements portforward.PortForwarder.
func (p ports) PortForward(_ context.Context, pod, _ string, port int32, stream io.ReadWriteCloser) error {
	return p.Manager.PortForward(p.conn, pod, port, stream)
}

// Exec implements RuntimeService.
func (s *Server) Exec(_ context.Context, r *runtimev1.ExecRequest) (*runtimev1.ExecResponse, error) {
	c, err := s.running(r.ContainerId)
	if err != nil {
		return nil, err
	}
	if len(r.Cmd) == 0 {
		return nil, invalid("exec needs a command")
	}
	if err := checkStreams(r); err != nil {
		return nil, err
	}
	r.ContainerId = c.ID()
	u, err := s.Streams.url("exec", r)
	return &runtimev1.ExecResponse{Url: u}, err
}

// Attach implements RuntimeService.
func (s *Server) Attach(_ context.Context, r *runtimev1.AttachRequest) (*runtimev1.AttachResponse, error) {
	c, err := s.running(r.ContainerId)
	if err != nil {
		return nil, err
	}
	if err := checkStreams(r); err != nil {
		return nil, err
	}
	r.ContainerId = c.ID()
	u, err := s.Streams.url("attach", r)
	return &runtimev1.AttachResponse{Url: u}, err
}

// PortForward implements RuntimeService.
func (s *Server) PortForward(_ context.Context, r *runtimev1.PortForwardRequest) (*runtimev1.PortForwardResponse, error) {
	p, err := s.Manager.Pod(r.PodSandboxId)
	if err != nil {
		return nil, err
	}
	if phase := p.Status().Phase; phase != sandbox.PhaseReady {
		return nil, fmt.Errorf("pod sandbox %s is %s: %w", p.ID(), phase, sandbox.ErrPrecondition)
	}
	r.PodSandboxId = p.ID()
	u, err := s.Streams.url("portforward", r)
	return &runtimev1.PortForwardResponse{Url: u}, err
}

func (s *Server) running(id string) (*sandbox.Container, error) {
	c, err := s.Manager.Container(id)
	if err != nil {
		return nil, err
	}
	if phase := c.Status().Phase; phase != sandbox.PhaseRunning {
		return nil, fmt.Errorf("container %s is %s, not running: %w", c.ID(), phase, sandbox.ErrPrecondition)
	}
	return c, nil
}

func checkStreams(r interface {
	GetTty() bool
	GetStdin() bool
	GetStdout() bool
	GetStderr() bool
}) error {
	switch {
	case r.GetTty() && r.GetStderr():
		return invalid("tty and stderr cannot both be asked for: a terminal has one output")
	case !r.GetStdin() && !r.GetStdout() && !r.GetStderr():
		return invalid("one of stdin, stdout and stderr must be asked for")
	}
	return nil
}

// url keeps a request and gives the URL at which its streams are served.
func (s *Streams) url(kind string, request any) (string, error) {
	token, err := s.tokens.add(request)
	if err != nil {
		return "", err
	}
	return s.base.JoinPath(kind, token).String(), nil
}
