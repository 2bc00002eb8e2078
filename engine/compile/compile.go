// Package compile is the worker's short life as a compiler: a module comes in
// on one descriptor, a file of machine code (proto/worker/v1) goes out on
// another. The process bounds itself; whoever started it bounds its time.
package compile

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cri-wasmer/cri-wasmer/engine/wasmer"
	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// Job is one compilation.
type Job struct {
	Module      *os.File // read from its beginning
	Out         *os.File // empty
	Compiler    wasmer.Compiler
	Engine      *workerv1.Info
	MemoryLimit uint64 // bytes of data that this process may have; 0: no limit
	Nice        int    // added to the priority of this process
	// Filter is the system call filter for this process, an array of struct
	// sock_filter; empty: none.
	Filter []byte
}

// Error says why a module was not compiled, in the words of the contract.
type Error struct {
	Kind string // of workerv1.CompileError
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Run compiles. On success Out holds a whole file; the caller makes it
// durable. Every error is an *Error.
func Run(j Job) error {
	if err := j.bound(); err != nil {
		return &Error{"internal", err}
	}
	module, err := io.ReadAll(io.NewSectionReader(j.Module, 0, 1<<40))
	if err != nil {
		return &Error{"internal", fmt.Errorf("read module: %w", err)}
	}
	shape, err := scan(module)
	if err != nil {
		return &Error{"invalid", err}
	}
	start := time.Now()
	code, err := wasmer.Compile(shape.withoutStart(module), j.Compiler)
	if err != nil {
		return &Error{kindOf(err), err}
	}
	head := workerv1.CodeHeader{
		ImportFuncs: shape.importFuncs,
		CompileTime: uint64(time.Since(start)),
		ModuleSize:  uint64(len(module)),
		Module:      sha256.Sum256(module),
		Engine:      j.Engine.Key(string(j.Compiler)),
	}
	if shape.hasStart {
		head.Flags |= workerv1.CodeHasStart
	}
	if err := write(j.Out, head.Encode(code, shape.names), code, shape.names); err != nil {
		return &Error{"internal", fmt.Errorf("write code file: %w", err)}
	}
	return nil
}

func kindOf(err error) string {
	if errors.Is(err, wasmer.ErrCompile) {
		return "unsupported"
	}
	return "internal"
}

func write(f *os.File, parts ...[]byte) error {
	at := int64(0)
	for _, p := range parts {
		if _, err := f.WriteAt(p, at); err != nil {
			return err
		}
		at += int64(len(p))
	}
	return nil
}

// KindOf gives the kind of an error of Run.
func KindOf(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return "internal"
}
