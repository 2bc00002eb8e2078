package unpack

import (
	"io"
	"sync"
)

// Chunks are large: each one handed over may wake a thread, which takes long on
// a busy machine.
const (
	chunkSize = 512 << 10
	chunks    = 4 // on their way
)

// spare keeps chunks between layers.
var spare = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// chunk is a piece of the layer: the first n bytes of b.
type chunk struct {
	b *[chunkSize]byte
	n int
}

// pipe hands the plain layer from the goroutine that decompresses it to the
// thread that writes it, so that both work at the same time. One writer, one
// reader.
type pipe struct {
	full chan chunk
	quit chan struct{} // closed when the reader has ended

	err  error // of the source; set before full is closed
	cur  chunk
	rest []byte // of cur
}

func newPipe() *pipe {
	return &pipe{full: make(chan chunk, chunks-2), quit: make(chan struct{})} // each side has one in hand
}

// fill reads r until it ends or the reader has.
func (p *pipe) fill(r io.Reader) {
	defer close(p.full)
	for {
		c := chunk{b: spare.Get().(*[chunkSize]byte)}
		n, err := readChunk(r, c.b[:])
		if c.n = n; n > 0 {
			select {
			case p.full <- c:
			case <-p.quit:
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				p.err = err
			}
			return
		}
	}
}

// readChunk fills b as far as it can. Unlike io.ReadFull it leaves the error of
// the source as it is.
func readChunk(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

// Read implements io.Reader for the thread.
func (p *pipe) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.cur.b != nil {
			spare.Put(p.cur.b)
			p.cur.b = nil
		}
		next, ok := <-p.full
		if !ok {
			if p.err != nil {
				return 0, p.err
			}
			return 0, io.EOF
		}
		p.cur, p.rest = next, next.b[:next.n]
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
