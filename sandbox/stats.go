package sandbox

import (
	"context"
	"fmt"
	"maps"
)

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

// UpdateResources changes the limits of a container that has not exited. A zero
// field of r means: leave as it is.
func (m *Manager) UpdateResources(ctx context.Context, id string, r Resources) error {
	c, err := m.Container(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	if phase := c.phase(); phase != PhaseCreated && phase != PhaseRunning {
		return fmt.Errorf("%s is %s: its resources cannot be changed: %w", c.name(), phase, ErrPrecondition)
	}
	cg, err := m.Cgroups.Open(c.rec.Cgroup)
	if err != nil {
		return err
	}
	if err := cg.Update(ctx, r); err != nil {
		return fmt.Errorf("update resources: %w", err)
	}
	return m.update(c, func(rec *containerRecord) error {
		rec.Config.Resources = rec.Config.Resources.with(r)
		return nil
	})
}

// with gives the resources with every field of r that is set.
func (old Resources) with(r Resources) Resources {
	for _, f := range []struct{ dst, src *int64 }{
		{&old.CPUShares, &r.CPUShares}, {&old.CPUQuota, &r.CPUQuota}, {&old.CPUPeriod, &r.CPUPeriod}, {&old.MemoryLimit, &r.MemoryLimit},
		{&old.MemorySwap, &r.MemorySwap}, {&old.PidsLimit, &r.PidsLimit}, {&old.OOMScoreAdj, &r.OOMScoreAdj},
	} {
		if *f.src != 0 {
			*f.dst = *f.src
		}
	}
	old.CpusetCpus = firstOf(r.CpusetCpus, old.CpusetCpus)
	old.CpusetMems = firstOf(r.CpusetMems, old.CpusetMems)
	old.HugepageLimits = merged(old.HugepageLimits, r.HugepageLimits)
	old.Unified = merged(old.Unified, r.Unified)
	return old
}

// merged gives a new map: the old one is part of snapshots.
func merged[V any](old, more map[string]V) map[string]V {
	if len(more) == 0 {
		return old
	}
	m := maps.Clone(old)
	if m == nil {
		m = map[string]V{}
	}
	maps.Copy(m, more)
	return m
}
