package sandbox

import (
	"errors"
	"io"
	"os"
	"sync"
)

// execPipes is what stands between the streams of a client and a guest. Each
// method but close is called once, in their order.
type execPipes interface {
	// give puts the guest's side into the spec.
	give(*ProcessSpec)
	// start closes the guest's side, which the guest has by now, and begins to
	// copy.
	start(*ExecStreams)
	// delivered is closed when all that the guest wrote has been delivered.
	delivered() <-chan struct{}
	// close ends what is still under way. It may be called again.
	close() error
}

func (m *Manager) openExecPipes(s *ExecStreams) (execPipes, error) {
	if !s.TTY {
		return openPlainPipes(s)
	}
	t, err := m.Launcher.OpenTerminal()
	if err != nil {
		return nil, err
	}
	return &terminalPipes{terminal: t, copied: make(chan struct{}), closed: make(chan struct{})}, nil
}

// plainPipes is a pipe for each stream that there is.
type plainPipes struct {
	guest [3]*os.File // by descriptor; nil: none
	ours  [3]*os.File
	done  chan struct{}
}

func openPlainPipes(s *ExecStreams) (*plainPipes, error) {
	p := &plainPipes{done: make(chan struct{})}
	for fd, wanted := range []bool{s.Stdin != nil, s.Stdout != nil, s.Stderr != nil} {
		if !wanted {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return nil, errors.Join(err, p.closeGuest(), p.close())
		}
		p.guest[fd], p.ours[fd] = w, r
		if fd == 0 {
			p.guest[fd], p.ours[fd] = r, w
		}
	}
	return p, nil
}

func (p *plainPipes) give(spec *ProcessSpec) {
	spec.Stdin, spec.Stdout, spec.Stderr = p.guest[0], p.guest[1], p.guest[2]
}

func (p *plainPipes) start(s *ExecStreams) {
	p.closeGuest() // else the guest's end would not be the end of its output
	if p.ours[0] != nil {
		go feed(p.ours[0], s.Stdin)
	}
	var outputs sync.WaitGroup
	for fd, to := range []io.Writer{1: s.Stdout, 2: s.Stderr} {
		if from := p.ours[fd]; fd > 0 && from != nil {
			outputs.Go(func() { deliver(to, from) })
		}
	}
	go func() {
		outputs.Wait()
		close(p.done)
	}()
}

func (p *plainPipes) delivered() <-chan struct{} { return p.done }

func (p *plainPipes) closeGuest() error { return closeAll(&p.guest) }

func (p *plainPipes) close() error {
	return errors.Join(p.closeGuest(), closeAll(&p.ours))
}

func closeAll(files *[3]*os.File) error {
	var errs []error
	for _, f := range files {
		if f == nil {
			continue
		}
		if err := f.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// feed copies a client's input until its end, which is then the guest's. When
// the guest wants no more, the rest is read all the same: a client's streams
// share a connection, which must not stand still.
func feed(w io.WriteCloser, r io.Reader) {
	defer w.Close()
	if _, err := io.Copy(struct{ io.Writer }{w}, r); err != nil {
		w.Close()
		io.Copy(io.Discard, r)
	}
}

// deliver copies a guest's output until its end. When the client has gone the
// rest is dropped, and the guest does not notice.
func deliver(w io.Writer, r io.Reader) {
	if _, err := io.Copy(w, struct{ io.Reader }{r}); err != nil {
		io.Copy(io.Discard, r)
	}
}

// terminalPipes is a pseudo terminal.
type terminalPipes struct {
	terminal Terminal
	copied   chan struct{}
	once     sync.Once
	closed   chan struct{}
}

func (p *terminalPipes) give(spec *ProcessSpec) {
	slave := p.terminal.Slave()
	spec.Terminal, spec.Stdin, spec.Stdout, spec.Stderr = true, slave, slave, slave
}

func (p *terminalPipes) start(s *ExecStreams) {
	p.terminal.CloseSlave()
	if s.Stdin != nil {
		go typeInto(p.terminal, s.Stdin)
	}
	if s.Resize != nil {
		go follow(p.terminal, s.Resize, p.closed)
	}
	out := s.Stdout
	if out == nil {
		out = io.Discard
	}
	go func() {
		defer close(p.copied)
		deliver(out, p.terminal)
	}()
}

func (p *terminalPipes) delivered() <-chan struct{} { return p.copied }

func (p *terminalPipes) close() (err error) {
	p.once.Do(func() {
		close(p.closed)
		err = errors.Join(p.terminal.CloseSlave(), p.terminal.Close())
	})
	return err
}

// typeInto copies a client's input to a terminal. A terminal stays open at the
// end of the input; what ends the guest's is the character for it, twice when a
// line has begun.
func typeInto(w io.Writer, r io.Reader) {
	const endOfTransmission = 4
	last := lastByte{Writer: w, b: '\n'}
	if _, err := io.Copy(&last, r); err != nil {
		io.Copy(io.Discard, r)
		return
	}
	end := []byte{endOfTransmission, endOfTransmission}
	if last.b == '\n' || last.b == '\r' {
		end = end[:1]
	}
	w.Write(end)
}

// lastByte remembers the last byte written.
type lastByte struct {
	io.Writer
	b byte
}

func (l *lastByte) Write(p []byte) (int, error) {
	if len(p) > 0 {
		l.b = p[len(p)-1]
	}
	return l.Writer.Write(p)
}
