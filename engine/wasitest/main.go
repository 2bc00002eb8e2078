// Command wasitest runs the WASI test suites against the engine and the WASI
// host of a worker, without the daemon.
//
//	wasitest suite DIR             WebAssembly/wasi-testsuite, branch prod/testsuite-base
//	wasitest gostd [PACKAGE...]    tests of Go's standard library
//	wasitest run [flags] MODULE [ARG...]  one module, as a worker would
//
// A case is run in a process of its own. The last line of suite is
// `wasi-testsuite: N passed, N failed, N skipped`, that of gostd the same with
// `wasi-gostd`.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi/hostsys"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/preview1"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/trace"
	"github.com/cri-wasmer/cri-wasmer/engine/wasmer"
)

func init() { runtime.LockOSThread() } // the guest runs on the main thread

func main() {
	err := errors.New("usage: wasitest suite DIR | wasitest gostd [PACKAGE...] | wasitest run [flags] MODULE [ARG...]")
	switch {
	case len(os.Args) == 3 && os.Args[1] == "suite":
		err = suite(os.Args[2])
	case len(os.Args) > 1 && os.Args[1] == "gostd":
		err = gostd(os.Args[2:])
	case len(os.Args) > 2 && os.Args[1] == "run":
		err = run(os.Args[2:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "wasitest:", err)
		os.Exit(1)
	}
}

// testCase is the JSON file beside a module.
type testCase struct {
	Args     []string          `json:"args"`
	Env      map[string]string `json:"env"`
	Root     string            `json:"root"`
	ExitCode int               `json:"exit_code"`
	Stdout   *string           `json:"stdout"`
	Stderr   *string           `json:"stderr"`
}

const caseTimeout = time.Minute

func suite(dir string) error {
	modules, err := filepath.Glob(filepath.Join(dir, "tests", "*", "testsuite", "wasm32-wasip1", "*.wasm"))
	if err != nil {
		return err
	}
	if len(modules) == 0 {
		return fmt.Errorf("no modules below %s: give a checkout of the branch prod/testsuite-base", dir)
	}
	sort.Strings(modules)
	passed, failed := 0, 0
	for _, module := range modules {
		name, _ := filepath.Rel(filepath.Join(dir, "tests"), module)
		if err := runCase(module); err != nil {
			failed++
			fmt.Printf("FAIL %s: %v\n", name, err)
			continue
		}
		passed++
	}
	fmt.Printf("wasi-testsuite: %d passed, %d failed, 0 skipped\n", passed, failed)
	if failed > 0 {
		return fmt.Errorf("%d cases failed", failed)
	}
	return nil
}

func runCase(module string) error {
	var c testCase
	b, err := os.ReadFile(strings.TrimSuffix(module, ".wasm") + ".json")
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	args := []string{"run"}
	if c.Root != "" {
		root, err := os.MkdirTemp("", "wasitest-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(root)
		if err := os.CopyFS(root, os.DirFS(filepath.Join(filepath.Dir(module), c.Root))); err != nil {
			return err
		}
		args = append(args, "-dir", root+":/")
	}
	for k, v := range c.Env {
		args = append(args, "-env", k+"="+v)
	}
	ctx, cancel := context.WithTimeout(context.Background(), caseTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, os.Args[0], append(append(args, module), c.Args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return verdict(&c, cmd, err, stdout.String(), stderr.String())
}

func verdict(c *testCase, cmd *exec.Cmd, err error, stdout, stderr string) error {
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return err
	}
	if code := cmd.ProcessState.ExitCode(); code != c.ExitCode {
		return fmt.Errorf("exit code %d, want %d: %s", code, c.ExitCode, strings.TrimSpace(stderr))
	}
	if c.Stdout != nil && *c.Stdout != stdout {
		return fmt.Errorf("stdout %q, want %q", stdout, *c.Stdout)
	}
	if c.Stderr != nil && *c.Stderr != stderr {
		return fmt.Errorf("stderr %q, want %q", stderr, *c.Stderr)
	}
	return nil
}

// list is a flag that can be given many times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

// run runs one module and ends the process with its exit code.
func run(args []string) error {
	flags := flag.NewFlagSet("run", flag.ExitOnError)
	var dirs, env list
	flags.Var(&dirs, "dir", "HOST:GUEST[:ro] directory to preopen; the guest name / is the root filesystem")
	flags.Var(&env, "env", "NAME=VALUE for the guest")
	traceTo := flags.String("trace", "", "file for a line about each WASI call")
	cache := flags.String("cache", "", "directory of your own to keep compiled code in")
	argv0 := flags.String("argv0", "", "the guest's argument 0; by default the name of the module")
	if err := flags.Parse(args); err != nil || flags.NArg() == 0 {
		return errors.New("run needs a module")
	}
	module, err := os.ReadFile(flags.Arg(0))
	if err != nil {
		return err
	}
	c := hostsys.Config{Stdin: hostsys.Stream{FD: 0}, Stdout: hostsys.Stream{FD: 1}, Stderr: hostsys.Stream{FD: 2}}
	c.Args = [][]byte{[]byte(filepath.Base(flags.Arg(0)))}
	if *argv0 != "" {
		c.Args[0] = []byte(*argv0)
	}
	for _, a := range flags.Args()[1:] {
		c.Args = append(c.Args, []byte(a))
	}
	for _, kv := range env {
		c.Env = append(c.Env, []byte(kv))
	}
	for _, d := range dirs {
		host, guest, _ := strings.Cut(d, ":")
		guest, mode, _ := strings.Cut(guest, ":")
		fd, err := unix.Open(host, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: host, Err: err}
		}
		c.Preopens = append(c.Preopens, hostsys.Preopen{Name: guest, FD: fd, IsRoot: guest == "/", Readonly: mode == "ro"})
	}
	code, err := compiled(module, *cache)
	if err != nil {
		return err
	}
	if *traceTo == "" {
		return start(code, c, nil)
	}
	f, err := os.Create(*traceTo)
	if err != nil {
		return err
	}
	return start(code, c, trace.New(f))
}

// compiled gives a module's machine code, from the cache if there is one.
func compiled(module []byte, cache string) ([]byte, error) {
	if cache == "" {
		return wasmer.Compile(module, wasmer.Cranelift)
	}
	path := filepath.Join(cache, fmt.Sprintf("%x.code", sha256.Sum256(module)))
	if code, err := os.ReadFile(path); err == nil {
		return code, nil
	}
	code, err := wasmer.Compile(module, wasmer.Cranelift)
	if err != nil {
		return nil, err
	}
	temp := fmt.Sprintf("%s.%d", path, os.Getpid()) // renamed when whole: damaged code crashes
	if err := os.WriteFile(temp, code, 0o600); err != nil {
		return nil, err
	}
	return code, os.Rename(temp, path)
}

// start runs a module, and traces its calls with a tracer that is not nil.
func start(code []byte, c hostsys.Config, tracer *trace.Tracer) error {
	if err := wasmer.Load(code); err != nil {
		return err
	}
	sys, err := hostsys.New(c)
	if err != nil {
		return err
	}
	h := preview1.NewHost(sys)
	for i, im := range wasmer.Imports() {
		call, ok := preview1.Lookup(im.Module, im.Name, im.Params, im.Results)
		if !ok {
			return fmt.Errorf("import %s.%s is not served", im.Module, im.Name)
		}
		if tracer != nil {
			call = tracer.Wrap(im.Module, im.Name, im.Params, call)
		}
		wasmer.Bind(i, func(mem []byte, args []uint64) (uint64, bool) {
			errno := call(h, mem, args)
			_, exited := h.Exited()
			return uint64(errno), exited
		})
	}
	if err := wasmer.Instantiate(); err != nil {
		return err
	}
	err = wasmer.Call("_start")
	if code, ok := h.Exited(); ok {
		os.Exit(int(code & 0xff))
	}
	return err
}
