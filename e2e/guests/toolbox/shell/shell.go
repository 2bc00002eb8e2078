package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// shell is the state of one shell or subshell. It belongs to one goroutine.
type shell struct {
	launcher *Launcher
	life     context.Context
	root     string // see applet.Ctx

	name   string // $0, also in front of messages
	params []string
	dir    string
	fds    map[int]*stream
	vars   map[string]expand.Variable
	funcs  map[string]*syntax.Stmt
	traps  map[string]string
	opts   options

	status      int
	substStatus int // of the last command substitution
	flow        flow
	frames      []frame // of functions
	conditions  int     // depth of places where set -e does not count
	loops       int
	sourced     int
	jobs        []*job
	config      *expand.Config
	sub         bool
	interactive bool
	start       startOptions
	keep        bool // exec: the descriptors of this statement stay
}

// startOptions are options of sh itself.
type startOptions struct{ command, stdin, interactive bool }

// stream is an open descriptor of the shell. One of r and w may be nil.
type stream struct {
	r io.Reader
	w io.Writer
}

// options are those of set.
type options struct {
	errexit, nounset, xtrace, noglob, noexec, verbose, allexport, noclobber, pipefail bool
}

// frame holds what a function's local variables hide.
type frame struct{ hidden map[string]expand.Variable }

// flow says why the statements that follow are not executed.
type flow struct {
	kind  flowKind
	count int // of loops
}

type flowKind int

const (
	running flowKind = iota
	breaking
	continuing
	returning
	exiting
)

// bad is a status for wrong use of the language, as in other shells.
const bad = 2

func newShell(l *Launcher, c *applet.Ctx) *shell {
	s := &shell{
		launcher: l, life: c.Life, root: c.Root, name: c.Name, dir: c.Dir,
		fds:   map[int]*stream{0: {r: c.In}, 1: {w: c.Out.Sink()}, 2: {w: c.Err}},
		vars:  map[string]expand.Variable{},
		funcs: map[string]*syntax.Stmt{},
		traps: map[string]string{},
	}
	for _, kv := range c.Env {
		if key, value, ok := strings.Cut(kv, "="); ok && syntax.ValidName(key) {
			s.vars[key] = expand.Variable{Set: true, Exported: true, Kind: expand.String, Str: value}
		}
	}
	s.setDefault("IFS", " \t\n", false)
	s.setDefault("PATH", DefaultPath, true)
	s.setDefault("OPTIND", "1", false)
	s.vars["PWD"] = expand.Variable{Set: true, Exported: true, Kind: expand.String, Str: s.dir}
	s.configure()
	return s
}

func (s *shell) setDefault(name, value string, exported bool) {
	if !s.vars[name].IsSet() || name == "IFS" {
		s.vars[name] = expand.Variable{Set: true, Exported: exported, Kind: expand.String, Str: value}
	}
}

// configure connects the expansions to this state.
func (s *shell) configure() {
	s.config = &expand.Config{Env: environ{s}, CmdSubst: s.substitute, NoUnset: s.opts.nounset}
	if !s.opts.noglob {
		s.config.ReadDir2 = readDir
	}
}

// subshell copies the state. Descriptors are shared, as after fork(2).
func (s *shell) subshell() *shell {
	sub := *s
	sub.fds = maps.Clone(s.fds)
	sub.vars = maps.Clone(s.vars)
	sub.funcs = maps.Clone(s.funcs)
	sub.traps = map[string]string{}
	sub.frames = slices.Clone(s.frames)
	sub.jobs, sub.loops, sub.sub, sub.interactive = nil, 0, true, false
	sub.configure()
	return &sub
}

// stopped tells whether the statements that follow are skipped. The end of the
// shell's life is an exit.
func (s *shell) stopped() bool {
	if s.flow.kind == running && s.life.Err() != nil {
		s.exit(128 + 15)
	}
	return s.flow.kind != running
}

func (s *shell) exit(status int) {
	s.status = status & 0xff
	s.flow = flow{kind: exiting}
}

// errorf reports a failure of the shell itself, with $0 in front.
func (s *shell) errorf(format string, args ...any) {
	fmt.Fprintf(s.stderr(), "%s: %s\n", s.name, fmt.Sprintf(format, args...))
}

// fail is errorf and a status.
func (s *shell) fail(status int, format string, args ...any) int {
	s.errorf(format, args...)
	return status
}

func (s *shell) stdin() io.Reader {
	if f := s.fds[0]; f != nil && f.r != nil {
		return f.r
	}
	return closedStream{}
}

func (s *shell) stdout() io.Writer { return s.writer(1) }
func (s *shell) stderr() io.Writer { return s.writer(2) }

func (s *shell) writer(fd int) io.Writer {
	if f := s.fds[fd]; f != nil && f.w != nil {
		return f.w
	}
	return closedStream{}
}

// closedStream is a descriptor that is closed, or open the other way only.
type closedStream struct{}

var errClosed error = syscall.EBADF

func (closedStream) Read([]byte) (int, error)  { return 0, errClosed }
func (closedStream) Write([]byte) (int, error) { return 0, errClosed }

// ctx is the process that a program of this shell is. extra holds the
// assignments in front of it.
func (s *shell) ctx(name string, extra []string) *applet.Ctx {
	return &applet.Ctx{
		Name: name, Caller: s.name, In: s.stdin(), Out: applet.NewOutput(s.stdout()), Err: s.stderr(),
		Dir: s.dir, Root: s.root, Env: append(s.exported(), extra...), Life: s.life, Start: s.launcher.Start,
	}
}

// exported is the environment of programs, sorted by name.
func (s *shell) exported() []string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(s.vars)) {
		if v := s.vars[name]; v.Exported && v.IsSet() {
			list = append(list, name+"="+v.String())
		}
	}
	return list
}

// environ lets expansions read and set variables.
type environ struct{ s *shell }

var errReadOnly = errors.New("readonly variable")

func text(v string) expand.Variable {
	return expand.Variable{Set: true, Kind: expand.String, Str: v}
}

// Get gives variables and the special parameters.
func (e environ) Get(name string) expand.Variable {
	s := e.s
	switch name {
	case "#":
		return text(strconv.Itoa(len(s.params)))
	case "@", "*":
		return expand.Variable{Set: true, Kind: expand.Indexed, List: s.params}
	case "?":
		return text(strconv.Itoa(s.status))
	case "$":
		return text(s.pid())
	case "!":
		if len(s.jobs) == 0 {
			return expand.Variable{}
		}
		return text(strconv.Itoa(s.jobs[len(s.jobs)-1].id))
	case "-":
		return text(s.opts.letters())
	case "PPID":
		return text("0")
	case "RANDOM":
		return text(strconv.Itoa(random()))
	case "0":
		return text(s.name)
	}
	if n, err := strconv.Atoi(name); err == nil {
		if n >= 1 && n <= len(s.params) {
			return text(s.params[n-1])
		}
		return expand.Variable{}
	}
	return s.vars[name]
}

// Each gives all variables.
func (e environ) Each(f func(string, expand.Variable) bool) {
	for name, v := range e.s.vars {
		if !f(name, v) {
			return
		}
	}
}

// Set is for ${x:=word} and arithmetic.
func (e environ) Set(name string, v expand.Variable) error { return e.s.set(name, v) }

func (s *shell) set(name string, v expand.Variable) error {
	old := s.vars[name]
	if old.ReadOnly {
		return fmt.Errorf("%s: %w", name, errReadOnly)
	}
	if v.Kind == expand.KeepValue {
		kept := old
		kept.Exported, kept.ReadOnly = old.Exported || v.Exported, old.ReadOnly || v.ReadOnly
		s.vars[name] = kept
		return nil
	}
	if !v.IsSet() && !v.Declared() {
		delete(s.vars, name)
		return nil
	}
	v.Exported = v.Exported || old.Exported || s.opts.allexport
	s.vars[name] = v
	return nil
}

func (s *shell) setText(name, value string) error { return s.set(name, text(value)) }

func (s *shell) get(name string) string { return environ{s}.Get(name).String() }
