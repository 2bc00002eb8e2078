package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// setOOMScores gives the processes of a group a score. Without CAP_SYS_RESOURCE
// none falls below the one that was last set with it: what is refused is left,
// as at the start of a process.
func (m *Manager) setOOMScores(p string, score int64) error {
	if score == 0 {
		return nil
	}
	pids, err := m.tree.processes(p)
	if err != nil {
		return err
	}
	files := make(map[int]*os.File, len(pids))
	for _, pid := range pids {
		f, err := os.OpenFile(filepath.Join("/proc", strconv.Itoa(pid), "oom_score_adj"), os.O_WRONLY, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		if err != nil {
			return &Error{Op: "score processes of", Path: p, Err: err}
		}
		defer f.Close()
		files[pid] = f
	}
	// Who is still there is whom the file was opened of: a pid is used again.
	still, err := m.tree.processes(p)
	if err != nil {
		return err
	}
	for pid, f := range files {
		if !slices.Contains(still, pid) {
			continue
		}
		_, err := f.WriteString(strconv.FormatInt(score, 10))
		switch {
		case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM):
			m.log.Info("oom_score_adj stays: to lower it needs CAP_SYS_RESOURCE", "cgroup", p, "pid", pid, "want", score)
		case err != nil && !errors.Is(err, unix.ESRCH):
			return &Error{Op: "score processes of", Path: p, Err: err}
		}
	}
	return nil
}
