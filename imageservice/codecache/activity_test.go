package codecache

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func states(c *Cache, digest string) string {
	var list []string
	for _, t := range c.Tiers(digest) {
		list = append(list, strings.TrimPrefix(t.Compiler+" "+string(t.State), " "))
	}
	return strings.Join(list, ", ")
}

func TestTiersTellWhatCompilersDo(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	b := newBench(t, "FAKE_GATE="+gate)
	b.cfg.FastTier, b.cfg.MaxParallel = 1, 1
	c := b.open()
	first, second := program{tail: "1"}.String(), program{tail: "2"}.String()
	f, g := module(t, first), module(t, second)
	done := make(chan error, 2)
	build := func(f *os.File) {
		code, err := c.Code(context.Background(), f)
		if err == nil {
			code.Close()
		}
		done <- err
	}
	if got := states(c, sum(first)); got != "" {
		t.Errorf("before anybody asks: %s", got)
	}
	go build(f)
	waitFor(t, "the first at work", func() bool { return states(c, sum(first)) == "singlepass compiling" })
	if tier := c.Tiers(sum(first))[0]; tier.Since.IsZero() {
		t.Errorf("no time in %+v", tier)
	}
	go build(g)
	waitFor(t, "the second waiting", func() bool { return states(c, sum(second)) == "queued" })
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []string{first, second} {
		waitFor(t, "the good code", func() bool { return states(c, sum(m)) == "cranelift ready" })
	}
	if tier := c.Tiers(sum(first))[0]; tier.Size == 0 || tier.Took == 0 {
		t.Errorf("ready code is %+v", tier)
	}
}

func TestTiersTellWhyACompilerFailed(t *testing.T) {
	c := newBench(t, "FAKE=exit").open()
	text := program{}.String()
	if _, err := c.Code(context.Background(), module(t, text)); err == nil {
		t.Fatal("compiled")
	}
	tiers := c.Tiers(sum(text))
	if len(tiers) != 1 || tiers[0].State != TierFailed || !strings.Contains(tiers[0].Error, "out of luck") {
		t.Errorf("tiers = %+v, want the failure with its reason", tiers)
	}
}

func TestAWaitThatIsGivenUpIsNoFailure(t *testing.T) {
	c := newBench(t, "FAKE=hang").open()
	text := program{}.String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := c.Code(ctx, module(t, text))
		done <- err
	}()
	waitFor(t, "the compiler", func() bool { return states(c, sum(text)) == "cranelift compiling" })
	cancel()
	<-done
	waitFor(t, "the end of the compiler", func() bool { return states(c, sum(text)) == "" })
}

func TestExamineNeedsNoCache(t *testing.T) {
	r, err := Examine(context.Background(), Config{Worker: os.Args[0]}, module(t, program{imports: []string{imp("wasi_snapshot_preview1", "fd_write", 1)}}.String()))
	if err != nil || r.ABI != abiPreview1 || r.ImportCount != 1 || r.UnmetCount != 0 || r.Exports[0] != "_start" {
		t.Errorf("report = %+v, %v", r, err)
	}
	if _, err := Examine(context.Background(), Config{Worker: "/nowhere"}, module(t, "x")); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("without a worker: %v", err)
	}
}
