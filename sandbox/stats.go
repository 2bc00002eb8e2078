package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"
)

// Usage is what a container uses at a moment.
type Usage struct {
	CgroupUsage
	NanoCores uint64 // CPU time per second of late
	Layer     LayerUsage
}

// PodUsage is what a pod uses at a moment, all its containers included.
type PodUsage struct {
	CgroupUsage
	NanoCores  uint64
	Processes  uint64
	Interfaces []InterfaceCounters // none for a pod in the host's network
	Containers []ContainerUsage    // those that run
}

// ContainerUsage is the usage of one container of a pod.
type ContainerUsage struct {
	ContainerStatus
	Usage
}

// InterfaceCounters are those of a network interface of a pod.
type InterfaceCounters struct {
	Name                                    string
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// Usage measures a container. The error is of kind ErrNotFound when its control
// group is gone.
func (m *Manager) Usage(c *Container) (*Usage, error) {
	cg, err := m.Cgroups.Open(c.cgroupPath())
	if err != nil {
		return nil, err
	}
	now, err := cg.Usage()
	if err != nil {
		return nil, goneAs(fmt.Errorf("stats of %s: %w", c.name(), err))
	}
	layer, err := m.layerUsage(c)
	if err != nil {
		return nil, err
	}
	return &Usage{CgroupUsage: now, NanoCores: c.cpu.rate(now.Time, now.CPUUsage, c.started()), Layer: layer}, nil
}

// goneAs adds ErrNotFound to an error that says that a file is not there.
func goneAs(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", err, ErrNotFound)
	}
	return err
}

// PodUsage measures a pod. A container that cannot be measured, because it is
// being removed, is left out.
func (m *Manager) PodUsage(p *Pod) (*PodUsage, error) {
	u := &PodUsage{}
	var groups []string
	for _, c := range m.containersOf(p.id) {
		groups = append(groups, c.cgroupPath())
		s := c.Status()
		if s.Phase != PhaseRunning {
			continue
		}
		usage, err := m.Usage(c)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		u.Containers = append(u.Containers, ContainerUsage{s, *usage})
	}
	status := p.Status()
	if status.Cgroup != "" {
		groups = append(groups, status.Cgroup)
	}
	var err error
	if u.CgroupUsage, err = m.podCgroupUsage(p, &status.Config, groups); err != nil {
		return nil, err
	}
	u.NanoCores = p.cpu.rate(u.Time, u.CPUUsage, status.CreatedAt)
	u.Processes = m.countProcesses(groups)
	if status.NetNS != "" && status.Phase == PhaseReady {
		if u.Interfaces, err = m.Network.Counters(status.NetNS); err != nil {
			return nil, goneAs(fmt.Errorf("network counters of %s: %w", p.name(), err))
		}
	}
	return u, nil
}

// podCgroupUsage reads the group that the kubelet made for the pod. Where pods
// share their parent group, the groups of the pod are summed up.
func (m *Manager) podCgroupUsage(p *Pod, c *PodConfig, groups []string) (CgroupUsage, error) {
	if ownParent(c) {
		cg, err := m.Cgroups.OfParent(c.CgroupParent)
		if err != nil {
			return CgroupUsage{}, err
		}
		u, err := cg.Usage()
		if err != nil {
			return u, goneAs(fmt.Errorf("stats of %s: %w", p.name(), err))
		}
		return u, nil
	}
	sum := CgroupUsage{Time: time.Now()}
	for _, path := range groups {
		cg, err := m.Cgroups.Open(path)
		if err != nil {
			return sum, err
		}
		u, err := cg.Usage()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return sum, fmt.Errorf("stats of %s: %w", p.name(), err)
		}
		sum = sum.plus(u)
	}
	return sum, nil
}

// ownParent says whether the parent group is of this pod alone: the kubelet
// names it by the pod's uid, with underscores for systemd.
func ownParent(c *PodConfig) bool {
	return c.UID != "" && (strings.Contains(c.CgroupParent, c.UID) || strings.Contains(c.CgroupParent, strings.ReplaceAll(c.UID, "-", "_")))
}

// plus adds what can be added.
func (u CgroupUsage) plus(v CgroupUsage) CgroupUsage {
	u.CPUUsage += v.CPUUsage
	u.MemoryUsage += v.MemoryUsage
	u.MemoryWorkingSet += v.MemoryWorkingSet
	u.MemoryRSS += v.MemoryRSS
	u.PageFaults += v.PageFaults
	u.MajorPageFaults += v.MajorPageFaults
	u.SwapUsage += v.SwapUsage
	return u
}

func (m *Manager) countProcesses(groups []string) uint64 {
	var n uint64
	for _, path := range groups {
		cg, err := m.Cgroups.Open(path)
		if err != nil {
			continue
		}
		if pids, err := cg.Processes(); err == nil { // else the group is gone
			n += uint64(len(pids))
		}
	}
	return n
}

// minWindow is the shortest time over which a rate says something.
const minWindow = time.Second

// cpuWindow remembers readings of a CPU counter, so that the next one gives a
// rate. The zero value is ready; safe for concurrent use.
type cpuWindow struct {
	mu         sync.Mutex
	older, old reading
}

type reading struct {
	at    time.Time
	usage uint64
}

// rate gives nanoseconds of CPU per second since the last reading that is a
// second old or more, or since the beginning.
func (w *cpuWindow) rate(at time.Time, usage uint64, since time.Time) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	base := w.older
	if at.Sub(w.old.at) >= minWindow {
		base = w.old
		w.older, w.old = w.old, reading{at, usage}
	}
	if base.at.IsZero() || base.usage > usage { // a group that was made anew counts from zero
		base = reading{at: since}
	}
	window := at.Sub(base.at)
	if window <= 0 {
		return 0
	}
	return uint64(float64(usage-base.usage) / window.Seconds())
}
