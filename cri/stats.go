package cri

import (
	"context"
	"errors"
	"slices"
	"strings"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// ContainerStats implements RuntimeService.
func (s *Server) ContainerStats(_ context.Context, r *runtimev1.ContainerStatsRequest) (*runtimev1.ContainerStatsResponse, error) {
	c, err := s.Manager.Container(r.ContainerId)
	if err != nil {
		return nil, err
	}
	u, err := s.Manager.Usage(c)
	if err != nil {
		return nil, err
	}
	return &runtimev1.ContainerStatsResponse{Stats: s.showContainerStats(c.Status(), u)}, nil
}

// ListContainerStats implements RuntimeService. It lists what runs.
func (s *Server) ListContainerStats(_ context.Context, r *runtimev1.ListContainerStatsRequest) (*runtimev1.ListContainerStatsResponse, error) {
	return &runtimev1.ListContainerStatsResponse{Stats: s.containerStats(r.GetFilter())}, nil
}

// containerStats leaves out what cannot be measured: one container must not
// hide all others.
func (s *Server) containerStats(f *runtimev1.ContainerStatsFilter) []*runtimev1.ContainerStats {
	var list []*runtimev1.ContainerStats
	for _, c := range s.Manager.Containers() {
		status := c.Status()
		switch {
		case status.Phase != sandbox.PhaseRunning:
			continue
		case !strings.HasPrefix(status.ID, f.GetId()), !strings.HasPrefix(status.PodID, f.GetPodSandboxId()):
			continue
		case !matches(f.GetLabelSelector(), status.Config.Labels):
			continue
		}
		u, err := s.Manager.Usage(c)
		if err != nil {
			s.skipped("container", status.ID, err)
			continue
		}
		list = append(list, s.showContainerStats(status, u))
	}
	return list
}

// skipped reports what a list lacks, but for what was removed meanwhile.
func (s *Server) skipped(what, id string, err error) {
	if !errors.Is(err, sandbox.ErrNotFound) {
		s.Logger.Warn("read statistics", what, id, "error", err)
	}
}

// PodSandboxStats implements RuntimeService.
func (s *Server) PodSandboxStats(_ context.Context, r *runtimev1.PodSandboxStatsRequest) (*runtimev1.PodSandboxStatsResponse, error) {
	p, err := s.Manager.Pod(r.PodSandboxId)
	if err != nil {
		return nil, err
	}
	u, err := s.Manager.PodUsage(p)
	if err != nil {
		return nil, err
	}
	return &runtimev1.PodSandboxStatsResponse{Stats: s.showPodStats(p.Status(), u)}, nil
}

// ListPodSandboxStats implements RuntimeService. It lists pods that are ready.
func (s *Server) ListPodSandboxStats(_ context.Context, r *runtimev1.ListPodSandboxStatsRequest) (*runtimev1.ListPodSandboxStatsResponse, error) {
	return &runtimev1.ListPodSandboxStatsResponse{Stats: s.podStats(r.GetFilter())}, nil
}

func (s *Server) podStats(f *runtimev1.PodSandboxStatsFilter) []*runtimev1.PodSandboxStats {
	var list []*runtimev1.PodSandboxStats
	for _, p := range s.Manager.Pods() {
		status := p.Status()
		switch {
		case status.Phase != sandbox.PhaseReady, !strings.HasPrefix(status.ID, f.GetId()), !matches(f.GetLabelSelector(), status.Config.Labels):
			continue
		}
		u, err := s.Manager.PodUsage(p)
		if err != nil {
			s.skipped("pod", status.ID, err)
			continue
		}
		list = append(list, s.showPodStats(status, u))
	}
	return list
}

func (s *Server) showPodStats(status sandbox.PodStatus, u *sandbox.PodUsage) *runtimev1.PodSandboxStats {
	now := u.Time.UnixNano()
	linux := &runtimev1.LinuxPodSandboxStats{
		Cpu: showCPU(&u.CgroupUsage, u.NanoCores), Memory: showMemory(&u.CgroupUsage), Io: showIO(&u.CgroupUsage),
		Network: showNetwork(u), Process: &runtimev1.ProcessUsage{Timestamp: now, ProcessCount: value(u.Processes)},
	}
	for i := range u.Containers {
		linux.Containers = append(linux.Containers, s.showContainerStats(u.Containers[i].ContainerStatus, &u.Containers[i].Usage))
	}
	return &runtimev1.PodSandboxStats{
		Attributes: &runtimev1.PodSandboxAttributes{
			Id: status.ID, Metadata: podMetadata(&status.Config), Labels: status.Config.Labels, Annotations: status.Config.Annotations,
		},
		Linux: linux,
	}
}

func (s *Server) showContainerStats(status sandbox.ContainerStatus, u *sandbox.Usage) *runtimev1.ContainerStats {
	swap := &runtimev1.SwapUsage{Timestamp: u.Time.UnixNano(), SwapUsageBytes: value(u.SwapUsage)}
	if u.SwapLimit > 0 {
		swap.SwapAvailableBytes = value(left(u.SwapLimit, u.SwapUsage))
	}
	return &runtimev1.ContainerStats{
		Attributes: &runtimev1.ContainerAttributes{
			Id: status.ID, Metadata: containerMetadata(&status.Config), Labels: status.Config.Labels, Annotations: status.Config.Annotations,
		},
		Cpu: showCPU(&u.CgroupUsage, u.NanoCores), Memory: showMemory(&u.CgroupUsage), Io: showIO(&u.CgroupUsage), Swap: swap,
		WritableLayer: &runtimev1.FilesystemUsage{
			Timestamp: u.Layer.Time.UnixNano(), FsId: &runtimev1.FilesystemIdentifier{Mountpoint: s.ContainerFS},
			UsedBytes: value(u.Layer.Bytes), InodesUsed: value(u.Layer.Inodes),
		},
	}
}

func showCPU(u *sandbox.CgroupUsage, nanoCores uint64) *runtimev1.CpuUsage {
	return &runtimev1.CpuUsage{
		Timestamp: u.Time.UnixNano(), UsageCoreNanoSeconds: value(u.CPUUsage), UsageNanoCores: value(nanoCores), Psi: showPressure(u.CPUPressure),
	}
}

// showMemory leaves available memory out where there is no limit, as it is the
// limit less the working set.
func showMemory(u *sandbox.CgroupUsage) *runtimev1.MemoryUsage {
	m := &runtimev1.MemoryUsage{
		Timestamp: u.Time.UnixNano(), WorkingSetBytes: value(u.MemoryWorkingSet), UsageBytes: value(u.MemoryUsage), RssBytes: value(u.MemoryRSS),
		PageFaults: value(u.PageFaults), MajorPageFaults: value(u.MajorPageFaults), Psi: showPressure(u.MemoryPressure),
	}
	if u.MemoryLimit > 0 {
		m.AvailableBytes = value(left(u.MemoryLimit, u.MemoryWorkingSet))
	}
	return m
}

// showIO is nil where the kernel keeps nothing of it.
func showIO(u *sandbox.CgroupUsage) *runtimev1.IoUsage {
	if !u.IOPressure.Known {
		return nil
	}
	return &runtimev1.IoUsage{Timestamp: u.Time.UnixNano(), Psi: showPressure(u.IOPressure)}
}

func showPressure(p sandbox.Pressure) *runtimev1.PsiStats {
	if !p.Known {
		return nil
	}
	return &runtimev1.PsiStats{Some: showPressureTime(p.Some), Full: showPressureTime(p.Full)}
}

func showPressureTime(p sandbox.PressureTime) *runtimev1.PsiData {
	return &runtimev1.PsiData{Total: p.Total, Avg10: p.Avg10, Avg60: p.Avg60, Avg300: p.Avg300}
}

// mainInterface is the one that CNI gives a pod, others may come beside it.
const mainInterface = "eth0"

// showNetwork is nil for pods in the network of the node: its traffic is not
// theirs.
func showNetwork(u *sandbox.PodUsage) *runtimev1.NetworkUsage {
	if len(u.Interfaces) == 0 {
		return nil
	}
	main := max(0, slices.IndexFunc(u.Interfaces, func(c sandbox.InterfaceCounters) bool { return c.Name == mainInterface }))
	n := &runtimev1.NetworkUsage{Timestamp: u.Time.UnixNano()}
	for i := range u.Interfaces {
		if i == main { // the kubelet needs one
			n.DefaultInterface = showInterface(&u.Interfaces[i])
			continue
		}
		n.Interfaces = append(n.Interfaces, showInterface(&u.Interfaces[i]))
	}
	return n
}

func showInterface(c *sandbox.InterfaceCounters) *runtimev1.NetworkInterfaceUsage {
	return &runtimev1.NetworkInterfaceUsage{
		Name: c.Name, RxBytes: value(c.RxBytes), RxErrors: value(c.RxErrors), TxBytes: value(c.TxBytes), TxErrors: value(c.TxErrors),
	}
}

// left is what remains of a limit.
func left(limit, used uint64) uint64 { return limit - min(used, limit) }

func value(v uint64) *runtimev1.UInt64Value { return &runtimev1.UInt64Value{Value: v} }
