// Command cri-wasmer-worker is the process of one container, one exec or one
// compilation. cri-wasmer serve starts it; people have no use for it, but for
// probe.
//
//	run, zygote, init  enter a sandbox: the constructor of engine/entry, then Run
//	compile            machine code for a module
//	probe              what this worker is and can do, as JSON
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/cri-wasmer/cri-wasmer/engine/compile"
	"github.com/cri-wasmer/cri-wasmer/engine/wasmer"
	"github.com/cri-wasmer/cri-wasmer/engine/worker"
	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

func init() { runtime.LockOSThread() } // main stays on the main thread: the guest's stack is there

func main() {
	command := ""
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	if worker.Planned() { // the arguments are the guest's by now
		worker.Run()
	}
	switch command {
	case "compile":
		os.Exit(compileModule(os.Args[2:]))
	case "probe":
		print(worker.Info())
	default:
		fmt.Fprintln(os.Stderr, "cri-wasmer-worker is started by cri-wasmer serve; `cri-wasmer-worker probe` says what it can do")
		os.Exit(2)
	}
}

// Descriptors that compile inherits.
const (
	fdModule = 3
	fdOut    = 4
	fdFilter = 5 // with --filter
)

// compileModule gives the exit status.
func compileModule(args []string) int {
	flags := flag.NewFlagSet("compile", flag.ExitOnError)
	compiler := flags.String("compiler", string(wasmer.Cranelift), "cranelift or singlepass")
	memory := flags.Uint64("memory-limit", 0, "bytes of memory that compilation may take; 0: no limit")
	nice := flags.Int("nice", 0, "lower the priority by so much")
	filtered := flags.Bool("filter", false, "install the system call filter on descriptor 5")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	filter, err := awaitStart(*filtered)
	if err != nil {
		print(workerv1.CompileError{Kind: "internal", Text: err.Error()})
		return 1
	}
	err = compile.Run(compile.Job{
		Module: os.NewFile(fdModule, "module"), Out: os.NewFile(fdOut, "out"),
		Compiler: wasmer.Compiler(*compiler), Engine: worker.Info(), MemoryLimit: *memory, Nice: *nice, Filter: filter,
	})
	if err == nil {
		return 0
	}
	print(workerv1.CompileError{Kind: compile.KindOf(err), Text: err.Error()})
	return 1
}

// awaitStart waits until the daemon has confined this process, which it tells
// by closing standard input, and reads the filter.
func awaitStart(filtered bool) ([]byte, error) {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return nil, fmt.Errorf("wait for the daemon: %w", err)
	}
	if !filtered {
		return nil, nil
	}
	f := os.NewFile(fdFilter, "filter")
	defer f.Close()
	filter, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err == nil && len(filter) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("read system call filter: %w", err)
	}
	return filter, nil
}

func print(v any) {
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
