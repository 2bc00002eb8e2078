package stdio

import (
	"io"
	"os"
	"sync"
)

// Input is the stdin of a guest, which clients feed: a pipe or a terminal. Safe
// for concurrent use.
type Input struct {
	once bool   // the guest's input ends with its first client's
	end  []byte // what ends the input of a terminal; nil: closing does

	mu sync.Mutex
	to io.WriteCloser // nil once ended
}

// NewPipe makes an input and the descriptor from which the guest reads it.
func NewPipe(once bool) (in *Input, guest *os.File, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	return &Input{once: once, to: w}, r, nil
}

// Feed copies what a client says until its end; r stays the caller's, who can
// end it by closing r.
func (in *Input) Feed(r io.Reader) {
	in.mu.Lock()
	to := in.to
	in.mu.Unlock()
	if to == nil {
		return
	}
	io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{r}) // either end is an end
	if in.once {
		in.finish()
	}
}

// finish ends the guest's input.
func (in *Input) finish() {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case in.to == nil:
	case in.end != nil:
		in.to.Write(in.end)
	default:
		in.to.Close()
	}
	in.to = nil
}
