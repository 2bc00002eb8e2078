package worker

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/stdio"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/hostsys"
	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// streams are the standard streams of the guest and who is at their other ends:
//
//	guest stdout, stderr -> output -> log
//	                               -> clients
//	guest terminal <-> master      -> output
//	      clients -> input -> guest stdin, or master
//
// Those of an exec are descriptors that the daemon serves.
type streams struct {
	log      *stdio.Log      // nil: no CRI log
	terminal *stdio.Terminal // nil: none
	input    *stdio.Input    // nil: nobody can feed stdin
	stdout   stdio.Fanout
	stderr   stdio.Fanout
	ended    atomic.Bool // the guest writes no more
}

// farewell is how long attached clients may take for the last output.
const farewell = time.Second

// output is one stream of a guest.
type output struct {
	log     *stdio.Stream // nil: none
	clients *stdio.Fanout
}

// Write never fails and never waits for a client.
func (o output) Write(p []byte) (int, error) {
	if o.log != nil {
		o.log.Write(p)
	}
	return o.clients.Write(p)
}

func (w *worker) openStreams(c *hostsys.Config) error {
	s := w.start
	if isOpen(workerv1.FDLog) {
		w.streams.log = stdio.NewLog(os.NewFile(workerv1.FDLog, "log"))
	}
	stdout := w.streams.output("stdout", &w.streams.stdout)
	stderr := w.streams.output("stderr", &w.streams.stderr)
	if isOpen(workerv1.FDTerminal) {
		if err := w.openTerminal(stdout); err != nil {
			return err
		}
	}
	var err error
	if c.Stdin, err = w.openStdin(); err != nil {
		return err
	}
	c.Stdout, c.Stderr = outStream(s.Stdout, 1, stdout), outStream(s.Stderr, 2, stderr)
	return nil
}

func (s *streams) output(name string, clients *stdio.Fanout) output {
	o := output{clients: clients}
	if s.log != nil {
		o.log = s.log.Stream(name)
	}
	return o
}

// outStream is a stream of the guest: the descriptor that it was given, else
// what log and clients get.
func outStream(kind workerv1.Stdio, fd int, o output) hostsys.Stream {
	if kind == workerv1.StdioFD {
		return hostsys.Stream{FD: fd}
	}
	return hostsys.Stream{Writer: o}
}

func (w *worker) openTerminal(out output) error {
	if err := unix.SetNonblock(workerv1.FDTerminal, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	w.streams.terminal = stdio.NewTerminal(os.NewFile(workerv1.FDTerminal, "terminal"), out)
	w.streams.input = w.streams.terminal.Input(w.start.StdinOnce)
	return nil
}

func (w *worker) openStdin() (hostsys.Stream, error) {
	switch w.start.Stdin {
	case workerv1.StdioFD:
		return hostsys.Stream{FD: 0}, nil
	case workerv1.StdioPipe:
		in, guest, err := stdio.NewPipe(w.start.StdinOnce)
		if err != nil {
			return hostsys.Null, err
		}
		w.streams.input = in
		fd, err := unix.Dup(int(guest.Fd())) // the guest's from here on
		guest.Close()
		return hostsys.Stream{FD: fd}, os.NewSyscallError("dup", err)
	}
	return hostsys.Null, nil
}

func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

// closeLog ends the guest's output and completes the log.
func (s *streams) closeLog() error {
	if s.terminal != nil {
		for fd := range 3 { // the last writers: then the terminal has an end
			unix.Close(fd)
		}
		s.terminal.Drain()
	}
	if s.log == nil {
		return nil
	}
	return s.log.Close()
}

// closeClients gives clients the rest and lets them go.
func (s *streams) closeClients() {
	until := time.Now().Add(farewell)
	s.stdout.Close(until)
	s.stderr.Close(until)
}

// session is an attached client.
type session struct {
	terminal *stdio.Terminal // nil: none
	stdin    *os.File        // nil: none
	outputs  []*stdio.Client
}

// attach takes the descriptors: of stdin a read end, of the others write ends.
// Once the guest has ended nobody is taken: the output that a client came for is
// in the log.
func (s *streams) attach(a workerv1.Attach, fds []int) (*session, error) {
	files := make([]*os.File, 0, len(fds))
	for _, fd := range fds {
		unix.SetNonblock(fd, true) // fails for what is no descriptor only
		files = append(files, os.NewFile(uintptr(fd), "client"))
	}
	take := func(wanted bool) (f *os.File) {
		if wanted {
			f, files = files[0], files[1:]
		}
		return f
	}
	c := &session{terminal: s.terminal, stdin: take(a.Stdin)}
	if f := take(a.Stdout); f != nil {
		c.outputs = append(c.outputs, s.stdout.Add(f))
	}
	if f := take(a.Stderr); f != nil {
		c.outputs = append(c.outputs, s.stderr.Add(f))
	}
	if s.ended.Load() { // asked last: closeClients sees who came before
		c.close()
		return nil, fmt.Errorf("the guest has ended: %w", unix.ESHUTDOWN)
	}
	if c.stdin != nil {
		go func() {
			defer c.stdin.Close() // the client learns that nobody reads
			if s.input != nil {
				s.input.Feed(c.stdin)
			}
		}()
	}
	return c, nil
}

// serve does what the client asks until its connection ends, and then detaches
// it.
func (c *session) serve(conn int) {
	unix.SetNonblock(conn, true)
	f := os.NewFile(uintptr(conn), "session")
	defer f.Close()
	b := make([]byte, workerv1.MaxControl)
	for {
		n, err := f.Read(b)
		if err != nil || n == 0 {
			break
		}
		c.handle(b[:n])
	}
	c.close()
}

func (c *session) close() {
	if c.stdin != nil {
		c.stdin.Close()
	}
	for _, o := range c.outputs {
		o.Close()
	}
}

func (c *session) handle(message []byte) {
	r, err := workerv1.DecodeRequest(message)
	if err != nil || r.Op != workerv1.OpResize || c.terminal == nil {
		return
	}
	if size, err := workerv1.DecodeResize(r.Data); err == nil {
		c.terminal.Resize(size.Rows, size.Cols) // a terminal that is gone needs no size
	}
}
