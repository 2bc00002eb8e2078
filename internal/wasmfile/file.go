package wasmfile

import (
	"errors"
	"fmt"
)

// ErrMalformed is the kind of every error about the content of a file.
var ErrMalformed = errors.New("malformed WebAssembly module")

// ErrNotModule is the kind of the error about a file that is no core module.
var ErrNotModule = errors.New("not a WebAssembly module")

// ValType is a value type in its binary form.
type ValType byte

// Value types of the standard.
const (
	I32       ValType = 0x7f
	I64       ValType = 0x7e
	F32       ValType = 0x7d
	F64       ValType = 0x7c
	V128      ValType = 0x7b
	FuncRef   ValType = 0x70
	ExternRef ValType = 0x6f
)

// FuncType is the signature of a function, one byte for each value.
type FuncType struct {
	Params  []ValType
	Results []ValType
}

// Hex gives params and results as hex digits, as workers list their imports.
func (t FuncType) Hex() (params, results string) {
	return hexTypes(t.Params), hexTypes(t.Results)
}

func hexTypes(list []ValType) string {
	b := make([]byte, 0, 2*len(list))
	for _, t := range list {
		b = fmt.Appendf(b, "%02x", byte(t))
	}
	return string(b)
}

// Extern is what is imported or exported.
type Extern byte

// Kinds of import and export.
const (
	Func   Extern = 0
	Table  Extern = 1
	Mem    Extern = 2
	Global Extern = 3
	Tag    Extern = 4
)

// String names the kind.
func (e Extern) String() string {
	switch e {
	case Func:
		return "function"
	case Table:
		return "table"
	case Mem:
		return "memory"
	case Global:
		return "global"
	case Tag:
		return "tag"
	}
	return fmt.Sprintf("extern %d", byte(e))
}

// Import is one thing that the module needs from outside.
type Import struct {
	Module string
	Name   string
	Kind   Extern
	Type   FuncType // of a function, when HasType
	// HasType is false for functions whose type is of a proposal that this
	// package does not know.
	HasType bool
	Memory  Memory // of a memory
}

// Export is one thing that the module offers.
type Export struct {
	Name  string
	Kind  Extern
	Index uint32
}

// Memory is a linear memory, imported or own.
type Memory struct {
	Min    uint64 // pages of 64 KiB
	Max    uint64 // when HasMax
	HasMax bool
	Shared bool
	Is64   bool
}

// PageSize is the size of a page of linear memory.
const PageSize = 64 << 10

// Features are proposals beyond the standard of 2019 that the sections betray.
// What only code shows (SIMD, tail calls) is known as far as the toolchain
// wrote it down.
type Features struct {
	Exceptions  bool // tags
	Memory64    bool
	Shared      bool // shared memory, that is threads
	MultiMemory bool
	SIMD        bool // v128 in a signature, or told by the toolchain
	GC          bool // types beyond functions
	CustomPages bool // page sizes other than 64 KiB
	// Target are the names that the toolchain wrote into the target_features
	// section, such as "simd128"; nil when there is none.
	Target []string
}

// Section is the place of a section's payload in the file.
type Section struct {
	Name   string // of a custom section
	Offset int64
	Size   int64
}

// File is what the sections say. Immutable after Parse.
type File struct {
	Size          int64
	Imports       []Import
	ImportedFuncs int
	Exports       []Export
	Memories      []Memory // own ones; imported ones are in Imports
	HasStart      bool     // runs code when it is instantiated
	Features      Features
	Customs       []Section
}

// Export finds an export by name and kind.
func (f *File) Export(name string, kind Extern) bool {
	for _, e := range f.Exports {
		if e.Name == name && e.Kind == kind {
			return true
		}
	}
	return false
}

// Memory gives the memory with index 0, imported or own.
func (f *File) Memory() (Memory, bool) {
	for _, i := range f.Imports {
		if i.Kind == Mem {
			return i.Memory, true
		}
	}
	if len(f.Memories) > 0 {
		return f.Memories[0], true
	}
	return Memory{}, false
}

// Custom finds the first custom section of the name; "name" holds the names of
// functions.
func (f *File) Custom(name string) (Section, bool) {
	for _, s := range f.Customs {
		if s.Name == name {
			return s, true
		}
	}
	return Section{}, false
}
