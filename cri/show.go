package cri

import (
	"maps"
	"slices"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func podMetadata(c *sandbox.PodConfig) *runtimev1.PodSandboxMetadata {
	return &runtimev1.PodSandboxMetadata{Name: c.Name, Namespace: c.Namespace, Uid: c.UID, Attempt: c.Attempt}
}

func podState(p sandbox.Phase) runtimev1.PodSandboxState {
	if p == sandbox.PhaseReady {
		return runtimev1.PodSandboxState_SANDBOX_READY
	}
	return runtimev1.PodSandboxState_SANDBOX_NOTREADY
}

func showPod(s sandbox.PodStatus) *runtimev1.PodSandbox {
	return &runtimev1.PodSandbox{
		Id: s.ID, Metadata: podMetadata(&s.Config), State: podState(s.Phase), CreatedAt: nanos(s.CreatedAt),
		Labels: s.Config.Labels, Annotations: s.Config.Annotations, RuntimeHandler: s.Config.Handler,
	}
}

func showPodStatus(s sandbox.PodStatus) *runtimev1.PodSandboxStatus {
	st := &runtimev1.PodSandboxStatus{
		Id: s.ID, Metadata: podMetadata(&s.Config), State: podState(s.Phase), CreatedAt: nanos(s.CreatedAt),
		Labels: s.Config.Labels, Annotations: s.Config.Annotations, RuntimeHandler: s.Config.Handler,
		Network: &runtimev1.PodSandboxNetworkStatus{},
		Linux:   &runtimev1.LinuxPodSandboxStatus{Namespaces: &runtimev1.Namespace{Options: showNamespaces(&s.Config)}},
	}
	for i, ip := range s.IPs {
		if i == 0 {
			st.Network.Ip = ip.String()
			continue
		}
		st.Network.AdditionalIps = append(st.Network.AdditionalIps, &runtimev1.PodIP{Ip: ip.String()})
	}
	return st
}

func reverse[K, V comparable](m map[K]V) map[V]K {
	r := make(map[V]K, len(m))
	for k, v := range m {
		r[v] = k
	}
	return r
}

var (
	modesShown        = reverse(modes)
	propagationsShown = reverse(propagations)
)

func showNamespaces(c *sandbox.PodConfig) *runtimev1.NamespaceOption {
	n := c.Namespaces
	o := &runtimev1.NamespaceOption{Network: modesShown[n.Network], Pid: modesShown[n.PID], Ipc: modesShown[n.IPC], TargetId: n.Target}
	if u := c.UserNS; u != nil {
		o.UsernsOptions = &runtimev1.UserNamespace{Mode: runtimev1.NamespaceMode_POD, Uids: showMappings(u.UIDs), Gids: showMappings(u.GIDs)}
	}
	return o
}

func showMappings(list []sandbox.IDMapping) []*runtimev1.IDMapping {
	var m []*runtimev1.IDMapping
	for _, x := range list {
		m = append(m, &runtimev1.IDMapping{ContainerId: x.ContainerID, HostId: x.HostID, Length: x.Size})
	}
	return m
}

var containerStates = map[sandbox.Phase]runtimev1.ContainerState{
	sandbox.PhaseCreated: runtimev1.ContainerState_CONTAINER_CREATED,
	sandbox.PhaseRunning: runtimev1.ContainerState_CONTAINER_RUNNING,
	sandbox.PhaseExited:  runtimev1.ContainerState_CONTAINER_EXITED,
}

func containerState(p sandbox.Phase) runtimev1.ContainerState {
	if s, ok := containerStates[p]; ok {
		return s
	}
	return runtimev1.ContainerState_CONTAINER_UNKNOWN
}

func containerMetadata(c *sandbox.ContainerConfig) *runtimev1.ContainerMetadata {
	return &runtimev1.ContainerMetadata{Name: c.Name, Attempt: c.Attempt}
}

func imageSpec(c *sandbox.ContainerConfig) *runtimev1.ImageSpec {
	return &runtimev1.ImageSpec{Image: c.Image, UserSpecifiedImage: c.UserImage}
}

func showContainer(s sandbox.ContainerStatus) *runtimev1.Container {
	return &runtimev1.Container{
		Id: s.ID, PodSandboxId: s.PodID, Metadata: containerMetadata(&s.Config), Image: imageSpec(&s.Config),
		ImageRef: s.ImageRef, ImageId: s.ImageID, State: containerState(s.Phase), CreatedAt: nanos(s.CreatedAt),
		Labels: s.Config.Labels, Annotations: s.Config.Annotations,
	}
}

func showContainerStatus(s sandbox.ContainerStatus) *runtimev1.ContainerStatus {
	st := &runtimev1.ContainerStatus{
		Id: s.ID, Metadata: containerMetadata(&s.Config), State: containerState(s.Phase), CreatedAt: nanos(s.CreatedAt),
		StartedAt: nanos(s.StartedAt), Image: imageSpec(&s.Config), ImageRef: s.ImageRef, ImageId: s.ImageID,
		Labels: s.Config.Labels, Annotations: s.Config.Annotations, LogPath: s.LogPath,
		Resources:  &runtimev1.ContainerResources{Linux: showResources(&s.Config.Resources)},
		User:       showUser(s.User),
		StopSignal: showSignal(s.StopSignal),
	}
	if e := s.Exit; e != nil {
		st.FinishedAt, st.ExitCode, st.Reason, st.Message = nanos(e.Time), e.Code, e.Reason, e.Message
	}
	for i := range s.Config.Mounts {
		st.Mounts = append(st.Mounts, showMount(&s.Config.Mounts[i]))
	}
	return st
}

func showMount(m *sandbox.Requested) *runtimev1.Mount {
	r := &runtimev1.Mount{
		HostPath: m.HostPath, ContainerPath: m.ContainerPath, Readonly: m.Readonly, SelinuxRelabel: m.SelinuxRelabel,
		Propagation: propagationsShown[m.Propagation], RecursiveReadOnly: m.RecursiveReadonly, ImageSubPath: m.SubPath, MountOptions: m.Options,
	}
	if m.IDMap != nil {
		r.UidMappings, r.GidMappings = showMappings(m.IDMap.UIDs), showMappings(m.IDMap.GIDs)
	}
	if m.Image != "" {
		r.Image = &runtimev1.ImageSpec{Image: m.Image, ImageRef: m.ImageID}
	}
	return r
}

func showResources(r *sandbox.Resources) *runtimev1.LinuxContainerResources {
	res := &runtimev1.LinuxContainerResources{
		CpuPeriod: r.CPUPeriod, CpuQuota: r.CPUQuota, CpuShares: r.CPUShares, CpusetCpus: r.CpusetCpus, CpusetMems: r.CpusetMems,
		MemoryLimitInBytes: r.MemoryLimit, MemorySwapLimitInBytes: r.MemorySwap, OomScoreAdj: r.OOMScoreAdj, Unified: r.Unified,
	}
	for _, size := range slices.Sorted(maps.Keys(r.HugepageLimits)) { // the same at each look
		res.HugepageLimits = append(res.HugepageLimits, &runtimev1.HugepageLimit{PageSize: size, Limit: r.HugepageLimits[size]})
	}
	return res
}

func showUser(u sandbox.User) *runtimev1.ContainerUser {
	linux := &runtimev1.LinuxContainerUser{Uid: int64(u.UID), Gid: int64(u.GID)}
	for _, g := range u.Groups {
		linux.SupplementalGroups = append(linux.SupplementalGroups, int64(g))
	}
	return &runtimev1.ContainerUser{Linux: linux}
}

// signalsShown finds the API's value of SIGTERM and the like.
var signalsShown = func() map[string]runtimev1.Signal {
	m := make(map[string]runtimev1.Signal, len(runtimev1.Signal_name))
	for n := range runtimev1.Signal_name {
		if name := parseSignal(runtimev1.Signal(n)); name != "" {
			m[name] = runtimev1.Signal(n)
		}
	}
	return m
}()

func showSignal(name string) runtimev1.Signal { return signalsShown[name] }

// matches says whether every label that the selector asks for is there.
func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
