package rootfs

import (
	"errors"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	resolveInRoot = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	maxLinks      = 40 // as the kernel counts
	maxRaces      = 64 // EAGAIN: something was renamed during the walk
)

// openIn opens path with the directory root as its root: neither "..", nor an
// absolute link, nor a link of /proc leads out of it.
func openIn(root int, path string, flags uint64, resolve uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolveInRoot | resolve}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(root, path, &how)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) && try < maxRaces {
			continue
		}
		return fd, err
	}
}

// makePath opens path below root, and makes it when it is missing: directories,
// and a file at the end unless dir is set. A dangling link of the image is
// followed and what it leads to is made, as images have such links at places
// like /etc/resolv.conf.
func makePath(root int, path string, dir bool) (int, error) {
	fd, err := openIn(root, path, unix.O_PATH, 0)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	w := walk{root: root, done: "/", todo: split(path), dir: dir}
	for len(w.todo) > 0 {
		if err := w.next(); err != nil {
			return -1, err
		}
	}
	return openIn(root, path, unix.O_PATH, 0)
}

// walk goes along a path whose end may not exist yet.
type walk struct {
	root  int
	done  string   // exists
	todo  []string // names that follow it
	dir   bool
	links int
}

// next makes the first name of todo exist, or replaces a dangling link by what
// it says.
func (w *walk) next() error {
	name := w.todo[0]
	here := w.done + "/" + name
	fd, err := openIn(w.root, here, unix.O_PATH, 0)
	if err == nil {
		unix.Close(fd)
		w.done, w.todo = here, w.todo[1:]
		return nil
	}
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	parent, err := openIn(w.root, w.done, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	target, err := readLink(parent, name)
	if err == nil {
		return w.follow(target)
	}
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	if err := w.make(parent, name); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	w.done, w.todo = here, w.todo[1:]
	return nil
}

func (w *walk) follow(target string) error {
	if w.links++; w.links > maxLinks {
		return unix.ELOOP
	}
	if strings.HasPrefix(target, "/") {
		w.done = "/"
	}
	w.todo = append(split(target), w.todo[1:]...)
	return nil
}

func (w *walk) make(parent int, name string) error {
	if w.dir || len(w.todo) > 1 {
		return unix.Mkdirat(parent, name, 0o755)
	}
	fd, err := unix.Openat(parent, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// split gives the names of a path, with ".." left to the kernel.
func split(path string) []string {
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	return names
}

func readLink(dir int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(dir, name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// makeFixed opens or makes a directory whose place matters, such as /proc. An
// image that has a link there could make the runtime mount it elsewhere.
func makeFixed(root int, path string) (int, error) {
	fd, err := openIn(root, path, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_SYMLINKS)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		return -1, invalid("the image has a link or file at %s", filepath.Clean(path))
	}
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	if err := unix.Mkdirat(root, strings.TrimPrefix(path, "/"), 0o755); err != nil {
		return -1, err
	}
	return openIn(root, path, unix.O_PATH|unix.O_DIRECTORY, unix.RESOLVE_NO_SYMLINKS)
}
