package importrules

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// list asks the go command for packages of the module.
func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-e", "-json=ImportPath,Imports,Deps,CgoFiles"}, args...)...)
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	return packages
}

// touchSources looks at every Go file, so that the go command does not give the
// cached result of a test whose subject, which only `go list` reads, has changed.
func touchSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".go" {
			_, err = os.Stat(path)
		}
		if err == nil && e.IsDir() && (e.Name() == ".git" || e.Name() == "build") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestEveryPackageKeepsTheRules(t *testing.T) {
	touchSources(t)
	packages := list(t, "./...")
	if len(packages) < 10 {
		t.Fatalf("go list found %d packages, want the whole module", len(packages))
	}
	for _, b := range breaches(packages) {
		t.Error(b)
	}
}

// TestTheDaemonNeedsNoCgo looks at all that is linked into it.
func TestTheDaemonNeedsNoCgo(t *testing.T) {
	touchSources(t)
	for _, p := range list(t, "-deps", "./cmd/cri-wasmer") {
		standard := !outside(p.ImportPath) && !strings.HasPrefix(p.ImportPath, module)
		if len(p.CgoFiles) > 0 && !standard {
			t.Errorf("%s uses cgo and is part of the daemon", p.ImportPath)
		}
	}
}

func TestBreaches(t *testing.T) {
	tests := []struct {
		name string
		pkg  pkg
		want string // empty: none
	}{
		{"the daemon loads an engine by a detour", pkg{ImportPath: module + "cri", Deps: []string{module + "proto/worker/v1", module + "engine/wasmer"}}, "cri depends on engine/wasmer"},
		{"a worker knows pods", pkg{ImportPath: module + "engine/worker", Deps: []string{module + "sandbox"}}, "engine/worker depends on sandbox"},
		{"the domain imports who does the work", pkg{ImportPath: module + "sandbox", Deps: []string{module + "sandbox/network"}}, "sandbox depends on sandbox/network"},
		{"who does the work imports the domain", pkg{ImportPath: module + "sandbox/network", Deps: []string{module + "sandbox"}}, ""},
		{"a library behind its owner", pkg{ImportPath: module + "engine/wasmer", Imports: []string{"github.com/wasmerio/wasmer-go/wasmer"}}, ""},
		{"a library elsewhere", pkg{ImportPath: module + "engine/worker", Imports: []string{"github.com/wasmerio/wasmer-go/wasmer"}}, "only engine/wasmer may"},
		{"a library without owner", pkg{ImportPath: module + "cri", Imports: []string{"example.com/new"}}, "has no owner"},
		{"a free library and the standard one", pkg{ImportPath: module + "cri", Imports: []string{"golang.org/x/sys/unix", "net/http"}}, ""},
		{"cgo in the daemon", pkg{ImportPath: module + "sandbox/process", CgoFiles: []string{"x.go"}}, "uses cgo"},
		{"cgo in the worker", pkg{ImportPath: module + "engine/wasmer", CgoFiles: []string{"x.go"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.Join(breaches([]pkg{tt.pkg}), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("breaches = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMatches(t *testing.T) {
	tests := []struct {
		pattern, path string
		want          bool
	}{
		{"a", "a", true},
		{"a", "a/b", false},
		{"a/...", "a", true},
		{"a/...", "a/b/c", true},
		{"a/...", "ab", false},
		{"a/*/...", "a", false},
		{"a/*/...", "a/b", true},
		{"a/*", "a/b/c", false},
	}
	for _, tt := range tests {
		if got := matches(tt.pattern, tt.path); got != tt.want {
			t.Errorf("matches(%q, %q) = %v, want %v", tt.pattern, tt.path, got, tt.want)
		}
	}
}
