// Package lockfile locks files, each against every other process, until the file is
// closed or the process ends in whatever way.
package lockfile

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// HeldError says that somebody has the lock.
type HeldError struct {
	File   string
	Holder string // the first line of the file: the pid that Take noted, if any
}

func (e *HeldError) Error() string {
	return "lock " + e.File + ": held" + e.By()
}

// By names the holder as far as the file tells, to follow a sentence.
func (e *HeldError) By() string {
	if e.Holder == "" {
		return ""
	}
	return " with pid " + e.Holder
}

// Take makes the file if need be, locks it and notes the own pid in it. Somebody
// else's lock is a *HeldError. Who removes a file that can be locked must hold
// another lock that all who take this one hold: else two have a lock each, on
// different files.
func Take(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &HeldError{File: name, Holder: firstLine(name)}
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	if err := errors.Join(f.Truncate(0), writePID(f)); err != nil {
		f.Close()
		return nil, fmt.Errorf("note pid in %s: %w", name, err)
	}
	return f, nil
}

func writePID(f *os.File) error {
	_, err := f.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	return err
}

func firstLine(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}
