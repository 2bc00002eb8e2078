package unpack

import "io"

const (
	chunkSize = 128 << 10
	chunks    = 4 // on their way
)

// pipe hands the plain layer from the goroutine that decompresses it to the
// thread that writes it, so that both work at the same time. One writer, one
// reader.
type pipe struct {
	full  chan []byte
	empty chan []byte
	quit  chan struct{} // closed when the reader has ended

	err  error // of the source; set before full is closed
	rest []byte
	cur  []byte
}

func newPipe() *pipe {
	p := &pipe{full: make(chan []byte, chunks), empty: make(chan []byte, chunks), quit: make(chan struct{})}
	for range chunks {
		p.empty <- make([]byte, chunkSize)
	}
	return p
}

// fill reads r until it ends or the reader has.
func (p *pipe) fill(r io.Reader) {
	defer close(p.full)
	for {
		var b []byte
		select {
		case b = <-p.empty:
		case <-p.quit:
			return
		}
		n, err := readChunk(r, b)
		if n > 0 {
			p.full <- b[:n] // has room for all chunks
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
		if p.cur != nil {
			p.empty <- p.cur[:chunkSize]
			p.cur = nil
		}
		next, ok := <-p.full
		if !ok {
			if p.err != nil {
				return 0, p.err
			}
			return 0, io.EOF
		}
		p.cur, p.rest = next, next
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
