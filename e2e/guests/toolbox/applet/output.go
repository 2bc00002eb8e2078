package applet

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

// Output is the buffered standard output of one run. A write that fails ends
// the run: see [Call].
type Output struct {
	sink io.Writer
	buf  *bufio.Writer
}

// brokenOutput is the panic that ends a run.
type brokenOutput struct{ err error }

// NewOutput gives an empty buffer in front of w.
func NewOutput(w io.Writer) *Output {
	return &Output{sink: w, buf: bufio.NewWriterSize(w, 8<<10)}
}

// Sink is what the buffer writes to.
func (o *Output) Sink() io.Writer { return o.sink }

// Write never gives an error: it ends the run instead.
func (o *Output) Write(p []byte) (int, error) {
	n, err := o.buf.Write(p)
	o.check(err)
	return n, nil
}

// WriteString is Write for strings.
func (o *Output) WriteString(s string) (int, error) {
	n, err := o.buf.WriteString(s)
	o.check(err)
	return n, nil
}

// WriteByte is Write for one byte.
func (o *Output) WriteByte(b byte) error {
	o.check(o.buf.WriteByte(b))
	return nil
}

// Printf formats as package fmt does.
func (o *Output) Printf(format string, args ...any) { fmt.Fprintf(o, format, args...) }

// Println writes s and a newline.
func (o *Output) Println(s string) {
	o.WriteString(s)
	o.WriteByte('\n')
}

// Flush hands everything to the sink.
func (o *Output) Flush() { o.check(o.buf.Flush()) }

func (o *Output) check(err error) {
	if err != nil {
		panic(brokenOutput{err})
	}
}

// openFile opens a file for reading, but not a directory, as reading one gives
// an errno only at the first read, or never.
func openFile(p string) (io.ReadCloser, error) {
	f, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close()
		return nil, errIsDirectory
	}
	return f, nil
}
