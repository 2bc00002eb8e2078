package compile

import (
	"encoding/binary"
	"errors"
	"fmt"

	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// shape is what a worker must know of a module before it runs it.
type shape struct {
	importFuncs uint64 // they come first in the function index space
	names       []byte // payload of the name section

	hasStart  bool
	startFunc uint64
	startAt   span // of the start section, with its head
	exportsAt span // of the export section; empty when there is none
}

// span is a part of the module.
type span struct{ from, to int }

const (
	sectionCustom = 0
	sectionImport = 2
	sectionMemory = 5
	sectionExport = 7
	sectionStart  = 8
	maxPages      = 65536
)

var (
	errTruncated = errors.New("the module is truncated")
	errOrder     = errors.New("the sections of the module are out of order") // the engine would see them rewritten
)

// scan walks the sections of a module that the engine will validate.
func scan(b []byte) (shape, error) {
	var s shape
	if len(b) < 8 || string(b[:4]) != "\x00asm" {
		return s, errors.New("not a WebAssembly module")
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != 1 {
		return s, fmt.Errorf("WebAssembly version %#x: a component or a newer format, not a core module", v)
	}
	whole := len(b)
	for b = b[8:]; len(b) > 0; {
		id, from := b[0], whole-len(b)
		size, rest, ok := uleb(b[1:])
		if !ok || size > uint64(len(rest)) {
			return s, errTruncated
		}
		at := span{from, whole - len(rest) + int(size)}
		if err := s.section(id, rest[:size], at); err != nil {
			return s, err
		}
		b = rest[size:]
	}
	return s, nil
}

func (s *shape) section(id byte, b []byte, at span) (err error) {
	switch id {
	case sectionCustom:
		if n, rest, ok := uleb(b); ok && n <= uint64(len(rest)) && string(rest[:n]) == "name" {
			s.names = rest[n:]
		}
	case sectionImport:
		s.importFuncs, err = countFuncs(b)
	case sectionMemory:
		err = checkMemory(b)
	case sectionExport:
		if s.exportsAt != (span{}) || s.hasStart {
			return errOrder
		}
		s.exportsAt = at
	case sectionStart:
		if s.hasStart {
			return errOrder
		}
		r := reader{b: b}
		s.hasStart, s.startAt, s.startFunc = true, at, r.uleb()
		if r.bad {
			err = errTruncated
		}
	}
	return err
}

// withoutStart gives the module with its start function as an export instead:
// the engine gives no access to the memory of an instance before its start
// function has run, which a host call from there would need.
func (s *shape) withoutStart(module []byte) []byte {
	if !s.hasStart {
		return module
	}
	entry := appendUleb(nil, uint64(len(workerv1.StartExport)))
	entry = append(append(entry, workerv1.StartExport...), 0)
	entry = appendUleb(entry, s.startFunc)

	exports := s.exportsAt
	if exports == (span{}) { // the section stands just before that of the start
		exports = span{s.startAt.from, s.startAt.from}
	}
	out := append([]byte{}, module[:exports.from]...)
	out = appendSection(out, sectionExport, withEntry(module[exports.from:exports.to], entry))
	out = append(out, module[exports.to:s.startAt.from]...)
	return append(out, module[s.startAt.to:]...)
}

// withEntry gives the content of an export section with one entry more. The
// section has its head, or is empty.
func withEntry(section, entry []byte) []byte {
	if len(section) == 0 {
		return append([]byte{1}, entry...)
	}
	_, content, _ := uleb(section[1:])
	n, entries, _ := uleb(content)
	return append(append(appendUleb(nil, n+1), entries...), entry...)
}

func appendSection(b []byte, id byte, content []byte) []byte {
	return append(appendUleb(append(b, id), uint64(len(content))), content...)
}

func appendUleb(b []byte, v uint64) []byte {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
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
