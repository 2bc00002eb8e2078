package cgroup

import (
	"bytes"
	"errors"
	"os"
	"path"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// removeTree removes a group of one hierarchy and those below it; nil when it
// is gone.
func removeTree(f files, root, p string) error {
	err := f.rmdir(root + p)
	if err == nil || absent(err) {
		return nil
	}
	names, e := f.list(root + p)
	if e != nil && !absent(e) {
		return e
	}
	if len(names) == 0 {
		return ignoreAbsent(f.rmdir(root + p))
	}
	for _, name := range names {
		if err := removeTree(f, root, path.Join(p, name)); err != nil {
			return err
		}
	}
	return ignoreAbsent(f.rmdir(root + p))
}

func ignoreAbsent(err error) error {
	if absent(err) {
		return nil
	}
	return err
}

// markNew marks a group that was just made, or removes it.
func markNew(f files, dir string) error {
	err := f.mark(dir)
	if err != nil {
		return errors.Join(err, f.rmdir(dir))
	}
	return nil
}

// removeParents removes p and the groups above it as far as they were made by
// us and are empty.
func removeParents(f files, root, p string) {
	for ; p != "/"; p = path.Dir(p) {
		ours, err := f.marked(root + p)
		if absent(err) {
			continue
		}
		if err != nil || !ours {
			return
		}
		if err := f.rmdir(root + p); err != nil && !absent(err) {
			return // somebody is in it
		}
	}
}

// killTree sends SIGKILL to the processes in dir and below. left says that it
// found some.
func killTree(f files, dir string) (left bool, err error) {
	names, err := f.list(dir)
	if err != nil && !absent(err) {
		return false, err
	}
	for _, name := range names {
		more, err := killTree(f, dir+"/"+name)
		if err != nil {
			return left, err
		}
		left = left || more
	}
	pids, err := readPids(f, dir)
	if err != nil {
		return left, ignoreAbsent(err)
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return left, err
		}
	}
	return left || len(pids) > 0, nil
}

// readPids lists the processes of one group. A process of another pid
// namespace shows as 0 and cannot be killed from here.
func readPids(f files, dir string) ([]int, error) {
	buf := make([]byte, 4096)
	for {
		n, err := f.read(dir+"/cgroup.procs", buf)
		if err != nil {
			return nil, err
		}
		if n < len(buf) {
			return parsePids(buf[:n]), nil
		}
		buf = make([]byte, 4*len(buf))
	}
}

func parsePids(text []byte) []int {
	var pids []int
	for line := range bytes.Lines(text) {
		pid, err := strconv.Atoi(string(bytes.TrimSpace(line)))
		if err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

func unique(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// hostHasSwap reads /proc/swaps, whose first line is a heading.
func hostHasSwap() bool {
	text, err := os.ReadFile("/proc/swaps")
	return err != nil || bytes.Count(text, []byte("\n")) > 1
}
