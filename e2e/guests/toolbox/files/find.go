package files

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// finder is one run of find.
type finder struct {
	c                  *applet.Ctx
	expr               predicate
	minDepth, maxDepth int
	depthFirst         bool
	acts               bool // the expression has an action of its own
	prune, quit        bool
	code               int
	batches            []*batch
}

// found is a file that the walk has come to.
type found struct {
	name  string
	info  fs.FileInfo
	depth int
}

// predicate is a compiled expression.
type predicate func(f found) bool

// batch is an -exec ... + that collects names.
type batch struct{ argv, names []string }

func find(c *applet.Ctx, args []string) int {
	f := &finder{c: c, maxDepth: -1}
	starts := []string{}
	for len(args) > 0 && !strings.HasPrefix(args[0], "-") && args[0] != "(" && args[0] != "!" {
		starts = append(starts, args[0])
		args = args[1:]
	}
	if len(starts) == 0 {
		starts = []string{"."}
	}
	p := &findParser{f: f, args: args}
	if f.expr = p.parse(); p.err != "" {
		return c.Errorf("%s", p.err)
	}
	for _, start := range starts {
		info, err := os.Lstat(c.Path(start))
		if err != nil {
			f.code = c.Fail(start, err)
			continue
		}
		f.walk(found{name: start, info: info})
	}
	for _, b := range f.batches {
		f.runBatch(b)
	}
	return f.code
}

func (f *finder) walk(at found) {
	if f.quit || !f.c.Alive() {
		return
	}
	f.prune = false
	if !f.depthFirst {
		f.visit(at)
	}
	if at.info.IsDir() && !f.prune && (f.maxDepth < 0 || at.depth < f.maxDepth) {
		f.children(at)
	}
	if f.depthFirst {
		f.visit(at)
	}
}

func (f *finder) visit(at found) {
	if at.depth >= f.minDepth && f.expr(at) && !f.acts {
		f.c.Out.Println(at.name)
	}
}

func (f *finder) children(dir found) {
	entries, err := os.ReadDir(f.c.Path(dir.name))
	if err != nil {
		f.code = f.c.Fail(dir.name, err)
		return
	}
	for _, e := range entries {
		name := join(dir.name, e.Name())
		info, err := os.Lstat(f.c.Path(name))
		if err != nil {
			continue // gone since, as processes below /proc are
		}
		f.walk(found{name: name, info: info, depth: dir.depth + 1})
	}
}

func (f *finder) runBatch(b *batch) {
	if len(b.names) == 0 {
		return
	}
	if code := f.c.Start(f.c.Child(b.argv[0]), append(b.argv, b.names...)); code != 0 {
		f.code = 1
	}
}

// findParser turns arguments into a predicate, by recursive descent.
type findParser struct {
	f    *finder
	args []string
	err  string
}

func (p *findParser) parse() predicate {
	if len(p.args) == 0 {
		return func(found) bool { return true }
	}
	e := p.or()
	if p.err == "" && len(p.args) > 0 {
		p.err = "unexpected argument '" + p.args[0] + "'"
	}
	return e
}

func (p *findParser) peek(words ...string) bool {
	for _, w := range words {
		if len(p.args) > 0 && p.args[0] == w {
			return true
		}
	}
	return false
}

func (p *findParser) next(option string) string {
	if len(p.args) == 0 {
		p.err = "missing argument to '" + option + "'"
		return ""
	}
	arg := p.args[0]
	p.args = p.args[1:]
	return arg
}

func (p *findParser) or() predicate {
	left := p.and()
	for p.err == "" && p.peek("-o", "-or") {
		p.args = p.args[1:]
		a, b := left, p.and()
		left = func(f found) bool { return a(f) || b(f) }
	}
	return left
}

func (p *findParser) and() predicate {
	left := p.not()
	for p.err == "" && len(p.args) > 0 && !p.peek("-o", "-or", ")") {
		if p.peek("-a", "-and") {
			p.args = p.args[1:]
		}
		a, b := left, p.not()
		left = func(f found) bool { return a(f) && b(f) }
	}
	return left
}

func (p *findParser) not() predicate {
	switch {
	case p.peek("!", "-not"):
		p.args = p.args[1:]
		a := p.not()
		return func(f found) bool { return !a(f) }
	case p.peek("("):
		p.args = p.args[1:]
		a := p.or()
		if !p.peek(")") {
			p.err = "missing ')'"
			return a
		}
		p.args = p.args[1:]
		return a
	}
	return p.primary()
}

func (p *findParser) primary() predicate {
	always := func(found) bool { return true }
	switch word := p.next("find"); word {
	case "-name", "-iname", "-path", "-ipath", "-wholename":
		return p.match(word, p.next(word))
	case "-type":
		return p.fileType(p.next(word))
	case "-maxdepth":
		p.f.maxDepth = int(p.number(p.next(word)))
		return always
	case "-mindepth":
		p.f.minDepth = int(p.number(p.next(word)))
		return always
	case "-depth":
		p.f.depthFirst = true
		return always
	case "-xdev", "-mount", "-follow", "-true":
		return always
	case "-empty":
		return p.f.empty
	case "-size":
		return p.size(p.next(word))
	case "-newer":
		return p.newer(p.next(word))
	case "-mtime", "-mmin":
		return p.age(word, p.next(word))
	default:
		return p.action(word)
	}
}

func (p *findParser) action(word string) predicate {
	f := p.f
	f.acts = true
	switch word {
	case "-prune":
		f.acts = false
		return func(found) bool { f.prune = true; return true }
	case "-quit":
		return func(found) bool { f.quit = true; return true }
	case "-print":
		return func(at found) bool { f.c.Out.Println(at.name); return true }
	case "-print0":
		return func(at found) bool { f.c.Out.WriteString(at.name + "\x00"); return true }
	case "-delete":
		f.depthFirst = true
		return f.delete
	case "-exec":
		return p.exec()
	}
	if p.err == "" {
		p.err = "unrecognized: " + word
	}
	return func(found) bool { return false }
}

func (f *finder) delete(at found) bool {
	if at.name == "." {
		return true
	}
	if err := os.Remove(f.c.Path(at.name)); err != nil {
		f.code = f.c.Fail(at.name, err)
		return false
	}
	return true
}

func (p *findParser) exec() predicate {
	var argv []string
	for {
		word := p.next("-exec")
		if p.err != "" {
			return nil
		}
		if word == ";" {
			break
		}
		if word == "+" && len(argv) > 1 && argv[len(argv)-1] == "{}" {
			b := &batch{argv: argv[:len(argv)-1]}
			p.f.batches = append(p.f.batches, b)
			return func(at found) bool { b.names = append(b.names, at.name); return true }
		}
		argv = append(argv, word)
	}
	if len(argv) == 0 {
		p.err = "missing argument to '-exec'"
		return nil
	}
	f := p.f
	return func(at found) bool {
		filled := make([]string, len(argv))
		for i, arg := range argv {
			filled[i] = strings.ReplaceAll(arg, "{}", at.name)
		}
		return f.c.Start(f.c.Child(filled[0]), filled) == 0
	}
}

func (p *findParser) match(option, pattern string) predicate {
	if _, err := path.Match(pattern, ""); err != nil {
		p.err = "bad pattern '" + pattern + "'"
	}
	fold := strings.HasPrefix(option, "-i")
	if fold {
		pattern = strings.ToLower(pattern)
	}
	whole := strings.Contains(option, "path") || option == "-wholename"
	return func(f found) bool {
		name := path.Base(f.name)
		if whole {
			// In -path a star also matches slashes, which path.Match cannot:
			// hide them on both sides.
			name = strings.ReplaceAll(f.name, "/", "\x01")
		}
		if fold {
			name = strings.ToLower(name)
		}
		ok, _ := path.Match(strings.ReplaceAll(pattern, "/", "\x01"), name)
		return ok
	}
}

func (p *findParser) fileType(letters string) predicate {
	return func(f found) bool {
		letter := modeString(f.info)[:1]
		if letter == "-" {
			letter = "f"
		}
		return strings.Contains(letters, letter)
	}
}

func (f *finder) empty(at found) bool {
	if !at.info.IsDir() {
		return at.info.Mode().IsRegular() && at.info.Size() == 0
	}
	entries, err := os.ReadDir(f.c.Path(at.name))
	return err == nil && len(entries) == 0
}

func (p *findParser) number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil && p.err == "" {
		p.err = "invalid number '" + text + "'"
	}
	return n
}

// compare splits "+n", "-n" or "n" into a test of a number.
func (p *findParser) compare(text string) func(int64) bool {
	n := p.number(strings.TrimLeft(text, "+-"))
	switch {
	case strings.HasPrefix(text, "+"):
		return func(v int64) bool { return v > n }
	case strings.HasPrefix(text, "-"):
		return func(v int64) bool { return v < n }
	}
	return func(v int64) bool { return v == n }
}

func (p *findParser) size(text string) predicate {
	unit := int64(512)
	if n := len(text); n > 0 {
		if i := strings.IndexByte("bcwkMG", text[n-1]); i >= 0 {
			unit = []int64{512, 1, 2, 1 << 10, 1 << 20, 1 << 30}[i]
			text = text[:n-1]
		}
	}
	ok := p.compare(text)
	return func(f found) bool { return ok((f.info.Size() + unit - 1) / unit) }
}

func (p *findParser) newer(reference string) predicate {
	info, err := os.Stat(p.f.c.Path(reference))
	if err != nil {
		p.err = reference + ": " + applet.Strerror(err)
		return nil
	}
	return func(f found) bool { return f.info.ModTime().After(info.ModTime()) }
}

func (p *findParser) age(option, text string) predicate {
	unit := 24 * time.Hour
	if option == "-mmin" {
		unit = time.Minute
	}
	ok := p.compare(text)
	return func(f found) bool { return ok(int64(time.Since(f.info.ModTime()) / unit)) }
}
