// Package wasmmod assembles small WebAssembly modules from Go values, for tests
// that need a module no compiler makes: one without _start, with an import that
// nobody offers, with a start section, or with a memory larger than the machine.
//
// A Module lists imports, functions, memory, data and exports; Encode gives its
// binary form. Nothing is validated: a test may want an invalid module. The
// format is https://webassembly.github.io/spec/core/binary/.
package wasmmod

import "encoding/binary"

// PageSize is the unit of linear memory.
const PageSize = 64 << 10

// The value types that the tests need.
const (
	I32 byte = 0x7f
	I64 byte = 0x7e
)

// The instructions that the tests need.
const (
	OpUnreachable byte = 0x00
	OpLoop        byte = 0x03
	OpEnd         byte = 0x0b
	OpBr          byte = 0x0c
	OpCall        byte = 0x10
	OpDrop        byte = 0x1a
	OpI32Const    byte = 0x41
	BlockEmpty    byte = 0x40
)

// Type is the signature of a function.
type Type struct {
	Params, Results []byte
}

// Import is a function that the host must offer.
type Import struct {
	Module, Name string
	Type         Type
}

// Func is a function of the module. Body ends with OpEnd, which Encode adds.
type Func struct {
	Name   string // exported under this name unless Hidden; in the name section always
	Type   Type
	Body   []byte
	Hidden bool
}

// Module is what Encode turns into bytes. Functions are numbered from the first
// import on.
type Module struct {
	Imports  []Import
	Funcs    []Func
	Pages    uint32 // minimum of the memory, exported as "memory"
	MaxPages uint32 // 0: none given
	Data     []byte // copied to address 0 of the memory
	Start    int    // index in Funcs of the start function plus 1; 0: none
}

// Encode gives the binary form of m.
func (m Module) Encode() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	types, index := m.types()
	out = section(out, 1, vector(types))
	out = section(out, 2, m.importSection(index))
	out = section(out, 3, m.funcSection(index))
	out = section(out, 5, m.memorySection())
	out = section(out, 7, m.exportSection())
	if m.Start > 0 {
		out = section(out, 8, uleb(uint64(len(m.Imports)+m.Start-1)))
	}
	out = section(out, 10, m.codeSection())
	out = section(out, 11, m.dataSection())
	return section(out, 0, m.nameSection())
}

// types gives one entry for each import and function; that some are equal does
// no harm.
func (m Module) types() (entries [][]byte, index func(i int) []byte) {
	add := func(t Type) {
		entry := append([]byte{0x60}, uleb(uint64(len(t.Params)))...)
		entry = append(entry, t.Params...)
		entry = append(entry, uleb(uint64(len(t.Results)))...)
		entries = append(entries, append(entry, t.Results...))
	}
	for _, i := range m.Imports {
		add(i.Type)
	}
	for _, f := range m.Funcs {
		add(f.Type)
	}
	return entries, func(i int) []byte { return uleb(uint64(i)) }
}

func (m Module) importSection(index func(int) []byte) []byte {
	var entries [][]byte
	for i, imp := range m.Imports {
		entry := append(name(imp.Module), name(imp.Name)...)
		entry = append(entry, 0x00)
		entries = append(entries, append(entry, index(i)...))
	}
	return vector(entries)
}

func (m Module) funcSection(index func(int) []byte) []byte {
	var entries [][]byte
	for i := range m.Funcs {
		entries = append(entries, index(len(m.Imports)+i))
	}
	return vector(entries)
}

func (m Module) memorySection() []byte {
	limits := []byte{0x00}
	if m.MaxPages > 0 {
		limits[0] = 0x01
	}
	limits = append(limits, uleb(uint64(m.Pages))...)
	if m.MaxPages > 0 {
		limits = append(limits, uleb(uint64(m.MaxPages))...)
	}
	return vector([][]byte{limits})
}

func (m Module) exportSection() []byte {
	entries := [][]byte{append(name("memory"), 0x02, 0x00)}
	for i, f := range m.Funcs {
		if !f.Hidden {
			entry := append(name(f.Name), 0x00)
			entries = append(entries, append(entry, uleb(uint64(len(m.Imports)+i))...))
		}
	}
	return vector(entries)
}

func (m Module) codeSection() []byte {
	var entries [][]byte
	for _, f := range m.Funcs {
		body := append([]byte{0x00}, f.Body...) // no locals
		body = append(body, OpEnd)
		entries = append(entries, append(uleb(uint64(len(body))), body...))
	}
	return vector(entries)
}

func (m Module) dataSection() []byte {
	if len(m.Data) == 0 {
		return nil
	}
	entry := []byte{0x00, OpI32Const, 0x00, OpEnd}
	entry = append(entry, uleb(uint64(len(m.Data)))...)
	return vector([][]byte{append(entry, m.Data...)})
}

func (m Module) nameSection() []byte {
	var entries [][]byte
	for i, f := range m.Funcs {
		entries = append(entries, append(uleb(uint64(len(m.Imports)+i)), name(f.Name)...))
	}
	functions := vector(entries)
	out := append(name("name"), 0x01)
	out = append(out, uleb(uint64(len(functions)))...)
	return append(out, functions...)
}

// section appends a section unless its content is empty.
func section(out []byte, id byte, content []byte) []byte {
	if len(content) == 0 {
		return out
	}
	out = append(out, id)
	out = append(out, uleb(uint64(len(content)))...)
	return append(out, content...)
}

// vector is empty when there are no entries, so that its section is left out.
func vector(entries [][]byte) []byte {
	if len(entries) == 0 {
		return nil
	}
	out := uleb(uint64(len(entries)))
	for _, e := range entries {
		out = append(out, e...)
	}
	return out
}

func name(s string) []byte {
	return append(uleb(uint64(len(s))), s...)
}

func uleb(v uint64) []byte {
	return binary.AppendUvarint(nil, v)
}

// Const is the instruction that pushes v.
func Const(v int32) []byte {
	out := []byte{OpI32Const}
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && b&0x40 == 0) || (v == -1 && b&0x40 != 0) {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

// Call is the instruction that calls the function with this number.
func Call(function int) []byte {
	return append([]byte{OpCall}, uleb(uint64(function))...)
}

// Code joins pieces of a body.
func Code(pieces ...[]byte) []byte {
	var out []byte
	for _, p := range pieces {
		out = append(out, p...)
	}
	return out
}
