package text

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// lines reads lines of any length. It is not safe for concurrent use.
type lines struct {
	r   *bufio.Reader
	end byte
	err error
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, 32<<10), end: '\n'} }

// next gives the next line without its end, valid until the next call. ended
// tells whether the end was there, which only the last line may lack.
func (l *lines) next() (line []byte, ended, ok bool) {
	line, err := l.r.ReadSlice(l.end)
	if errors.Is(err, bufio.ErrBufferFull) {
		whole := bytes.Clone(line)
		var rest []byte
		rest, err = l.r.ReadBytes(l.end)
		line = append(whole, rest...)
	}
	if err != nil && err != io.EOF {
		l.err = err
	}
	if len(line) == 0 {
		return nil, false, false
	}
	if line[len(line)-1] == l.end {
		return line[:len(line)-1], true, true
	}
	return line, false, true
}

// eachLine calls f with every line of r until f gives false.
func eachLine(r io.Reader, f func(line []byte, ended bool) bool) error {
	l := newLines(r)
	for {
		line, ended, ok := l.next()
		if !ok || !f(line, ended) {
			return l.err
		}
	}
}
