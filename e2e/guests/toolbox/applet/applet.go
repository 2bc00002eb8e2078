package applet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
)

// Exit codes with a meaning of their own.
const (
	ExitUsage      = 2
	ExitCannotExec = 126
	ExitNotFound   = 127
	exitBrokenPipe = 128 + 13 // SIGPIPE
)

// Func is a program. args are its arguments without its name; the result is its
// exit code.
type Func func(c *Ctx, args []string) int

// Table holds programs by name.
type Table map[string]Func

// Merge gives a table with the programs of all tables.
func Merge(tables ...Table) Table {
	all := Table{}
	for _, t := range tables {
		maps.Copy(all, t)
	}
	return all
}

// Names gives the names of all programs, sorted.
func (t Table) Names() []string { return slices.Sorted(maps.Keys(t)) }

// Starter starts a program by its command line within c, and gives its exit
// code. The shell sets it to its own search through PATH.
type Starter func(c *Ctx, argv []string) int

// Ctx is one run of a program. It belongs to the goroutine of that run.
type Ctx struct {
	Name string // argv[0] as the caller wrote it
	In   io.Reader
	Out  *Output
	Err  io.Writer
	Dir  string   // absolute
	Root string   // where /proc and /etc are looked up: "" but in tests
	Env  []string // KEY=value

	Caller string // who starts it, as it stands in messages about that

	Life  context.Context // done when the run shall end (kill of a job)
	Start Starter         // for programs that start others
}

// Child gives a Ctx for a program that c starts: everything as in c, with a
// buffer of its own in front of the same output.
func (c *Ctx) Child(name string) *Ctx {
	c.Out.Flush()
	child := *c
	child.Name, child.Caller, child.Out = name, c.Base(), NewOutput(c.Out.Sink())
	return &child
}

// Base is the name without its directory, as it stands in messages.
func (c *Ctx) Base() string { return path.Base(c.Name) }

// Path makes p absolute: relative paths start in the directory of c.
func (c *Ctx) Path(p string) string {
	if p == "" || strings.HasPrefix(p, "/") {
		return p
	}
	if c.Dir == "/" {
		return "/" + p
	}
	return c.Dir + "/" + p
}

// System is the place of a file of the system, such as /proc/self/status.
func (c *Ctx) System(p string) string { return c.Root + p }

// Getenv gives the value of an environment variable, or "".
func (c *Ctx) Getenv(key string) string {
	for _, kv := range slices.Backward(c.Env) {
		if k, v, ok := strings.Cut(kv, "="); ok && k == key {
			return v
		}
	}
	return ""
}

// Errorf writes "name: message" to standard error and gives exit code 1.
func (c *Ctx) Errorf(format string, args ...any) int {
	c.Out.Flush()
	fmt.Fprintf(c.Err, "%s: %s\n", c.Base(), fmt.Sprintf(format, args...))
	return 1
}

// Fail reports that an operation on p failed, "name: p: reason", and gives exit
// code 1.
func (c *Ctx) Fail(p string, err error) int { return c.Errorf("%s: %s", p, Strerror(err)) }

// Usage reports a wrong command line and gives exit code 2.
func (c *Ctx) Usage(text string) int {
	c.Out.Flush()
	fmt.Fprintf(c.Err, "usage: %s %s\n", c.Base(), text)
	return ExitUsage
}

// Alive tells whether the run goes on: loops without an end ask it.
func (c *Ctx) Alive() bool { return c.Life.Err() == nil }

// Run runs the program that argv[0] names by its base name. ok is false when
// there is none.
func (t Table) Run(c *Ctx, argv []string) (code int, ok bool) {
	f, ok := t[path.Base(argv[0])]
	if !ok {
		return ExitNotFound, false
	}
	return Call(c, f, argv[1:]), true
}

// Call runs f and flushes its output. A run that cannot write ends with the
// exit code of SIGPIPE, or with an error when it is not a pipe that broke.
func Call(c *Ctx, f Func, args []string) (code int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case brokenOutput:
			code = c.outputFailed(r.err)
		default:
			panic(r)
		}
	}()
	code = f(c, args)
	c.Out.Flush()
	return code
}

func (c *Ctx) outputFailed(err error) int {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe) {
		return exitBrokenPipe
	}
	fmt.Fprintf(c.Err, "%s: write error: %s\n", c.Base(), Strerror(err))
	return 1
}

// Strerror is the reason of err in the words of strerror(3).
func Strerror(err error) string {
	if err == nil {
		return "Success"
	}
	if no, ok := errors.AsType[syscall.Errno](err); ok {
		err = no
	}
	text := err.Error()
	if text == "" {
		return "Unknown error"
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// Open opens the operand p for reading; "-" is standard input.
func (c *Ctx) Open(p string) (io.ReadCloser, error) {
	if p == "-" {
		return io.NopCloser(c.In), nil
	}
	return openFile(c.Path(p))
}

// EachInput calls f with every operand opened, or with standard input when
// there is none. Operands that cannot be read are reported and make the exit
// code 1; the others are still done.
func (c *Ctx) EachInput(operands []string, f func(name string, r io.Reader) error) int {
	if len(operands) == 0 {
		operands = []string{"-"}
	}
	code := 0
	for _, name := range operands {
		if err := c.withInput(name, f); err != nil {
			code = c.Fail(name, err)
		}
	}
	return code
}

func (c *Ctx) withInput(name string, f func(string, io.Reader) error) error {
	r, err := c.Open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	return f(name, r)
}
