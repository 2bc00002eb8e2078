package files

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// remover is one run of rm.
type remover struct {
	c         *applet.Ctx
	recursive bool
	force     bool
}

func rm(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "rRfi")
	if !ok || len(operands) == 0 && !o.Has('f') {
		return c.Usage("[-fr] FILE...")
	}
	r := remover{c: c, recursive: o.Any("rR"), force: o.Has('f')}
	code := 0
	for _, name := range operands {
		code = max(code, r.operand(name))
	}
	return code
}

func (r remover) operand(name string) int {
	switch path.Base(name) {
	case ".", "..", "/":
		return r.c.Errorf("refusing to remove '%s'", name)
	}
	return r.remove(name)
}

func (r remover) remove(name string) int {
	p := r.c.Path(name)
	info, err := os.Lstat(p)
	if errors.Is(err, fs.ErrNotExist) && r.force {
		return 0
	}
	if err != nil {
		return r.c.Fail(name, err)
	}
	if info.IsDir() {
		if !r.recursive {
			return r.c.Fail(name, syscall.EISDIR)
		}
		if code := r.contents(name); code != 0 {
			return code
		}
	}
	if err := os.Remove(p); err != nil {
		return r.c.Fail(name, err)
	}
	return 0
}

func (r remover) contents(name string) int {
	entries, err := os.ReadDir(r.c.Path(name))
	if err != nil {
		return r.c.Fail(name, err)
	}
	code := 0
	for _, e := range entries {
		code = max(code, r.remove(join(name, e.Name())))
	}
	return code
}

func ln(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "sfnT")
	if !ok || len(operands) == 0 {
		return c.Usage("[-sfnT] TARGET... LINK|DIR")
	}
	if len(operands) == 1 {
		operands = append(operands, path.Base(operands[0]))
	}
	return eachInto(c, operands, o.Any("nT"), func(target, name string) int {
		if err := makeLink(c, target, name, o); err != nil {
			return c.Fail(name, err)
		}
		return 0
	})
}

func makeLink(c *applet.Ctx, target, name string, o *applet.Opts) error {
	if o.Has('f') {
		if err := os.Remove(c.Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if o.Has('s') {
		return os.Symlink(target, c.Path(name))
	}
	return os.Link(c.Path(target), c.Path(name))
}

func mkdir(c *applet.Ctx, args []string) int {
	o, operands, ok := c.OptsOf(args, applet.Spec{Short: "pm:v", Long: map[string]byte{"parents": 'p', "mode": 'm'}})
	if !ok || len(operands) == 0 {
		return c.Usage("[-p] [-m MODE] DIRECTORY...")
	}
	make := os.Mkdir
	if o.Has('p') {
		make = os.MkdirAll
	}
	code := 0
	for _, name := range operands {
		if err := make(c.Path(name), 0o777); err != nil {
			code = c.Fail(name, err)
		}
	}
	return code
}

func rmdir(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "p")
	if !ok || len(operands) == 0 {
		return c.Usage("[-p] DIRECTORY...")
	}
	code := 0
	for _, name := range operands {
		for {
			if err := removeDir(c.Path(name)); err != nil {
				code = c.Fail(name, err)
				break
			}
			name = path.Dir(strings.TrimRight(name, "/"))
			if !o.Has('p') || name == "." || name == "/" {
				break
			}
		}
	}
	return code
}

// removeDir is os.Remove that leaves files alone.
func removeDir(p string) error {
	info, err := os.Lstat(p)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return syscall.ENOTDIR
	}
	return os.Remove(p)
}

func touch(c *applet.Ctx, args []string) int {
	o, operands, ok := c.OptsOf(args, applet.Spec{Short: "acmr:d:", Long: map[string]byte{"no-create": 'c', "reference": 'r', "date": 'd'}})
	if !ok || len(operands) == 0 {
		return c.Usage("[-acm] [-r FILE] [-d DATE] FILE...")
	}
	at, err := touchTime(c, o)
	if err != nil {
		return c.Errorf("%s", applet.Strerror(err))
	}
	code := 0
	for _, name := range operands {
		if err := touchOne(c.Path(name), at, o); err != nil {
			code = c.Fail(name, err)
		}
	}
	return code
}

func touchTime(c *applet.Ctx, o *applet.Opts) (time.Time, error) {
	if ref := o.Value('r', ""); ref != "" {
		info, err := os.Stat(c.Path(ref))
		if err != nil {
			return time.Time{}, err
		}
		return info.ModTime(), nil
	}
	text := o.Value('d', "")
	if text == "" {
		return time.Now(), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("invalid date '" + text + "'")
}

// touchOne sets the times of p and creates it when it is not there. Times that
// stay are zero for os.Chtimes.
func touchOne(p string, at time.Time, o *applet.Opts) error {
	atime, mtime := at, at
	if o.Has('a') && !o.Has('m') {
		mtime = time.Time{}
	}
	if o.Has('m') && !o.Has('a') {
		atime = time.Time{}
	}
	err := os.Chtimes(p, atime, mtime)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if o.Has('c') {
		return nil
	}
	f, err := os.OpenFile(p, os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil || !o.Any("rd") {
		return err
	}
	return os.Chtimes(p, atime, mtime)
}

func truncate(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "cs:")
	if !ok || len(operands) == 0 || !o.Has('s') {
		return c.Usage("[-c] -s SIZE FILE...")
	}
	size, ok := c.Size(o.Value('s', ""))
	if !ok {
		return 1
	}
	flags := os.O_WRONLY | os.O_CREATE
	if o.Has('c') {
		flags = os.O_WRONLY
	}
	code := 0
	for _, name := range operands {
		f, err := os.OpenFile(c.Path(name), flags, 0o666)
		if err == nil {
			err = errors.Join(f.Truncate(size), f.Close())
		}
		if err != nil {
			code = c.Fail(name, err)
		}
	}
	return code
}

func mktemp(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "dp:t")
	if !ok || len(operands) > 1 {
		return c.Usage("[-d] [-p DIR] [TEMPLATE]")
	}
	template := "tmp.XXXXXX"
	dir := o.Value('p', c.Getenv("TMPDIR"))
	if dir == "" {
		dir = "/tmp"
	}
	if len(operands) == 1 {
		template = operands[0]
		if !o.Any("pt") {
			dir = "."
		}
	}
	p, err := makeTemp(c.Path(join(dir, template)), o.Has('d'))
	if err != nil {
		return c.Fail(template, err)
	}
	c.Out.Println(p)
	return 0
}

func makeTemp(template string, dir bool) (string, error) {
	stem := strings.TrimRight(template, "X")
	if len(template)-len(stem) < 6 {
		return "", syscall.EINVAL
	}
	if dir {
		return os.MkdirTemp(path.Dir(stem), path.Base(stem)+"*")
	}
	f, err := os.CreateTemp(path.Dir(stem), path.Base(stem)+"*")
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}
