package files

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// copier is one run of cp, or of a mv between filesystems. Errors are reported
// where they happen; failed tells that there were some.
type copier struct {
	c         *applet.Ctx
	recursive bool
	links     bool // copy links as links
	times     bool
	force     bool
	failed    bool
}

func cp(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "RradpPfLTi")
	if !ok || len(operands) < 2 {
		return c.Usage("[-adfpRr] SOURCE... DEST")
	}
	k := &copier{
		c: c, recursive: o.Any("Rra"), links: o.Any("daP") || o.Any("Rr") && !o.Has('L'),
		times: o.Any("pa"), force: o.Has('f'),
	}
	return eachInto(c, operands, o.Has('T'), func(from, to string) int {
		k.copy(from, to)
		if k.failed {
			return 1
		}
		return 0
	})
}

func mv(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "finT")
	if !ok || len(operands) < 2 {
		return c.Usage("[-fnT] SOURCE... DEST")
	}
	return eachInto(c, operands, o.Has('T'), func(from, to string) int {
		if _, err := os.Lstat(c.Path(to)); err == nil && o.Has('n') {
			return 0
		}
		return move(c, from, to)
	})
}

func move(c *applet.Ctx, from, to string) int {
	err := os.Rename(c.Path(from), c.Path(to))
	if err == nil {
		return 0
	}
	if !errors.Is(err, syscall.EXDEV) {
		return c.Fail(from, err)
	}
	k := &copier{c: c, recursive: true, links: true, times: true, force: true}
	k.copy(from, to)
	if k.failed {
		return 1
	}
	return remover{c: c, recursive: true, force: true}.remove(from)
}

// eachInto does f with every source and its place: the last operand itself, or
// below it when it is a directory.
func eachInto(c *applet.Ctx, operands []string, notInto bool, f func(from, to string) int) int {
	sources, dest := operands[:len(operands)-1], operands[len(operands)-1]
	info, err := os.Stat(c.Path(dest))
	into := err == nil && info.IsDir() && !notInto
	if !into && len(sources) > 1 {
		return c.Fail(dest, syscall.ENOTDIR)
	}
	code := 0
	for _, from := range sources {
		to := dest
		if into {
			to = join(dest, path.Base(from))
		}
		code = max(code, f(from, to))
	}
	return code
}

func (k *copier) fail(p string, err error) {
	k.failed = true
	k.c.Fail(p, err)
}

func (k *copier) copy(from, to string) {
	stat := os.Stat
	if k.links {
		stat = os.Lstat
	}
	info, err := stat(k.c.Path(from))
	if err != nil {
		k.fail(from, err)
		return
	}
	if dest, err := os.Stat(k.c.Path(to)); err == nil && os.SameFile(info, dest) {
		k.failed = true
		k.c.Errorf("'%s' and '%s' are the same file", from, to)
		return
	}
	switch {
	case info.IsDir():
		k.directory(from, to)
	case info.Mode()&fs.ModeSymlink != 0:
		k.link(from, to)
	default:
		k.file(from, to)
	}
	if k.times && info.Mode()&fs.ModeSymlink == 0 && !k.failed {
		os.Chtimes(k.c.Path(to), detailsOf(info).atime, info.ModTime()) // best effort, as the copy is complete
	}
}

func (k *copier) directory(from, to string) {
	if !k.recursive {
		k.failed = true
		k.c.Errorf("omitting directory '%s'", from)
		return
	}
	source, dest := path.Clean(k.c.Path(from)), path.Clean(k.c.Path(to))
	if strings.HasPrefix(dest+"/", source+"/") {
		k.failed = true
		k.c.Errorf("recursion detected, omitting directory '%s'", from)
		return
	}
	if err := os.Mkdir(dest, 0o777); err != nil && !isDir(dest) {
		k.fail(to, err)
		return
	}
	entries, err := os.ReadDir(source)
	if err != nil {
		k.fail(from, err)
		return
	}
	for _, e := range entries {
		k.copy(join(from, e.Name()), join(to, e.Name()))
	}
}

func (k *copier) link(from, to string) {
	target, err := os.Readlink(k.c.Path(from))
	if err != nil {
		k.fail(from, err)
		return
	}
	err = os.Symlink(target, k.c.Path(to))
	if errors.Is(err, fs.ErrExist) {
		if err = os.Remove(k.c.Path(to)); err == nil {
			err = os.Symlink(target, k.c.Path(to))
		}
	}
	if err != nil {
		k.fail(to, err)
	}
}

func (k *copier) file(from, to string) {
	in, err := os.Open(k.c.Path(from))
	if err != nil {
		k.fail(from, err)
		return
	}
	defer in.Close()
	out, err := os.Create(k.c.Path(to))
	if err != nil && k.force && os.Remove(k.c.Path(to)) == nil {
		out, err = os.Create(k.c.Path(to))
	}
	if err != nil {
		k.fail(to, err)
		return
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		k.fail(to, err)
	}
}

func isDir(p string) bool {
	info, err := os.Stat(p)
	return err == nil && info.IsDir()
}
