// Package trace writes one line for each WASI call of a guest: the name, the
// decoded arguments, the errno, the results and how long it took.
//
//	path_open(fd=3, flags=follow, path="etc/hosts", ...) = success opened=4 <11µs>
//
// A Tracer wraps the functions of a guest's imports when they are bound, so
// that a guest that is not traced pays nothing. Lines quote what the guest
// reads and writes, its beginning at least: a trace is as secret as the data.
package trace

import (
	"bytes"
	"io"
	"strconv"
	"time"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/preview1"
)

// Tracer writes the calls of one guest. It is not safe for concurrent use; a
// guest calls from one thread.
type Tracer struct {
	w    io.Writer
	now  func() time.Time
	line []byte
}

// New makes a Tracer that writes each line to w by one Write. Errors of w are
// ignored: a full disk must not end a guest.
func New(w io.Writer) *Tracer { return &Tracer{w: w, now: time.Now} }

// Wrap gives a function that calls f and writes a line about it.
func (t *Tracer) Wrap(module, name string, params []byte, f preview1.Func) preview1.Func {
	list := paramsOf(module, name, params)
	return func(h *preview1.Host, mem []byte, args []uint64) wasi.Errno {
		t.begin(name)
		t.arguments(list, mem, args)
		start := t.now()
		errno := f(h, mem, args)
		t.end(list, mem, args, errno, t.now().Sub(start))
		return errno
	}
}

func (t *Tracer) begin(name string) { t.line = append(append(t.line[:0], name...), '(') }

func (t *Tracer) arguments(list []param, mem memory, args []uint64) {
	first := true
	for _, p := range list {
		if p.out() {
			continue
		}
		if !first {
			t.line = append(t.line, ", "...)
		}
		first = false
		t.line = append(append(t.line, p.name...), '=')
		t.line = p.appendIn(t.line, mem, args)
	}
}

func (t *Tracer) end(list []param, mem memory, args []uint64, errno wasi.Errno, took time.Duration) {
	t.line = append(t.line, ") = "...)
	t.line = append(t.line, errno.String()...)
	if errno == 0 {
		for _, p := range list {
			t.line = p.appendOut(t.line, mem, args)
		}
	}
	t.line = append(t.line, " <"...)
	t.line = strconv.AppendInt(t.line, took.Microseconds(), 10)
	t.line = append(t.line, "µs>\n"...)
	t.w.Write(t.line)
}

// quote appends at most 32 bytes as a Go string, with dots when there is more.
func quote(line, data []byte) []byte {
	const most = 32
	cut := data[:min(len(data), most)]
	line = strconv.AppendQuote(line, string(bytes.ToValidUTF8(cut, []byte("\ufffd"))))
	if len(data) > most {
		line = append(line, "..."...)
	}
	return line
}
