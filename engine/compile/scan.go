package compile

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// shape is what a worker must know of a module before it runs it.
type shape struct {
	importFuncs uint64 // they come first in the function index space
	hasStart    bool
	names       []byte // payload of the name section
}

const (
	sectionCustom = 0
	sectionImport = 2
	sectionMemory = 5
	sectionStart  = 8
	maxPages      = 65536
)

var errTruncated = errors.New("the module is truncated")

// scan walks the sections of a module that the engine will validate.
func scan(b []byte) (shape, error) {
	var s shape
	if len(b) < 8 || string(b[:4]) != "\x00asm" {
		return s, errors.New("not a WebAssembly module")
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != 1 {
		return s, fmt.Errorf("WebAssembly version %#x: a component or a newer format, not a core module", v)
	}
	for b = b[8:]; len(b) > 0; {
		id := b[0]
		size, rest, ok := uleb(b[1:])
		if !ok || size > uint64(len(rest)) {
			return s, errTruncated
		}
		if err := s.section(id, rest[:size]); err != nil {
			return s, err
		}
		b = rest[size:]
	}
	return s, nil
}

func (s *shape) section(id byte, b []byte) (err error) {
	switch id {
	case sectionCustom:
		if n, rest, ok := uleb(b); ok && n <= uint64(len(rest)) && string(rest[:n]) == "name" {
			s.names = rest[n:]
		}
	case sectionImport:
		s.importFuncs, err = countFuncs(b)
	case sectionMemory:
		err = checkMemory(b)
	case sectionStart:
		s.hasStart = true
	}
	return err
}

// countFuncs counts the imported functions.
func countFuncs(b []byte) (funcs uint64, err error) {
	r := reader{b: b}
	for n := r.uleb(); n > 0 && !r.bad; n-- {
		r.skip(r.uleb()) // module
		r.skip(r.uleb()) // name
		switch r.byte() {
		case 0: // function
			r.uleb()
			funcs++
		case 1: // table
			r.byte()
			r.limits()
		case 2: // memory
			r.limits()
		case 3: // global
			r.byte()
			r.byte()
		case 4: // tag
			r.byte()
			r.uleb()
		default:
			return 0, errors.New("the import section holds an unknown kind of import")
		}
	}
	if r.bad {
		return 0, errTruncated
	}
	return funcs, nil
}

// checkMemory refuses what crashes the engine instead of being refused by it.
func checkMemory(b []byte) error {
	r := reader{b: b}
	for n := r.uleb(); n > 0 && !r.bad; n-- {
		if r.limits() >= maxPages {
			return errors.New("a memory starts with the whole 4 GiB address space, which this engine cannot give")
		}
	}
	return nil
}

// reader reads a section; once it is bad it gives zeros.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uleb() uint64 {
	v, rest, ok := uleb(r.b)
	r.b = rest
	r.bad = r.bad || !ok
	return v
}

func (r *reader) skip(n uint64) {
	if n > uint64(len(r.b)) {
		r.bad = true
		r.b = nil
		return
	}
	r.b = r.b[n:]
}

// limits gives the minimum.
func (r *reader) limits() uint64 {
	flags := r.byte()
	least := r.uleb()
	if flags&1 != 0 {
		r.uleb()
	}
	return least
}

func uleb(b []byte) (v uint64, rest []byte, ok bool) {
	for i, c := range b {
		if i == 10 {
			break
		}
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, b[i+1:], true
		}
	}
	return 0, nil, false
}
