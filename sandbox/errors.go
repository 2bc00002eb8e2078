package sandbox

import (
	"errors"
	"fmt"
	"strings"
)

// Kinds of errors. The edge maps each to one gRPC code.
var (
	ErrNotFound     = errors.New("not found")           // no such pod or container
	ErrExists       = errors.New("already exists")      // the name is taken
	ErrInvalid      = errors.New("invalid")             // the request cannot mean anything
	ErrUnsupported  = errors.New("unsupported")         // this server or this node cannot do it
	ErrPrecondition = errors.New("failed precondition") // not in the phase it is in
	ErrUnavailable  = errors.New("unavailable")         // not now: the network is not ready, the daemon stops
	ErrTimeout      = errors.New("deadline exceeded")   // the guest took longer than it was given
	ErrImageVolume  = errors.New("image volume failed") // an image cannot be shown as a volume
	ErrProgram      = errors.New("program cannot run")  // the image or file is not a program for this server
)

// TransitionError says that an object is not in a phase from which the asked
// one can be reached. It is of kind ErrPrecondition.
type TransitionError struct {
	Object string // "container 3f2a..."
	From   Phase
	To     Phase
}

func (e *TransitionError) Error() string {
	return fmt.Sprintf("%s is %s and cannot become %s", e.Object, e.From, e.To)
}

func (e *TransitionError) Unwrap() error { return ErrPrecondition }

// AmbiguousError says that an id prefix fits several objects. It is of kind
// ErrInvalid.
type AmbiguousError struct {
	Prefix string
	Count  int
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("id prefix %q fits %d objects: give more of it", e.Prefix, e.Count)
}

func (e *AmbiguousError) Unwrap() error { return ErrInvalid }

// ProgramError says why a file is not a program that can run here. It is of
// kind ErrProgram.
type ProgramError struct {
	Image string // as the user wrote it
	Path  string // in the root filesystem; empty when it is about the image
	Text  string // "is a native ELF binary (x86-64), not a WebAssembly module: run it ..."
}

func (e *ProgramError) Error() string {
	text := strings.TrimPrefix(e.Path+" "+e.Text, " ")
	if e.Image != "" {
		text = "image " + e.Image + ": " + text
	}
	return text
}

func (e *ProgramError) Unwrap() error { return ErrProgram }
