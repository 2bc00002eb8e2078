package shell

import (
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/proc"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// builtin is a command that changes the shell. The result is its status.
type builtin func(s *shell, args []string) int

// isSpecial tells the builtins whose assignments stay, and that no function
// hides.
func isSpecial(name string) bool {
	switch name {
	case ":", ".", "source", "break", "continue", "eval", "exec", "exit", "return", "set", "shift", "trap", "unset":
		return true
	}
	return false
}

func builtinOf(name string) (builtin, bool) {
	switch name {
	case ":":
		return func(*shell, []string) int { return 0 }, true
	case ".", "source":
		return (*shell).source, true
	case "break":
		return func(s *shell, args []string) int { return s.leaveLoops(breaking, args) }, true
	case "continue":
		return func(s *shell, args []string) int { return s.leaveLoops(continuing, args) }, true
	case "eval":
		return (*shell).evalMain, true
	case "exec":
		return (*shell).exec, true
	case "exit":
		return (*shell).exitMain, true
	case "return":
		return (*shell).returnMain, true
	case "set":
		return (*shell).setMain, true
	case "shift":
		return (*shell).shift, true
	case "trap":
		return (*shell).trap, true
	case "unset":
		return (*shell).unset, true
	case "cd":
		return (*shell).cd, true
	case "pwd":
		return func(s *shell, _ []string) int { return s.print(s.dir) }, true
	case "command":
		return (*shell).commandMain, true
	case "type":
		return (*shell).typeMain, true
	case "hash":
		return func(*shell, []string) int { return 0 }, true
	case "getopts":
		return (*shell).getopts, true
	case "read":
		return (*shell).read, true
	case "jobs":
		return (*shell).jobsMain, true
	case "wait":
		return (*shell).wait, true
	case "kill":
		return (*shell).kill, true
	case "echo", "false", "printf", "test", "true", "[":
		return builtinProgram(name), true
	}
	return nil, false
}

// print writes a line to standard output.
func (s *shell) print(line string) int {
	if _, err := io.WriteString(s.stdout(), line+"\n"); err != nil {
		return 1
	}
	return 0
}

func (s *shell) source(args []string) int {
	if len(args) == 0 {
		return s.fail(bad, ".: filename argument required")
	}
	file := args[0]
	if !strings.Contains(file, "/") {
		if found, err := find(s.ctx(file, nil), file); err == nil {
			file = found
		}
	}
	text, err := os.ReadFile((&applet.Ctx{Dir: s.dir}).Path(file))
	if err != nil {
		return s.fail(bad, ".: can't open '%s': %s", args[0], applet.Strerror(err))
	}
	params := s.params
	if len(args) > 1 {
		s.params = args[1:]
	}
	s.sourced++
	s.eval(string(text))
	s.sourced--
	s.params = params
	if s.flow.kind == returning {
		s.flow = flow{}
	}
	return s.status
}

func (s *shell) leaveLoops(kind flowKind, args []string) int {
	n := 1
	if len(args) > 0 {
		var err error
		if n, err = strconv.Atoi(args[0]); err != nil || n < 1 {
			return s.fail(bad, "bad number '%s'", args[0])
		}
	}
	if s.loops > 0 {
		s.flow = flow{kind: kind, count: min(n, s.loops)}
	}
	return 0
}

func (s *shell) evalMain(args []string) int {
	s.status = 0
	s.eval(strings.Join(args, " "))
	return s.status
}

func (s *shell) exec(args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		s.keep = true
		return 0
	}
	s.program(nil, args)
	s.exit(s.status)
	return s.status
}

// statusArg is the argument of exit and return.
func (s *shell) statusArg(args []string) int {
	if len(args) == 0 {
		return s.status
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return s.fail(bad, "bad number '%s'", args[0])
	}
	return n & 0xff
}

func (s *shell) exitMain(args []string) int {
	s.exit(s.statusArg(args))
	return s.status
}

func (s *shell) returnMain(args []string) int {
	status := s.statusArg(args)
	if len(s.frames) == 0 && s.sourced == 0 {
		s.exit(status)
		return s.status
	}
	s.flow = flow{kind: returning}
	return status
}

func (s *shell) shift(args []string) int {
	n := 1
	if len(args) > 0 {
		var err error
		if n, err = strconv.Atoi(args[0]); err != nil || n < 0 {
			return s.fail(bad, "bad number '%s'", args[0])
		}
	}
	if n > len(s.params) {
		return 1
	}
	s.params = s.params[n:]
	return 0
}

// trap keeps actions. Only EXIT ever comes: no signal reaches a guest.
func (s *shell) trap(args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		for _, name := range slices.Sorted(maps.Keys(s.traps)) {
			s.print("trap -- " + quote(s.traps[name]) + " " + name)
		}
		return 0
	}
	action, names := args[0], args[1:]
	if len(names) == 0 {
		action, names = "-", args
	}
	for _, name := range names {
		n, ok := proc.SignalNumber(name)
		if !ok {
			return s.fail(1, "trap: %s: invalid signal", name)
		}
		if n == 0 {
			name = "EXIT"
		}
		if action == "-" {
			delete(s.traps, name)
			continue
		}
		s.traps[name] = action
	}
	return 0
}

func quote(text string) string {
	quoted, err := syntax.Quote(text, syntax.LangBash)
	if err != nil {
		return "'" + text + "'"
	}
	return quoted
}

func (s *shell) unset(args []string) int {
	functions := false
	if len(args) > 0 && (args[0] == "-f" || args[0] == "-v") {
		functions, args = args[0] == "-f", args[1:]
	}
	for _, name := range args {
		switch {
		case functions:
			delete(s.funcs, name)
		case s.vars[name].ReadOnly:
			return s.fail(1, "unset: %s: is read only", name)
		default:
			delete(s.vars, name)
		}
	}
	return 0
}

func (s *shell) cd(args []string) int {
	for len(args) > 0 && (args[0] == "-L" || args[0] == "-P" || args[0] == "--") {
		args = args[1:]
	}
	to := s.get("HOME")
	if len(args) > 0 {
		to = args[0]
	}
	back := to == "-"
	if back {
		to = s.get("OLDPWD")
	}
	if to == "" {
		return s.fail(1, "cd: no directory")
	}
	dir := path.Clean((&applet.Ctx{Dir: s.dir}).Path(to))
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		return s.fail(1, "cd: can't cd to %s: Not a directory", to)
	}
	if err != nil {
		return s.fail(1, "cd: can't cd to %s: %s", to, applet.Strerror(err))
	}
	for _, v := range []struct{ name, value string }{{"OLDPWD", s.dir}, {"PWD", dir}} {
		if err := s.setText(v.name, v.value); err != nil {
			return s.fail(1, "cd: %s", err)
		}
	}
	if s.dir = dir; back {
		return s.print(dir)
	}
	return 0
}

func (s *shell) commandMain(args []string) int {
	describe, long := false, false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		describe = describe || args[0] == "-v" || args[0] == "-V"
		long = long || args[0] == "-V"
		args = args[1:]
	}
	if len(args) == 0 {
		return 0
	}
	if describe {
		status := 0
		for _, name := range args {
			status = max(status, s.describe(name, long))
		}
		return status
	}
	if run, ok := builtinOf(args[0]); ok {
		return run(s, args[1:])
	}
	s.program(nil, args)
	return s.status
}

func (s *shell) typeMain(args []string) int {
	status := 0
	for _, name := range args {
		status = max(status, s.describe(name, true))
	}
	return status
}

func (s *shell) describe(name string, long bool) int {
	say := func(short, text string) int {
		if long {
			return s.print(name + " is " + text)
		}
		return s.print(short)
	}
	if syntax.IsKeyword(name) {
		return say(name, "a shell keyword")
	}
	if _, ok := s.funcs[name]; ok {
		return say(name, "a function")
	}
	if _, ok := builtinOf(name); ok {
		return say(name, "a shell builtin")
	}
	file, err := find(s.ctx(name, nil), name)
	if err == nil {
		return say(file, file)
	}
	if long {
		s.errorf("%s: not found", name)
	}
	return errNotFound.code
}

func (s *shell) read(args []string) int {
	c := s.ctx("read", nil)
	o, names, ok := c.Opts(args, "+rp:sn:t:d:u:")
	if !ok {
		return bad
	}
	if prompt := o.Value('p', ""); prompt != "" {
		io.WriteString(s.stderr(), prompt)
	}
	var line []byte
	ended := false
	for {
		var part []byte
		part, ended = readLine(s.stdin())
		line = append(line, strings.TrimSuffix(string(part), "\n")...)
		if o.Has('r') || ended || !continues(line) {
			break
		}
		line = line[:len(line)-1]
	}
	if len(names) == 0 {
		names = []string{"REPLY"}
	}
	values := expand.ReadFields(s.config, string(line), len(names), o.Has('r'))
	for i, name := range names {
		value := ""
		if i < len(values) {
			value = values[i]
		}
		if err := s.setText(name, value); err != nil {
			return s.fail(1, "read: %s", err)
		}
	}
	return boolStatus(!ended)
}

// continues tells whether a line ends in a backslash that is not escaped.
func continues(line []byte) bool {
	n := 0
	for n < len(line) && line[len(line)-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}
