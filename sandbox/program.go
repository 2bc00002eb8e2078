package sandbox

import (
	"context"
	"os"
)

// Images lends the content of images to containers. Safe for concurrent use.
type Images interface {
	// Acquire finds an image by any kind of reference and keeps its content
	// until Release of the same holder, a container id. The error names the image;
	// it is of kind ErrNotFound when there is no such image.
	Acquire(ctx context.Context, ref, holder string) (*Image, error)
	Release(holder string) error
	// Settle restores, after a restart, the holds of each holder by image id,
	// and drops all others. An image whose content is gone is no error: its
	// containers can still be stopped and removed.
	Settle(holds map[string][]string) error
}

// Image is what a container needs to know of its image.
type Image struct {
	ID         string
	Ref        string   // repository digest, else id: ContainerStatus.image_ref
	Layers     []string // unpacked, lowest first
	Entrypoint []string
	Cmd        []string
	Env        []string // KEY=value
	WorkingDir string
	User       string
	StopSignal string
	// Function is the exported function that the image's own command calls;
	// empty means _start. A pod's command can name another one: file#function.
	Function string
	// Problem says why no container can be made of the image, whatever the pod
	// asks for; empty for nearly all.
	Problem string
	// Module is the path of the program in the root filesystem when the image
	// is a WebAssembly artifact, which has one program and no choice.
	Module string
}

// Programs turns WebAssembly files into code that workers load. Safe for
// concurrent use.
type Programs interface {
	// Code gives the compiled code of a module from which an exported function
	// is called (empty means _start), compiling it if it must. The caller
	// closes the file. An error of kind ErrProgram says what the file is and
	// what to do.
	Code(ctx context.Context, module *os.File, function string) (*Code, error)
}

// Code is a program ready to be loaded.
type Code struct {
	File      *os.File
	MinMemory uint64 // bytes of linear memory that the module starts with
}
