package shell

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/proc"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/pattern"
	"mvdan.cc/sh/v3/syntax"
)

func random() int { return rand.IntN(1 << 15) }

func readDir(p string) ([]fs.DirEntry, error) { return os.ReadDir(p) }

func (s *shell) pid() string { return strconv.Itoa(proc.Self(&applet.Ctx{Root: s.root})) }

func (s *shell) run(stmts []*syntax.Stmt) {
	for _, st := range stmts {
		if s.stopped() {
			return
		}
		s.stmt(st)
	}
}

func (s *shell) stmt(st *syntax.Stmt) {
	if s.stopped() || s.opts.noexec {
		return
	}
	if st.Background {
		s.background(st)
		return
	}
	undo, ok := s.redirect(st.Redirs)
	switch {
	case !ok:
		s.status = 1
	case st.Cmd != nil:
		s.command(st.Cmd)
	default:
		s.status = 0
	}
	undo()
	if st.Negated {
		s.status = boolStatus(s.status != 0)
		return
	}
	if s.status != 0 && s.opts.errexit && s.conditions == 0 && s.flow.kind == running && !isAndOr(st.Cmd) {
		s.exit(s.status)
	}
}

func boolStatus(ok bool) int {
	if ok {
		return 0
	}
	return 1
}

// isAndOr tells whether set -e has already looked at the parts.
func isAndOr(cmd syntax.Command) bool {
	b, ok := cmd.(*syntax.BinaryCmd)
	return ok && (b.Op == syntax.AndStmt || b.Op == syntax.OrStmt)
}

func (s *shell) command(cmd syntax.Command) {
	switch cmd := cmd.(type) {
	case *syntax.CallExpr:
		s.call(cmd)
	case *syntax.Block:
		s.run(cmd.Stmts)
	case *syntax.Subshell:
		sub := s.subshell()
		sub.run(cmd.Stmts)
		s.status = sub.leave()
	case *syntax.BinaryCmd:
		s.binary(cmd)
	case *syntax.IfClause:
		s.ifClause(cmd)
	case *syntax.WhileClause:
		s.while(cmd)
	case *syntax.ForClause:
		s.forClause(cmd)
	case *syntax.CaseClause:
		s.caseClause(cmd)
	case *syntax.FuncDecl:
		s.funcs[cmd.Name.Value] = cmd.Body
		s.status = 0
	case *syntax.ArithmCmd:
		s.arithmetic(cmd.X)
	case *syntax.LetClause:
		for _, x := range cmd.Exprs {
			s.arithmetic(x)
		}
	case *syntax.TestClause:
		s.testClause(cmd)
	case *syntax.DeclClause:
		s.declare(cmd)
	case *syntax.TimeClause:
		s.timeClause(cmd)
	default:
		s.status = s.fail(bad, "unsupported syntax")
	}
}

func (s *shell) arithmetic(x syntax.ArithmExpr) {
	n, err := expand.Arithm(s.config, x)
	if err != nil {
		s.expandFailed(err)
		return
	}
	s.status = boolStatus(n != 0)
}

// expandFailed reports a wrong expansion, which ends a shell that is not
// interactive.
func (s *shell) expandFailed(err error) {
	s.errorf("%s", err)
	s.status = bad
	if !s.interactive {
		s.exit(bad)
	}
}

func (s *shell) condition(f func()) bool {
	s.conditions++
	f()
	s.conditions--
	return s.status == 0
}

func (s *shell) binary(cmd *syntax.BinaryCmd) {
	switch cmd.Op {
	case syntax.AndStmt, syntax.OrStmt:
		ok := s.condition(func() { s.stmt(cmd.X) })
		if !s.stopped() && ok == (cmd.Op == syntax.AndStmt) {
			s.stmt(cmd.Y)
		}
	case syntax.Pipe, syntax.PipeAll:
		s.pipeline(cmd)
	}
}

// pipeline runs both sides at the same time, each in a subshell.
func (s *shell) pipeline(cmd *syntax.BinaryCmd) {
	r, w := newPipe()
	left, right := s.subshell(), s.subshell()
	left.fds[1] = &stream{w: w}
	if cmd.Op == syntax.PipeAll {
		left.fds[2] = left.fds[1]
	}
	right.fds[0] = &stream{r: r}
	done := make(chan int)
	go func() {
		left.stmt(cmd.X)
		status := left.leave()
		w.Close()
		done <- status
	}()
	right.stmt(cmd.Y)
	s.status = right.leave()
	r.Close()
	if status := <-done; s.opts.pipefail && s.status == 0 {
		s.status = status
	}
}

func (s *shell) ifClause(cmd *syntax.IfClause) {
	for ; cmd != nil; cmd = cmd.Else {
		taken := len(cmd.Cond) == 0 || s.condition(func() { s.run(cmd.Cond) })
		if s.stopped() {
			return
		}
		if taken {
			s.run(cmd.Then)
			return
		}
	}
	s.status = 0
}

func (s *shell) while(cmd *syntax.WhileClause) {
	status := 0
	s.loops++
	defer func() { s.loops-- }()
	for !s.stopped() {
		ok := s.condition(func() { s.run(cmd.Cond) })
		if s.endsLoop() {
			status = s.status
			break
		}
		if ok == cmd.Until {
			break
		}
		s.run(cmd.Do)
		status = s.status
		if s.endsLoop() {
			break
		}
	}
	s.status = status
}

// endsLoop takes the loop's share of break and continue, and tells whether it
// ends.
func (s *shell) endsLoop() bool {
	switch s.flow.kind {
	case running:
		return s.stopped()
	case breaking, continuing:
		s.flow.count--
		if s.flow.count > 0 {
			return true // the loop around has the rest
		}
		ends := s.flow.kind == breaking
		s.flow = flow{}
		return ends
	}
	return true
}

func (s *shell) forClause(cmd *syntax.ForClause) {
	s.loops++
	defer func() { s.loops-- }()
	switch loop := cmd.Loop.(type) {
	case *syntax.WordIter:
		if cmd.Select {
			s.status = s.fail(bad, "select is not supported")
			return
		}
		s.forWords(loop, cmd.Do)
	case *syntax.CStyleLoop:
		s.forArithmetic(loop, cmd.Do)
	}
}

func (s *shell) forWords(loop *syntax.WordIter, body []*syntax.Stmt) {
	words := s.params
	if loop.InPos.IsValid() {
		var err error
		if words, err = expand.Fields(s.config, loop.Items...); err != nil {
			s.expandFailed(err)
			return
		}
	}
	s.status = 0
	for _, word := range words {
		if err := s.setText(loop.Name.Value, word); err != nil {
			s.expandFailed(err)
			return
		}
		s.run(body)
		if s.endsLoop() {
			return
		}
	}
}

func (s *shell) forArithmetic(loop *syntax.CStyleLoop, body []*syntax.Stmt) {
	step := func(x syntax.ArithmExpr) bool {
		if x == nil {
			return true
		}
		s.arithmetic(x)
		return s.status == 0
	}
	status := 0
	for step(loop.Init); !s.stopped() && step(loop.Cond); step(loop.Post) {
		s.run(body)
		status = s.status
		if s.endsLoop() {
			break
		}
	}
	if !s.stopped() {
		s.status = status
	}
}

func (s *shell) caseClause(cmd *syntax.CaseClause) {
	word, err := expand.Literal(s.config, cmd.Word)
	if err != nil {
		s.expandFailed(err)
		return
	}
	s.status = 0
	through := false
	for _, item := range cmd.Items {
		if !through && !s.anyMatches(item.Patterns, word) {
			continue
		}
		s.run(item.Stmts)
		if item.Op == syntax.Break || s.stopped() {
			return
		}
		through = item.Op == syntax.Fallthrough
	}
}

func (s *shell) anyMatches(patterns []*syntax.Word, text string) bool {
	for _, p := range patterns {
		if s.matches(p, text) {
			return true
		}
	}
	return false
}

// matches tells whether a whole text matches a pattern.
func (s *shell) matches(word *syntax.Word, text string) bool {
	p, err := expand.Pattern(s.config, word)
	if err != nil {
		s.expandFailed(err)
		return false
	}
	if !strings.ContainsAny(p, `*?[\`) {
		return p == text
	}
	expr, err := pattern.Regexp(p, pattern.EntireString)
	if err != nil {
		return false
	}
	re, err := regexp.Compile(expr)
	return err == nil && re.MatchString(text)
}

func (s *shell) timeClause(cmd *syntax.TimeClause) {
	start := time.Now()
	if cmd.Stmt != nil {
		s.stmt(cmd.Stmt)
	}
	d := time.Since(start)
	fmt.Fprintf(s.stderr(), "real\t%dm%.3fs\n", int(d.Minutes()), d.Seconds()-60*float64(int(d.Minutes())))
}

// substitute runs $(...) in a subshell whose output is w.
func (s *shell) substitute(w io.Writer, cs *syntax.CmdSubst) error {
	sub := s.subshell()
	sub.fds[1] = &stream{w: w}
	if file := onlyInput(cs.Stmts); file != nil {
		s.substStatus = sub.copyFile(file)
		return nil
	}
	sub.run(cs.Stmts)
	s.substStatus = sub.leave()
	s.status = s.substStatus
	return nil
}

// onlyInput finds the redirection of $(<file).
func onlyInput(stmts []*syntax.Stmt) *syntax.Redirect {
	if len(stmts) != 1 || stmts[0].Cmd != nil || len(stmts[0].Redirs) != 1 || stmts[0].Redirs[0].Op != syntax.RdrIn {
		return nil
	}
	return stmts[0].Redirs[0]
}

func (s *shell) copyFile(rd *syntax.Redirect) int {
	undo, ok := s.redirect([]*syntax.Redirect{rd})
	defer undo()
	if !ok {
		return 1
	}
	if _, err := io.Copy(s.stdout(), s.stdin()); err != nil {
		return 1
	}
	return 0
}

// leave ends a subshell or shell: the EXIT trap runs, and the status is final.
func (s *shell) leave() int {
	status := s.status
	if action, ok := s.traps["EXIT"]; ok && action != "" {
		delete(s.traps, "EXIT")
		s.flow = flow{}
		s.eval(action)
		if s.flow.kind == exiting {
			return s.status
		}
	}
	return status
}

// call executes a simple command.
func (s *shell) call(cmd *syntax.CallExpr) {
	s.substStatus = 0
	argv, err := expand.Fields(s.config, cmd.Args...)
	if err != nil {
		s.expandFailed(err)
		return
	}
	if len(argv) == 0 {
		s.status = 0
		if s.assign(cmd.Assigns) {
			s.status = s.substStatus
		}
		return
	}
	s.trace(cmd.Assigns, argv)
	body, isFunction := s.funcs[argv[0]]
	run, isBuiltin := builtinOf(argv[0])
	switch {
	case isSpecial(argv[0]):
		if s.assign(cmd.Assigns) {
			s.status = run(s, argv[1:])
		}
	case isFunction:
		s.withAssigned(cmd.Assigns, func() { s.function(body, argv) })
	case isBuiltin:
		s.withAssigned(cmd.Assigns, func() { s.status = run(s, argv[1:]) })
	default:
		s.program(cmd.Assigns, argv)
	}
}

func (s *shell) trace(assigns []*syntax.Assign, argv []string) {
	if !s.opts.xtrace {
		return
	}
	line := "+"
	for _, a := range assigns {
		line += " " + a.Name.Value + "=..."
	}
	fmt.Fprintln(s.stderr(), line+" "+strings.Join(argv, " "))
}

// program runs a program of the table, found through PATH.
func (s *shell) program(assigns []*syntax.Assign, argv []string) {
	var extra []string
	for _, a := range assigns {
		v, err := s.value(a)
		if err != nil {
			s.expandFailed(err)
			return
		}
		extra = append(extra, a.Name.Value+"="+v.String())
	}
	code, err := s.launcher.start(s.ctx(argv[0], extra), argv)
	if err != nil {
		code = s.fail(err.code, "%s: %s", argv[0], err.text)
	}
	s.status = code
}

// builtinProgram runs a program of the table without a look at PATH.
func builtinProgram(name string) builtin {
	return func(s *shell, args []string) int {
		f, ok := s.launcher.Table[name]
		if !ok {
			return s.fail(errNotFound.code, "%s: %s", name, errNotFound.text)
		}
		return applet.Call(s.ctx(name, nil), f, args)
	}
}

func (s *shell) function(body *syntax.Stmt, argv []string) {
	if len(s.frames) > 1000 {
		s.expandFailed(fmt.Errorf("%s: too many nested functions", argv[0]))
		return
	}
	params, loops := s.params, s.loops
	s.params, s.loops = argv[1:], 0
	s.frames = append(s.frames, frame{hidden: map[string]expand.Variable{}})
	s.stmt(body)
	top := s.frames[len(s.frames)-1]
	s.frames = s.frames[:len(s.frames)-1]
	s.restore(top.hidden)
	s.params, s.loops = params, loops
	if s.flow.kind == returning {
		s.flow = flow{}
	}
}
