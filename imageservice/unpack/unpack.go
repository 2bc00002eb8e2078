package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

// Limits bound what one layer may demand. Zero fields get defaults.
type Limits struct {
	MaxBytes   int64 // unpacked stream and file sizes; 16 GiB
	MaxEntries int   // entries, and directories made for them; 1,000,000
	MaxPath    int   // bytes of a name; 4096
	MaxDepth   int   // directories within one another, wherever links lead; 500
	MaxRatio   int64 // unpacked to packed size, beyond RatioFloor; 200
	RatioFloor int64 // 256 MiB
}

// WithDefaults gives the limits with their defaults.
func (l Limits) WithDefaults() Limits {
	if l.MaxBytes <= 0 {
		l.MaxBytes = 16 << 30
	}
	if l.MaxEntries <= 0 {
		l.MaxEntries = 1_000_000
	}
	if l.MaxPath <= 0 || l.MaxPath > unix.PathMax {
		l.MaxPath = unix.PathMax
	}
	if l.MaxDepth <= 0 {
		l.MaxDepth = 500
	}
	if l.MaxRatio <= 0 {
		l.MaxRatio = 200
	}
	if l.RatioFloor <= 0 {
		l.RatioFloor = 256 << 20
	}
	return l
}

// Result tells what was in a layer.
type Result struct {
	DiffID  string // sha256 of the plain tar stream
	Entries int
	// Implicit are directories that entries needed and the layer does not
	// describe: their owner and mode are a guess that must not hide those of
	// a lower layer.
	Implicit []string
	// Sums are the checksums (SumTable) of the files, by inode.
	Sums map[uint64]uint32
}

// SumTable makes the checksums of files: they find damage of the disk.
var SumTable = crc32.MakeTable(crc32.Castagnoli)

// Layer unpacks the layer in r, compressed or not, into the empty directory
// dir, and reads r to its end. Errors: ErrUnsafe, ErrLimit and ErrMalformed
// name the entry; ENOSPC and the errors of r come through.
func Layer(ctx context.Context, r io.Reader, dir string, lim Limits) (*Result, error) {
	lim = lim.WithDefaults()
	s, err := newStream(&errReader{r: r}, lim)
	if err != nil {
		return nil, sourceError(err)
	}
	defer s.close()
	u, err := newUnpacker(dir, lim)
	if err != nil {
		return nil, err
	}
	defer u.close()
	p := newPipe()
	written := make(chan error, 1)
	go func() {
		defer close(p.quit)
		written <- confined(dir, func() error {
			if err := u.all(ctx, tar.NewReader(p)); err != nil {
				return err
			}
			return u.finishDirs()
		})
	}()
	p.fill(s)
	if err := <-written; err != nil {
		return nil, sourceError(err)
	}
	if err := s.drain(); err != nil {
		return nil, sourceError(readError(err))
	}
	if err := u.finishOpaque(); err != nil {
		return nil, err
	}
	return &Result{DiffID: s.diffID(), Entries: u.entries, Implicit: u.implicitDirs(), Sums: u.sums}, nil
}

// errReader marks the errors of the source, so that those of the
// decompressors are told apart from them.
type errReader struct{ r io.Reader }

type readErr struct{ err error }

func (e *readErr) Error() string { return e.err.Error() }
func (e *readErr) Unwrap() error { return e.err }

func (e *errReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && err != io.EOF {
		err = &readErr{err}
	}
	return n, err
}

// sourceError gives the source's own error when there is one.
func sourceError(err error) error {
	var re *readErr
	if errors.As(err, &re) {
		return re.err
	}
	return err
}

// readError gives an error of tar or decompressor its kind.
func readError(err error) error {
	var e *imgerr.Error
	var re *readErr
	if errors.As(err, &e) || errors.As(err, &re) {
		return err
	}
	return malformed("layer does not decode: %w", err)
}

func (u *unpacker) all(ctx context.Context, tr *tar.Reader) error {
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return readError(err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := u.count(1); err != nil {
			return err
		}
		if err := u.entry(h, tr); err != nil {
			return entryError(h.Name, err)
		}
	}
}

// entryError names the entry in an error about it.
func entryError(name string, err error) error {
	var re *readErr
	if errors.As(err, &re) {
		return err
	}
	if len(name) > 200 {
		name = name[:200] + "..."
	}
	kind := imgerr.KindOf(err)
	if kind == nil {
		kind = imgerr.ErrMalformed
	}
	return &imgerr.Error{Kind: kind, Text: fmt.Sprintf("entry %q", name), Err: err}
}

func (u *unpacker) count(n int) error {
	if u.entries += n; u.entries > u.lim.MaxEntries {
		return &imgerr.Error{Kind: imgerr.ErrLimit, Text: fmt.Sprintf("layer has more than %d entries", u.lim.MaxEntries), Remedy: "raise the limit in the configuration if that is meant"}
	}
	return nil
}

func unsafe(format string, args ...any) error {
	return fmt.Errorf("%w: %s", imgerr.ErrUnsafe, fmt.Sprintf(format, args...))
}

// cleanName checks a name of the archive and gives its canonical relative
// form, "." for the root.
func (u *unpacker) cleanName(name string) (string, error) {
	switch {
	case len(name) > u.lim.MaxPath:
		return "", fmt.Errorf("%w: name of %d bytes, at most %d are allowed", imgerr.ErrLimit, len(name), u.lim.MaxPath)
	case strings.HasPrefix(name, "/"):
		return "", unsafe("absolute name")
	case strings.IndexByte(name, 0) >= 0:
		return "", fmt.Errorf("%w: name holds a zero byte", imgerr.ErrMalformed)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", unsafe("name holds \"..\"")
		}
		if len(part) > unix.NAME_MAX {
			return "", fmt.Errorf("%w: name holds a component of %d bytes", imgerr.ErrLimit, len(part))
		}
	}
	return path.Clean("./" + name), nil
}

const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// entry writes one entry of the archive.
func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	name, err := u.cleanName(h.Name)
	if err != nil {
		return err
	}
	if name == "." {
		if h.Typeflag != tar.TypeDir {
			return unsafe("the root of the layer must be a directory")
		}
		return u.dirAttrs(name, h)
	}
	dir, base := path.Split(name)
	dir = path.Clean("./" + dir)
	parent, err := u.openDir(dir)
	if err != nil {
		return err
	}
	switch {
	case base == whiteoutOpaque:
		return u.noteOpaque(dir)
	case strings.HasPrefix(base, whiteoutMeta):
		return nil // aufs bookkeeping
	case strings.HasPrefix(base, whiteoutPrefix):
		return u.whiteout(parent, strings.TrimPrefix(base, whiteoutPrefix))
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.dir(parent, name, base, h)
	case tar.TypeReg, tar.TypeGNUSparse: // the reader turns the old type of files into this one
		return u.file(parent, name, base, h, r)
	case tar.TypeSymlink:
		return u.symlink(parent, name, base, h)
	case tar.TypeLink:
		return u.hardlink(parent, name, base, h)
	case tar.TypeFifo:
		return u.fifo(parent, name, base, h)
	case tar.TypeChar, tar.TypeBlock:
		return unsafe("device nodes are not allowed in images")
	}
	return fmt.Errorf("%w: tar entry of unknown type %q", imgerr.ErrMalformed, h.Typeflag)
}

// timespec gives the modification time, and it again as access time: layers
// rarely carry one.
func timespec(t time.Time) []unix.Timespec {
	if t.IsZero() || t.Unix() < 0 || t.Year() > 2400 {
		t = time.Unix(0, 0)
	}
	ts := unix.NsecToTimespec(t.UnixNano())
	return []unix.Timespec{ts, ts}
}
