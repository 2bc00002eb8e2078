package sandbox

import "fmt"

// Usage is what a container uses at a moment.
type Usage struct {
	Cgroup      CgroupStats
	LayerBytes  uint64 // of the writable layer
	LayerInodes uint64
}

// Stats measures a container. The error is of kind ErrNotFound for an unknown
// one.
func (m *Manager) Stats(c *Container) (*Usage, error) {
	s := c.Status()
	cg, err := m.Cgroups.Open(s.Cgroup)
	if err != nil {
		return nil, err
	}
	stats, err := cg.Stats()
	if err != nil {
		return nil, fmt.Errorf("stats of %s: %w", c.name(), err)
	}
	u := &Usage{Cgroup: stats}
	if u.LayerBytes, u.LayerInodes, err = m.RootFS.Usage(c.id); err != nil {
		return nil, fmt.Errorf("writable layer of %s: %w", c.name(), err)
	}
	return u, nil
}

// LayersUsage measures the writable layers of all containers.
func (m *Manager) LayersUsage() (bytes, inodes uint64, err error) {
	for _, c := range m.Containers() {
		b, i, err := m.RootFS.Usage(c.id)
		if err != nil {
			return 0, 0, fmt.Errorf("writable layer of %s: %w", c.name(), err)
		}
		bytes, inodes = bytes+b, inodes+i
	}
	return bytes, inodes, nil
}
