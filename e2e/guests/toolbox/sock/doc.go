// Package sock is TCP for the toolbox: listen, accept, dial, look up.
//
// In a guest it speaks the second version of the WasmEdge socket calls, which
// the imports of package wasip1 of other languages speak too, and gives the
// sockets to Go's poller, so that a blocked connection blocks only its
// goroutine. Package net would work as well, but makes the module a megabyte
// larger; elsewhere than in WASI, which is in tests, it does the work.
package sock

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// Conn is a connection. Reading and writing may happen at the same time.
type Conn interface {
	io.ReadWriteCloser
	CloseWrite() error
	SetReadDeadline(time.Time) error
}

// Listener accepts connections on one address.
type Listener interface {
	// Accept waits for a connection and tells whence it came. Its error is
	// final.
	Accept() (Conn, string, error)
	Close() error
}

// JoinPort writes a host and a port as one.
func JoinPort(host string, port uint16) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(port))
}

// SplitPort takes "host:port", "[host]:port", "host" and ":port" apart.
func SplitPort(text string, port uint16) (string, uint16, error) {
	host, number := text, ""
	switch i := strings.LastIndexByte(text, ':'); {
	case strings.HasPrefix(text, "["):
		end := strings.IndexByte(text, ']')
		if end < 0 {
			return "", 0, errors.New("missing ] in " + text)
		}
		host, number = text[1:end], strings.TrimPrefix(text[end+1:], ":")
	case i >= 0 && strings.Count(text, ":") == 1:
		host, number = text[:i], text[i+1:]
	}
	if number == "" {
		return host, port, nil
	}
	n, err := ParsePort(number)
	return host, n, err
}

// ParsePort parses a port number.
func ParsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, errors.New("bad port '" + text + "'")
	}
	return uint16(n), nil
}
