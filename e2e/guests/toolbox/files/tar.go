package files

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// archiver is one run of tar.
type archiver struct {
	c        *applet.Ctx
	base     *applet.Ctx // c with the directory of -C
	o        *applet.Opts
	excludes []string
	code     int
	stripped bool // has warned about leading slashes

	links map[[2]uint64]string // files with several names, while creating
	dirs  []*tar.Header        // their times are set last, while extracting
}

func tarMain(c *applet.Ctx, args []string) int {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		args = append([]string{"-" + args[0]}, args[1:]...)
	}
	o, operands, ok := c.OptsOf(args, tarOptions)
	if !ok {
		return applet.ExitUsage
	}
	a := &archiver{c: c, o: o, excludes: o.Values('X'), links: map[[2]uint64]string{}}
	base := *c
	for _, dir := range o.Values('C') {
		base.Dir = path.Clean(base.Path(dir))
	}
	a.base = &base
	if len(o.Values('C')) > 0 && !isDir(base.Dir) {
		return c.Errorf("can't change directory to '%s': No such file or directory", o.Value('C', ""))
	}
	var err error
	switch {
	case o.Has('c'):
		err = a.create(operands)
	case o.Any("xt"):
		err = a.read(operands)
	default:
		return c.Usage("c|x|t[zvmkOh] [-f FILE] [-C DIR] [FILE]...")
	}
	if err != nil {
		return c.Errorf("%s", applet.Strerror(err))
	}
	return a.code
}

var tarOptions = applet.Spec{
	Short: "cxtzvmkOhpoPf:C:X:T:",
	Long: map[string]byte{
		"create": 'c', "extract": 'x', "get": 'x', "list": 't', "gzip": 'z', "verbose": 'v', "touch": 'm',
		"file": 'f', "directory": 'C', "exclude": 'X', "to-stdout": 'O', "dereference": 'h', "keep-old-files": 'k',
		"no-same-owner": 0, "no-same-permissions": 0, "same-permissions": 0, "same-owner": 0, "numeric-owner": 0,
		"overwrite": 0, "warning": 0, "preserve-permissions": 0,
	},
}

// verbose names a member: on standard error when the archive is on standard
// output.
func (a *archiver) verbose(name string) {
	if !a.o.Has('v') {
		return
	}
	if a.o.Has('O') || a.o.Has('c') && a.o.Value('f', "-") == "-" {
		io.WriteString(a.c.Err, name+"\n")
		return
	}
	a.c.Out.Println(name)
}

func (a *archiver) fail(name string, err error) { a.code = a.c.Fail(name, err) }

// inside makes a name relative: members never leave the directory.
func (a *archiver) inside(name string) string {
	rel := strings.TrimLeft(path.Clean("/"+name), "/")
	if strings.HasPrefix(name, "/") && !a.stripped {
		a.stripped = true
		a.c.Errorf("removing leading '/' from member names")
	}
	return rel
}

func (a *archiver) create(operands []string) error {
	var out io.Writer = a.c.Out
	if name := a.o.Value('f', "-"); name != "-" {
		f, err := os.Create(a.c.Path(name))
		if err != nil {
			return err
		}
		defer f.Close() // closed with its error below; this is for failures
		buffered := bufio.NewWriterSize(f, 64<<10)
		if err := a.write(buffered, operands); err != nil {
			return err
		}
		return errors.Join(buffered.Flush(), f.Close())
	}
	return a.write(out, operands)
}

func (a *archiver) write(w io.Writer, operands []string) error {
	if len(operands) == 0 {
		return errors.New("refusing to create an empty archive")
	}
	if a.o.Has('z') {
		z := gzip.NewWriter(w)
		return errors.Join(a.members(z, operands), z.Close())
	}
	return a.members(w, operands)
}

func (a *archiver) members(w io.Writer, operands []string) error {
	t := tar.NewWriter(w)
	for _, name := range operands {
		if err := a.add(t, name); err != nil {
			return err
		}
	}
	return t.Close()
}

// add writes a member and what is below it. What cannot be read is reported and
// left out; the error is one of the archive.
func (a *archiver) add(t *tar.Writer, name string) error {
	if a.excluded(name) {
		return nil
	}
	stat := os.Lstat
	if a.o.Has('h') {
		stat = os.Stat
	}
	info, err := stat(a.base.Path(name))
	if err != nil {
		a.fail(name, err)
		return nil
	}
	h, err := a.header(name, info)
	if err != nil {
		a.fail(name, err)
		return nil
	}
	if err := a.addOne(t, name, h); err != nil || !info.IsDir() {
		return err
	}
	entries, err := os.ReadDir(a.base.Path(name))
	if err != nil {
		a.fail(name, err)
		return nil
	}
	for _, e := range entries {
		if err := a.add(t, join(name, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (a *archiver) addOne(t *tar.Writer, name string, h *tar.Header) error {
	if h.Typeflag != tar.TypeReg {
		a.verbose(h.Name)
		return t.WriteHeader(h)
	}
	f, err := os.Open(a.base.Path(name))
	if err != nil {
		a.fail(name, err)
		return nil
	}
	defer f.Close()
	a.verbose(h.Name)
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(t, io.LimitReader(f, h.Size))
	if err != nil {
		return err
	}
	if n < h.Size { // shrank meanwhile: the member must still be complete
		a.code = a.c.Errorf("%s: file shrank, padding with zeros", name)
		_, err = io.CopyN(t, zeros{}, h.Size-n)
	}
	return err
}

// zeros is an endless input.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// header describes a file. Modes that preview1 hides are the usual ones.
func (a *archiver) header(name string, info fs.FileInfo) (*tar.Header, error) {
	d := detailsOf(info)
	h := &tar.Header{Name: a.inside(name), ModTime: info.ModTime().Truncate(time.Second), Mode: 0o644, Typeflag: tar.TypeReg}
	if d.hasMode {
		h.Mode = int64(info.Mode().Perm())
	}
	switch mode := info.Mode(); {
	case mode.IsDir():
		h.Typeflag = tar.TypeDir
		h.Name += "/"
		if h.Name == "/" {
			h.Name = "./"
		}
		if !d.hasMode {
			h.Mode = 0o755
		}
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(a.base.Path(name))
		if err != nil {
			return nil, err
		}
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, target, 0o777
	case mode.IsRegular():
		h.Size = info.Size()
		a.hardLink(h, d)
	default:
		return nil, errors.New("not a file, directory or link: left out")
	}
	return h, nil
}

func (a *archiver) hardLink(h *tar.Header, d details) {
	if d.nlink < 2 || d.ino == 0 {
		return
	}
	key := [2]uint64{d.dev, d.ino}
	if first, ok := a.links[key]; ok {
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		return
	}
	a.links[key] = h.Name
}

func (a *archiver) excluded(name string) bool {
	return slices.ContainsFunc(a.excludes, func(pattern string) bool {
		whole, _ := path.Match(pattern, strings.TrimPrefix(name, "./"))
		base, _ := path.Match(pattern, path.Base(name))
		return whole || base
	})
}

func (a *archiver) read(operands []string) error {
	in, err := a.c.Open(a.o.Value('f', "-"))
	if err != nil {
		return err
	}
	defer in.Close()
	buffered := bufio.NewReaderSize(in, 64<<10)
	var plain io.Reader = buffered
	if magic, err := buffered.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return err
		}
		plain = z
	}
	if err := a.each(tar.NewReader(plain), operands); err != nil {
		return err
	}
	for _, h := range slices.Backward(a.dirs) {
		os.Chtimes(a.base.Path(h.Name), h.ModTime, h.ModTime) // best effort, as the files are there
	}
	_, err = io.Copy(io.Discard, plain) // the padding, so that the writer sees no broken pipe
	return err
}

func (a *archiver) each(t *tar.Reader, operands []string) error {
	for a.c.Alive() {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if !wanted(h.Name, operands) || a.excluded(h.Name) {
			continue
		}
		if a.o.Has('t') {
			a.list(h)
			continue
		}
		a.verbose(h.Name)
		if err := a.extract(t, h); err != nil {
			a.fail(h.Name, err)
		}
	}
	return nil
}

func wanted(name string, operands []string) bool {
	if len(operands) == 0 {
		return true
	}
	name = path.Clean(name)
	return slices.ContainsFunc(operands, func(op string) bool {
		op = path.Clean(op)
		return name == op || strings.HasPrefix(name, op+"/")
	})
}

func (a *archiver) list(h *tar.Header) {
	if a.o.Has('v') {
		a.c.Out.Printf("%s %d/%d %9d %s ", h.FileInfo().Mode(), h.Uid, h.Gid, h.Size, h.ModTime.Format("2006-01-02 15:04"))
	}
	a.c.Out.WriteString(h.Name)
	if h.Linkname != "" && a.o.Has('v') {
		a.c.Out.WriteString(" -> " + h.Linkname)
	}
	a.c.Out.WriteByte('\n')
}

func (a *archiver) extract(t *tar.Reader, h *tar.Header) error {
	if h.Name = a.inside(h.Name); h.Name == "" {
		return nil
	}
	if a.o.Has('O') {
		if h.Typeflag == tar.TypeReg {
			_, err := io.Copy(a.c.Out, t)
			return err
		}
		return nil
	}
	if err := a.parents(h.Name); err != nil {
		return err
	}
	p := a.base.Path(h.Name)
	switch h.Typeflag {
	case tar.TypeDir:
		if err := os.Mkdir(p, 0o777); err != nil && !isDir(p) {
			return err
		}
		if !a.o.Has('m') {
			a.dirs = append(a.dirs, h)
		}
		return nil
	case tar.TypeSymlink:
		return a.replace(p, func() error { return os.Symlink(h.Linkname, p) })
	case tar.TypeLink:
		return a.replace(p, func() error { return os.Link(a.base.Path(a.inside(h.Linkname)), p) })
	case tar.TypeReg:
		return a.replace(p, func() error { return a.file(t, h, p) })
	}
	return errors.New("not a file, directory or link: left out")
}

// parents makes the directories above a member. A symbolic link among them
// would lead out of the directory, when an earlier member made it: refuse.
func (a *archiver) parents(name string) error {
	dir := a.base.Dir
	parts := strings.Split(path.Dir(name), "/")
	for _, part := range parts {
		if part == "." {
			continue
		}
		dir = join(dir, part)
		info, err := os.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			err = os.Mkdir(dir, 0o777)
		} else if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return errors.New("skipped, as it would be written through the symbolic link " + dir)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replace makes something new at p instead of what stands there.
func (a *archiver) replace(p string, make func() error) error {
	if a.o.Has('k') {
		if _, err := os.Lstat(p); err == nil {
			return fs.ErrExist
		}
	}
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return make()
}

func (a *archiver) file(t *tar.Reader, h *tar.Header, p string) error {
	f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(h.Mode).Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(f, t)
	if err := errors.Join(err, f.Close()); err != nil || a.o.Has('m') {
		return err
	}
	return os.Chtimes(p, h.ModTime, h.ModTime)
}
