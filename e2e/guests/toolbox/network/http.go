package network

import (
	"bufio"
	"errors"
	"io"
	"strconv"
	"strings"
)

// header is what stands before a body in HTTP/1: a first line and fields.
type header struct {
	first  string
	fields map[string]string // by lower-case name; the last one counts
}

const maxHeader = 64 << 10

var errBadHeader = errors.New("bad HTTP header")

// readHeader reads up to the empty line. io.EOF means that nothing came.
func readHeader(r *bufio.Reader) (header, error) {
	h := header{fields: map[string]string{}}
	for size := 0; ; {
		line, err := r.ReadString('\n')
		if err == io.EOF && line == "" && h.first == "" {
			return h, io.EOF
		}
		if err != nil {
			return h, errBadHeader
		}
		if size += len(line); size > maxHeader {
			return h, errBadHeader
		}
		line = strings.TrimRight(line, "\r\n")
		switch {
		case line == "" && h.first == "":
			continue // a stray empty line before a request is allowed
		case line == "":
			return h, nil
		case h.first == "":
			h.first = line
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return h, errBadHeader
		}
		h.fields[strings.ToLower(name)] = strings.TrimSpace(value)
	}
}

func (h header) has(name, word string) bool {
	for part := range strings.SplitSeq(h.fields[name], ",") {
		if strings.EqualFold(strings.TrimSpace(part), word) {
			return true
		}
	}
	return false
}

// body is what follows the header: chunked, of known length, or up to the end
// when open is true and nothing else is said.
func (h header) body(r *bufio.Reader, open bool) (io.Reader, error) {
	if h.has("transfer-encoding", "chunked") {
		return &chunks{r: r}, nil
	}
	text, ok := h.fields["content-length"]
	if !ok {
		if open {
			return r, nil
		}
		return strings.NewReader(""), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return nil, errBadHeader
	}
	return &exactly{r: r, left: n}, nil
}

// exactly reads a known number of bytes; fewer are an error.
type exactly struct {
	r    io.Reader
	left int64
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	if e.left -= int64(n); err == io.EOF && e.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// chunks reads a chunked body.
type chunks struct {
	r    *bufio.Reader
	left int64
	end  bool
}

func (c *chunks) Read(p []byte) (int, error) {
	if c.left == 0 && !c.end {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if c.end {
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	if c.left -= int64(n); c.left == 0 && err == nil {
		_, err = c.r.ReadString('\n') // the line end of the chunk
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (c *chunks) next() error {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return io.ErrUnexpectedEOF
	}
	size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
	if c.left, err = strconv.ParseInt(size, 16, 64); err != nil || c.left < 0 {
		return errBadHeader
	}
	if c.left > 0 {
		return nil
	}
	for { // trailers
		line, err := c.r.ReadString('\n')
		if err != nil || strings.TrimSpace(line) == "" {
			c.end = true
			return nil
		}
	}
}
