package codecache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCodeIsMadeOnceAndFoundAgain(t *testing.T) {
	b := newBench(t)
	c := b.open()
	text := program{}.String()
	code := mustCode(t, c, module(t, text))
	if want := "code by cranelift of " + sum(text)[7:]; read(t, code) != want || code.Compiler != "cranelift" || code.Module != sum(text) {
		t.Errorf("code = %+v", code)
	}
	mustCode(t, c, module(t, text)) // the same bytes in another file
	c.Close()
	mustCode(t, b.open(), module(t, text)) // and after a restart
	if runs := b.compiled(); len(runs) != 1 || !strings.Contains(runs[0], "limit=2147483648") {
		t.Errorf("compilations: %v, want one with the limit", runs)
	}
	if _, err := c.Code(context.Background(), module(t, program{tail: "new"}.String())); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v, want ErrClosed", err)
	}
}

func TestCodeIsMadeOnceForAllWhoAsk(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	b := newBench(t, "FAKE_GATE="+gate)
	c := b.open()
	text := program{}.String()
	var wg sync.WaitGroup
	for i := range 12 {
		f := module(t, text)
		wg.Go(func() {
			ctx := context.Background()
			if i%3 == 0 { // some give up, the first among them, and close their file
				short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
				if _, err := c.Code(short, f); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("impatient caller: %v", err)
				}
				f.Close()
				return
			}
			code, err := c.Code(ctx, f)
			if err != nil {
				t.Errorf("patient caller: %v", err)
				return
			}
			code.Close()
		})
	}
	time.Sleep(150 * time.Millisecond)
	os.WriteFile(gate, nil, 0o600)
	wg.Wait()
	if runs := b.compiled(); len(runs) != 1 {
		t.Errorf("%d compilations, want one", len(runs))
	}
}

func TestAnAbandonedCompilationIsEnded(t *testing.T) {
	b := newBench(t, "FAKE=hang")
	c := b.open()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Code(ctx, module(t, program{}.String())); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v", err)
	}
	begin := time.Now()
	c.Close()
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("Close waited %s for a worker that nobody needs", d)
	}
	if left := b.files("tmp"); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
}

func TestParallelCompilationsAreBounded(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	b := newBench(t, "FAKE_GATE="+gate)
	b.cfg.MaxParallel = 2
	c := b.open()
	var wg sync.WaitGroup
	for i := range 5 {
		f := module(t, program{tail: fmt.Sprint(i)}.String())
		wg.Go(func() {
			if code, err := c.Code(context.Background(), f); err != nil {
				t.Error(err)
			} else {
				code.Close()
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	if n := len(b.compiled()); n != 2 {
		t.Errorf("%d compilations at once, want 2", n)
	}
	os.WriteFile(gate, nil, 0o600)
	wg.Wait()
	if n := len(b.compiled()); n != 5 {
		t.Errorf("%d compilations, want 5", n)
	}
}

func TestDamagedCodeIsMadeAnew(t *testing.T) {
	text := program{}.String()
	for name, damage := range map[string]func(string){
		"truncated": func(p string) { os.Truncate(p, 4100) },
		"empty":     func(p string) { os.Truncate(p, 0) },
		"flipped": func(p string) {
			f, _ := os.OpenFile(p, os.O_WRONLY, 0)
			f.WriteAt([]byte("X"), 4100)
			f.Close()
		},
		"of another module": func(p string) {
			other := strings.Replace(p, filepath.Base(p)[:64], strings.Repeat("0", 64), 1)
			os.Rename(p, other)
			os.Rename(other, p)
			data, _ := os.ReadFile(p)
			data[60] ^= 1
			os.WriteFile(p, data, 0o600)
		},
		"a link": func(p string) {
			os.Rename(p, p+"x")
			os.Symlink(p+"x", p)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			c := b.open()
			f := module(t, text)
			mustCode(t, c, f)
			path := filepath.Join(b.cfg.Dir, classDemand, b.files(classDemand)[0])
			damage(path)
			if got := read(t, mustCode(t, c, f)); !strings.HasPrefix(got, "code by cranelift") {
				t.Errorf("code = %q", got)
			}
			if n := len(b.compiled()); n != 2 {
				t.Errorf("%d compilations, want 2", n)
			}
			if !strings.Contains(b.logged(), "made anew") {
				t.Error("the damage was not logged")
			}
		})
	}
}

func TestCodeOfAnotherCPUIsDeleted(t *testing.T) {
	b := newBench(t, "FAKE_CPU=old")
	f := module(t, program{}.String())
	c := b.open()
	mustCode(t, c, f)
	c.Close()
	os.WriteFile(filepath.Join(b.cfg.Dir, "tmp", "leftover"), nil, 0o600)
	b.cfg.WorkerEnv = append(b.cfg.WorkerEnv, "FAKE_CPU=new")
	c = b.open()
	if left := append(b.files(classDemand), b.files("tmp")...); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	mustCode(t, c, f)
	if n := len(b.compiled()); n != 2 {
		t.Errorf("%d compilations, want 2", n)
	}
}

func TestFailuresOfTheCompilerAreTold(t *testing.T) {
	for _, tc := range []struct {
		mode    string
		refusal RefusalKind // "" means ErrCompile
		text    string
	}{
		{"kind-invalid", Invalid, "the reason"},
		{"kind-unsupported", Unsupported, "the reason"},
		{"kind-limit", TooBig, "the reason"},
		{"kind-internal", "", "the reason"},
		{"kind-strange", "", "the reason"},
		{"crash", "", "SIGSEGV: segmentation violation"},
		{"signal", "", "signal 15 (terminated)"},
		{"killed", "", "lack of memory"},
		{"exit", "", "out of luck"},
		{"truncates", "", "bad code"},
	} {
		t.Run(tc.mode, func(t *testing.T) {
			b := newBench(t, "FAKE="+tc.mode)
			c := b.open()
			_, err := c.Code(context.Background(), module(t, program{}.String()))
			var no *Refusal
			if got := errors.As(err, &no); got != (tc.refusal != "") || (got && no.Kind != tc.refusal) || errors.Is(err, ErrCompile) == got {
				t.Errorf("error = %#v, want refusal %q", err, tc.refusal)
			}
			if text := fmt.Sprint(err); !strings.Contains(text, tc.text) || len(text) > 600 || strings.Contains(text, "\n") {
				t.Errorf("error %q does not say %q in one line", text, tc.text)
			}
			for _, class := range []string{"tmp", classDemand, classImage} {
				if left := b.files(class); len(left) > 0 {
					t.Errorf("%s holds %v after a failure", class, left)
				}
			}
		})
	}
}

func TestCompilationEndsInTime(t *testing.T) {
	b := newBench(t, "FAKE=hang")
	b.cfg.Timeout = 100 * time.Millisecond
	_, err := b.open().Code(context.Background(), module(t, program{}.String()))
	var no *Refusal
	if !errors.As(err, &no) || no.Kind != TooBig || !strings.Contains(no.Error(), "longer than 100ms") {
		t.Errorf("error = %v", err)
	}
}

// fakeJail notes who came and who is still there.
type fakeJail struct {
	err     error
	mu      sync.Mutex
	bounds  []Bounds
	inside  int
	started string // a file that the compilation writes when it begins
	early   bool
}

func (j *fakeJail) Confine(_ context.Context, pid int, b Bounds) (func(), error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := os.Stat(j.started); err == nil {
		j.early = true
	}
	j.bounds = append(j.bounds, b)
	if j.err != nil || unix.Kill(pid, 0) != nil {
		return nil, j.err
	}
	j.inside++
	return func() { j.mu.Lock(); j.inside--; j.mu.Unlock() }, nil
}

func TestCompilationsWaitForTheirJail(t *testing.T) {
	runs := filepath.Join(t.TempDir(), "runs")
	b := newBench(t, "FAKE_RUNS="+runs)
	jail := &fakeJail{started: runs}
	b.cfg.Jail, b.cfg.MemoryLimit = jail, 1<<30
	mustCode(t, b.open(), module(t, program{}.String()))
	if want := []Bounds{{Memory: 1<<30 + overhead}}; !slices.Equal(jail.bounds, want) || jail.inside != 0 || jail.early {
		t.Errorf("bounds = %v, want %v; %d left inside; it began before: %v", jail.bounds, want, jail.inside, jail.early)
	}
}

func TestWithoutItsJailNothingIsCompiled(t *testing.T) {
	runs := filepath.Join(t.TempDir(), "runs")
	b := newBench(t, "FAKE_RUNS="+runs)
	b.cfg.Jail = &fakeJail{err: errors.New("no cgroups today")}
	code, err := b.open().Code(context.Background(), module(t, program{}.String()))
	if code != nil || !errors.Is(err, ErrCompile) || !strings.Contains(err.Error(), "no cgroups today") {
		t.Errorf("Code = %v, %v", code, err)
	}
}

func TestOpenNeedsAWorkerThatAnswers(t *testing.T) {
	for mode, text := range map[string]string{"probe-garbage": "does not parse", "probe-protocol": "protocol 99", "probe-fails": "libwasmer.so is missing"} {
		b := newBench(t, "FAKE="+mode)
		if c, err := Open(context.Background(), b.cfg); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, %v, want %q", mode, c, err, text)
		}
	}
}

func TestImagesOwnTheirCode(t *testing.T) {
	b := newBench(t)
	c := b.open()
	one, two := program{tail: "1"}.String(), program{tail: "2"}.String()
	c.Own(sum(one))
	mustCode(t, c, module(t, one))
	mustCode(t, c, module(t, two))
	if len(b.files(classImage)) != 1 || len(b.files(classDemand)) != 1 {
		t.Fatalf("image %v, demand %v", b.files(classImage), b.files(classDemand))
	}
	c.Own(sum(two)) // an image with that module arrives
	if len(b.files(classImage)) != 2 {
		t.Errorf("image %v, want both", b.files(classImage))
	}
	c.OwnOnly(map[string]bool{sum(two): true})
	if got := b.files(classImage); len(got) != 1 || !strings.HasPrefix(got[0], sum(two)[7:]) {
		t.Errorf("image %v, want only that of the image that is left", got)
	}
	c.Close()
	c = b.open()
	c.OwnOnly(nil)
	if left := append(b.files(classImage), b.files(classDemand)...); len(left) > 0 {
		t.Errorf("left after the last image: %v", left)
	}
}

func TestCodeOnDemandIsBounded(t *testing.T) {
	b := newBench(t)
	b.cfg.DemandLimit = 3*4096 + 1000 // room for two files and a half
	c := b.open()
	owned := program{tail: "owned"}.String()
	c.Own(sum(owned))
	mustCode(t, c, module(t, owned))
	var texts []string
	for i := range 5 {
		text := program{tail: fmt.Sprint(i)}.String()
		texts = append(texts, text)
		mustCode(t, c, module(t, text))
		for _, n := range b.files(classDemand) { // age them, so that the order is clear
			p := filepath.Join(b.cfg.Dir, classDemand, n)
			info, _ := os.Stat(p)
			os.Chtimes(p, info.ModTime().Add(-time.Minute), info.ModTime().Add(-time.Minute))
		}
	}
	files := strings.Join(b.files(classDemand), " ")
	if len(b.files(classDemand)) != 3 || !strings.Contains(files, sum(texts[4])[7:]) || strings.Contains(files, sum(texts[0])[7:]) {
		t.Errorf("on demand: %s", files)
	}
	if len(b.files(classImage)) != 1 {
		t.Error("code of an image was evicted")
	}
	bytes, inodes := c.Usage()
	if bytes < 4*4096 || inodes != 4+4 {
		t.Errorf("usage = %d bytes, %d inodes", bytes, inodes)
	}
}

func TestAFileThatChangesWhileItIsCompiledIsNotConfused(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "gate")
	b := newBench(t, "FAKE_GATE="+gate)
	c := b.open()
	before, after := program{tail: "before"}.String(), program{tail: "after!"}.String()
	f := module(t, before)
	time.AfterFunc(100*time.Millisecond, func() {
		os.WriteFile(f.Name(), []byte(after), 0o644) // a guest rewrites its own program
		os.WriteFile(gate, nil, 0o600)
	})
	code := mustCode(t, c, f)
	if got := read(t, code); code.Module != sum(before) || !strings.HasSuffix(got, code.Module[7:]) {
		t.Errorf("module %s, code %q", code.Module, got)
	}
	for _, n := range b.files(classDemand) {
		data, _ := os.ReadFile(filepath.Join(b.cfg.Dir, classDemand, n))
		if !strings.Contains(string(data), "of "+n[:64]) {
			t.Errorf("file %s holds the code of another module", n)
		}
	}
}

func TestHashIsRememberedForSettledFilesOnly(t *testing.T) {
	c := newBench(t).open()
	f := module(t, "one")
	d1, _, err := c.hash(f)
	if err != nil || d1 != sum("one") {
		t.Fatal(d1, err)
	}
	if len(c.hashes) != 0 {
		t.Error("a file that was written just now is remembered")
	}
	time.Sleep(1100 * time.Millisecond)
	c.hash(f)
	if len(c.hashes) != 1 {
		t.Error("a settled file is not remembered")
	}
	os.WriteFile(f.Name(), []byte("two"), 0o644)
	if d2, _, _ := c.hash(f); d2 != sum("two") {
		t.Errorf("hash after a change = %s", d2)
	}
}
