package worker

import (
	"fmt"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/engine/entry"
	"github.com/cri-wasmer/cri-wasmer/engine/wasmer"
	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// shownFrames is how many functions a trap names.
const shownFrames = 16

// describe gives a trap as
//
//	wasm trap: unreachable
//	  at panic (function 12, offset 0x1a2b)
//	  at main (function 7, offset 0x123)
func describe(t *wasmer.Trap) string {
	names, _ := entry.Names()
	b := strings.Builder{}
	b.WriteString("wasm trap: " + t.Message)
	for i, f := range t.Frames {
		if i == shownFrames {
			break
		}
		name := workerv1.FuncName(names, f.Func)
		if name == "" {
			name = "?"
		}
		fmt.Fprintf(&b, "\n  at %s (function %d, offset %#x)", shorten(name), f.Func, f.Offset)
	}
	if n := uint64(min(len(t.Frames), shownFrames)); t.Depth > n {
		fmt.Fprintf(&b, "\n  and %d more", t.Depth-n)
	}
	return b.String()
}

// shorten cuts the names that some compilers make.
func shorten(name string) string {
	const most = 120
	if len(name) > most {
		return name[:most] + "..."
	}
	return name
}
