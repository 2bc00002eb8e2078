package trace

import (
	"encoding/binary"
	"io"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/preview1"
)

// FuzzWrap traces functions with any arguments over any memory: the line must
// survive whatever the call does.
func FuzzWrap(f *testing.F) {
	f.Add(uint8(31), []byte{1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255}, []byte("memory"))
	f.Add(uint8(26), []byte{4, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16}, make([]byte, 64))
	imports := preview1.Imports()
	done := func(*preview1.Host, []byte, []uint64) wasi.Errno { return 0 }
	f.Fuzz(func(t *testing.T, which uint8, raw, mem []byte) {
		im := imports[int(which)%len(imports)]
		args := make([]uint64, len(im.Params))
		for i := range args {
			var b [8]byte
			copy(b[:], raw[min(8*i, len(raw)):])
			args[i] = binary.LittleEndian.Uint64(b[:])
			if im.Params[i] == 0x7f {
				args[i] &= 1<<32 - 1
			}
		}
		tr := New(io.Discard)
		tr.Wrap(im.Module, im.Name, im.Params, done)(nil, mem, args)
		if n := len(tr.line); n > 1<<16 {
			t.Errorf("%s: a line of %d bytes", im.Name, n)
		}
	})
}
