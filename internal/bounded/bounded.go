// Package bounded keeps what programs write within bounds.
package bounded

// Buffer keeps the first bytes of what is written and drops the rest. Not safe for
// concurrent use.
//
// It embeds no bytes.Buffer: that has ReadFrom, by which io.Copy, and with it
// os/exec, would go round the bound.
type Buffer struct {
	data    []byte
	max     int
	dropped bool
}

// New makes a buffer for so many bytes.
func New(max int) *Buffer { return &Buffer{max: max} }

// Write takes all of p and keeps what there is room for.
func (b *Buffer) Write(p []byte) (int, error) {
	kept := min(len(p), b.max-len(b.data))
	b.data = append(b.data, p[:kept]...)
	b.dropped = b.dropped || kept < len(p)
	return len(p), nil
}

// Bytes is what was kept, until the next Write.
func (b *Buffer) Bytes() []byte { return b.data }

func (b *Buffer) String() string { return string(b.data) }

// Dropped says whether there was more.
func (b *Buffer) Dropped() bool { return b.dropped }
