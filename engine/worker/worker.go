// Package worker is the life of a container's process after it has entered its
// sandbox: it reads what to run, gives the guest its WASI host, serves the
// control socket, runs the guest, and writes the exit record.
//
// The guest runs on the main thread, whose stack it has to itself.
package worker

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/entry"
	"github.com/cri-wasmer/cri-wasmer/engine/wasmer"
	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// Planned says whether the constructor has made this process a container or an
// exec, so that Run must be called.
func Planned() bool {
	_, err := entry.Payload()
	return err == nil
}

// Run never returns. It must be called on the main thread, locked to it.
func Run() {
	w, err := prepare()
	if err != nil {
		if report := entry.Report(workerv1.Status{Step: workerv1.StepStart, Text: err.Error()}); report != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(exitNotStarted)
	}
	w.run()
}

const (
	exitNotStarted = 126
	exitTrap       = 134 // 128 + SIGABRT, as a native program would
	exitEngine     = 70  // the worker's own failure
	memoryLimit    = 64 << 20
)

// worker is one guest and what belongs to it.
type worker struct {
	start   *workerv1.Start
	streams streams
	host    *host
	once    sync.Once // the end happens once: by the guest or by a signal
}

func prepare() (*worker, error) {
	payload, err := entry.Payload()
	if err != nil {
		return nil, err
	}
	if err := entry.LimitOpenFiles(); err != nil {
		return nil, err
	}
	w := &worker{}
	if w.start, err = workerv1.DecodeStart(payload); err != nil {
		return nil, err
	}
	if w.start.MaxProcs > 0 && !w.start.Command {
		runtime.GOMAXPROCS(int(w.start.MaxProcs))
	}
	debug.SetMemoryLimit(memoryLimit) // of the Go heap: the guest's memory is not in it
	wasmer.ShareSignals()
	if err := w.openHost(); err != nil {
		return nil, err
	}
	if err := w.watchSignals(); err != nil {
		return nil, err
	}
	if err := w.serveControl(); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *worker) run() {
	if err := entry.Report(workerv1.Status{Step: workerv1.StepReady}); err != nil {
		w.end(fmt.Errorf("report to the daemon: %w", err)) // it died: nobody would know of this container
	}
	if !w.start.Command {
		if err := entry.HangUp(); err != nil {
			w.end(fmt.Errorf("report to the daemon: %w", err))
		}
	}
	name := w.start.EntryPoint
	if name == "" {
		name = "_start"
	}
	if err := w.runStart(); err != nil {
		w.end(err)
	}
	if name != "_start" && wasmer.Exports(initialize) { // a reactor wants to be set up first
		if err := wasmer.Call(initialize); err != nil {
			w.end(err)
		}
	}
	w.end(wasmer.Call(name))
}

// initialize is the function that a reactor exports for its set-up.
//
// https://github.com/WebAssembly/WASI/blob/main/legacy/application-abi.md
const initialize = "_initialize"

// runStart runs the start function of a module that has one. Compilation made it
// an export, since the engine itself would run it before the module's memory
// can be reached.
func (w *worker) runStart() error {
	if !entry.HasStart() {
		return nil
	}
	return wasmer.Call(workerv1.StartExport)
}

// end writes how the guest ended and leaves. It does not return.
func (w *worker) end(err error) {
	r := workerv1.ExitRecord{Kind: workerv1.ExitNormal}
	trap := (*wasmer.Trap)(nil)
	code, exited := w.host.exited()
	switch {
	case exited:
		r.Code = code & 0xff
	case err == nil:
	case errors.As(err, &trap):
		r.Kind, r.Code, r.Message = workerv1.ExitTrap, exitTrap, describe(trap)
	default:
		r.Kind, r.Code, r.Message = workerv1.ExitEngine, exitEngine, err.Error()
	}
	w.leave(r)
}

// leave ends the process. The log is whole before the record says so.
func (w *worker) leave(r workerv1.ExitRecord) {
	w.once.Do(func() {
		if r.Kind == workerv1.ExitTrap || r.Kind == workerv1.ExitEngine {
			w.host.complain(r.Message)
		}
		w.streams.ended.Store(true)
		w.host.endTrace(r)
		if err := w.streams.closeLog(); err != nil {
			fmt.Fprintln(os.Stderr, "log:", err)
		}
		r.Time = time.Now()
		w.record(r)
		w.streams.closeClients()
		os.Exit(int(r.Code))
	})
	select {} // another end is under way
}

// record tells how the guest ended. That of a command is told when its output is
// at its end, too: then nobody has to wait until the kernel has cleared away the
// process.
func (w *worker) record(r workerv1.ExitRecord) {
	if w.start.Command {
		for fd := 0; fd < 3 && r.Kind != workerv1.ExitSignal; fd++ { // at a signal the guest may be using them
			unix.Close(fd)
		}
		entry.ReportExit(r) // a daemon that has gone need not know
		return
	}
	if _, err := unix.Pwrite(workerv1.FDExitRecord, r.Encode(), 0); err != nil {
		fmt.Fprintln(os.Stderr, "exit record:", err)
	}
}
