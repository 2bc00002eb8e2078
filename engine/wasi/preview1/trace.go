package preview1

import (
	"encoding/binary"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// A trace has one line for each call of a guest:
//
//	path_open(fd=3, dirflags=follow, path="etc/hosts", oflags=0x0, rights=0x0, inheriting=0x0, fdflags=0x0) = success fd=4 <0.000021>
//
// The time is what the call took, in seconds. A call that does not return, as
// an endless wait, has no line.

// Traced gives a function that does what call does, and writes a line to w for
// each call, in one Write. Errors of w are lost: a trace must not disturb the
// guest.
func Traced(name string, params int, call Func, w io.Writer) Func {
	t := &tracer{name: name, signature: signatureOf(name, params), w: w}
	return func(h *Host, mem []byte, args []uint64) wasi.Errno {
		t.before(mem, args)
		start := time.Now()
		errno := call(h, mem, args)
		t.after(mem, args, errno, time.Since(start))
		return errno
	}
}

// tracer writes the lines of one function. Not safe for concurrent use.
type tracer struct {
	name      string
	signature []field
	w         io.Writer
	line      []byte
}

// field is one part of a call's line.
type field struct {
	name   string
	kind   byte
	result bool
}

// Kinds of fields. Each takes one argument, where nothing else is said.
const (
	kindNumber = 'd'
	kindSigned = 'i'
	kindHex    = 'x'
	kindFollow = 'l'
	kindString = 's' // two arguments: pointer and length
	kindVector = 'v' // two arguments: pointer and count
	kindU16    = '2' // of a result: the argument points to the value
	kindU32    = '4'
	kindU64    = '8'
)

func arguments(kind byte) int {
	if kind == kindString || kind == kindVector {
		return 2
	}
	return 1
}

// signatureOf parses the signature that has so many arguments; nil when there
// is none.
func signatureOf(name string, params int) []field {
	for _, s := range signatures {
		words := strings.Fields(s)
		if words[0] != name {
			continue
		}
		list, n := []field{}, 0
		for _, word := range words[1:] {
			label, kind, _ := strings.Cut(word, ":")
			f := field{name: strings.TrimPrefix(label, ">"), kind: kind[0], result: label[0] == '>'}
			list, n = append(list, f), n+arguments(f.kind)
		}
		if n == params {
			return list
		}
	}
	return nil
}

// before writes what the guest gave, while it is there.
func (t *tracer) before(mem []byte, args []uint64) {
	t.line = append(append(t.line[:0], t.name...), '(')
	if t.signature == nil {
		t.raw(args)
		return
	}
	first := true
	for _, f := range t.signature {
		if !f.result {
			if !first {
				t.line = append(t.line, ", "...)
			}
			first = false
			t.line = append(append(t.line, f.name...), '=')
			t.value(f.kind, mem, args)
		}
		args = args[arguments(f.kind):]
	}
	t.line = append(t.line, ')')
}

func (t *tracer) raw(args []uint64) {
	for i, a := range args {
		if i > 0 {
			t.line = append(t.line, ", "...)
		}
		t.hex(a)
	}
	t.line = append(t.line, ')')
}

// after writes what came of the call.
func (t *tracer) after(mem []byte, args []uint64, errno wasi.Errno, took time.Duration) {
	t.line = append(append(t.line, " = "...), errno.String()...)
	for _, f := range t.signature {
		if f.result && errno == 0 {
			t.line = append(append(append(t.line, ' '), f.name...), '=')
			t.result(f.kind, memory(mem), args[0])
		}
		args = args[arguments(f.kind):]
	}
	t.line = append(t.line, " <"...)
	t.line = strconv.AppendFloat(t.line, took.Seconds(), 'f', 6, 64)
	t.line = append(t.line, ">\n"...)
	t.w.Write(t.line)
}

func (t *tracer) hex(v uint64) {
	t.line = strconv.AppendUint(append(t.line, "0x"...), v, 16)
}

func (t *tracer) value(kind byte, mem []byte, args []uint64) {
	switch kind {
	case kindNumber:
		t.line = strconv.AppendUint(t.line, args[0], 10)
	case kindSigned:
		t.line = strconv.AppendInt(t.line, int64(args[0]), 10)
	case kindFollow:
		if args[0] == uint64(wasi.LookupSymlinkFollow) {
			t.line = append(t.line, "follow"...)
			return
		}
		t.hex(args[0])
	case kindString:
		t.str(mem, args[0], args[1])
	case kindVector:
		t.vectors(mem, args[0], args[1])
	default:
		t.hex(args[0])
	}
}

// str writes a string, cut where it is long.
func (t *tracer) str(mem []byte, ptr, n uint64) {
	const most = 256
	b, ok := memory(mem).span(ptr, min(n, most))
	if !ok {
		t.line = append(t.line, "fault"...)
		return
	}
	t.line = strconv.AppendQuote(t.line, string(b))
	if n > most {
		t.line = append(t.line, "..."...)
	}
}

// vectors writes the sizes of the first few.
func (t *tracer) vectors(mem []byte, ptr, n uint64) {
	const most = 8
	shown := min(n, most)
	b, ok := memory(mem).span(ptr, shown*8)
	if !ok {
		t.line = append(t.line, "fault"...)
		return
	}
	t.line = append(t.line, '[')
	for i := range shown {
		if i > 0 {
			t.line = append(t.line, ' ')
		}
		t.line = strconv.AppendUint(t.line, uint64(binary.LittleEndian.Uint32(b[8*i+4:])), 10)
	}
	if n > most {
		t.line = append(t.line, " ..."...)
	}
	t.line = append(t.line, ']')
}

// result writes the value that an argument points to.
func (t *tracer) result(kind byte, m memory, ptr uint64) {
	size := map[byte]uint64{kindU16: 2, kindU32: 4, kindU64: 8}[kind]
	b, ok := m.span(ptr, size)
	if !ok || size == 0 {
		t.hex(ptr)
		return
	}
	var wide [8]byte
	copy(wide[:], b)
	t.line = strconv.AppendUint(t.line, binary.LittleEndian.Uint64(wide[:]), 10)
}
