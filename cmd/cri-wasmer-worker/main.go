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
	"flag"
	"fmt"
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
)

// compileModule gives the exit status.
func compileModule(args []string) int {
	flags := flag.NewFlagSet("compile", flag.ExitOnError)
	compiler := flags.String("compiler", string(wasmer.Cranelift), "cranelift or singlepass")
	memory := flags.Uint64("memory-limit", 0, "bytes of memory that compilation may take; 0: no limit")
	nice := flags.Int("nice", 0, "lower the priority by so much")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	err := compile.Run(compile.Job{
		Module: os.NewFile(fdModule, "module"), Out: os.NewFile(fdOut, "out"),
		Compiler: wasmer.Compiler(*compiler), Engine: worker.Info(), MemoryLimit: *memory, Nice: *nice,
	})
	if err == nil {
		return 0
	}
	print(workerv1.CompileError{Kind: compile.KindOf(err), Text: err.Error()})
	return 1
}

func print(v any) {
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
