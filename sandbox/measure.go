package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
)

// OpenFiles is what a process has open.
type OpenFiles struct {
	Files, Sockets uint64
	Limit          uint64 // of its files
}

// Measurement is all that is known of a running container at a moment.
type Measurement struct {
	ContainerStatus
	CgroupStats
	Layer     LayerUsage
	Processes uint64 // the container's and those of its execs
	OpenFiles        // of all of them; the limit is the container's own
}

// PodMeasurement is all that is known of a ready pod at a moment.
type PodMeasurement struct {
	PodStatus
	Interfaces []InterfaceCounters
	Containers []Measurement
	// Group is the pod's own control group; nil where it has none.
	Group *GroupMeasurement
}

// GroupMeasurement is a reading of a control group.
type GroupMeasurement struct {
	Path string
	CgroupStats
}

// Measure measures a pod and its running containers, those left out that are
// being removed. The error is of kind ErrNotFound when the pod itself is.
func (m *Manager) Measure(p *Pod) (*PodMeasurement, error) {
	pm := &PodMeasurement{PodStatus: p.Status()}
	for _, c := range m.containersOf(p.id) {
		s := c.Status()
		if s.Phase != PhaseRunning {
			continue
		}
		one, err := m.measureContainer(c, s)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		pm.Containers = append(pm.Containers, *one)
	}
	var err error
	if pm.Group, err = m.measureGroup(&pm.Config); err != nil {
		return nil, goneAs(fmt.Errorf("stats of %s: %w", p.name(), err))
	}
	if pm.NetNS != "" {
		if pm.Interfaces, err = m.Network.Counters(pm.NetNS); err != nil {
			return nil, goneAs(fmt.Errorf("network counters of %s: %w", p.name(), err))
		}
	}
	return pm, nil
}

func (m *Manager) measureGroup(c *PodConfig) (*GroupMeasurement, error) {
	if !ownParent(c) {
		return nil, nil
	}
	cg, err := m.Cgroups.OfParent(c.CgroupParent)
	if err != nil {
		return nil, err
	}
	stats, err := cg.Stats()
	return &GroupMeasurement{Path: cg.Path(), CgroupStats: stats}, err
}

func (m *Manager) measureContainer(c *Container, s ContainerStatus) (*Measurement, error) {
	cg, err := m.Cgroups.Open(s.Cgroup)
	if err != nil {
		return nil, err
	}
	one := &Measurement{ContainerStatus: s}
	if one.CgroupStats, err = cg.Stats(); err != nil {
		return nil, goneAs(fmt.Errorf("stats of %s: %w", c.name(), err))
	}
	if one.Layer, err = m.layerUsage(c); err != nil {
		return nil, err
	}
	pids, err := cg.Processes()
	if err != nil {
		return nil, goneAs(fmt.Errorf("processes of %s: %w", c.name(), err))
	}
	one.Processes = uint64(len(pids))
	for _, pid := range pids {
		o, err := m.Inspector.OpenFiles(pid)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open files of %s: %w", c.name(), err)
		}
		one.Files, one.Sockets = one.Files+o.Files, one.Sockets+o.Sockets
		if pid == s.PID {
			one.Limit = o.Limit
		}
	}
	return one, nil
}

// FilesystemOfLayers describes the filesystem that holds the writable layers.
func (m *Manager) FilesystemOfLayers() (Filesystem, error) { return m.RootFS.Filesystem() }
