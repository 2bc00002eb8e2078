package cgroup

import (
	"bytes"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// readKernelLog gives all that the kernel's log still holds.
func readKernelLog() ([]byte, error) {
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		return nil, os.NewSyscallError("syslog", err)
	}
	buf := make([]byte, size)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buf)
	if err != nil {
		return nil, os.NewSyscallError("syslog", err)
	}
	return buf[:n], nil
}

// loggedOOMKills counts the kills for memory that the kernel's log tells of: in
// the group of that path, and in others with the same parent. The kernel writes
// the line before it kills, but not more than ten of them in five seconds.
func loggedOOMKills(log []byte, group string) (own, others uint64) {
	parent := path.Dir(group)
	for line := range bytes.Lines(log) {
		_, rest, ok := bytes.Cut(line, []byte("oom-kill:constraint="))
		if !ok {
			continue
		}
		_, rest, ok = bytes.Cut(rest, []byte(",task_memcg="))
		if !ok {
			continue
		}
		victim, _, _ := bytes.Cut(rest, []byte(","))
		// The kernel names a group from the root of all, which may be above
		// the root that is mounted here.
		switch at := string(victim); {
		case strings.HasSuffix(at, group):
			own++
		case strings.HasSuffix(path.Dir(at), parent):
			others++
		}
	}
	return own, others
}
