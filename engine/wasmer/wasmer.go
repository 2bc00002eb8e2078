// Package wasmer runs one WebAssembly instance per process on libwasmer 2.0.0.
//
// The library comes with github.com/wasmerio/wasmer-go, whose Go interface is
// not used on the run path: it leaks at every host call and frees a trap twice
// when a host function fails. The shim in shim.c drives libwasmer directly.
// State is global because a worker is one guest, and because a constructor
// (package entry) loads and instantiates before the Go runtime exists.
//
// Nothing here is safe for concurrent use: the guest runs on one thread.
package wasmer

/*
#cgo CFLAGS: -O2 -Wall -Wextra -Wno-unused-parameter
#include <stdlib.h>
#include "shim.h"
#include "wasmapi.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	_ "github.com/wasmerio/wasmer-go/wasmer" // links libwasmer
)

// Compiler turns WebAssembly into machine code.
type Compiler string

const (
	Cranelift  Compiler = "cranelift"  // good code
	Singlepass Compiler = "singlepass" // quick compilation; neither SIMD nor multi-value
)

var compilers = map[Compiler]C.int{Cranelift: C.CW_CRANELIFT, Singlepass: C.CW_SINGLEPASS}

// ErrCompile is the kind of a module that the engine refuses.
var ErrCompile = errors.New("module cannot be compiled")

// Version is that of libwasmer.
func Version() string { return C.GoString(C.wasmer_version()) }

// Compilers lists what this libwasmer can do, the default first.
func Compilers() []Compiler {
	var list []Compiler
	for _, c := range []Compiler{Cranelift, Singlepass} {
		if C.wasmer_is_compiler_available(compilers[c]) {
			list = append(list, c)
		}
	}
	return list
}

// CPUFeatures are the extensions of the processor on which compiled code may
// depend. The numbers mean nothing but sameness.
func CPUFeatures() []uint32 {
	var words [C.CW_CPU_WORDS]C.uint32_t
	n := C.cw_cpu_features(&words[0])
	list := make([]uint32, n)
	for i := range list {
		list[i] = uint32(words[i])
	}
	return list
}

// Compile gives the serialized machine code of a module, which Load takes. The
// error is of kind ErrCompile. A process compiles with one compiler only.
func Compile(module []byte, c Compiler) ([]byte, error) {
	id, ok := compilers[c]
	if !ok {
		return nil, fmt.Errorf("unknown compiler %q: use cranelift or singlepass", c)
	}
	if len(module) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrCompile)
	}
	var (
		text errText
		out  *C.uint8_t
		n    C.size_t
	)
	if C.cw_compile((*C.uint8_t)(unsafe.Pointer(&module[0])), C.size_t(len(module)), id, &out, &n, &text[0], C.size_t(len(text))) != 0 {
		return nil, fmt.Errorf("%w: %s", ErrCompile, text.String())
	}
	defer C.cw_free_code(out, n)
	return C.GoBytes(unsafe.Pointer(out), C.int(n)), nil
}

// Load takes code that Compile made, by the same version on a CPU with the
// same features; damaged code crashes the process. The loaded module lives as
// long as the process. The guest must then be called on the thread of this
// call.
func Load(code []byte) error {
	if Loaded() {
		return errors.New("a module is already loaded")
	}
	if len(code) == 0 {
		return errors.New("load compiled code: it is empty")
	}
	C.cw_find_stack()
	var text errText
	if C.cw_load((*C.uint8_t)(unsafe.Pointer(&code[0])), C.size_t(len(code)), &text[0], C.size_t(len(text))) != 0 {
		return errors.New(text.String())
	}
	return nil
}

// Loaded says whether a module is there, by Load or by the constructor.
func Loaded() bool { return C.cw_loaded() != 0 }

// Instantiated says whether its instance is there.
func Instantiated() bool { return C.cw_instantiated() != 0 }

// ShareSignals lets libwasmer handle again the signals that are traps, which Go
// took over when it started after libwasmer. What happens outside of a guest
// stays with Go.
func ShareSignals() { C.cw_share_signals() }

// Value types as the binary format has them.
var valueTypes = [...]byte{C.CW_I32: 0x7f, C.CW_I64: 0x7e, C.CW_F32: 0x7d, C.CW_F64: 0x7c}

// Import is a function that the loaded module wants.
type Import struct {
	Module, Name    string
	Params, Results []byte // value types of the binary format
}

// Imports lists the imports of the loaded module, in the order of Bind's index.
func Imports() []Import {
	list := make([]Import, C.cw_import_count())
	for i := range list {
		im := C.cw_import_at(C.size_t(i))
		list[i] = Import{Module: C.GoString(im.module), Name: C.GoString(im.name)}
		for p := range min(int(im.nparams), C.CW_MAX_ARGS) {
			list[i].Params = append(list[i].Params, valueType(im.params[p]))
		}
		if im.nresults > 0 {
			list[i].Results = []byte{valueType(im.result)}
		}
	}
	return list
}

func valueType(kind C.uint8_t) byte {
	if int(kind) < len(valueTypes) {
		return valueTypes[kind]
	}
	return 0
}

// HostFunc serves an import. mem is the guest's memory and args its raw values
// (an i32 in the low half); both are valid during the call only. With exit the
// guest is unwound and Call returns.
type HostFunc func(mem []byte, args []uint64) (result uint64, exit bool)

var host struct {
	funcs []HostFunc
	panic any // what a host function panicked with: a bug, told by Call
}

// Bind serves import i of Imports by f.
func Bind(i int, f HostFunc) {
	if host.funcs == nil {
		host.funcs = make([]HostFunc, C.cw_import_count())
	}
	host.funcs[i] = f
}

//export cwHost
func cwHost(index C.uint32_t, args *C.uint64_t, nargs C.uint32_t, result *C.uint64_t, mem *C.uint8_t, n C.size_t) (exit C.int) {
	defer catch(&exit)
	f := host.funcs[index]
	r, stop := f(unsafe.Slice((*byte)(mem), n), unsafe.Slice((*uint64)(args), nargs))
	*result = C.uint64_t(r)
	if stop {
		return 1
	}
	return 0
}

// catch is the one recover on the way of a host call. It must be deferred
// itself to have an effect.
func catch(exit *C.int) {
	if p := recover(); p != nil {
		host.panic = p
		*exit = 1
	}
}

// Frame is a function on the guest's stack.
type Frame struct {
	Func   uint32 // index in the module's function index space
	Offset uint64 // of the instruction in the module
}

// Trap is how the engine ended a guest.
type Trap struct {
	Message string
	Frames  []Frame // innermost first, a few
	Depth   uint64  // frames in all; 0 when not counted
}

func (t *Trap) Error() string { return t.Message }

// Instantiate makes the instance, and runs the start function of the module.
// Every import must be bound before. The error may be a *Trap.
func Instantiate() error {
	var (
		text errText
		out  C.cw_outcome
	)
	rc := C.cw_instantiate(&out, &text[0], C.size_t(len(text)))
	return outcome(rc, &out, &text)
}

// Call runs an exported function without parameters. It returns nil when the
// function returned, a *Trap when the guest trapped or a HostFunc asked for
// exit, and else what is wrong with the module.
func Call(export string) error {
	name := C.CString(export)
	defer C.free(unsafe.Pointer(name))
	var (
		text errText
		out  C.cw_outcome
	)
	rc := C.cw_call(name, &out, &text[0], C.size_t(len(text)))
	return outcome(rc, &out, &text)
}

// Exports says whether the module exports a function of this name.
func Exports(function string) bool {
	name := C.CString(function)
	defer C.free(unsafe.Pointer(name))
	return C.cw_exports(name) != 0
}

func outcome(rc C.int, out *C.cw_outcome, text *errText) error {
	if host.panic != nil {
		return fmt.Errorf("host function failed: %v", host.panic)
	}
	if rc != 0 {
		return errors.New(text.String())
	}
	if out.trapped == 0 {
		return nil
	}
	t := &Trap{Message: C.GoString(&out.message[0]), Depth: uint64(out.depth)}
	for i := range int(out.nframes) {
		t.Frames = append(t.Frames, Frame{Func: uint32(out._func[i]), Offset: uint64(out.offset[i])})
	}
	return t
}

// errText receives a message of the shim.
type errText [1024]C.char

func (t *errText) String() string { return C.GoString(&t[0]) }
