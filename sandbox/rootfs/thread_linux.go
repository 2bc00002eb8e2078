package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Names in the template namespace.
const (
	templateRoot    = "/r" // where a new root is attached before the pivot
	templateScratch = "/s" // where an image is attached to find a path in it
)

// job is a plan on its way through a builder.
type job struct {
	plan *plan
	root *sandbox.Root
	err  error
	done chan struct{} // closed when root and err are set
}

// attach lets a builder carry out p and waits for it.
func (f *FS) attach(ctx context.Context, p *plan) (*sandbox.Root, error) {
	j := &job{plan: p, done: make(chan struct{})}
	select {
	case <-f.closed:
		return nil, ErrClosed
	default:
	}
	select {
	case f.jobs <- j:
	case <-f.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a mount namespace builder: %w", ctx.Err())
	}
	<-j.done // a few hundred microseconds: not worth giving up
	return j.root, j.err
}

// startBuilders makes the template namespace and the threads that live in it.
func (f *FS) startBuilders() error {
	for range numBuilders() {
		if err := <-f.startBuilder(); err != nil {
			return err
		}
	}
	return nil
}

// startBuilder starts one builder; the channel says when it is ready.
func (f *FS) startBuilder() <-chan error {
	ready := make(chan error, 1)
	f.builders.Add(1)
	onOwnThread(func() {
		defer f.builders.Done()
		t, err := f.enterTemplate()
		ready <- err
		if err == nil {
			f.serve(t)
		}
	})
	return ready
}

// serve carries out jobs until the FS is closed or t cannot be used any more.
func (f *FS) serve(t *thread) {
	for {
		select {
		case <-f.closed:
			return
		case j := <-f.jobs:
			j.root, j.err = t.build(j.plan)
			close(j.done)
		}
		if t.lost != nil {
			f.log.Error("mount namespace builder lost, starting another", "error", t.lost)
			f.startBuilder()
			return
		}
	}
}

// onOwnThread runs fn in a goroutine with a thread of its own, which ends with
// it: the goroutine returns without unlocking, so that a thread in another
// namespace never carries other goroutines. It is never the main thread: that
// one is what /proc/self shows, and Go would not end it.
func onOwnThread(fn func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			fn()
			return
		}
		elsewhere := make(chan struct{})
		onOwnThread(func() {
			close(elsewhere)
			fn()
		})
		<-elsewhere
		runtime.UnlockOSThread()
	}()
}

// enterTemplate moves the calling thread into the template namespace, which
// the first caller makes.
func (f *FS) enterTemplate() (*thread, error) {
	t := &thread{fs: f}
	if f.template == nil {
		ns, err := makeTemplate(f.dir, f.proc)
		if err != nil {
			return nil, fmt.Errorf("make template mount namespace: %w", err)
		}
		f.template = ns
	} else if err := joinTemplate(f.template); err != nil {
		return nil, fmt.Errorf("join template mount namespace: %w", err)
	}
	unix.Umask(0) // of this thread alone: its fs struct is its own
	return t, nil
}

func joinTemplate(ns *os.File) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	return unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS)
}

// makeTemplate unshares the calling thread into a namespace with one tmpfs as
// its only mount. at is any directory.
func makeTemplate(at string, proc *os.File) (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	fd, err := newTmpfs(0, "size", "64k", "nr_inodes", "8", "mode", "0700")
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	for _, dir := range []string{templateRoot, templateScratch} {
		if err := unix.Mkdirat(fd, dir[1:], 0o700); err != nil {
			return nil, fmt.Errorf("mkdir %s: %w", dir, err)
		}
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return nil, fmt.Errorf("attach tmpfs: %w", err)
	}
	if err := pivot(fd); err != nil {
		if errors.Is(err, unix.EINVAL) {
			err = fmt.Errorf("%w (is the host's root an initramfs? switch_root to a tmpfs first)", err)
		}
		return nil, fmt.Errorf("pivot: %w", err)
	}
	return openNamespace(proc)
}

// pivot makes the directory of fd the root of the thread's namespace and gives
// up the old root.
func pivot(fd int) error {
	if err := unix.Fchdir(fd); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// openNamespace gives the calling thread's mount namespace. proc is the host's
// /proc, which the thread cannot reach by name.
func openNamespace(proc *os.File) (*os.File, error) {
	fd, err := unix.Openat(int(proc.Fd()), "thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "mount namespace"), nil
}
