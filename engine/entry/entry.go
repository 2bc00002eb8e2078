// Package entry is how a worker process enters its sandbox: a constructor in C
// that loads the module, receives a plan (proto/worker/v1) and runs its steps,
// all before the Go runtime starts. What is left for Go is to read what the
// constructor kept.
//
//	daemon                          worker
//	------                          ------
//	exec, fd 3 socket, fd 4 code -> load, instantiate
//	plan + descriptors           -> steps, one by one
//	                             <- Status: the step that failed
//	                                Go starts; the WASI host is made
//	                             <- Status: ready
//	                             <- ExitRecord of an exec
package entry

/*
#cgo CFLAGS: -O2 -Wall -Wextra
#include "entry.h"
*/
import "C"

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	_ "github.com/cri-wasmer/cri-wasmer/engine/wasmer" // the shim that the constructor calls
	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// ErrNoPlan says that this process was not started with a plan.
var ErrNoPlan = errors.New("this process was given no plan: a worker is started by cri-wasmer serve")

// Payload is what the plan says to run: the message of workerv1.DecodeStart.
// It stays valid as long as the process.
func Payload() ([]byte, error) {
	var n C.size_t
	p := C.cw_payload(&n)
	if p == nil {
		return nil, ErrNoPlan
	}
	return unsafe.Slice((*byte)(p), n), nil
}

// Names is the name section of the module, and how many functions it imports.
func Names() (section []byte, importFuncs uint64) {
	var (
		n     C.size_t
		funcs C.uint64_t
	)
	p := C.cw_names(&n, &funcs)
	if p == nil {
		return nil, 0
	}
	return unsafe.Slice((*byte)(p), n), uint64(funcs)
}

// HasStart says whether the module has a start function, exported as
// workerv1.StartExport.
func HasStart() bool { return C.cw_code_flags()&workerv1.CodeHasStart != 0 }

// LimitOpenFiles gives the process the soft limit of open files that the plan has:
// the Go runtime raises it to the hard one at its start.
func LimitOpenFiles() error {
	if errno := C.cw_limit_open_files(); errno != 0 {
		return os.NewSyscallError("set limit of open files", unix.Errno(errno))
	}
	return nil
}

// Report sends the one Status of this process.
func Report(s workerv1.Status) error {
	return os.NewSyscallError("send status", unix.Send(workerv1.FDSpawn, s.Encode(), unix.MSG_NOSIGNAL))
}

// ReportExit sends how the guest of an exec ended.
func ReportExit(r workerv1.ExitRecord) error {
	return os.NewSyscallError("send exit record", unix.Send(workerv1.FDSpawn, r.Encode(), unix.MSG_NOSIGNAL))
}

// HangUp closes the socket to the daemon.
func HangUp() error {
	return os.NewSyscallError("close", unix.Close(workerv1.FDSpawn))
}

// CheckPlan decodes a plan as the constructor does and says what is wrong with
// it.
func CheckPlan(plan []byte) error {
	if len(plan) == 0 {
		return errors.New("not a spawn plan")
	}
	var text [256]C.char
	if C.cw_check_plan((*C.uint8_t)(unsafe.Pointer(&plan[0])), C.size_t(len(plan)), &text[0], C.size_t(len(text))) != 0 {
		return errors.New(C.GoString(&text[0]))
	}
	return nil
}
