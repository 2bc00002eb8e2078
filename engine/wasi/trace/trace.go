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
	"sync"
	"time"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/preview1"
)

// Tracer writes the calls of one guest, which makes them one after the other.
// End and Note may come from elsewhere while a call is under way.
type Tracer struct {
	w     io.Writer
	now   func() time.Time
	mark  string // begins each line
	dated bool

	mu    sync.Mutex // not held while a call is under way
	line  []byte
	inner bool // a call is under way: line has its beginning
	ended bool
}

// New makes a Tracer that writes each line to w by one Write. Errors of w are
// ignored: a full disk must not end a guest.
func New(w io.Writer) *Tracer { return &Tracer{w: w, now: time.Now} }

// NewDated makes a Tracer whose lines begin with the time and, in brackets, a
// mark unless that is empty.
func NewDated(w io.Writer, mark string) *Tracer {
	if mark != "" {
		mark = "[" + mark + "] "
	}
	return &Tracer{w: w, now: time.Now, mark: mark, dated: true}
}

// Wrap gives a function that calls f and writes a line about it.
func (t *Tracer) Wrap(module, name string, params []byte, f preview1.Func) preview1.Func {
	list := paramsOf(module, name, params)
	return func(h *preview1.Host, mem []byte, args []uint64) wasi.Errno {
		start := t.begin(name, list, mem, args)
		errno := f(h, mem, args)
		t.end(list, mem, args, errno, start)
		return errno
	}
}

// Note writes a line that is no call.
func (t *Tracer) Note(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	line := append(t.prefix(nil, t.now()), "# "...)
	t.w.Write(append(append(line, text...), '\n'))
}

// End writes what is known of a call that is under way, which will not return:
// the process ends. Later calls leave no lines.
func (t *Tracer) End() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inner && !t.ended {
		t.w.Write(append(t.line, ") = ?\n"...))
	}
	t.ended = true
}

func (t *Tracer) begin(name string, list []param, mem memory, args []uint64) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	start := t.now()
	t.line = append(append(t.prefix(t.line[:0], start), name...), '(')
	t.arguments(list, mem, args)
	t.inner = true
	return start
}

func (t *Tracer) prefix(line []byte, at time.Time) []byte {
	if t.dated {
		line = append(at.UTC().AppendFormat(line, "2006-01-02T15:04:05.000000000Z"), ' ')
	}
	return append(line, t.mark...)
}

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

func (t *Tracer) end(list []param, mem memory, args []uint64, errno wasi.Errno, start time.Time) {
	took := t.now().Sub(start)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inner = false
	if t.ended {
		return
	}
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
