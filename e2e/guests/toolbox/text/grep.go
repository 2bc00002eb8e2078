package text

import (
	"io"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// grepper is one run of grep. Lines may hold any bytes, NUL too.
type grepper struct {
	c       *applet.Ctx
	o       *applet.Opts
	res     []*regexp.Regexp
	names   bool
	limit   int64
	before  int64
	after   int64
	matched bool
	failed  bool
}

func grep(c *applet.Ctx, args []string) int  { return grepRun(c, args, basic) }
func egrep(c *applet.Ctx, args []string) int { return grepRun(c, args, extended) }
func fgrep(c *applet.Ctx, args []string) int { return grepRun(c, args, fixed) }

func grepRun(c *applet.Ctx, args []string, s syntax) int {
	o, operands, ok := c.OptsOf(args, applet.Spec{
		Short: "EFGHhailLnoqrRsvwxcm:e:A:B:C:f:z",
		Long:  map[string]byte{"color": 0, "colour": 0, "quiet": 'q', "line-buffered": 0, "invert-match": 'v', "text": 'a'},
	})
	if !ok {
		return applet.ExitUsage
	}
	switch {
	case o.Has('E'):
		s = extended
	case o.Has('F'):
		s = fixed
	}
	g := &grepper{c: c, o: o, limit: -1}
	operands, ok = g.patterns(operands, s)
	if !ok || !g.numbers() {
		return applet.ExitUsage
	}
	g.names = (len(operands) > 1 || o.Any("rR") || o.Has('H')) && !o.Has('h')
	g.operands(operands)
	switch {
	case g.failed && !(g.matched && o.Has('q')):
		return applet.ExitUsage
	case g.matched:
		return 0
	}
	return 1
}

func (g *grepper) patterns(operands []string, s syntax) (rest []string, ok bool) {
	list := g.o.Values('e')
	for _, name := range g.o.Values('f') {
		text, err := os.ReadFile(g.c.Path(name))
		if err != nil {
			g.c.Fail(name, err)
			return nil, false
		}
		list = append(list, strings.TrimSuffix(string(text), "\n"))
	}
	if len(g.o.Values('e'))+len(g.o.Values('f')) == 0 {
		if len(operands) == 0 {
			g.c.Usage("[-EFivnclLoqrswxHh] [-m N] [-A N] [-B N] [-C N] PATTERN|-e PATTERN... [FILE]...")
			return nil, false
		}
		list, operands = operands[:1], operands[1:]
	}
	for pattern := range strings.SplitSeq(strings.Join(list, "\n"), "\n") {
		re, err := compile(pattern, s, g.o.Has('i'))
		if err != nil {
			g.c.Errorf("%s", err)
			return nil, false
		}
		g.res = append(g.res, re)
	}
	return operands, true
}

func (g *grepper) numbers() bool {
	both := g.o.Value('C', "0")
	for _, n := range []struct {
		to   *int64
		text string
	}{{&g.limit, g.o.Value('m', "-1")}, {&g.before, g.o.Value('B', both)}, {&g.after, g.o.Value('A', both)}} {
		v, ok := g.c.Number(n.text)
		if !ok {
			return false
		}
		*n.to = v
	}
	return true
}

func (g *grepper) operands(names []string) {
	if len(names) == 0 {
		names = []string{"-"}
		if g.o.Any("rR") {
			names = []string{"."}
		}
	}
	for _, name := range names {
		g.operand(name)
	}
}

func (g *grepper) operand(name string) {
	if g.o.Any("rR") && name != "-" {
		if entries, err := os.ReadDir(g.c.Path(name)); err == nil {
			for _, e := range entries {
				g.operand(path.Join(name, e.Name()))
			}
			return
		}
	}
	r, err := g.c.Open(name)
	if err == nil {
		defer r.Close()
		err = g.search(name, r)
	}
	if err != nil {
		g.failed = true
		if !g.o.Has('s') {
			g.c.Fail(name, err)
		}
	}
}

// window holds the lines before and counts those after a match.
type window struct {
	before []string
	after  int64
	last   int64 // the last line printed
}

func (g *grepper) search(name string, r io.Reader) error {
	if name == "-" {
		name = "(standard input)"
	}
	var number, hits int64
	var w window
	err := eachLine(r, func(line []byte, _ bool) bool {
		number++
		spans := g.find(line)
		if (spans != nil) == g.o.Has('v') {
			g.context(&w, name, number, line)
			return true
		}
		hits++
		g.matched = true
		if g.o.Any("ql") {
			return false
		}
		if !g.o.Any("cL") {
			g.hit(&w, name, number, line, spans)
		}
		return hits != g.limit
	})
	switch {
	case g.o.Has('q'):
	case g.o.Has('l') && hits > 0, g.o.Has('L') && hits == 0:
		g.c.Out.Println(name)
	case g.o.Has('c'):
		if g.names {
			g.c.Out.WriteString(name + ":")
		}
		g.c.Out.Printf("%d\n", hits)
	}
	return err
}

// find gives the places in line that match, or nil.
func (g *grepper) find(line []byte) [][]int {
	var all [][]int
	for _, re := range g.res {
		for _, s := range re.FindAllIndex(line, -1) {
			whole := s[0] == 0 && s[1] == len(line)
			if g.o.Has('x') && !whole || g.o.Has('w') && !isWord(line, s) {
				continue
			}
			if all = append(all, s); !g.o.Has('o') {
				return all
			}
		}
	}
	return all
}

func isWord(line []byte, s []int) bool {
	return (s[0] == 0 || !wordByte(line[s[0]-1])) && (s[1] == len(line) || !wordByte(line[s[1]]))
}

func wordByte(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z'
}

func (g *grepper) hit(w *window, name string, number int64, line []byte, spans [][]int) {
	if g.o.Has('o') {
		for _, s := range spans {
			if s[1] > s[0] {
				g.print(name, number, line[s[0]:s[1]], ":")
			}
		}
		return
	}
	first := number - int64(len(w.before))
	if (g.before > 0 || g.after > 0) && w.last > 0 && first > w.last+1 {
		g.c.Out.Println("--")
	}
	for i, old := range w.before {
		g.print(name, first+int64(i), []byte(old), "-")
	}
	g.print(name, number, line, ":")
	w.before, w.after, w.last = nil, g.after, number
}

func (g *grepper) context(w *window, name string, number int64, line []byte) {
	switch {
	case g.o.Any("qlLco"):
	case w.after > 0:
		w.after--
		w.last = number
		g.print(name, number, line, "-")
	case g.before > 0:
		if w.before = append(w.before, string(line)); int64(len(w.before)) > g.before {
			w.before = w.before[1:]
		}
	}
}

func (g *grepper) print(name string, number int64, line []byte, sep string) {
	if g.names {
		g.c.Out.WriteString(name + sep)
	}
	if g.o.Has('n') {
		g.c.Out.Printf("%d%s", number, sep)
	}
	g.c.Out.Write(line)
	g.c.Out.WriteByte('\n')
	if !g.o.Any("AB") { // what comes next may be long in coming
		g.c.Out.Flush()
	}
}
