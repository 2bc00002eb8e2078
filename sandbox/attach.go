package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// AttachFiles are what a worker connects to its guest's streams: the read end
// of a pipe for stdin, write ends for the others. Nil: not wanted.
type AttachFiles struct{ Stdin, Stdout, Stderr *os.File }

// Attachment is the connection of one client to a guest's streams. Safe for
// concurrent use.
type Attachment interface {
	// Resize changes the size of the guest's terminal; nil when it has none.
	Resize(WindowSize) error
	// Close detaches: the guest goes on.
	Close() error
}

// AttachStreams are the streams of a client. Those of the guest that it does not
// want are nil. As in ExecStreams, a Read of Stdin is not waited for.
type AttachStreams struct {
	Stdin          io.Reader // ignored unless the container was created with stdin
	Stdout, Stderr io.Writer // with a terminal, all goes to Stdout
	Resize         <-chan WindowSize
}

// Attach connects a client to the streams of a running container until the
// container or ctx ends. Output of before is in the log only. A client that
// reads too slowly loses output, and is told so in its place: the guest never
// waits for it.
func (m *Manager) Attach(ctx context.Context, id string, s AttachStreams) error {
	c, err := m.Container(id)
	if err != nil {
		return err
	}
	proc, err := c.process()
	if err != nil {
		return err
	}
	if !c.Status().Config.Stdin {
		s.Stdin = nil
	}
	pipes, err := openPlainPipes(&ExecStreams{Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr})
	if err != nil {
		return err
	}
	defer pipes.close()
	guest := pipes.guest
	session, err := proc.Attach(ctx, AttachFiles{Stdin: guest[0], Stdout: guest[1], Stderr: guest[2]})
	if err != nil {
		return fmt.Errorf("attach to %s: %w", c.name(), err)
	}
	defer session.Close()
	pipes.start(&ExecStreams{Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr})
	ended := make(chan struct{})
	defer close(ended)
	if s.Resize != nil {
		go follow(session, s.Resize, ended)
	}
	return awaitGuest(ctx, proc, pipes.delivered())
}

// awaitGuest waits for the end of a guest, and of its output.
func awaitGuest(ctx context.Context, proc Process, delivered <-chan struct{}) error {
	for _, end := range []<-chan struct{}{proc.Done(), delivered} {
		select {
		case <-end:
		case <-ctx.Done():
			if err := ctx.Err(); !errors.Is(err, context.Canceled) {
				return err
			}
			return nil // the client has gone
		}
	}
	return nil
}

// resizer is a terminal, near or far.
type resizer interface{ Resize(WindowSize) error }

// follow gives a terminal the size of the client's.
func follow(t resizer, sizes <-chan WindowSize, ended <-chan struct{}) {
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			t.Resize(size) // a terminal that is gone needs no size
		case <-ended:
			return
		}
	}
}
