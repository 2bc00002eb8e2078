package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
)

// targetOf is the container whose pid namespace another one asks for, nil when
// it asks for none. It must be of the same pod.
func (m *Manager) targetOf(podID string, c *ContainerConfig) (*Container, error) {
	ns := c.Security.Namespaces
	if ns.PID != NamespaceTarget {
		return nil, nil
	}
	target, err := m.Container(ns.Target)
	if err != nil {
		return nil, fmt.Errorf("target of the pid namespace: %w", err)
	}
	if target.podID != podID {
		return nil, fmt.Errorf("target of the pid namespace: %s is of another pod: %w", target.name(), ErrInvalid)
	}
	return target, nil
}

// targetRoot is the way of a container to the files of its target: a directory
// at the path by which Linux shows the root of a process, /proc/PID/root. There
// the kernel has a magic link, which a guest cannot follow. As with the link,
// only root and the target's own user get it; a target that has ended has none.
// The caller closes the files.
func (m *Manager) targetRoot(rec *containerRecord) ([]Directory, error) {
	target, err := m.targetOf(rec.PodID, &rec.Config)
	if errors.Is(err, ErrNotFound) || (err == nil && (target == nil || !maySee(&rec.User, target))) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	proc, err := target.process()
	if err != nil {
		return nil, nil
	}
	root, err := proc.Root()
	if errors.Is(err, ErrPrecondition) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open root of the target container: %w", err)
	}
	pid, err := proc.InnerPID()
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("find pid of the target container: %w", err)
	}
	return []Directory{{Path: fmt.Sprintf("/proc/%d/root", pid), File: root}}, nil
}

func maySee(u *User, target *Container) bool {
	target.mu.Lock()
	defer target.mu.Unlock()
	other := &target.rec.User
	return u.UID == 0 || (u.UID == other.UID && u.GID == other.GID)
}

func closeDirs(dirs []Directory) {
	for _, d := range dirs {
		d.File.Close()
	}
}
