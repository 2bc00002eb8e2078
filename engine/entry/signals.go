package entry

/*
#include "entry.h"
*/
import "C"

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Signals waits for the first of the signals that it was made for.
type Signals struct{ event *os.File }

// WatchSignals takes the signals from whoever had them, for the rest of the
// process's life. It must be called after Go has started.
func WatchSignals(list []syscall.Signal) (*Signals, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	numbers := make([]C.int, len(list))
	for i, s := range list {
		numbers[i] = C.int(s)
	}
	if errno := C.cw_watch_signals(C.int(fd), &numbers[0], C.int(len(numbers))); errno != 0 {
		return nil, os.NewSyscallError("sigaction", syscall.Errno(errno))
	}
	return &Signals{os.NewFile(uintptr(fd), "signals")}, nil
}

// Wait gives the first signal that comes, or came.
func (s *Signals) Wait() (syscall.Signal, error) {
	var count [8]byte
	_, err := s.event.Read(count[:])
	return syscall.Signal(C.cw_caught_signal()), err
}
