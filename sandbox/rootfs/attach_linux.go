package rootfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// thread is the calling thread of a builder, which lives in the template
// namespace between two calls of build. It is not safe for concurrent use.
type thread struct {
	fs   *FS
	lost error // why the thread could not return to the template namespace
}

// build carries out p in a namespace of its own and leaves it.
func (t *thread) build(p *plan) (out *sandbox.Root, err error) {
	err = runStep(p.fault, StepNamespace, "", func() error { return unix.Unshare(unix.CLONE_NEWNS) })
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := t.leave(p); e != nil {
			out.Close()
			out, err = nil, errors.Join(err, e)
		}
	}()
	s := site{plan: p, kernel: &t.fs.kern, proc: t.fs.proc, top: -1}
	defer s.close()
	if err := s.enter(); err != nil {
		return nil, err
	}
	if err := s.asOwner(s.furnish); err != nil {
		return nil, err
	}
	return s.open()
}

// leave returns to the template namespace. With that a namespace that was not
// opened ceases to exist.
func (t *thread) leave(p *plan) error {
	t.lost = runStep(p.fault, StepLeaveNamespace, "", func() error {
		return unix.Setns(int(t.fs.template.Fd()), unix.CLONE_NEWNS)
	})
	return t.lost
}

// site is a namespace that is being put together by the calling thread.
type site struct {
	*plan
	kernel *kernel
	proc   *os.File
	top    int // O_PATH of the new root; -1 when there is none
	fds    []int
}

func (s *site) do(step Step, path string, fn func() error) error {
	return runStep(s.fault, step, path, fn)
}

func (s *site) close() {
	for _, fd := range s.fds {
		unix.Close(fd)
	}
	if s.top >= 0 {
		unix.Close(s.top)
	}
}

// enter makes the container's root filesystem the root of the namespace.
func (s *site) enter() error {
	for i := range s.mounts {
		a := &s.mounts[i]
		if a.mapped != nil {
			if err := s.do(StepImage, a.target, func() error { return s.assembleImage(a) }); err != nil {
				return err
			}
		}
		if a.subPath == "" {
			continue
		}
		if err := s.do(StepSubPath, a.subPath, func() error { return s.findSubPath(a) }); err != nil {
			return err
		}
	}
	if s.mapped != nil {
		err := s.do(StepOverlay, "", func() (err error) {
			s.root, err = s.assemble(s.mapped)
			return err
		})
		if err != nil {
			return err
		}
	}
	if err := s.do(StepAttachRoot, "", func() error { return attachAt(s.root, templateRoot) }); err != nil {
		return err
	}
	return s.do(StepPivot, "", func() error {
		fd, err := unix.Open(templateRoot, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		s.top = fd
		return pivot(fd)
	})
}

// attachAt puts a mount on a directory of the template.
func attachAt(fd int, dir string) error {
	return unix.MoveMount(fd, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// findSubPath turns an image into a source that shows one path of it.
func (s *site) findSubPath(a *attachment) error {
	if err := attachAt(a.fd, templateScratch); err != nil {
		return err
	}
	defer unix.Unmount(templateScratch, unix.MNT_DETACH)
	image, err := unix.Open(templateScratch, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(image)
	sub, err := openIn(image, a.subPath, unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer unix.Close(sub)
	if a.fd, err = cloneAt(sub, "", unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	s.fds = append(s.fds, a.fd)
	if a.dir, err = isDir(a.fd); err != nil {
		return err
	}
	return a.attr.apply(a.fd)
}

// furnish attaches everything to the root.
func (s *site) furnish() error {
	for _, dir := range []string{"/proc", "/sys"} {
		if err := s.do(StepMountpoint, dir, func() error { return closeAfter(makeFixed(s.top, dir)) }); err != nil {
			return err
		}
	}
	for _, list := range [][]attachment{s.mounts, s.late} {
		for i := range list {
			if err := s.attach(&list[i]); err != nil {
				return err
			}
		}
	}
	if err := s.hide(); err != nil {
		return err
	}
	if s.workingDir != "" {
		err := s.do(StepWorkingDir, s.workingDir, func() error { return s.makeWorkingDir() })
		if err != nil {
			return err
		}
	}
	return s.seal()
}

func closeAfter(fd int, err error) error {
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// attach puts a source in its place, which it makes when it is missing.
func (s *site) attach(a *attachment) error {
	target := -1
	err := s.do(StepMountpoint, a.target, func() (err error) {
		switch {
		case a.ifThere:
			target, err = openIn(s.top, a.target, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_SYMLINKS)
		case a.fixed:
			target, err = makeFixed(s.top, a.target)
		default:
			target, err = makePath(s.top, a.target, a.dir)
		}
		return err
	})
	if a.ifThere && (absent(err) || errors.Is(err, unix.ELOOP)) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(target)
	return s.do(StepAttach, a.target, func() error {
		if err := s.wantOutsideProc(target); err != nil {
			return err
		}
		return s.place(a.fd, target)
	})
}

// wantOutsideProc refuses a place that nobody would see: the process mounts proc over
// it. A link may have led there, such as /dev/stdout.
func (s *site) wantOutsideProc(target int) error {
	path, err := readLink(int(s.proc.Fd()), fmt.Sprintf("thread-self/fd/%d", target))
	if err == nil && below(path, "/proc") {
		err = invalid("nothing can be mounted at %s: a container has the proc of its pid namespace there", path)
	}
	return err
}

// moveTo attaches a source. The kernel says only that it is invalid when one of
// the two is a directory and the other is not.
func moveTo(source, target int) error {
	err := unix.MoveMount(source, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err == nil {
		return nil
	}
	from, e1 := isDir(source)
	to, e2 := isDir(target)
	if e1 == nil && e2 == nil && from != to {
		return fmt.Errorf("a file cannot be mounted on a directory, nor a directory on a file: %w", unix.ENOTDIR)
	}
	return err
}

// hide covers masked paths and makes paths read-only. Those that do not exist
// need neither.
func (s *site) hide() error {
	for _, path := range s.readonly {
		if err := s.do(StepReadonlyPath, path, func() error { return s.makeReadonly(path) }); err != nil {
			return err
		}
	}
	for i := range s.masks {
		m := &s.masks[i]
		if err := s.do(StepMask, m.path, func() error { return s.mask(m) }); err != nil {
			return err
		}
	}
	return nil
}

func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
}

func (s *site) makeReadonly(path string) error {
	fd, err := openIn(s.top, path, unix.O_PATH, 0)
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	tree, err := cloneAt(fd, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		return err
	}
	return s.place(tree, fd)
}

func (s *site) mask(m *mask) error {
	fd, err := openIn(s.top, m.path, unix.O_PATH, 0)
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	dir, err := isDir(fd)
	if err != nil {
		return err
	}
	if dir {
		return s.place(m.empty, fd)
	}
	return s.place(m.null, fd)
}

func (s *site) makeWorkingDir() error {
	fd, err := makePath(s.top, inRoot(s.workingDir), true)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	dir, err := isDir(fd)
	if err == nil && !dir {
		err = unix.ENOTDIR
	}
	return err
}

// seal does what must come after every other change of the root.
func (s *site) seal() error {
	if s.readonlyRoot {
		err := s.do(StepReadonlyRoot, "", func() error {
			return unix.MountSetattr(s.top, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
		})
		if err != nil {
			return err
		}
	}
	if !s.sharedRoot {
		return nil
	}
	return s.do(StepShareRoot, "", func() error { return propagate(s.top, 0, unix.MS_SHARED) })
}

// open gives the finished namespace its two files. The directory is the same
// mount as the root, so it changes hands.
func (s *site) open() (*sandbox.Root, error) {
	var ns *os.File
	err := s.do(StepOpenNamespace, "", func() (err error) {
		ns, err = openNamespace(s.proc)
		return err
	})
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(s.top), "container root")
	s.top = -1
	return &sandbox.Root{NS: ns, Dir: dir}, nil
}
