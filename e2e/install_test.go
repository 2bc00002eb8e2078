package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/built"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/wasmmod"
)

// make runs the Makefile without building anew what make build built.
func runMake(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", append([]string{"-s", "-C", built.Repository(), "-o", "build"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make %v: %v\n%s", args, err, out)
	}
}

// installed lists the files below a directory.
func installed(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, strings.TrimPrefix(path, dir))
		}
		return err
	}))
	return list
}

func TestInstall(t *testing.T) {
	requireServer(t)
	if filepath.Dir(built.Server()) != filepath.Join(built.Repository(), "bin") {
		t.Skip("needs the binaries of make build in bin")
	}
	dest := t.TempDir()
	runMake(t, "install", "DESTDIR="+dest, "PREFIX=/opt/wasm")
	files := installed(t, dest)
	for _, name := range []string{
		"bin/cri-wasmer", "libexec/cri-wasmer/bin/cri-wasmer-worker", "libexec/cri-wasmer/lib/libwasmer.so", "libexec/cri-wasmer/bin/cni/bridge",
		"lib/systemd/system/cri-wasmer.service", "share/bash-completion/completions/cri-wasmer",
		"share/cri-wasmer/selinux/cri-wasmer.cil",
	} {
		if !slices.Contains(files, "/opt/wasm/"+name) {
			t.Errorf("%s is not installed", name)
		}
	}
	binary := filepath.Join(dest, "opt/wasm/bin/cri-wasmer")
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), binary, args...)
		cmd.Env = append(os.Environ(), "CRI_WASMER_CONFIG=/dev/null")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	// The worker is found beside, and finds its library.
	module := filepath.Join(t.TempDir(), "m.wasm")
	must(t, os.WriteFile(module, wasmmod.True(), 0o644))
	wantText(t, "config check", run("config", "check"), "configuration is valid")
	wantText(t, "inspect of a file", run("inspect", module), "Runs here   yes")
	checkUnit(t, dest)
	runMake(t, "uninstall", "DESTDIR="+dest, "PREFIX=/opt/wasm")
	if left := installed(t, dest); len(left) > 0 {
		t.Errorf("uninstall leaves %q", left)
	}
}

// checkUnit has systemd read the unit, where there is one, and checks what must
// be in it.
func checkUnit(t *testing.T, dest string) {
	t.Helper()
	unit := filepath.Join(dest, "opt/wasm/lib/systemd/system/cri-wasmer.service")
	text, err := os.ReadFile(unit)
	must(t, err)
	wantText(t, "unit", string(text), "ExecStart=/opt/wasm/bin/cri-wasmer serve\n", "KillMode=process\n", "Delegate=yes\n", "Type=notify\n")
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("the unit is not verified: there is no systemd-analyze")
		return
	}
	// It wants to see the program at its place.
	here := filepath.Join(t.TempDir(), "cri-wasmer.service")
	must(t, os.WriteFile(here, []byte(strings.ReplaceAll(string(text), "/opt/wasm/", dest+"/opt/wasm/")), 0o644))
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", here).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
