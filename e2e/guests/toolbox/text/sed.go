package text

import (
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// sedCommand is one command of a script with its addresses.
type sedCommand struct {
	from, to *sedAddress
	negate   bool
	name     byte
	text     string // of a, i, c, y, r, w, labels
	block    []*sedCommand

	re      *regexp.Regexp // nil in s means the last one used
	with    string
	global  bool
	print   bool
	nth     int
	toBytes string // of y

	active bool // within its range
}

// sedAddress is a line number, "$" (last) or a pattern.
type sedAddress struct {
	line int
	last bool
	re   *regexp.Regexp
}

// editor is one run of sed over one stream.
type editor struct {
	c       *applet.Ctx
	out     *applet.Output
	script  []*sedCommand
	quiet   bool
	in      *lines
	ahead   []byte
	hasNext bool
	end     bool // whether the line ahead has its newline
	line    []byte
	hold    []byte
	number  int
	after   []string // appended below the line
	quit    bool
	code    int
}

// outcome is how a command ends.
type outcome int

const (
	goOn   outcome = iota
	drop           // next line, without printing
	finish         // next line, printing
)

func sed(c *applet.Ctx, args []string) int {
	o, operands, ok := c.OptsOf(args, applet.Spec{
		Short: "nrEise:f:", Long: map[string]byte{"quiet": 'n', "regexp-extended": 'E', "in-place": 'i', "expression": 'e'},
	})
	if !ok {
		return applet.ExitUsage
	}
	text, operands, err := sedScript(c, o, operands)
	if err != nil {
		return c.Errorf("%s", err)
	}
	s := basic
	if o.Any("rE") {
		s = extended
	}
	p := sedParser{rest: text, syntax: s}
	script, err := p.commands(false)
	if err != nil {
		return c.Errorf("%s", err)
	}
	e := &editor{c: c, out: c.Out, script: script, quiet: o.Has('n')}
	if o.Has('i') {
		return e.inPlace(operands)
	}
	code := e.files(operands)
	return max(code, e.code)
}

func sedScript(c *applet.Ctx, o *applet.Opts, operands []string) (string, []string, error) {
	parts := o.Values('e')
	for _, name := range o.Values('f') {
		text, err := os.ReadFile(c.Path(name))
		if err != nil {
			return "", nil, errors.New(name + ": " + applet.Strerror(err))
		}
		parts = append(parts, string(text))
	}
	if len(parts) > 0 {
		return strings.Join(parts, "\n"), operands, nil
	}
	if len(operands) == 0 {
		return "", nil, errors.New("no script")
	}
	return operands[0], operands[1:], nil
}

// files edits all operands as one stream.
func (e *editor) files(operands []string) int {
	if len(operands) == 0 {
		operands = []string{"-"}
	}
	var readers []io.Reader
	code := 0
	for _, name := range operands {
		r, err := e.c.Open(name)
		if err != nil {
			code = e.c.Fail(name, err)
			continue
		}
		defer r.Close()
		readers = append(readers, r)
	}
	e.in = newLines(io.MultiReader(readers...))
	if err := e.run(); err != nil {
		return e.c.Errorf("%s", applet.Strerror(err))
	}
	return code
}

func (e *editor) inPlace(operands []string) int {
	code := 0
	for _, name := range operands {
		text, err := os.ReadFile(e.c.Path(name))
		if err != nil {
			code = e.c.Fail(name, err)
			continue
		}
		var edited bytes.Buffer
		one := *e
		one.out, one.in = applet.NewOutput(&edited), newLines(bytes.NewReader(text))
		if err = one.run(); err == nil {
			one.out.Flush()
			err = os.WriteFile(e.c.Path(name), edited.Bytes(), 0o666)
		}
		if err != nil {
			code = e.c.Fail(name, err)
		}
	}
	return code
}

func (e *editor) run() error {
	e.look()
	for e.hasNext && !e.quit && e.c.Alive() {
		e.take()
		if e.execute(e.script) != drop && !e.quiet {
			e.print(e.line)
		}
		for _, text := range e.after {
			e.out.WriteString(text)
		}
		e.after = nil
	}
	return e.in.err
}

// take makes the line ahead the current one and reads one more, so that "$" is
// known.
func (e *editor) take() {
	e.line = e.ahead
	e.number++
	e.look()
}

// look reads the line ahead. At the end it keeps what it knows of the last
// line's newline.
func (e *editor) look() {
	next, ended, ok := e.in.next()
	e.ahead, e.hasNext = bytes.Clone(next), ok
	if ok {
		e.end = ended
	}
}

func (e *editor) print(line []byte) {
	e.out.Write(line)
	if e.hasNext || e.end || len(e.after) > 0 {
		e.out.WriteByte('\n')
	}
}

func (e *editor) execute(script []*sedCommand) outcome {
	for _, cmd := range script {
		if e.selects(cmd) == cmd.negate {
			continue
		}
		if o := e.do(cmd); o != goOn {
			return o
		}
	}
	return goOn
}

func (e *editor) matches(a *sedAddress) bool {
	switch {
	case a.last:
		return !e.hasNext
	case a.re != nil:
		return a.re.Match(e.line)
	}
	return a.line == e.number
}

func (e *editor) selects(cmd *sedCommand) bool {
	switch {
	case cmd.from == nil:
		return true
	case cmd.to == nil:
		return e.matches(cmd.from)
	case cmd.active:
		if cmd.to.re == nil && !cmd.to.last {
			cmd.active = e.number < cmd.to.line
			return e.number <= cmd.to.line
		}
		cmd.active = !e.matches(cmd.to)
		return true
	}
	if !e.matches(cmd.from) {
		return false
	}
	cmd.active = cmd.to.re != nil || cmd.to.last && e.hasNext || cmd.to.line > e.number
	return true
}

func (e *editor) do(cmd *sedCommand) outcome {
	switch cmd.name {
	case '{':
		return e.execute(cmd.block)
	case 's':
		e.substitute(cmd)
	case 'p':
		e.out.Write(e.line)
		e.out.WriteByte('\n')
	case 'P':
		first, _, _ := bytes.Cut(e.line, []byte("\n"))
		e.out.Write(first)
		e.out.WriteByte('\n')
	case 'd':
		return drop
	case 'q', 'Q':
		e.quit = true
		e.code, _ = strconv.Atoi(cmd.text)
		if cmd.name == 'Q' {
			return drop
		}
		return finish
	case '=':
		e.out.Printf("%d\n", e.number)
	case 'n':
		return e.next()
	case 'N':
		if !e.hasNext {
			return finish
		}
		line := append(e.line, '\n')
		e.take()
		e.line = append(line, e.line...)
	case 'h':
		e.hold = bytes.Clone(e.line)
	case 'H':
		e.hold = append(append(e.hold, '\n'), e.line...)
	case 'g':
		e.line = bytes.Clone(e.hold)
	case 'G':
		e.line = append(append(e.line, '\n'), e.hold...)
	case 'x':
		e.line, e.hold = e.hold, e.line
	case 'y':
		e.transliterate(cmd)
	case 'a':
		e.after = append(e.after, cmd.text+"\n")
	case 'i':
		e.out.WriteString(cmd.text + "\n")
	case 'c':
		if !cmd.active {
			e.out.WriteString(cmd.text + "\n")
		}
		return drop
	case 'r':
		if text, err := os.ReadFile(e.c.Path(cmd.text)); err == nil {
			e.after = append(e.after, string(text))
		}
	}
	return goOn
}

func (e *editor) next() outcome {
	if !e.hasNext {
		e.quit = true
		return finish
	}
	if !e.quiet {
		e.print(e.line)
	}
	e.take()
	return goOn
}

func (e *editor) substitute(cmd *sedCommand) {
	var out []byte
	at, n := 0, 0
	for _, m := range cmd.re.FindAllSubmatchIndex(e.line, -1) {
		if n++; n < cmd.nth {
			continue
		}
		out = append(out, e.line[at:m[0]]...)
		out = expandReplacement(out, cmd.with, e.line, m)
		at = m[1]
		if !cmd.global {
			break
		}
	}
	if n == 0 || n < cmd.nth {
		return
	}
	e.line = append(out, e.line[at:]...)
	if cmd.print {
		e.out.Write(e.line)
		e.out.WriteByte('\n')
	}
}

// expandReplacement fills in & and \1 to \9.
func expandReplacement(out []byte, with string, line []byte, m []int) []byte {
	group := func(n int) []byte {
		if 2*n+1 >= len(m) || m[2*n] < 0 {
			return nil
		}
		return line[m[2*n]:m[2*n+1]]
	}
	for i := 0; i < len(with); i++ {
		switch {
		case with[i] == '&':
			out = append(out, group(0)...)
		case with[i] == '\\' && i+1 < len(with):
			i++
			switch ch := with[i]; {
			case ch >= '0' && ch <= '9':
				out = append(out, group(int(ch-'0'))...)
			case ch == 'n':
				out = append(out, '\n')
			case ch == 't':
				out = append(out, '\t')
			default:
				out = append(out, ch)
			}
		default:
			out = append(out, with[i])
		}
	}
	return out
}

func (e *editor) transliterate(cmd *sedCommand) {
	for i, b := range e.line {
		if j := strings.IndexByte(cmd.text, b); j >= 0 {
			e.line[i] = cmd.toBytes[j]
		}
	}
}
