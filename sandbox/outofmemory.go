package sandbox

import (
	"errors"
	"io/fs"
	"path"
)

// ranOutOfMemory says whether the kernel killed in a container that SIGKILL has
// ended. Its cgroup can tell. Where that is gone with its last process, as those
// of systemd are, and nobody else knows, what the cgroups with the same parent
// have suffered together must do: more kills than the other containers there
// account for.
func (m *Manager) ranOutOfMemory(c *Container) bool {
	group := c.cgroupPath()
	cg, err := m.Cgroups.Open(group)
	if err != nil {
		return false
	}
	n, err := cg.OOMKills()
	if err == nil {
		return n > 0
	}
	if !errors.Is(err, fs.ErrNotExist) {
		m.Logger.Warn("it is not known whether the kernel killed a container for memory", "container", c.id, "error", err)
		return false
	}
	c.mu.Lock()
	before, killed := c.rec.ParentOOMKills, c.killed
	c.mu.Unlock()
	now := m.parentOOMKills(group)
	return !killed && before != nil && now != nil && *now > *before+m.oomKilledBeside(c)
}

// parentOOMKills counts the kills for memory in and below the parent of a cgroup;
// nil where a cgroup outlives its processes, and need not be guessed about.
func (m *Manager) parentOOMKills(group string) *uint64 {
	if m.Cgroups.Driver() != DriverSystemd {
		return nil
	}
	parent, err := m.Cgroups.Open(path.Dir(group))
	if err != nil {
		return nil
	}
	n, err := parent.OOMKills()
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // it comes with the first container
		m.Logger.Warn("read OOM count", "cgroup", parent.Path(), "error", err)
		return nil
	}
	return &n
}

// oomKilledBeside counts the containers with the same parent of their cgroups
// that the kernel killed for memory since the start of this one.
func (m *Manager) oomKilledBeside(c *Container) uint64 {
	parent, start := path.Dir(c.cgroupPath()), c.started()
	var n uint64
	for _, other := range m.Containers() {
		s := other.Status()
		if other != c && s.Exit != nil && s.Exit.Reason == ReasonOOMKilled && s.Exit.Time.After(start) && path.Dir(s.Cgroup) == parent {
			n++
		}
	}
	return n
}
