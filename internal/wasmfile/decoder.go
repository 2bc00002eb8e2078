package wasmfile

import (
	"errors"
	"unicode/utf8"
)

var (
	errTruncated = errors.New("truncated")
	errNumber    = errors.New("number is too long")
	errUTF8      = errors.New("name is not UTF-8")
)

// decoder reads the primitive forms. The first error sticks, and every later
// read gives a zero value.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail(errTruncated)
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) take(n int64) []byte {
	if n < 0 || n > int64(len(d.b)) {
		d.fail(errTruncated)
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) leb(maxBytes int, bits uint) uint64 {
	var v uint64
	for i := range maxBytes {
		c := d.byte()
		if d.err != nil {
			return 0
		}
		shift := uint(7 * i)
		if i == maxBytes-1 && c>>(bits-shift) != 0 {
			break
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	d.fail(errNumber)
	return 0
}

func (d *decoder) u32() uint32 { return uint32(d.leb(5, 32)) }
func (d *decoder) u64() uint64 { return d.leb(10, 64) }

// s33 skips a signed number of up to 33 bits.
func (d *decoder) s33() {
	for range 5 {
		if c := d.byte(); c < 0x80 {
			return
		}
	}
	d.fail(errNumber)
}

func (d *decoder) str() string {
	b := d.take(int64(d.u32()))
	if !utf8.Valid(b) {
		d.fail(errUTF8)
		return ""
	}
	return string(b)
}
