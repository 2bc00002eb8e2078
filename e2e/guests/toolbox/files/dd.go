package files

import (
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/applet"
)

// blockCopy is the command line of dd.
type blockCopy struct {
	in, out         string
	ibs, obs        int64
	count           int64 // -1 is all
	skip, seek      int64
	notrunc, silent bool
	fsync, append   bool
}

func dd(c *applet.Ctx, args []string) int {
	d := blockCopy{in: "-", out: "-", ibs: 512, obs: 512, count: -1}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || !d.set(c, key, value) {
			return c.Errorf("invalid argument '%s'", arg)
		}
	}
	in, err := d.openInput(c)
	if err != nil {
		return c.Fail(d.in, err)
	}
	defer in.Close()
	out, err := d.openOutput(c)
	if err != nil {
		return c.Fail(d.out, err)
	}
	start := time.Now()
	stats, err := d.run(c, in, out)
	if out != c.Out {
		err = errors.Join(err, d.finish(out.(*os.File)))
	}
	if !d.silent {
		stats.report(c, time.Since(start))
	}
	if err != nil {
		return c.Errorf("%s", applet.Strerror(err))
	}
	return 0
}

func (d *blockCopy) set(c *applet.Ctx, key, value string) (ok bool) {
	switch key {
	case "if":
		d.in = value
	case "of":
		d.out = value
	case "bs":
		d.ibs, ok = c.Size(value)
		d.obs = d.ibs
		return ok && d.ibs > 0
	case "ibs":
		d.ibs, ok = c.Size(value)
		return ok && d.ibs > 0
	case "obs":
		d.obs, ok = c.Size(value)
		return ok && d.obs > 0
	case "count":
		d.count, ok = c.Size(value)
		return ok
	case "skip", "iseek":
		d.skip, ok = c.Size(value)
		return ok
	case "seek", "oseek":
		d.seek, ok = c.Size(value)
		return ok
	case "status":
		d.silent = value == "none"
	case "conv", "iflag", "oflag":
		for flag := range strings.SplitSeq(value, ",") {
			d.notrunc = d.notrunc || flag == "notrunc"
			d.fsync = d.fsync || flag == "fsync" || flag == "fdatasync" || flag == "sync"
			d.append = d.append || flag == "append"
		}
	default:
		return false
	}
	return true
}

func (d *blockCopy) openInput(c *applet.Ctx) (io.ReadCloser, error) {
	in, err := c.Open(d.in)
	if err != nil || d.skip == 0 {
		return in, err
	}
	if s, ok := in.(io.Seeker); ok {
		if _, err := s.Seek(d.skip*d.ibs, io.SeekStart); err == nil {
			return in, nil
		}
	}
	if _, err := io.CopyN(io.Discard, in, d.skip*d.ibs); err != nil && err != io.EOF {
		in.Close()
		return nil, err
	}
	return in, nil
}

func (d *blockCopy) openOutput(c *applet.Ctx) (io.Writer, error) {
	if d.out == "-" {
		return c.Out, nil
	}
	flags := os.O_WRONLY | os.O_CREATE
	if d.append {
		flags |= os.O_APPEND
	}
	f, err := os.OpenFile(c.Path(d.out), flags, 0o666)
	if err != nil {
		return nil, err
	}
	if d.seek > 0 {
		if _, err := f.Seek(d.seek*d.obs, io.SeekStart); err != nil {
			f.Close()
			return nil, err
		}
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && !d.notrunc && !d.append {
		if err := f.Truncate(d.seek * d.obs); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

func (d *blockCopy) finish(f *os.File) error {
	var err error
	if d.fsync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// copied counts whole and partial blocks.
type copied struct{ full, partial, bytes int64 }

// run fills a whole block before it writes one, so that the block is really
// held in memory.
func (d *blockCopy) run(c *applet.Ctx, in io.Reader, out io.Writer) (n copied, err error) {
	block := make([]byte, d.ibs)
	for (d.count < 0 || n.full+n.partial < d.count) && c.Alive() {
		got, err := io.ReadFull(in, block)
		if got > 0 {
			if _, err := out.Write(block[:got]); err != nil {
				return n, err
			}
			n.bytes += int64(got)
		}
		switch {
		case err == nil:
			n.full++
		case errors.Is(err, io.ErrUnexpectedEOF):
			n.partial++
			return n, nil
		case errors.Is(err, io.EOF):
			return n, nil
		default:
			return n, err
		}
	}
	return n, nil
}

func (n copied) report(c *applet.Ctx, took time.Duration) {
	c.Out.Flush()
	seconds := max(took.Seconds(), 1e-9)
	text := &strings.Builder{}
	o := applet.NewOutput(text)
	o.Printf("%d+%d records in\n%d+%d records out\n", n.full, n.partial, n.full, n.partial)
	o.Printf("%d bytes copied, %.6f s, %.1f MB/s\n", n.bytes, seconds, float64(n.bytes)/seconds/1e6)
	o.Flush()
	io.WriteString(c.Err, text.String())
}
