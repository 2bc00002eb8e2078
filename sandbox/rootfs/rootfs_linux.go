package rootfs

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Config says where an FS keeps its writable layers.
type Config struct {
	Dir    string       // made when missing; on a filesystem that can be an overlay's upper
	Logger *slog.Logger // nil: none
	// UserNS makes a user namespace for mounts whose ids are mapped otherwise
	// than their container's; nil: they are refused.
	UserNS func(*sandbox.UserNS) (*os.File, error)
}

// FS implements sandbox.RootFS on Linux 5.12 and newer. It is safe for
// concurrent use.
type FS struct {
	dir  string
	log  *slog.Logger
	kern kernel
	user func(*sandbox.UserNS) (*os.File, error)
	proc *os.File // O_PATH of the host's, which builder threads cannot open by name

	template *os.File // the namespace in which builder threads wait
	jobs     chan *job
	closed   chan struct{}
	close    sync.Once
	builders sync.WaitGroup
	trash    trash
	device   func() (string, error) // that holds dir; looked up once

	mu    sync.Mutex
	bases map[string]string // key of a set of mountpoints to its directory

	fault func(Step) error // tests: fails a step
}

var _ sandbox.RootFS = (*FS)(nil)

// New makes an FS and starts its builder threads. It returns an error that
// wraps ErrUnsupported when the kernel lacks the new mount interface, and the
// errno of the directory or namespace that could not be made otherwise.
func New(cfg Config) (*FS, error) {
	if !filepath.IsAbs(cfg.Dir) {
		return nil, fmt.Errorf("root filesystems: directory %q is not absolute", cfg.Dir)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("root filesystems: %w", err)
	}
	dir, err := filepath.EvalSymlinks(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("root filesystems: %w", err)
	}
	kern, err := probe()
	if err != nil {
		return nil, fmt.Errorf("root filesystems: %w", err)
	}
	proc, err := openPath("/proc")
	if err != nil {
		return nil, fmt.Errorf("root filesystems: %w", err)
	}
	f := &FS{
		dir:    dir,
		device: sync.OnceValues(func() (string, error) { return deviceOf(dir) }),
		log:    cfg.Logger,
		kern:   kern,
		user:   cfg.UserNS,
		proc:   proc,
		jobs:   make(chan *job),
		closed: make(chan struct{}),
		bases:  map[string]string{},
	}
	if err := f.trash.open(dir, f.log); err != nil {
		return nil, errorsJoinClose(fmt.Errorf("root filesystems: %w", err), proc)
	}
	if err := f.startBuilders(); err != nil {
		return nil, errorsJoinClose(fmt.Errorf("root filesystems: %w", err), f)
	}
	return f, nil
}

// Close ends the builder threads and waits until removed layers are gone.
// Roots that were built stay valid. It can be called again.
func (f *FS) Close() error {
	f.close.Do(func() {
		close(f.closed)
		f.builders.Wait()
		f.trash.close()
		f.proc.Close()
		if f.template != nil {
			f.template.Close()
		}
	})
	return nil
}

// Build makes the mount namespace of a container. Its errors are *Error, or
// ErrClosed, or the error of ctx when no builder was free before it ended.
// When it fails, everything that it made is gone again.
func (f *FS) Build(ctx context.Context, spec sandbox.RootSpec) (*sandbox.Root, error) {
	b := &build{fs: f, spec: &spec}
	defer b.release()
	p, err := b.plan()
	if err != nil {
		b.undo()
		return nil, err
	}
	root, err := f.attach(ctx, p)
	if err != nil {
		b.undo()
		return nil, err
	}
	return root, nil
}

// numBuilders is how many namespaces are put together at the same time. The
// kernel serialises most of it, so more than a few only wait.
func numBuilders() int {
	return max(2, min(4, runtime.NumCPU()))
}
