package namespace

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// holder is a worker that waits for a plan that never comes: it holds new
// namespaces while they are bound.
type holder struct {
	pid  int
	sock int // our end; its close ends the worker
}

// hold starts a worker in new namespaces, the first of which is a user namespace
// with the mappings of u.
func (k *Keeper) hold(ctx context.Context, u *sandbox.UserNS, kinds []kind) (*holder, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(fds[1])
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fds[0]))
	}
	defer null.Close()
	n := null.Fd()
	attr := &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: []uintptr{n, n, n, uintptr(fds[1])},
		Sys: &syscall.SysProcAttr{
			Setsid: true, UidMappings: mappings(u.UIDs), GidMappings: mappings(u.GIDs), GidMappingsEnableSetgroups: true,
		},
	}
	for _, kind := range kinds {
		attr.Sys.Cloneflags |= uintptr(kind.flag)
	}
	pid, err := syscall.ForkExec(k.worker, []string{"cri-wasmer-worker", "init"}, attr)
	if err != nil {
		return nil, errors.Join(k.explain(u, err), unix.Close(fds[0]))
	}
	return &holder{pid: pid, sock: fds[0]}, nil
}

// explain says what a failed clone is likely to mean.
func (k *Keeper) explain(u *sandbox.UserNS, err error) error {
	what := fmt.Errorf("make user namespace (uids %s, gids %s): %w", mappingLines(u.UIDs), mappingLines(u.GIDs), err)
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return fmt.Errorf("%w: raise the sysctl user.max_user_namespaces: %w", what, sandbox.ErrUnsupported)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: the kernel has no user namespaces, or the mapping is not valid here: %w", what, sandbox.ErrUnsupported)
	}
	return what
}

func mappings(list []sandbox.IDMapping) []syscall.SysProcIDMap {
	var m []syscall.SysProcIDMap
	for _, x := range list {
		m = append(m, syscall.SysProcIDMap{ContainerID: int(x.ContainerID), HostID: int(x.HostID), Size: int(x.Size)})
	}
	return m
}

// path is the directory of the holder's namespaces.
func (h *holder) path() string { return fmt.Sprintf("/proc/%d/ns", h.pid) }

// end ends the worker and reaps it. Namespaces that are bound stay.
func (h *holder) end() {
	unix.Close(h.sock)
	syscall.Kill(h.pid, syscall.SIGKILL) // ours and not reaped: the pid is still its own
	for {
		if _, err := syscall.Wait4(h.pid, nil, 0, nil); !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}
