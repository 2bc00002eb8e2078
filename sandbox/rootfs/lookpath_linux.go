package rootfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// DefaultPath is searched when a container's environment has no PATH.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// ErrNotFound is returned by LookPath when there is no such file. It wraps
// fs.ErrNotExist.
type ErrNotFound struct {
	File   string
	InPath bool // it was looked for in $PATH
}

func (e *ErrNotFound) Error() string {
	if e.InPath {
		return fmt.Sprintf("executable file %q not found in $PATH", e.File)
	}
	return fmt.Sprintf("executable file %q not found: no such file or directory", e.File)
}

// Is makes errors.Is(err, fs.ErrNotExist) true.
func (e *ErrNotFound) Is(target error) bool { return target == fs.ErrNotExist }

// Resolve opens a path with dir as the root directory: no "..", absolute link
// or link of proc leads out of it. flags are those of open(2); O_CLOEXEC is
// added. The caller closes the file. Errors are *fs.PathError.
func Resolve(dir *os.File, path string, flags int) (*os.File, error) {
	fd, err := openIn(int(dir.Fd()), "/"+path, uint64(flags), 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// LookPath finds the program file below dir as execvp does, but without asking
// for its execute bit, as WebAssembly files often lack it. A file with a slash
// is relative to cwd; otherwise the directories of pathEnv are searched, or
// those of DefaultPath when it is empty. It returns the path in the container
// and the file, opened for reading, which the caller closes.
//
// The error is *ErrNotFound, or *fs.PathError when the file cannot be opened; that one
// is of kind sandbox.ErrProgram when the file is not a regular one, or on a mount with
// the option noexec.
func LookPath(dir *os.File, file, cwd, pathEnv string) (string, *os.File, error) {
	if file == "" {
		return "", nil, &ErrNotFound{File: file, InPath: true}
	}
	if strings.Contains(file, "/") {
		path := join(cwd, file)
		f, err := openProgram(dir, path)
		if absentFile(err) {
			err = &ErrNotFound{File: file}
		}
		return path, f, err
	}
	if pathEnv == "" {
		pathEnv = DefaultPath
	}
	for _, d := range filepath.SplitList(pathEnv) {
		if d == "" {
			d = "." // as execvp has it
		}
		path := join(cwd, d+"/"+file)
		f, err := openProgram(dir, path)
		if err == nil {
			return path, f, nil
		}
		if !absentFile(err) && !errors.Is(err, sandbox.ErrProgram) {
			return "", nil, err
		}
	}
	return "", nil, &ErrNotFound{File: file, InPath: true}
}

var (
	// errNotRegular is the cause of an error about a directory, device or pipe.
	errNotRegular = fmt.Errorf("not a regular file: %w", sandbox.ErrProgram)
	errNoExec     = fmt.Errorf("permission denied: it is on a mount with the option noexec: %w", sandbox.ErrProgram)
)

func absentFile(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
}

// join makes path absolute in the container. It leaves ".." to the kernel, as
// what that means depends on links.
func join(cwd, path string) string {
	if !filepath.IsAbs(path) {
		path = "/" + cwd + "/" + path
	}
	if slices.Contains(strings.Split(path, "/"), "..") {
		return path
	}
	return filepath.Clean(path)
}

// openProgram opens a regular file. It looks first, as opening a device or a
// pipe may have effects.
func openProgram(dir *os.File, path string) (*os.File, error) {
	f, err := openRegular(dir, path, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	f.Close()
	return openRegular(dir, path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
}

func openRegular(dir *os.File, path string, flags int) (*os.File, error) {
	f, err := Resolve(dir, path, flags)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	if err == nil {
		err = wantExec(f, path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// wantExec refuses what no program may be started from: the kernel does not see that a
// module is one.
func wantExec(f *os.File, path string) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	if st.Flags&unix.ST_NOEXEC != 0 {
		return &fs.PathError{Op: "open", Path: path, Err: errNoExec}
	}
	return nil
}
