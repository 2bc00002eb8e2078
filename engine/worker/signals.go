package worker

import (
	"fmt"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/entry"
	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// endings are the signals that would end a program.
var endings = []syscall.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM, unix.SIGVTALRM,
	unix.SIGIO, unix.SIGPWR, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGSTKFLT, unix.SIGSYS, unix.SIGTRAP, unix.SIGABRT,
	35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, // real-time; 32 to 34 are the C library's
}

// watchSignals makes each of them end the guest. A worker may be pid 1 of its
// namespace, for which the kernel has no default action.
func (w *worker) watchSignals() error {
	signals, err := entry.WatchSignals(endings)
	if err != nil {
		return fmt.Errorf("watch signals: %w", err)
	}
	signal.Ignore(unix.SIGPIPE) // a write to a closed pipe is EPIPE for the guest
	go func() {
		sig, err := signals.Wait()
		if err != nil {
			w.end(fmt.Errorf("wait for signals: %w", err))
		}
		w.leave(workerv1.ExitRecord{
			Kind: workerv1.ExitSignal, Code: uint32(128 + int(sig)),
			Message: fmt.Sprintf("stopped by %s", unix.SignalName(sig)),
		})
	}()
	return nil
}
