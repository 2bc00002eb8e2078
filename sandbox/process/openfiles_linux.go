package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// OpenFiles counts what a process has open. The error wraps fs.ErrNotExist when
// it is gone.
func OpenFiles(pid int) (sandbox.OpenFiles, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	names, err := readNames(dir)
	if err != nil {
		return sandbox.OpenFiles{}, gone(err)
	}
	o := sandbox.OpenFiles{Files: uint64(len(names))}
	for _, name := range names {
		target, err := os.Readlink(dir + "/" + name)
		if err == nil && strings.HasPrefix(target, "socket:") { // else it was closed meanwhile
			o.Sockets++
		}
	}
	var limit unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		return o, gone(os.NewSyscallError("prlimit", err))
	}
	o.Limit = limit.Cur
	return o, nil
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// gone makes the errors of a process that has ended one.
func gone(err error) error {
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	return err
}
