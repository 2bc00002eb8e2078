package files

import (
	"compress/gzip"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// gzipper is one run of gzip, gunzip or zcat.
type gzipper struct {
	c          *applet.Ctx
	decompress bool
	stdout     bool
	keep       bool
	force      bool
	level      int
}

func gzipMain(c *applet.Ctx, args []string) int { return gzipRun(c, args, gzipper{}) }

func gunzip(c *applet.Ctx, args []string) int { return gzipRun(c, args, gzipper{decompress: true}) }

func zcat(c *applet.Ctx, args []string) int {
	return gzipRun(c, args, gzipper{decompress: true, stdout: true})
}

func gzipRun(c *applet.Ctx, args []string, g gzipper) int {
	o, operands, ok := c.Opts(args, "cdfknq123456789")
	if !ok {
		return applet.ExitUsage
	}
	g.c, g.level = c, gzip.DefaultCompression
	g.decompress, g.stdout = g.decompress || o.Has('d'), g.stdout || o.Has('c')
	g.keep, g.force = o.Has('k'), o.Has('f')
	for level := 1; level <= 9; level++ {
		if o.Has(byte('0' + level)) {
			g.level = level
		}
	}
	if len(operands) == 0 || g.stdout {
		return c.EachInput(operands, func(_ string, r io.Reader) error { return g.pipe(c.Out, r) })
	}
	code := 0
	for _, name := range operands {
		if err := g.file(name); err != nil {
			code = c.Fail(name, err)
		}
	}
	return code
}

func (g gzipper) pipe(w io.Writer, r io.Reader) error {
	if g.decompress {
		z, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, z)
		return err
	}
	z, err := gzip.NewWriterLevel(w, g.level)
	if err != nil {
		return err
	}
	_, err = io.Copy(z, r)
	return errors.Join(err, z.Close())
}

// file replaces a file by its compressed or plain form. The old one goes only
// when the new one is complete.
func (g gzipper) file(name string) error {
	target := name + ".gz"
	if g.decompress {
		stem, ok := strings.CutSuffix(name, ".gz")
		if target = stem; !ok {
			if stem, ok = strings.CutSuffix(name, ".tgz"); !ok {
				return errors.New("unknown suffix")
			}
			target = stem + ".tar"
		}
	}
	if err := g.convert(g.c.Path(name), g.c.Path(target)); err != nil {
		return err
	}
	if g.keep {
		return nil
	}
	return os.Remove(g.c.Path(name))
}

func (g gzipper) convert(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if g.force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	out, err := os.OpenFile(to, flags, 0o666)
	if err != nil {
		return err
	}
	if err := errors.Join(g.pipe(out, in), out.Close()); err != nil {
		os.Remove(to)
		return err
	}
	return nil
}
