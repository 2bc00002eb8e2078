package shell

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

func testMain(c *applet.Ctx, args []string) int {
	t := tester{c: c, args: args}
	ok, err := t.all()
	if err != nil {
		c.Errorf("%s", err)
		return bad
	}
	return boolStatus(ok)
}

func bracketMain(c *applet.Ctx, args []string) int {
	if len(args) == 0 || args[len(args)-1] != "]" {
		c.Errorf("missing ]")
		return bad
	}
	return testMain(c, args[:len(args)-1])
}

// tester evaluates the arguments of test by recursive descent:
//
//	or: and -o or     and: not -a and     not: ! not | primary
type tester struct {
	c    *applet.Ctx
	args []string
}

func (t *tester) all() (bool, error) {
	if len(t.args) == 0 {
		return false, nil
	}
	ok, err := t.or()
	if err == nil && len(t.args) > 0 {
		err = errors.New(t.args[0] + ": unknown operand")
	}
	return ok, err
}

func (t *tester) next() string {
	word := t.args[0]
	t.args = t.args[1:]
	return word
}

func (t *tester) or() (bool, error) {
	left, err := t.and()
	for err == nil && len(t.args) > 1 && t.args[0] == "-o" {
		t.next()
		var right bool
		right, err = t.and()
		left = left || right
	}
	return left, err
}

func (t *tester) and() (bool, error) {
	left, err := t.not()
	for err == nil && len(t.args) > 1 && t.args[0] == "-a" {
		t.next()
		var right bool
		right, err = t.not()
		left = left && right
	}
	return left, err
}

func (t *tester) not() (bool, error) {
	if len(t.args) == 0 {
		return false, errors.New("argument expected")
	}
	if len(t.args) > 1 && t.args[0] == "!" && !t.isBinary(1) {
		t.next()
		ok, err := t.not()
		return !ok, err
	}
	return t.primary()
}

// isBinary tells whether the word at i is an operator with an operand behind.
func (t *tester) isBinary(i int) bool { return i+1 < len(t.args) && binaryOperators[t.args[i]] }

var binaryOperators = map[string]bool{
	"=": true, "==": true, "!=": true, "<": true, ">": true, "-eq": true, "-ne": true, "-lt": true, "-le": true,
	"-gt": true, "-ge": true, "-nt": true, "-ot": true, "-ef": true,
}

func (t *tester) primary() (bool, error) {
	switch {
	case t.isBinary(1):
		left, op, right := t.next(), t.next(), t.next()
		return compare(t.c, left, op, right)
	case t.args[0] == "(" && len(t.args) > 1:
		t.next()
		ok, err := t.or()
		if err == nil && (len(t.args) == 0 || t.next() != ")") {
			err = errors.New("missing )")
		}
		return ok, err
	case len(t.args) > 1 && len(t.args[0]) == 2 && t.args[0][0] == '-':
		op := t.next()
		return unary(t.c, op, t.next())
	}
	return t.next() != "", nil
}

func compare(c *applet.Ctx, left, op, right string) (bool, error) {
	switch op {
	case "=", "==":
		return left == right, nil
	case "!=":
		return left != right, nil
	case "<":
		return left < right, nil
	case ">":
		return left > right, nil
	case "-nt", "-ot", "-ef":
		return compareFiles(c, left, op, right), nil
	}
	a, err := strconv.ParseInt(left, 10, 64)
	if err != nil {
		return false, errors.New(left + ": bad number")
	}
	b, err := strconv.ParseInt(right, 10, 64)
	if err != nil {
		return false, errors.New(right + ": bad number")
	}
	switch op {
	case "-eq":
		return a == b, nil
	case "-ne":
		return a != b, nil
	case "-lt":
		return a < b, nil
	case "-le":
		return a <= b, nil
	case "-gt":
		return a > b, nil
	}
	return a >= b, nil
}

func compareFiles(c *applet.Ctx, left, op, right string) bool {
	a, err1 := os.Stat(c.Path(left))
	b, err2 := os.Stat(c.Path(right))
	switch op {
	case "-nt":
		return err1 == nil && (err2 != nil || a.ModTime().After(b.ModTime()))
	case "-ot":
		return err2 == nil && (err1 != nil || a.ModTime().Before(b.ModTime()))
	}
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}

func unary(c *applet.Ctx, op, arg string) (bool, error) {
	switch op {
	case "-n":
		return arg != "", nil
	case "-z":
		return arg == "", nil
	case "-t":
		return arg == "0" && applet.IsTerminal(c.In) || arg == "1" && applet.IsTerminal(c.Out.Sink()) ||
			arg == "2" && applet.IsTerminal(c.Err), nil
	case "-L", "-h":
		info, err := os.Lstat(c.Path(arg))
		return err == nil && info.Mode()&fs.ModeSymlink != 0, nil
	case "-r", "-w", "-x":
		return accessible(c.Path(arg), op), nil
	}
	info, err := os.Stat(c.Path(arg))
	if arg == "" {
		err = fs.ErrNotExist
	}
	has := func(bit fs.FileMode) (bool, error) { return err == nil && info.Mode()&bit != 0, nil }
	switch op {
	case "-e", "-a", "-O", "-G":
		return err == nil, nil
	case "-f":
		return err == nil && info.Mode().IsRegular(), nil
	case "-d":
		return has(fs.ModeDir)
	case "-s":
		return err == nil && info.Size() > 0, nil
	case "-c":
		return has(fs.ModeCharDevice)
	case "-b":
		return err == nil && info.Mode()&(fs.ModeDevice|fs.ModeCharDevice) == fs.ModeDevice, nil
	case "-p":
		return has(fs.ModeNamedPipe)
	case "-S":
		return has(fs.ModeSocket)
	case "-u":
		return has(fs.ModeSetuid)
	case "-g":
		return has(fs.ModeSetgid)
	case "-k":
		return has(fs.ModeSticky)
	}
	return false, errors.New(op + ": unknown operator")
}

// accessible tries what access(2) would tell, as preview1 has no such call: it
// opens the file. What can be started is what Launcher would start.
func accessible(p, op string) bool {
	info, err := os.Stat(p)
	if err != nil {
		return false
	}
	switch {
	case op == "-x" && info.IsDir(), op == "-w" && info.IsDir():
		return true
	case op == "-x":
		kind, _ := inspect(p)
		if perm := info.Mode().Perm(); perm&0o111 != 0 {
			return true
		}
		return info.Mode().IsRegular() && kind == moduleFile
	}
	flags := os.O_RDONLY
	if op == "-w" {
		flags = os.O_WRONLY
	}
	f, err := os.OpenFile(p, flags, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// which prints the files that names stand for.
func which(c *applet.Ctx, args []string) int {
	o, names, ok := c.Opts(args, "as")
	if !ok {
		return bad
	}
	code := 0
	for _, name := range names {
		file, err := find(c, name)
		if err != nil {
			code = 1
			continue
		}
		if !o.Has('s') {
			c.Out.Println(file)
		}
	}
	return code
}

// testClause is [[ ... ]].
func (s *shell) testClause(cmd *syntax.TestClause) {
	ok, err := s.test(cmd.X)
	if err != nil {
		s.status = s.fail(bad, "[[: %s", err)
		return
	}
	s.status = boolStatus(ok)
}

func (s *shell) test(x syntax.TestExpr) (bool, error) {
	switch x := x.(type) {
	case *syntax.ParenTest:
		return s.test(x.X)
	case *syntax.Word:
		str, err := expand.Literal(s.config, x)
		return str != "", err
	case *syntax.UnaryTest:
		return s.unaryTest(x)
	case *syntax.BinaryTest:
		return s.binaryTest(x)
	}
	return false, errors.New("unsupported expression")
}

func (s *shell) unaryTest(x *syntax.UnaryTest) (bool, error) {
	if x.Op == syntax.TsNot {
		ok, err := s.test(x.X)
		return !ok, err
	}
	word, ok := x.X.(*syntax.Word)
	if !ok {
		return false, errors.New("word expected")
	}
	arg, err := expand.Literal(s.config, word)
	if err != nil {
		return false, err
	}
	if x.Op == syntax.TsVarSet {
		return s.vars[arg].IsSet(), nil
	}
	return unary(s.testCtx(), x.Op.String(), arg)
}

func (s *shell) testCtx() *applet.Ctx {
	return &applet.Ctx{Dir: s.dir, In: s.stdin(), Out: applet.NewOutput(s.stdout()), Err: io.Discard}
}

func (s *shell) binaryTest(x *syntax.BinaryTest) (bool, error) {
	if x.Op == syntax.AndTest || x.Op == syntax.OrTest {
		left, err := s.test(x.X)
		if err != nil || left == (x.Op == syntax.OrTest) {
			return left, err
		}
		return s.test(x.Y)
	}
	leftWord, ok1 := x.X.(*syntax.Word)
	rightWord, ok2 := x.Y.(*syntax.Word)
	if !ok1 || !ok2 {
		return false, errors.New("words expected")
	}
	left, err := expand.Literal(s.config, leftWord)
	if err != nil {
		return false, err
	}
	switch x.Op {
	case syntax.TsMatch, syntax.TsMatchShort:
		return s.matches(rightWord, left), nil
	case syntax.TsNoMatch:
		return !s.matches(rightWord, left), nil
	}
	right, err := expand.Literal(s.config, rightWord)
	if err != nil {
		return false, err
	}
	if x.Op == syntax.TsReMatch {
		re, err := regexp.Compile(right)
		if err != nil {
			return false, err
		}
		groups := re.FindStringSubmatch(left)
		s.vars["BASH_REMATCH"] = expand.Variable{Set: true, Kind: expand.Indexed, List: groups}
		return groups != nil, nil
	}
	return compare(s.testCtx(), left, x.Op.String(), right)
}
