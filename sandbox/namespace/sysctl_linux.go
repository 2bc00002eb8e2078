package namespace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// SetSysctls implements sandbox.NamespaceKeeper. The kernel shows at /proc/sys
// what belongs to the namespaces of the thread that looks. What is no sysctl, or
// cannot be set in a pod, or not to this value, is an error of kind
// sandbox.ErrInvalid.
func (k *Keeper) SetSysctls(ns sandbox.PodNamespaces, s sandbox.Sysctls) error {
	if len(s.List) == 0 {
		return nil
	}
	return OnThread(func() error {
		for _, n := range []struct {
			path string
			kind
		}{{s.NetNS, kindNet}, {ns.IPC, kindIPC}} {
			if n.path == "" {
				continue
			}
			if err := enter(n.path, n.kind); err != nil {
				return err
			}
		}
		for _, c := range s.List {
			if err := setSysctl(c.Path, c.Value, s.User); err != nil {
				return fmt.Errorf("set sysctl %s=%s: %w", c.Name, c.Value, err)
			}
		}
		return nil
	})
}

// setSysctl writes a sysctl on the calling thread. Some of those of a user
// namespace are for its own root alone.
func setSysctl(path, value string, u *sandbox.UserNS) error {
	if !filepath.IsLocal(path) {
		return fmt.Errorf("not the path of a sysctl: %w", sandbox.ErrInvalid)
	}
	path = filepath.Join("/proc/sys", path)
	if path == groupRange {
		host, err := hostGroups(value, u)
		if err != nil {
			return err
		}
		value = host
	}
	err := os.WriteFile(path, []byte(value), 0)
	if u != nil && errors.Is(err, fs.ErrPermission) {
		uid, _ := u.HostRoot()
		err = asUser(int(uid), func() error { return os.WriteFile(path, []byte(value), 0) })
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.EISDIR):
		return fmt.Errorf("this kernel has no such sysctl in a pod: %w", sandbox.ErrInvalid)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("nobody can set it in a pod: %w: %w", err, sandbox.ErrInvalid)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ERANGE):
		return fmt.Errorf("the kernel refuses the value: %w: %w", err, sandbox.ErrInvalid)
	}
	return err
}

// groupRange holds ids, which the kernel takes as those of whoever writes.
const groupRange = "/proc/sys/net/ipv4/ping_group_range"

// hostGroups turns group ids of a user namespace into those of the host.
func hostGroups(value string, u *sandbox.UserNS) (string, error) {
	var host []string
	for word := range strings.FieldsSeq(value) {
		id, err := strconv.ParseUint(word, 10, 32)
		if err != nil {
			return "", fmt.Errorf("%q is no group id: %w", word, sandbox.ErrInvalid)
		}
		gid, ok := u.HostGID(uint32(id))
		if !ok {
			return "", fmt.Errorf("group %s is outside of the ids of the pod's user namespace: %w", word, sandbox.ErrInvalid)
		}
		host = append(host, strconv.FormatUint(uint64(gid), 10))
	}
	return strings.Join(host, " "), nil
}

// asUser runs f with another effective user of the calling thread alone: Go's
// own call would change all threads.
func asUser(uid int, f func() error) error {
	if err := setEffectiveUser(uid); err != nil {
		return err
	}
	return errors.Join(f(), setEffectiveUser(0))
}

func setEffectiveUser(uid int) error {
	const same = ^uintptr(0)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(uid), same); errno != 0 {
		return fmt.Errorf("become user %d: %w", uid, errno)
	}
	return nil
}
