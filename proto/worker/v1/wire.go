package workerv1

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is the kind of every decoding error of this package.
var ErrMalformed = errors.New("malformed worker message")

// encoder appends fields to a flat message.
type encoder struct{ b []byte }

func (e *encoder) u16(v uint16)   { e.b = binary.LittleEndian.AppendUint16(e.b, v) }
func (e *encoder) u32(v uint32)   { e.b = binary.LittleEndian.AppendUint32(e.b, v) }
func (e *encoder) u64(v uint64)   { e.b = binary.LittleEndian.AppendUint64(e.b, v) }
func (e *encoder) bytes(v []byte) { e.u32(uint32(len(v))); e.b = append(e.b, v...) }
func (e *encoder) str(v string)   { e.u32(uint32(len(v))); e.b = append(e.b, v...) }

func (e *encoder) list(v [][]byte) {
	e.u32(uint32(len(v)))
	for _, s := range v {
		e.bytes(s)
	}
}

func (e *encoder) strs(v []string) {
	e.u32(uint32(len(v)))
	for _, s := range v {
		e.str(s)
	}
}

// decoder reads the fields again. The first error sticks, and every later read
// gives a zero value.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrMalformed, what)
	}
	d.b = nil
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail("truncated")
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) u16() uint16 {
	if v := d.take(2); v != nil {
		return binary.LittleEndian.Uint16(v)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if v := d.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if v := d.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

// bytes gives a view into the message, not a copy.
func (d *decoder) bytes() []byte { return d.take(int(d.u32())) }
func (d *decoder) str() string   { return string(d.bytes()) }

func (d *decoder) list() [][]byte {
	n := d.u32()
	if uint64(n)*4 > uint64(len(d.b)) { // each element has its length at least
		d.fail("list longer than the message")
		return nil
	}
	if n == 0 {
		return nil
	}
	v := make([][]byte, 0, n)
	for range n {
		v = append(v, d.bytes())
	}
	return v
}

func (d *decoder) strs() (v []string) {
	for _, s := range d.list() {
		v = append(v, string(s))
	}
	return v
}

// done reports the first error, or that bytes are left over.
func (d *decoder) done() error {
	if d.err == nil && len(d.b) != 0 {
		d.fail(fmt.Sprintf("%d bytes too many", len(d.b)))
	}
	return d.err
}
