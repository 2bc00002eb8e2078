package files

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// lister is one run of ls.
type lister struct {
	c       *applet.Ctx
	o       *applet.Opts
	columns bool
	code    int
	printed bool // whether a block stands above
}

// item is one line of a listing.
type item struct {
	name string // as shown
	path string
	info fs.FileInfo
}

func ls(c *applet.Ctx, args []string) int {
	o, operands, ok := c.OptsOf(args, applet.Spec{
		Short: "1AacdFhiLlnRrStu",
		Long:  map[string]byte{"all": 'a', "almost-all": 'A', "recursive": 'R', "color": 0, "human-readable": 'h'},
	})
	if !ok {
		return applet.ExitUsage
	}
	l := &lister{c: c, o: o, columns: !o.Any("1l") && applet.IsTerminal(c.Out.Sink())}
	if len(operands) == 0 {
		operands = []string{"."}
	}
	l.operands(operands)
	return l.code
}

// operands shows files first and directories, with their names above when there
// is more than one block, after them.
func (l *lister) operands(names []string) {
	var files, dirs []item
	for _, name := range names {
		it, err := l.item(name, l.c.Path(name), true)
		switch {
		case err != nil:
			l.code = l.c.Fail(name, err)
		case it.info.IsDir() && !l.o.Has('d'):
			dirs = append(dirs, it)
		default:
			files = append(files, it)
		}
	}
	l.show(files)
	for _, d := range l.sorted(dirs) {
		l.directory(d, len(names) > 1 || l.o.Has('R'))
	}
}

func (l *lister) item(name, path string, operand bool) (item, error) {
	stat := os.Lstat
	if l.o.Has('L') || operand && !l.o.Any("lFd") {
		stat = os.Stat
	}
	info, err := stat(path)
	if err != nil && operand {
		info, err = os.Lstat(path) // a link that leads nowhere
	}
	return item{name: name, path: path, info: info}, err
}

func (l *lister) directory(d item, title bool) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		l.code = l.c.Fail(d.name, err)
		return
	}
	if title {
		if l.printed {
			l.c.Out.Println("")
		}
		l.c.Out.Println(d.name + ":")
		l.printed = true
	}
	items := l.dots(d)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") && !l.o.Any("aA") {
			continue
		}
		it, err := l.item(e.Name(), join(d.path, e.Name()), false)
		if err != nil {
			l.code = l.c.Fail(join(d.name, e.Name()), err)
			continue
		}
		items = append(items, it)
	}
	if l.o.Has('l') {
		l.c.Out.Printf("total %d\n", totalBlocks(items))
	}
	l.show(items)
	if l.o.Has('R') {
		l.recurse(d, items)
	}
}

func (l *lister) dots(d item) []item {
	if !l.o.Has('a') {
		return nil
	}
	var items []item
	for _, name := range []string{".", ".."} {
		if it, err := l.item(name, join(d.path, name), false); err == nil {
			items = append(items, it)
		}
	}
	return items
}

func (l *lister) recurse(d item, items []item) {
	for _, it := range l.sorted(items) {
		if it.info.IsDir() && it.name != "." && it.name != ".." {
			it.name = join(d.name, it.name)
			l.directory(it, true)
		}
	}
}

func (l *lister) sorted(items []item) []item {
	slices.SortStableFunc(items, func(a, b item) int {
		switch {
		case l.o.Has('S'):
			if n := cmp.Compare(b.info.Size(), a.info.Size()); n != 0 {
				return n
			}
		case l.o.Has('t'):
			if n := b.info.ModTime().Compare(a.info.ModTime()); n != 0 {
				return n
			}
		}
		return strings.Compare(a.name, b.name)
	})
	if l.o.Has('r') {
		slices.Reverse(items)
	}
	return items
}

func (l *lister) show(items []item) {
	if len(items) == 0 {
		return
	}
	items = l.sorted(items)
	l.printed = true
	switch {
	case l.o.Has('l'):
		for _, it := range items {
			l.c.Out.Println(l.inode(it) + l.long(it))
		}
	case l.columns:
		l.inColumns(items)
	default:
		for _, it := range items {
			l.c.Out.Println(l.label(it))
		}
	}
}

// inColumns fills a terminal's width from top to bottom.
func (l *lister) inColumns(items []item) {
	width, err := strconv.Atoi(l.c.Getenv("COLUMNS"))
	if err != nil || width < 20 {
		width = 80
	}
	widest := 0
	for _, it := range items {
		widest = max(widest, len(l.label(it))+2)
	}
	rows := (len(items) + max(1, width/widest) - 1) / max(1, width/widest)
	for row := range rows {
		line := ""
		for i := row; i < len(items); i += rows {
			line += fmt.Sprintf("%-*s", widest, l.label(items[i]))
		}
		l.c.Out.Println(strings.TrimRight(line, " "))
	}
}

func (l *lister) label(it item) string {
	name := l.inode(it) + it.name
	if !l.o.Has('F') {
		return name
	}
	switch mode := it.info.Mode(); {
	case mode.IsDir():
		return name + "/"
	case mode&fs.ModeSymlink != 0:
		return name + "@"
	}
	return name
}

func (l *lister) inode(it item) string {
	if !l.o.Has('i') {
		return ""
	}
	return strconv.FormatUint(detailsOf(it.info).ino, 10) + " "
}

func (l *lister) long(it item) string {
	d := detailsOf(it.info)
	size := strconv.FormatInt(it.info.Size(), 10)
	if l.o.Has('h') {
		size = human(it.info.Size())
	}
	name := it.name
	if it.info.Mode()&fs.ModeSymlink != 0 {
		if target, err := os.Readlink(it.path); err == nil {
			name += " -> " + target
		}
	}
	return fmt.Sprintf("%s %4d ?        ?        %9s %s %s", modeString(it.info), d.nlink, size, when(it.info.ModTime()), name)
}

// modeString is the first column of ls -l.
func modeString(info fs.FileInfo) string {
	letter := byte('-')
	switch mode := info.Mode(); {
	case mode.IsDir():
		letter = 'd'
	case mode&fs.ModeSymlink != 0:
		letter = 'l'
	case mode&fs.ModeCharDevice != 0:
		letter = 'c'
	case mode&fs.ModeDevice != 0:
		letter = 'b'
	case mode&fs.ModeNamedPipe != 0:
		letter = 'p'
	case mode&fs.ModeSocket != 0:
		letter = 's'
	}
	bits := "?????????"
	if detailsOf(info).hasMode {
		bits = info.Mode().Perm().String()[1:]
	}
	return string(letter) + bits
}

func when(t time.Time) string {
	if age := time.Since(t); age < 0 || age > 180*24*time.Hour {
		return t.Format("Jan _2  2006")
	}
	return t.Format("Jan _2 15:04")
}

func totalBlocks(items []item) (kib int64) {
	for _, it := range items {
		kib += diskUse(it.info) / 1024
	}
	return kib
}

// diskUse is what a file takes in whole pages, as preview1 tells no blocks.
func diskUse(info fs.FileInfo) int64 { return (info.Size() + 4095) &^ 4095 }

// human is a size with one of the suffixes K, M, G, T.
func human(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10)
	}
	f := float64(n)
	for _, suffix := range "KMGTPE" {
		f /= 1024
		if f < 1024 {
			return strconv.FormatFloat(f, 'f', 1, 64) + string(suffix)
		}
	}
	return strconv.FormatInt(n, 10)
}

// join adds a name to a path without cleaning it.
func join(dir, name string) string {
	if strings.HasSuffix(dir, "/") {
		return dir + name
	}
	return dir + "/" + name
}
