package cri

import (
	"context"
	"strings"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// RunPodSandbox implements RuntimeService.
func (s *Server) RunPodSandbox(ctx context.Context, r *runtimev1.RunPodSandboxRequest) (*runtimev1.RunPodSandboxResponse, error) {
	config, err := parsePod(r.GetConfig(), r.GetRuntimeHandler())
	if err != nil {
		return nil, err
	}
	p, err := s.Manager.RunPod(ctx, config)
	if err != nil {
		return nil, err
	}
	return &runtimev1.RunPodSandboxResponse{PodSandboxId: p.ID()}, nil
}

// StopPodSandbox implements RuntimeService.
func (s *Server) StopPodSandbox(ctx context.Context, r *runtimev1.StopPodSandboxRequest) (*runtimev1.StopPodSandboxResponse, error) {
	return &runtimev1.StopPodSandboxResponse{}, s.Manager.StopPod(ctx, r.PodSandboxId)
}

// RemovePodSandbox implements RuntimeService.
func (s *Server) RemovePodSandbox(ctx context.Context, r *runtimev1.RemovePodSandboxRequest) (*runtimev1.RemovePodSandboxResponse, error) {
	return &runtimev1.RemovePodSandboxResponse{}, s.Manager.RemovePod(ctx, r.PodSandboxId)
}

// PodSandboxStatus implements RuntimeService.
func (s *Server) PodSandboxStatus(_ context.Context, r *runtimev1.PodSandboxStatusRequest) (*runtimev1.PodSandboxStatusResponse, error) {
	p, err := s.Manager.Pod(r.PodSandboxId)
	if err != nil {
		return nil, err
	}
	status := p.Status()
	resp := &runtimev1.PodSandboxStatusResponse{Status: showPodStatus(status), Timestamp: time.Now().UnixNano()}
	for _, c := range s.Manager.Containers() {
		if c.PodID() == p.ID() {
			resp.ContainersStatuses = append(resp.ContainersStatuses, showContainerStatus(c.Status()))
		}
	}
	if r.Verbose {
		resp.Info, err = podInfo(status)
	}
	return resp, err
}

func podInfo(s sandbox.PodStatus) (map[string]string, error) {
	info := map[string]any{
		"pid": s.InitPID, "processStatus": string(s.Phase), "netNamespaceClosed": s.NetNS == "", "netNamespace": s.NetNS,
		"runtimeHandler": s.Config.Handler, "runtimeType": runtimeName, "config": s.Config, "hostname": s.Hostname, "seLinuxLabel": s.Label,
	}
	if s.CNIResult != nil {
		info["cniResult"] = rawJSON(s.CNIResult)
	}
	return jsonValues(map[string]any{"info": info})
}

// rawJSON is text that is JSON already.
type rawJSON []byte

// MarshalJSON implements json.Marshaler.
func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

// ListPodSandbox implements RuntimeService.
func (s *Server) ListPodSandbox(_ context.Context, r *runtimev1.ListPodSandboxRequest) (*runtimev1.ListPodSandboxResponse, error) {
	return &runtimev1.ListPodSandboxResponse{Items: s.pods(r.GetFilter())}, nil
}

func (s *Server) pods(f *runtimev1.PodSandboxFilter) []*runtimev1.PodSandbox {
	var list []*runtimev1.PodSandbox
	for _, p := range s.Manager.Pods() {
		status := p.Status()
		pod := showPod(status)
		switch {
		case !strings.HasPrefix(pod.Id, f.GetId()):
		case f.GetState() != nil && f.State.State != pod.State:
		case !matches(f.GetLabelSelector(), pod.Labels):
		default:
			list = append(list, pod)
		}
	}
	return list
}

// CreateContainer implements RuntimeService.
func (s *Server) CreateContainer(ctx context.Context, r *runtimev1.CreateContainerRequest) (*runtimev1.CreateContainerResponse, error) {
	config, err := parseContainer(r.GetConfig())
	if err != nil {
		return nil, err
	}
	config.Security.PodPrivileged = r.GetSandboxConfig().GetLinux().GetSecurityContext().GetPrivileged()
	if r.GetConfig().GetLinux().GetSecurityContext() == nil { // then as the pod
		if config.Security.Namespaces, err = parseNamespaces(r.GetSandboxConfig().GetLinux().GetSecurityContext().GetNamespaceOptions()); err != nil {
			return nil, err
		}
	}
	c, err := s.Manager.Create(ctx, r.PodSandboxId, config)
	if err != nil {
		return nil, err
	}
	return &runtimev1.CreateContainerResponse{ContainerId: c.ID()}, nil
}

// StartContainer implements RuntimeService.
func (s *Server) StartContainer(ctx context.Context, r *runtimev1.StartContainerRequest) (*runtimev1.StartContainerResponse, error) {
	return &runtimev1.StartContainerResponse{}, s.Manager.Start(ctx, r.ContainerId)
}

// StopContainer implements RuntimeService.
func (s *Server) StopContainer(ctx context.Context, r *runtimev1.StopContainerRequest) (*runtimev1.StopContainerResponse, error) {
	return &runtimev1.StopContainerResponse{}, s.Manager.Stop(ctx, r.ContainerId, seconds(r.Timeout))
}

// RemoveContainer implements RuntimeService.
func (s *Server) RemoveContainer(ctx context.Context, r *runtimev1.RemoveContainerRequest) (*runtimev1.RemoveContainerResponse, error) {
	return &runtimev1.RemoveContainerResponse{}, s.Manager.Remove(ctx, r.ContainerId)
}

// seconds keeps a hostile number of seconds from overflowing.
func seconds(n int64) time.Duration {
	const most = int64(1<<63-1) / int64(time.Second)
	return time.Duration(max(0, min(n, most))) * time.Second
}

// ListContainers implements RuntimeService.
func (s *Server) ListContainers(_ context.Context, r *runtimev1.ListContainersRequest) (*runtimev1.ListContainersResponse, error) {
	return &runtimev1.ListContainersResponse{Containers: s.containers(r.GetFilter())}, nil
}

func (s *Server) containers(f *runtimev1.ContainerFilter) []*runtimev1.Container {
	var list []*runtimev1.Container
	for _, c := range s.Manager.Containers() {
		item := showContainer(c.Status())
		switch {
		case !strings.HasPrefix(item.Id, f.GetId()), !strings.HasPrefix(item.PodSandboxId, f.GetPodSandboxId()):
		case f.GetState() != nil && f.State.State != item.State:
		case !matches(f.GetLabelSelector(), item.Labels):
		default:
			list = append(list, item)
		}
	}
	return list
}

// ContainerStatus implements RuntimeService.
func (s *Server) ContainerStatus(_ context.Context, r *runtimev1.ContainerStatusRequest) (*runtimev1.ContainerStatusResponse, error) {
	c, err := s.Manager.Container(r.ContainerId)
	if err != nil {
		return nil, err
	}
	status := c.Status()
	resp := &runtimev1.ContainerStatusResponse{Status: showContainerStatus(status)}
	if r.Verbose {
		resp.Info, err = jsonValues(map[string]any{"info": map[string]any{
			"sandboxID": status.PodID, "pid": status.PID, "removing": false, "snapshotKey": status.ID, "snapshotter": "overlayfs",
			"runtimeType": runtimeName, "config": status.Config, "program": status.Program, "args": status.Args, "cgroup": status.Cgroup,
			"trace": status.Trace, "seLinuxLabel": status.Label,
		}})
	}
	return resp, err
}

// UpdateContainerResources implements RuntimeService.
func (s *Server) UpdateContainerResources(ctx context.Context, r *runtimev1.UpdateContainerResourcesRequest) (*runtimev1.UpdateContainerResourcesResponse, error) {
	return &runtimev1.UpdateContainerResourcesResponse{}, s.Manager.UpdateResources(ctx, r.ContainerId, parseResources(r.GetLinux()))
}

// UpdatePodSandboxResources implements RuntimeService. The kubelet owns the
// cgroup of the pod and has changed it before this call.
func (s *Server) UpdatePodSandboxResources(_ context.Context, r *runtimev1.UpdatePodSandboxResourcesRequest) (*runtimev1.UpdatePodSandboxResourcesResponse, error) {
	return &runtimev1.UpdatePodSandboxResourcesResponse{}, s.Manager.UpdatePodResources(r.PodSandboxId, parseResources(r.GetResources()), parseResources(r.GetOverhead()))
}

// ReopenContainerLog implements RuntimeService.
func (s *Server) ReopenContainerLog(ctx context.Context, r *runtimev1.ReopenContainerLogRequest) (*runtimev1.ReopenContainerLogResponse, error) {
	return &runtimev1.ReopenContainerLogResponse{}, s.Manager.ReopenLog(ctx, r.ContainerId)
}

// ExecSync implements RuntimeService.
func (s *Server) ExecSync(ctx context.Context, r *runtimev1.ExecSyncRequest) (*runtimev1.ExecSyncResponse, error) {
	result, err := s.Manager.ExecSync(ctx, r.ContainerId, r.Cmd, seconds(r.Timeout))
	if err != nil {
		return nil, err
	}
	const overhead = 4096 // of the message beside the two
	stdout, stderr := fit(result.Stdout, result.Stderr, maxMessage-overhead)
	return &runtimev1.ExecSyncResponse{Stdout: stdout, Stderr: stderr, ExitCode: result.Code}, nil
}

// fit cuts outputs that together no client would take: each keeps a half, and
// what the other leaves of its own.
func fit(stdout, stderr []byte, room int) (o, e []byte) {
	e = stderr[:min(len(stderr), max(room/2, room-len(stdout)))]
	o = stdout[:min(len(stdout), room-len(e))]
	return o, e
}
