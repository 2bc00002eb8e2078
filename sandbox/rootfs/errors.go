package rootfs

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Step names one operation of a Build.
type Step string

// The steps of a Build in the order in which they can occur.
const (
	StepCheck          Step = "check the request"
	StepWritableLayer  Step = "make writable layer"
	StepBase           Step = "make mountpoints below the image"
	StepUserNS         Step = "open user namespace"
	StepIDMap          Step = "map ids of"
	StepOverlay        Step = "mount overlay"
	StepDev            Step = "make /dev"
	StepDevice         Step = "add device"
	StepShm            Step = "make /dev/shm"
	StepPts            Step = "make /dev/pts"
	StepSource         Step = "open bind source"
	StepPropagation    Step = "set propagation"
	StepAttributes     Step = "set mount attributes"
	StepImage          Step = "mount image"
	StepMask           Step = "mask path"
	StepNamespace      Step = "make mount namespace"
	StepAttachRoot     Step = "attach root"
	StepSubPath        Step = "find path in image"
	StepPivot          Step = "pivot root"
	StepMountpoint     Step = "make mountpoint"
	StepAttach         Step = "attach mount"
	StepReadonlyPath   Step = "make path read-only"
	StepWorkingDir     Step = "make working directory"
	StepReadonlyRoot   Step = "make root read-only"
	StepShareRoot      Step = "share root"
	StepOpenNamespace  Step = "open mount namespace"
	StepLeaveNamespace Step = "return to template namespace"
)

// Error says which step of a Build failed, on which path, and why.
type Error struct {
	Step Step
	Path string // of the host or the container; "" when the step has none
	Err  error  // an errno, or one of the errors of this package
}

func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("root filesystem: %s: %v", e.Step, e.Err)
	}
	return fmt.Sprintf("root filesystem: %s %q: %v", e.Step, e.Path, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Is gives errors their kind: an image volume that failed, a host that does not have
// what is asked for, or a request for what cannot be.
func (e *Error) Is(target error) bool {
	ofHost := e.Step == StepSource || e.Step == StepDevice
	ofContainer := slices.Contains([]Step{StepMountpoint, StepAttach, StepMask, StepReadonlyPath, StepWorkingDir}, e.Step)
	switch target {
	case sandbox.ErrImageVolume:
		return e.Step == StepImage || e.Step == StepSubPath
	case sandbox.ErrPrecondition:
		return ofHost && e.errno(unix.ENOENT, unix.ENOTDIR) || errors.Is(e.Err, ErrNotShared)
	case ErrInvalid:
		return ofHost && e.errno(unix.EINVAL, unix.ELOOP, unix.ENAMETOOLONG) ||
			ofContainer && e.errno(unix.EINVAL, unix.ELOOP, unix.ENAMETOOLONG, unix.ENOTDIR, unix.EROFS)
	}
	return false
}

func (e *Error) errno(any ...error) bool {
	return slices.ContainsFunc(any, func(err error) bool { return errors.Is(e.Err, err) })
}

var (
	// ErrInvalid is the cause of an Error when the request itself is wrong.
	ErrInvalid = sandbox.ErrInvalid
	// ErrClosed is returned by Build after Close.
	ErrClosed = errors.New("root filesystem builder is closed")
	// ErrUnsupported is returned when this kernel lacks something needed.
	ErrUnsupported = errors.New("not supported by this kernel")
	// ErrNotShared is the cause of an Error when a mount asks for propagation
	// that its host path cannot give.
	ErrNotShared = errors.New("no such propagation on the host")
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}
