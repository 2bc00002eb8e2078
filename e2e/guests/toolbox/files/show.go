package files

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

func readlink(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "fnve")
	if !ok || len(operands) != 1 {
		return c.Usage("[-fn] FILE")
	}
	p := c.Path(operands[0])
	target, err := "", error(nil)
	if o.Any("fe") {
		target, err = filepath.EvalSymlinks(p)
	} else {
		target, err = os.Readlink(p)
	}
	if err != nil {
		return 1 // silent, as everywhere
	}
	c.Out.WriteString(target)
	if !o.Has('n') {
		c.Out.WriteByte('\n')
	}
	return 0
}

func realpath(c *applet.Ctx, args []string) int {
	_, operands, ok := c.Opts(args, "")
	if !ok || len(operands) == 0 {
		return c.Usage("FILE...")
	}
	code := 0
	for _, name := range operands {
		p, err := filepath.EvalSymlinks(c.Path(name))
		if err != nil {
			code = c.Fail(name, err)
			continue
		}
		c.Out.Println(p)
	}
	return code
}

func stat(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "Lc:t")
	if !ok || len(operands) == 0 {
		return c.Usage("[-L] [-c FORMAT] FILE...")
	}
	lookup := os.Lstat
	if o.Has('L') {
		lookup = os.Stat
	}
	code := 0
	for _, name := range operands {
		info, err := lookup(c.Path(name))
		if err != nil {
			code = c.Fail(name, err)
			continue
		}
		c.Out.Println(expandStat(o.Value('c', statFormat), name, c.Path(name), info))
	}
	return code
}

const statFormat = "  File: %N\n  Size: %s\tType: %F\nDevice: %d\tInode: %i\tLinks: %h\n" +
	"Access: %x\nModify: %y\nChange: %z"

func expandStat(format, name, path string, info fs.FileInfo) string {
	d := detailsOf(info)
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		switch format[i] {
		case 'n':
			b.WriteString(name)
		case 'N':
			b.WriteString(name)
			if target, err := os.Readlink(path); err == nil {
				b.WriteString(" -> " + target)
			}
		case 's':
			b.WriteString(strconv.FormatInt(info.Size(), 10))
		case 'b':
			b.WriteString(strconv.FormatInt(diskUse(info)/512, 10))
		case 'B':
			b.WriteString("512")
		case 'F':
			b.WriteString(typeName(info))
		case 'A':
			b.WriteString(modeString(info))
		case 'a':
			b.WriteString(modeBits(info))
		case 'd':
			b.WriteString(strconv.FormatUint(d.dev, 10))
		case 'i':
			b.WriteString(strconv.FormatUint(d.ino, 10))
		case 'h':
			b.WriteString(strconv.FormatUint(d.nlink, 10))
		case 'X', 'Y', 'Z', 'x', 'y', 'z':
			b.WriteString(statTime(format[i], info, d))
		default:
			b.WriteString("?")
		}
	}
	return b.String()
}

// statTime gives a time in seconds for a capital letter, else in words.
func statTime(letter byte, info fs.FileInfo, d details) string {
	t := info.ModTime()
	switch letter | 0x20 {
	case 'x':
		t = d.atime
	case 'z':
		t = d.ctime
	}
	if letter < 'a' {
		return strconv.FormatInt(t.Unix(), 10)
	}
	return t.Format("2006-01-02 15:04:05.000000000 -0700")
}

func modeBits(info fs.FileInfo) string {
	if !detailsOf(info).hasMode {
		return "?"
	}
	return strconv.FormatUint(uint64(info.Mode().Perm()), 8)
}

func typeName(info fs.FileInfo) string {
	switch mode := info.Mode(); {
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeSymlink != 0:
		return "symbolic link"
	case mode&fs.ModeCharDevice != 0:
		return "character special file"
	case mode&fs.ModeDevice != 0:
		return "block special file"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeNamedPipe != 0:
		return "fifo"
	case info.Size() == 0:
		return "regular empty file"
	}
	return "regular file"
}

// usage is one run of du.
type usage struct {
	c    *applet.Ctx
	o    *applet.Opts
	seen map[[2]uint64]bool // files with several names count once
	code int
}

func du(c *applet.Ctx, args []string) int {
	o, operands, ok := c.Opts(args, "ahksm")
	if !ok {
		return applet.ExitUsage
	}
	if len(operands) == 0 {
		operands = []string{"."}
	}
	u := &usage{c: c, o: o, seen: map[[2]uint64]bool{}}
	for _, name := range operands {
		if n, ok := u.measure(name, true); ok && o.Has('s') {
			u.print(n, name)
		}
	}
	return u.code
}

func (u *usage) measure(name string, top bool) (bytes int64, ok bool) {
	info, err := os.Lstat(u.c.Path(name))
	if err != nil {
		u.code = u.c.Fail(name, err)
		return 0, false
	}
	d := detailsOf(info)
	key := [2]uint64{d.dev, d.ino}
	if u.seen[key] && d.nlink > 1 {
		return 0, true
	}
	u.seen[key] = true
	bytes = diskUse(info)
	if info.IsDir() {
		bytes += u.children(name)
	}
	if !u.o.Has('s') && (info.IsDir() || top || u.o.Has('a')) {
		u.print(bytes, name)
	}
	return bytes, true
}

func (u *usage) children(name string) (bytes int64) {
	entries, err := os.ReadDir(u.c.Path(name))
	if err != nil {
		u.code = u.c.Fail(name, err)
		return 0
	}
	for _, e := range entries {
		n, _ := u.measure(join(name, e.Name()), false)
		bytes += n
	}
	return bytes
}

func (u *usage) print(bytes int64, name string) {
	size := strconv.FormatInt(bytes/1024, 10)
	switch {
	case u.o.Has('h'):
		size = human(bytes)
	case u.o.Has('m'):
		size = strconv.FormatInt(bytes>>20, 10)
	}
	fmt.Fprintf(u.c.Out, "%s\t%s\n", size, name)
}

// syncMain writes the named files back, or the root directory: preview1 has no
// call for everything.
func syncMain(c *applet.Ctx, args []string) int {
	if len(args) == 0 {
		syncPath("/") // a filesystem that cannot is as good as written
		return 0
	}
	code := 0
	for _, name := range args {
		if err := syncPath(c.Path(name)); err != nil {
			code = c.Fail(name, err)
		}
	}
	return code
}

func syncPath(p string) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !isErrno(err, syscall.EINVAL) {
		return err
	}
	return nil
}

func isErrno(err error, want syscall.Errno) bool {
	pe, ok := err.(*fs.PathError)
	return ok && pe.Err == want
}
