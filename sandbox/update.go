package sandbox

import (
	"context"
	"fmt"
	"maps"
)

// UpdateResources changes the limits of a container that has not exited, all or
// none of them. A zero field of r means: leave as it is.
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
	cg, err := m.cgroupOf(c)
	if err != nil {
		return err
	}
	all := c.Status().Config.Resources.with(r)
	change := all // limits depend on each other: memory and swap, quota and period
	change.OOMScoreAdj = r.OOMScoreAdj
	if err := cg.Update(ctx, change); err != nil {
		return fmt.Errorf("update resources: %w", err)
	}
	return m.update(c, func(rec *containerRecord) error {
		rec.Config.Resources = all
		return nil
	})
}

// cgroupOf gives the cgroup of a container. Before the start that is the one which
// the start joins: with systemd it holds limits that are nowhere else yet.
func (m *Manager) cgroupOf(c *Container) (Cgroup, error) {
	c.mu.Lock()
	cg, path := c.cgroup, c.rec.Cgroup
	c.mu.Unlock()
	if cg != nil {
		return cg, nil
	}
	return m.Cgroups.Open(path)
}

// with gives the resources with every field of r that is set. Without a memory
// limit none is left for memory and swap.
func (old Resources) with(r Resources) Resources {
	for _, f := range []struct{ dst, src *int64 }{
		{&old.CPUShares, &r.CPUShares}, {&old.CPUQuota, &r.CPUQuota}, {&old.CPUPeriod, &r.CPUPeriod}, {&old.MemoryLimit, &r.MemoryLimit},
		{&old.MemorySwap, &r.MemorySwap}, {&old.PidsLimit, &r.PidsLimit}, {&old.OOMScoreAdj, &r.OOMScoreAdj},
	} {
		if *f.src != 0 {
			*f.dst = *f.src
		}
	}
	if r.MemoryLimit == -1 && r.MemorySwap == 0 && old.MemorySwap != 0 {
		old.MemorySwap = -1
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

// UpdatePodResources notes what the containers of a pod may use together. The
// kubelet owns the control group of the pod and has changed it before.
func (m *Manager) UpdatePodResources(id string, resources, overhead Resources) error {
	p, err := m.Pod(id)
	if err != nil {
		return err
	}
	p.op.Lock()
	defer p.op.Unlock()
	if phase := p.phase(); phase != PhaseReady {
		return fmt.Errorf("%s is %s: its resources cannot be changed: %w", p.name(), phase, ErrPrecondition)
	}
	return m.updatePod(p, func(rec *podRecord) error {
		rec.Config.Resources = rec.Config.Resources.with(resources)
		rec.Config.Overhead = rec.Config.Overhead.with(overhead)
		return nil
	})
}
