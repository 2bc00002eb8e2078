package codecache

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

func TestBigModulesGetQuickCodeFirstAndGoodCodeLater(t *testing.T) {
	b := newBench(t)
	b.cfg.FastTier = 100
	c := b.open()
	f := module(t, program{tail: strings.Repeat("x", 200)}.String())
	code := mustCode(t, c, f)
	if code.Compiler != "singlepass" {
		t.Errorf("first code is by %s", code.Compiler)
	}
	waitFor(t, "the good code", func() bool { return len(c.Tiers(code.Module)) == 1 && c.Tiers(code.Module)[0].Compiler == "cranelift" })
	if got := mustCode(t, c, f).Compiler; got != "cranelift" {
		t.Errorf("later code is by %s", got)
	}
	if got := read(t, code); !strings.HasPrefix(got, "code by singlepass") {
		t.Errorf("code in use became %q", got)
	}
	runs := b.compiled()
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // 20 less the value, so that it is no error
	if err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprintf("nice=%d", 20-raw)
	if len(runs) != 2 || !strings.Contains(runs[0], own) || !strings.Contains(runs[1], "nice=19") {
		t.Errorf("runs = %v, want the second at low priority", runs)
	}
}

func TestGoodCodeInTheMakingKeepsNobodyWaiting(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	b := newBench(t, "FAKE_GATE="+gate, "FAKE_GATED=cranelift")
	b.cfg.FastTier, b.cfg.MaxParallel = 1, 1
	c := b.open()
	first := program{tail: "1"}.String()
	mustCode(t, c, module(t, first))
	waitFor(t, "the good compiler at work", func() bool { return strings.Contains(states(c, sum(first)), "cranelift compiling") })
	if got := mustCode(t, c, module(t, program{tail: "2"}.String())).Compiler; got != "singlepass" {
		t.Errorf("code is by %s", got)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSmallModulesGetGoodCodeAtOnce(t *testing.T) {
	b := newBench(t)
	b.cfg.FastTier = 1 << 20
	if got := mustCode(t, b.open(), module(t, program{}.String())).Compiler; got != "cranelift" {
		t.Errorf("code is by %s", got)
	}
}

func TestWhatTheQuickCompilerCannotDoTheGoodOneDoes(t *testing.T) {
	b := newBench(t, "FAKE=no-singlepass")
	b.cfg.FastTier = 1
	if got := mustCode(t, b.open(), module(t, program{}.String())).Compiler; got != "cranelift" {
		t.Errorf("code is by %s", got)
	}
}

func TestQuickCodeIsReplacedAfterARestart(t *testing.T) {
	b := newBench(t)
	b.cfg.FastTier = 1
	c := b.open()
	f := module(t, program{}.String())
	c.mu.Lock()
	c.queued[c.fileName(sum(program{}.String()), "cranelift")] = true // the daemon ends before it comes to this
	c.mu.Unlock()
	mustCode(t, c, f)
	c.Close()
	c = b.open()
	if got := mustCode(t, c, f).Compiler; got != "singlepass" {
		t.Fatalf("code is by %s", got)
	}
	waitFor(t, "the good code", func() bool { return mustCode(t, c, f).Compiler == "cranelift" })
}
