package cgroup

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// files is what the package asks of a mounted hierarchy. The kernel makes and
// removes the files of a group with its directory; a test does it instead.
type files interface {
	mkdir(path string) error
	rmdir(path string) error
	write(path, value string) error
	// read fills buf with the start of the file and gives its length.
	read(path string, buf []byte) (int, error)
	// list gives the names of the directories in a directory.
	list(path string) ([]string, error)
	// mark makes marked say true of a directory.
	mark(path string) error
	marked(path string) (bool, error)
}

// markName is the extended attribute of parents that Create made.
const markName = "trusted.cri-wasmer.parent"

// kernelFiles are the files of the mounted hierarchies. Its errors are plain
// errnos, as its callers add the path.
type kernelFiles struct{}

func (kernelFiles) mkdir(path string) error { return unix.Mkdir(path, 0o755) }
func (kernelFiles) rmdir(path string) error { return unix.Rmdir(path) }

func (kernelFiles) write(path, value string) error {
	fd, err := open(path, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return writeAll(fd, value)
}

// writeAll writes value at once, as the kernel takes each write for a command.
func writeAll(fd int, value string) error {
	for {
		_, err := unix.Write(fd, []byte(value))
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (kernelFiles) read(path string, buf []byte) (int, error) {
	fd, err := open(path, unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	n := 0
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return n, err
		}
		if m == 0 {
			break
		}
		n += m
	}
	return n, nil
}

func open(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

func (kernelFiles) list(path string) ([]string, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Nlink == 2 {
		return nil, err // each directory inside would have a link
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, e.Name())
		}
	}
	return dirs, nil
}

func (kernelFiles) mark(path string) error {
	err := unix.Setxattr(path, markName, []byte("1"), 0)
	if errors.Is(err, unix.ENOTSUP) {
		return nil // the parent will stay
	}
	return err
}

func (kernelFiles) marked(path string) (bool, error) {
	_, err := unix.Getxattr(path, markName, nil)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return false, nil
	}
	return err == nil, err
}
