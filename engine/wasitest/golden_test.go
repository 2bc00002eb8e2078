package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden traces anew")

// varying is what differs from run to run, and from compiler to compiler: how
// long a call took, where things lie in memory, and what is the file system's
// choice: cookies, the order of entries, sizes of directories.
var varying = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(` <\d+µs>\n`), "\n"},
	{regexp.MustCompile(`\b(argv|environ|buf|in|out)=\d+`), "$1=PTR"},
	{regexp.MustCompile(`used=(\d+)\[[^\]]*\]`), "used=$1"},
	{regexp.MustCompile(`stat=directory/nlink:\d+/size:\d+`), "stat=directory"},
	{regexp.MustCompile(`\bcookie=[1-9]\d*`), "cookie=NEXT"},
}

func normal(trace string) string {
	for _, v := range varying {
		trace = v.pattern.ReplaceAllString(trace, v.by)
	}
	return trace
}

// TestGoldenTraces compares the calls that guests make, and what came of each,
// with those of testdata. `go test ./engine/wasitest -run Golden -update`
// writes them anew: read the difference before you keep it.
func TestGoldenTraces(t *testing.T) {
	for _, name := range []string{"hello-c", "files-c"} {
		t.Run(name, func(t *testing.T) {
			module := compiledC(t, name)
			trace := filepath.Join(t.TempDir(), "trace")
			cmd := exec.Command(os.Args[0], "run", "-trace", trace, "-argv0", "guest", "-dir", t.TempDir()+":/", module)
			cmd.Env = append(os.Environ(), childEnv+"=1")
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			b, err := os.ReadFile(trace)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".trace")
			if *update {
				if err := os.WriteFile(golden, []byte(normal(string(b))), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, strings.Split(normal(string(b)), "\n"), strings.Split(string(want), "\n"))
		})
	}
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Fatalf("call %d is missing: want %s", i+1, want[i])
		case i >= len(want):
			t.Fatalf("call %d is one too many: %s", i+1, got[i])
		case got[i] != want[i]:
			t.Fatalf("call %d\ngot  %s\nwant %s", i+1, got[i], want[i])
		}
	}
}

// compiledC builds a guest of e2e/guests/c.
func compiledC(t *testing.T, name string) string {
	t.Helper()
	if _, err := exec.LookPath("clang"); err != nil {
		t.Skip("clang is missing: apt-get install clang lld wasi-libc libclang-rt-dev-wasm32")
	}
	out := filepath.Join(built.dir, name+".wasm")
	make := exec.Command("make", "-C", "../../e2e/guests", "OUT="+built.dir, out)
	if text, err := make.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, text)
	}
	return out
}
