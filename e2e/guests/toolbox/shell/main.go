package shell

import (
	"errors"
	"io"
	"os"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// Programs gives the programs of this package: the shell and what belongs to
// it. They start others through l.
func Programs(l *Launcher) applet.Table {
	sh := func(c *applet.Ctx, args []string) int { return l.main(c, args) }
	return applet.Table{"sh": sh, "ash": sh, "bash": sh, "test": testMain, "[": bracketMain, "which": which}
}

// main is sh: -c COMMAND, a file, or standard input.
func (l *Launcher) main(c *applet.Ctx, args []string) int {
	s := newShell(l, c)
	args, ok := s.setOptions(args)
	if !ok {
		return bad
	}
	switch {
	case s.start.command:
		return s.runCommand(args)
	case len(args) > 0 && !s.start.stdin:
		return s.runFile(args)
	}
	s.params = args
	s.interactive = s.start.interactive || applet.IsTerminal(c.In)
	s.runStream(c.In)
	return s.leave()
}

func (s *shell) runCommand(args []string) int {
	if len(args) == 0 {
		return s.fail(bad, "-c requires an argument")
	}
	command := args[0]
	if len(args) > 1 {
		s.name, s.params = args[1], args[2:]
	}
	s.eval(command)
	return s.leave()
}

func (s *shell) runFile(args []string) int {
	file := (&applet.Ctx{Dir: s.dir}).Path(args[0])
	text, err := os.ReadFile(file)
	if err != nil {
		code := errNotFound.code
		if !errors.Is(err, os.ErrNotExist) {
			code = errNotAllowed.code
		}
		return s.fail(code, "can't open '%s': %s", args[0], applet.Strerror(err))
	}
	s.name, s.params = args[0], args[1:]
	s.eval(string(text))
	return s.leave()
}

func newParser() *syntax.Parser { return syntax.NewParser(syntax.Variant(syntax.LangBash)) }

// eval parses and runs text in this shell. Statements before an error are run.
func (s *shell) eval(text string) {
	ran := false
	for st, err := range newParser().StmtsSeq(strings.NewReader(text)) {
		if err != nil {
			s.syntaxError(err)
			return
		}
		ran = true
		if s.stmt(st); s.stopped() {
			return
		}
	}
	if !ran {
		s.status = 0
	}
}

func (s *shell) syntaxError(err error) {
	reason := err.Error()
	if pe, ok := errors.AsType[syntax.ParseError](err); ok {
		reason = pe.Text
	}
	s.status = s.fail(bad, "syntax error: %s", reason)
	if !s.interactive {
		s.exit(bad)
	}
}

// runStream runs commands line by line, so that a command can read what stands
// behind it, and a terminal's user sees each result at once.
func (s *shell) runStream(in io.Reader) {
	lines := &lineReader{in: in}
	if s.interactive {
		lines.prompt = s.prompt
	}
	for !lines.ended && !s.stopped() {
		if s.runLines(lines); s.flow.kind != exiting {
			s.flow = flow{} // break, continue and return end the line only
		}
	}
	if s.interactive && s.flow.kind != exiting {
		io.WriteString(s.stderr(), "\n")
	}
}

// runLines goes on until the end of input, an exit or a syntax error.
func (s *shell) runLines(lines *lineReader) {
	parser := newParser()
	lines.continued = false
	for stmts, err := range parser.InteractiveSeq(lines) {
		if err != nil {
			s.syntaxError(err)
			return
		}
		if lines.continued = parser.Incomplete(); lines.continued {
			continue
		}
		if s.run(stmts); s.stopped() {
			return
		}
	}
}

// prompt writes PS1, or PS2 inside of a command.
func (s *shell) prompt(continued bool) {
	name, fallback := "PS1", `\w # `
	if continued {
		name, fallback = "PS2", "> "
	}
	text := fallback
	if v := s.vars[name]; v.IsSet() {
		text = v.String()
	}
	text = strings.NewReplacer(`\w`, s.dir, `\$`, "#", `\h`, s.get("HOSTNAME"), `\u`, s.get("USER"), `\n`, "\n").Replace(text)
	if word, err := newParser().Document(strings.NewReader(text)); err == nil {
		if expanded, err := expand.Document(s.config, word); err == nil {
			text = expanded
		}
	}
	io.WriteString(s.stderr(), text)
}

// lineReader hands out one line with each read, and takes nothing more from in.
// A last line without its end gets one.
type lineReader struct {
	in        io.Reader
	prompt    func(continued bool)
	continued bool
	ended     bool
	rest      []byte
}

func (l *lineReader) Read(p []byte) (int, error) {
	if len(l.rest) == 0 && !l.ended {
		if l.prompt != nil {
			l.prompt(l.continued)
		}
		l.rest, l.ended = readLine(l.in)
		if l.ended && len(l.rest) > 0 {
			l.rest = append(l.rest, '\n')
		}
	}
	if len(l.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// readLine reads byte by byte up to and with the end of the line.
func readLine(in io.Reader) (line []byte, ended bool) {
	var b [1]byte
	for {
		n, err := in.Read(b[:])
		if n == 1 {
			if line = append(line, b[0]); b[0] == '\n' {
				return line, false
			}
		}
		if err != nil {
			return line, true
		}
	}
}
