package codecache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// Found is one file of a code cache.
type Found struct {
	Path    string
	Module  string // hex of its digest
	OfImage bool   // code of a module that an image owns
	Err     error  // why it must not be used
}

// Walk looks at all code files of a cache directory, from outside, and beside a
// daemon that uses it. With deep their whole content is verified, else their
// heads are.
func Walk(ctx context.Context, dir string, deep bool, found func(Found)) error {
	for _, class := range []string{classImage, classDemand} {
		entries, err := os.ReadDir(filepath.Join(dir, class))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			f := Found{Path: filepath.Join(dir, class, e.Name()), OfImage: class == classImage}
			f.Module, _, _ = strings.Cut(e.Name(), "-")
			if f.Err = checkFile(f.Path, f.Module, deep); errors.Is(f.Err, fs.ErrNotExist) {
				continue // moved or deleted meanwhile
			}
			found(f)
		}
	}
	return nil
}

func checkFile(path, module string, deep bool) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	id, err := identify(f)
	if err != nil {
		return err
	}
	h, err := readHead(f, id.size)
	if err == nil && deep {
		h, err = workerv1.VerifyCode(f, id.size)
	}
	if err != nil {
		return err
	}
	if got := fmt.Sprintf("%x", h.Module); got != module {
		return fmt.Errorf("%w: it is of module %s", workerv1.ErrBadCode, got)
	}
	return nil
}

// readHead reads and checks the head, and the length that it claims.
func readHead(f *os.File, size int64) (*workerv1.CodeHeader, error) {
	head := make([]byte, workerv1.CodePayload)
	n, err := readAt(f, head)
	if err != nil {
		return nil, err
	}
	h, err := workerv1.DecodeCodeHeader(head[:n])
	if err != nil {
		return nil, err
	}
	if h.PayloadLen > uint64(size) || h.NamesLen > uint64(size) || h.Size() != uint64(size) {
		return nil, fmt.Errorf("%w: %d bytes long, header says %d", workerv1.ErrBadCode, size, h.Size())
	}
	return h, nil
}
