package workerv1

import (
	"crypto/sha256"
	"fmt"
)

// Info is what `probe` of a worker binary prints as JSON: what it is and can
// do.
type Info struct {
	Protocol  int      `json:"protocol"` // Version
	Engine    string   `json:"engine"`
	Version   string   `json:"version"`
	Compilers []string `json:"compilers"` // the first is the default
	CPU       string   `json:"cpu"`       // the features for which code is made
	Imports   []Import `json:"imports"`
}

// Import is one function that the worker offers to guests.
type Import struct {
	Module  string `json:"module"`
	Name    string `json:"name"`
	Params  string `json:"params"` // hex of the wasm value types
	Results string `json:"results"`
}

// Key names everything of the engine on which compiled code depends.
func (i *Info) Key(compiler string) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%d %s %s %s %s", i.Protocol, i.Engine, i.Version, compiler, i.CPU))
}

// CompileError is what `compile` prints as JSON when it fails.
type CompileError struct {
	Kind string `json:"kind"` // invalid, unsupported, limit or internal
	Text string `json:"error"`
}
