package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// stdPackages are the packages of Go's standard library whose tests exercise a
// WASI host.
var stdPackages = []string{
	"os", "io/fs", "path/filepath", "time", "net", "bufio", "syscall", "archive/tar", "encoding/json", "os/signal",
}

const packageTimeout = 10 * time.Minute

// counts of tests.
type counts struct{ passed, failed, skipped int }

// gostd builds and runs the tests of packages of the standard library as
// lib/wasm/go_wasip1_wasm_exec of Go does: in the package's source directory,
// with the host's root as the guest's.
func gostd(packages []string) error {
	if len(packages) == 0 {
		packages = stdPackages
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("find GOROOT: %w", err)
	}
	dir, err := os.MkdirTemp("", "wasitest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	total := counts{}
	for _, pkg := range packages {
		c, err := testPackage(dir, filepath.Join(strings.TrimSpace(string(root)), "src", pkg), pkg)
		if err != nil {
			fmt.Printf("FAIL %s: %v\n", pkg, err)
			c.failed = max(c.failed, 1)
		}
		fmt.Printf("%-14s %d passed, %d failed, %d skipped\n", pkg, c.passed, c.failed, c.skipped)
		total.passed, total.failed, total.skipped = total.passed+c.passed, total.failed+c.failed, total.skipped+c.skipped
	}
	fmt.Printf("wasi-gostd: %d passed, %d failed, %d skipped\n", total.passed, total.failed, total.skipped)
	if total.failed > 0 {
		return fmt.Errorf("%d tests failed", total.failed)
	}
	return nil
}

// testPackage builds and runs one package's tests. A package that passed ends
// with the line PASS and exit code 0.
func testPackage(dir, source, pkg string) (counts, error) {
	module := filepath.Join(dir, strings.ReplaceAll(pkg, "/", "-")+".wasm")
	build := exec.Command("go", "test", "-c", "-o", module, pkg)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return counts{}, fmt.Errorf("build: %w: %s", err, text)
	}
	if _, err := os.Stat(module); errors.Is(err, os.ErrNotExist) {
		return counts{}, nil // it has no tests for wasip1
	}
	defer os.Remove(module)
	self, err := os.Executable()
	if err != nil {
		return counts{}, err
	}
	goroot, err := goRoot()
	if err != nil {
		return counts{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), packageTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "run", "-dir", "/:/",
		"-env", "PWD="+source, "-env", "PATH="+os.Getenv("PATH"), "-env", "TMPDIR="+os.TempDir(), "-env", "GOROOT="+goroot,
		module, "-test.short", "-test.v", "-test.timeout="+packageTimeout.String())
	var out bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = source, &out, &out
	err = cmd.Run()
	c := tally(out.String())
	if err == nil && !strings.Contains("\n"+out.String(), "\nPASS\n") {
		err = errors.New("the tests did not end with PASS")
	}
	if err != nil {
		fmt.Print(failures(out.String()))
	}
	return c, err
}

// tally counts the top-level tests in the output of -test.v.
func tally(out string) (c counts) {
	for line := range strings.Lines(out) {
		switch {
		case strings.HasPrefix(line, "--- PASS:"):
			c.passed++
		case strings.HasPrefix(line, "--- FAIL:"):
			c.failed++
		case strings.HasPrefix(line, "--- SKIP:"):
			c.skipped++
		}
	}
	return c
}

// failures gives what a test that failed said, or the end of the output.
func failures(out string) string {
	const most = 60
	lines := strings.SplitAfter(out, "\n")
	var kept []string
	for i := 0; i < len(lines) && len(kept) < most; i++ {
		if strings.Contains(lines[i], "--- FAIL:") || strings.HasPrefix(lines[i], "panic:") {
			kept = append(kept, lines[max(0, i-6):min(len(lines), i+10)]...)
		}
	}
	if len(kept) == 0 {
		kept = lines[max(0, len(lines)-20):]
	}
	return strings.Join(kept, "")
}

// goRoot is where the Go tool in PATH has its library.
func goRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
