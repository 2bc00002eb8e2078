package cgroup

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Error says which operation on which group failed, and on which file of it.
type Error struct {
	Op   string // create, limit, join, ...
	Path string // of the group
	File string // "" when no single file is to blame
	Err  error
}

func (e *Error) Error() string {
	if e.File == "" {
		return fmt.Sprintf("cgroup %s: %s: %v", e.Path, e.Op, e.Err)
	}
	return fmt.Sprintf("cgroup %s: %s %s: %v", e.Path, e.Op, e.File, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// MissingError says that a limit cannot be applied because this host lacks what
// counts it.
type MissingError struct {
	Controller string // cpu, memory, ...
	Limit      string // the field that asked for it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("%s cannot be limited: the %s controller is not available (see /proc/cgroups, and cgroup.subtree_control on cgroup v2)",
		e.Limit, e.Controller)
}

// Unwrap gives the kind.
func (e *MissingError) Unwrap() error { return sandbox.ErrUnsupported }

// refused adds to the errno of a limit what the kernel means by it.
func refused(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("more is in use: %w: %w", err, sandbox.ErrPrecondition)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE),
		errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOSPC): // CPUs that the parent does not have, or none
		return fmt.Errorf("the kernel refuses the value: %w: %w", err, ErrInvalid)
	}
	return err
}

// ErrInvalid is the cause of an Error when the request itself is wrong.
var ErrInvalid = sandbox.ErrInvalid

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}
