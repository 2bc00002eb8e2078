package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Names in the directory of a writable layer.
const (
	upperName = "fs"
	workName  = "work"
	trashName = ".trash"
)

func (f *FS) layerDir(id string) string { return filepath.Join(f.dir, id) }

// checkID refuses ids that are not plain file names.
func checkID(id string) error {
	if id == "" || len(id) > 200 || strings.HasPrefix(id, ".") || strings.ContainsAny(id, "/\x00") {
		return invalid("container id %q", id)
	}
	return nil
}

// makeWritable makes the writable layer, or takes the one that an earlier
// Build of the container left.
func (b *build) makeWritable() (upper, work string, err error) {
	dir := b.fs.layerDir(b.spec.ID)
	upper, work = filepath.Join(dir, upperName), filepath.Join(dir, workName)
	err = os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		// A volatile overlay leaves this mark and refuses to mount where it
		// is: after a crash of the host the layer may be torn. Here the
		// container has not written to it yet, or the host has not crashed.
		err = os.RemoveAll(filepath.Join(work, "work", "incompat"))
	} else if err == nil {
		b.undos = append(b.undos, func() { b.fs.discard(dir) })
	}
	if err != nil {
		return "", "", err
	}
	if exists(upper) && exists(work) {
		return upper, work, nil
	}
	if err := mkdirMode(work, 0o700); err != nil {
		return "", "", err
	}
	return upper, work, b.makeUpper(upper)
}

// makeUpper makes the directory that becomes the container's root directory,
// with the owner and mode of the image's.
func (b *build) makeUpper(upper string) error {
	if err := mkdirMode(upper, 0o755); err != nil {
		return err
	}
	if len(b.spec.Layers) == 0 {
		return b.chown(upper, 0, 0)
	}
	top := b.spec.Layers[len(b.spec.Layers)-1]
	var st syscall.Stat_t
	if err := syscall.Stat(top, &st); err != nil {
		return &os.PathError{Op: "stat", Path: top, Err: err}
	}
	if err := b.chown(upper, st.Uid, st.Gid); err != nil {
		return err
	}
	if mode := st.Mode & 0o7777; mode != 0o755 {
		return syscall.Chmod(upper, mode)
	}
	return nil
}

// discard removes a layer of a Build that failed.
func (f *FS) discard(dir string) {
	if err := os.RemoveAll(dir); err != nil {
		f.log.Warn("writable layer of a failed container not removed", "dir", dir, "error", err)
	}
}

// Remove deletes the writable layer of a container; nil when it is gone. The
// space is given back a little later. The error is that of the file system, or
// wraps ErrInvalid for a malformed id.
func (f *FS) Remove(_ context.Context, id string) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("remove writable layer: %w", err)
	}
	if err := f.trash.take(f.layerDir(id)); err != nil {
		return fmt.Errorf("remove writable layer: %w", err)
	}
	return nil
}

// Usage measures the writable layer as du does: allocated blocks, each inode
// once. The error wraps fs.ErrNotExist when there is no such layer.
func (f *FS) Usage(id string) (bytes, inodes uint64, err error) {
	if err := checkID(id); err != nil {
		return 0, 0, fmt.Errorf("measure writable layer: %w", err)
	}
	top := filepath.Join(f.layerDir(id), upperName)
	seen := map[uint64]bool{} // inodes with several links; one filesystem
	err = filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		var st syscall.Stat_t
		if err == nil {
			err = syscall.Lstat(path, &st)
		}
		if err != nil {
			if path != top && errors.Is(err, fs.ErrNotExist) {
				return nil // deleted meanwhile
			}
			return err
		}
		if st.Mode&syscall.S_IFMT != syscall.S_IFDIR && st.Nlink > 1 {
			if seen[st.Ino] {
				return nil
			}
			seen[st.Ino] = true
		}
		bytes += uint64(st.Blocks) * 512
		inodes++
		return nil
	})
	if err != nil {
		return 0, 0, fmt.Errorf("measure writable layer: %w", err)
	}
	return bytes, inodes, nil
}

// Orphans removes every writable layer whose container is not in keep. It goes
// on after an error and returns all of them.
func (f *FS) Orphans(ctx context.Context, keep map[string]bool) error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("list writable layers: %w", err)
	}
	var errs []error
	for _, e := range entries {
		id := e.Name()
		if keep[id] || strings.HasPrefix(id, ".") {
			continue
		}
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		f.log.Info("removing orphaned writable layer", "container", id)
		errs = append(errs, f.Remove(ctx, id))
	}
	return errors.Join(errs...)
}

// trash removes directory trees behind the caller's back: taking one is a
// rename. It is safe for concurrent use.
type trash struct {
	dir  string
	log  *slog.Logger
	full chan struct{} // holds a token when something was taken
	stop chan struct{} // closed to end the sweeper
	done sync.WaitGroup

	mu   sync.Mutex
	next uint64
}

// open starts the sweeper, which also removes what an earlier daemon left.
func (t *trash) open(parent string, log *slog.Logger) error {
	t.dir, t.log = filepath.Join(parent, trashName), log
	t.full, t.stop = make(chan struct{}, 1), make(chan struct{})
	if err := mkdirMode(t.dir, 0o700); err != nil {
		return err
	}
	left, err := os.ReadDir(t.dir)
	if err != nil {
		return err
	}
	for _, e := range left {
		if n, err := strconv.ParseUint(e.Name(), 10, 64); err == nil {
			t.next = max(t.next, n+1)
		}
	}
	t.full <- struct{}{}
	t.done.Go(t.sweep)
	return nil
}

// close waits until everything that was taken is gone.
func (t *trash) close() {
	close(t.stop)
	t.done.Wait()
}

// take moves path into the trash; nil when it does not exist.
func (t *trash) take(path string) error {
	t.mu.Lock()
	name := filepath.Join(t.dir, strconv.FormatUint(t.next, 10))
	t.next++
	t.mu.Unlock()
	if err := os.Rename(path, name); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	select {
	case t.full <- struct{}{}:
	default:
	}
	return nil
}

func (t *trash) sweep() {
	for {
		select {
		case <-t.full:
			t.empty()
		case <-t.stop:
			t.empty()
			return
		}
	}
}

func (t *trash) empty() {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		t.log.Warn("removed layers not deleted", "dir", t.dir, "error", err)
		return
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(t.dir, e.Name())); err != nil {
			t.log.Warn("removed layer not deleted", "dir", filepath.Join(t.dir, e.Name()), "error", err)
		}
	}
}
