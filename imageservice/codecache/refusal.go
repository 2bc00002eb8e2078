package codecache

import "fmt"

// RefusalKind says why a file cannot run here.
type RefusalKind string

// Kinds of refusal.
const (
	NotModule   RefusalKind = "notModule"   // something else than a core module
	Invalid     RefusalKind = "invalid"     // broken
	Unsupported RefusalKind = "unsupported" // sound, but for another engine
	Imports     RefusalKind = "imports"     // needs functions that we lack
	NoStart     RefusalKind = "noStart"     // a library
	TooBig      RefusalKind = "limit"       // exceeds a limit of compilation
)

// Refusal is the error about a file that cannot run here, whatever is tried.
// Its text continues a sentence that begins with the name of the file.
type Refusal struct {
	Kind   RefusalKind
	Is     string // "is a native ELF binary (x86-64), not a WebAssembly module"
	Remedy string // "run it on a node with containerd, or build it for wasip1"
}

// Error gives "is ...: remedy".
func (r *Refusal) Error() string {
	if r.Remedy == "" {
		return r.Is
	}
	return r.Is + ": " + r.Remedy
}

// Explain gives the whole sentence about the file of an image.
func (r *Refusal) Explain(image, file string) string {
	return fmt.Sprintf("image %s: entrypoint %s %s", image, file, r.Error())
}
