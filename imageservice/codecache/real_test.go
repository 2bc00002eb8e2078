package codecache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The real worker, when it has been built, keeps the contract that the fake
// one imitates.
func TestTheRealWorkerCompiles(t *testing.T) {
	worker, err := filepath.Abs("../../bin/cri-wasmer-worker")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(worker); err != nil {
		t.Skip("bin/cri-wasmer-worker is not built: make build")
	}
	guests, _ := filepath.Glob("../../build/guests/[hr]e*.wasm")
	if len(guests) == 0 {
		t.Skip("no guests in build/guests: make guests builds them")
	}
	c, err := Open(context.Background(), Config{Dir: t.TempDir(), Worker: worker, FastTier: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Log(c, c.Engine().CPU)
	for _, p := range guests {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		_, refusal := c.Preflight(f, "")
		code, err := c.Code(context.Background(), f)
		f.Close()
		if filepath.Base(p) == "reactor-c.wasm" {
			var no *Refusal
			if !errors.As(refusal, &no) || no.Kind != NoStart {
				t.Errorf("%s: %v, want a refusal", p, refusal)
			}
		}
		if err != nil {
			t.Errorf("%s: %v", p, err)
			continue
		}
		t.Logf("%-20s %8d bytes in %s", filepath.Base(p), code.Size, time.Since(begin).Round(time.Millisecond))
		code.Close()
	}
}
