package shell

import (
	"io"
	"sync"
	"syscall"
)

const pipeSize = 64 << 10

// pipe is what pipe(2) makes: a bounded buffer with two ends. Writing after the
// reader has gone is EPIPE.
type pipe struct {
	mu         sync.Mutex
	change     sync.Cond
	buf        []byte
	writerGone bool
	readerGone bool
}

func newPipe() (*pipeReader, *pipeWriter) {
	p := &pipe{}
	p.change.L = &p.mu
	return &pipeReader{p}, &pipeWriter{p}
}

type pipeReader struct{ p *pipe }

type pipeWriter struct{ p *pipe }

func (r *pipeReader) Read(b []byte) (int, error) {
	p := r.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(b) == 0 {
		return 0, nil
	}
	for len(p.buf) == 0 && !p.writerGone && !p.readerGone {
		p.change.Wait()
	}
	if p.readerGone {
		return 0, syscall.EBADF
	}
	if len(p.buf) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.buf)
	p.buf = p.buf[n:]
	if len(p.buf) == 0 {
		p.buf = nil
	}
	p.change.Broadcast()
	return n, nil
}

func (w *pipeWriter) Write(b []byte) (int, error) {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	written := 0
	for len(b) > 0 {
		for len(p.buf) >= pipeSize && !p.readerGone && !p.writerGone {
			p.change.Wait()
		}
		if p.readerGone || p.writerGone {
			return written, syscall.EPIPE
		}
		n := min(len(b), pipeSize-len(p.buf))
		p.buf = append(p.buf, b[:n]...)
		b = b[n:]
		written += n
		p.change.Broadcast()
	}
	return written, nil
}

// Close lets the writer fail from now on.
func (r *pipeReader) Close() error {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	r.p.readerGone, r.p.buf = true, nil
	r.p.change.Broadcast()
	return nil
}

// Close lets the reader see the end after what is buffered.
func (w *pipeWriter) Close() error {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	w.p.writerGone = true
	w.p.change.Broadcast()
	return nil
}
