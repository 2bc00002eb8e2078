package cri

import (
	"fmt"
	"net/netip"
	"strings"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

func invalid(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, sandbox.ErrInvalid)...)
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, sandbox.ErrUnsupported)...)
}

func parsePod(c *runtimev1.PodSandboxConfig, handler string) (sandbox.PodConfig, error) {
	if c.GetMetadata() == nil {
		return sandbox.PodConfig{}, invalid("pod sandbox config has no metadata")
	}
	linux, sec := c.GetLinux(), c.GetLinux().GetSecurityContext()
	p := sandbox.PodConfig{
		Name: c.Metadata.Name, Namespace: c.Metadata.Namespace, UID: c.Metadata.Uid, Attempt: c.Metadata.Attempt,
		Hostname: c.Hostname, LogDirectory: c.LogDirectory, Labels: c.Labels, Annotations: c.Annotations,
		CgroupParent: linux.GetCgroupParent(), Sysctls: linux.GetSysctls(), Privileged: sec.GetPrivileged(), Handler: handler,
	}
	if d := c.DnsConfig; d != nil {
		p.DNS = &sandbox.DNS{Servers: d.Servers, Searches: d.Searches, Options: d.Options}
	}
	for _, m := range c.PortMappings {
		port, err := parsePort(m)
		if err != nil {
			return p, err
		}
		p.AskedPorts = append(p.AskedPorts, port)
		if m.HostPort > 0 {
			p.Ports = append(p.Ports, port)
		}
	}
	p.Resources, p.Overhead = parseResources(linux.GetResources()), parseResources(linux.GetOverhead())
	return p, parseSandboxSecurity(sec, &p)
}

func parsePort(m *runtimev1.PortMapping) (sandbox.PortMapping, error) {
	port := sandbox.PortMapping{Protocol: strings.ToLower(m.Protocol.String()), HostIP: m.HostIp, HostPort: m.HostPort, ContainerPort: m.ContainerPort}
	if _, ok := runtimev1.Protocol_name[int32(m.Protocol)]; !ok {
		return port, invalid("port mapping %d: protocol %s is not known", m.ContainerPort, m.Protocol)
	}
	const maxPort = 65535
	switch {
	case m.HostPort < 0 || m.HostPort > maxPort:
		return port, invalid("port mapping: host port %d is not between 1 and %d", m.HostPort, maxPort)
	case m.ContainerPort < 0 || m.ContainerPort > maxPort || m.ContainerPort == 0 && m.HostPort > 0:
		return port, invalid("port mapping: container port %d is not between 1 and %d", m.ContainerPort, maxPort)
	case m.HostIp == "":
		return port, nil
	}
	if ip, err := netip.ParseAddr(m.HostIp); err != nil || ip.Zone() != "" {
		return port, invalid("port mapping %d: host IP %q is no address", m.ContainerPort, m.HostIp)
	}
	return port, nil
}

var modes = map[runtimev1.NamespaceMode]sandbox.NamespaceMode{
	runtimev1.NamespaceMode_POD: sandbox.NamespacePod, runtimev1.NamespaceMode_CONTAINER: sandbox.NamespaceContainer,
	runtimev1.NamespaceMode_NODE: sandbox.NamespaceNode, runtimev1.NamespaceMode_TARGET: sandbox.NamespaceTarget,
}

func parseNamespaces(o *runtimev1.NamespaceOption) (sandbox.Namespaces, error) {
	n := sandbox.Namespaces{Target: o.GetTargetId()}
	for _, f := range []struct {
		what string
		mode runtimev1.NamespaceMode
		to   *sandbox.NamespaceMode
	}{{"network", o.GetNetwork(), &n.Network}, {"pid", o.GetPid(), &n.PID}, {"ipc", o.GetIpc(), &n.IPC}} {
		mode, ok := modes[f.mode]
		if !ok {
			return n, invalid("%s namespace mode %s is not known", f.what, f.mode)
		}
		if f.to != &n.PID && mode != sandbox.NamespacePod && mode != sandbox.NamespaceNode {
			return n, invalid("%s namespace mode %s: only POD and NODE can be had", f.what, f.mode)
		}
		*f.to = mode
	}
	return n, nil
}

// parseUserNS gives the user namespace that is asked for, or says that the
// host's users are asked for explicitly.
func parseUserNS(u *runtimev1.UserNamespace) (ns *sandbox.UserNS, hostUsers bool, err error) {
	switch {
	case u == nil:
		return nil, false, nil
	case u.Mode == runtimev1.NamespaceMode_NODE:
		if len(u.Uids)+len(u.Gids) > 0 {
			return nil, false, invalid("user namespace mode NODE has no mappings")
		}
		return nil, true, nil
	case u.Mode != runtimev1.NamespaceMode_POD:
		return nil, false, invalid("user namespace mode %s: only POD and NODE can be had", u.Mode)
	}
	return &sandbox.UserNS{UIDs: parseMappings(u.Uids), GIDs: parseMappings(u.Gids)}, false, nil
}

func parseMappings(list []*runtimev1.IDMapping) []sandbox.IDMapping {
	var m []sandbox.IDMapping
	for _, x := range list {
		m = append(m, sandbox.IDMapping{ContainerID: x.GetContainerId(), HostID: x.GetHostId(), Size: x.GetLength()})
	}
	return m
}

func parseContainer(c *runtimev1.ContainerConfig) (sandbox.ContainerConfig, error) {
	if c.GetMetadata() == nil {
		return sandbox.ContainerConfig{}, invalid("container config has no metadata")
	}
	r := sandbox.ContainerConfig{
		Name: c.Metadata.Name, Attempt: c.Metadata.Attempt, Image: c.GetImage().GetImage(), UserImage: userImage(c.Image),
		Command: c.Command, Args: c.Args, WorkingDir: c.WorkingDir, Labels: c.Labels, Annotations: c.Annotations,
		LogPath: c.LogPath, Stdin: c.Stdin, StdinOnce: c.StdinOnce, TTY: c.Tty, StopSignal: parseSignal(c.StopSignal),
		Resources: parseResources(c.GetLinux().GetResources()),
	}
	for _, e := range c.Envs {
		if e.Key == "" || strings.ContainsAny(e.Key, "=\x00") {
			return r, invalid("container %q: environment variable name %q", r.Name, e.Key)
		}
		r.Env = append(r.Env, sandbox.EnvVar{Key: e.Key, Value: e.Value})
	}
	for _, d := range c.Devices {
		r.Devices = append(r.Devices, sandbox.Device{HostPath: d.HostPath, ContainerPath: d.ContainerPath, Permissions: d.Permissions})
	}
	if len(c.CDIDevices) > 0 {
		return r, unsupported("container %q: CDI device %q: this server has no CDI: a WebAssembly program reaches a device by its node alone, so name that", r.Name, c.CDIDevices[0].GetName())
	}
	if _, ok := runtimev1.Signal_name[int32(c.StopSignal)]; !ok {
		return r, invalid("container %q: stop signal %s is not known", r.Name, c.StopSignal)
	}
	for _, m := range c.Mounts {
		mount, err := parseMount(m)
		if err != nil {
			return r, err
		}
		r.Mounts = append(r.Mounts, mount)
	}
	var err error
	r.Security, err = parseSecurity(c.GetLinux().GetSecurityContext())
	return r, err
}

func userImage(i *runtimev1.ImageSpec) string {
	if i.GetUserSpecifiedImage() != "" {
		return i.UserSpecifiedImage
	}
	return i.GetImage()
}

var propagations = map[runtimev1.MountPropagation]sandbox.Propagation{
	runtimev1.MountPropagation_PROPAGATION_PRIVATE:           sandbox.PropagationPrivate,
	runtimev1.MountPropagation_PROPAGATION_HOST_TO_CONTAINER: sandbox.PropagationSlave,
	runtimev1.MountPropagation_PROPAGATION_BIDIRECTIONAL:     sandbox.PropagationShared,
}

func parseMount(m *runtimev1.Mount) (sandbox.Requested, error) {
	if _, ok := propagations[m.Propagation]; !ok {
		return sandbox.Requested{}, invalid("mount %s: propagation %s is not known", m.ContainerPath, m.Propagation)
	}
	r := sandbox.Requested{
		HostPath: m.HostPath, ContainerPath: m.ContainerPath, Readonly: m.Readonly, RecursiveReadonly: m.RecursiveReadOnly,
		SelinuxRelabel: m.SelinuxRelabel, Propagation: propagations[m.Propagation], SubPath: m.ImageSubPath, Options: m.MountOptions,
	}
	if m.Image.GetImage() != "" {
		r.Image = m.Image.Image
	}
	if r.Image == "" && m.HostPath == "" {
		return r, invalid("mount %s has neither a host path nor an image", m.ContainerPath)
	}
	if r.Image != "" && m.HostPath != "" {
		return r, invalid("mount %s has both a host path and an image", m.ContainerPath)
	}
	if len(m.UidMappings) > 0 || len(m.GidMappings) > 0 {
		r.IDMap = &sandbox.UserNS{UIDs: parseMappings(m.UidMappings), GIDs: parseMappings(m.GidMappings)}
	}
	return r, nil
}

func parseResources(r *runtimev1.LinuxContainerResources) sandbox.Resources {
	if r == nil {
		return sandbox.Resources{}
	}
	res := sandbox.Resources{
		CPUShares: r.CpuShares, CPUQuota: r.CpuQuota, CPUPeriod: r.CpuPeriod, CpusetCpus: r.CpusetCpus, CpusetMems: r.CpusetMems,
		MemoryLimit: r.MemoryLimitInBytes, MemorySwap: r.MemorySwapLimitInBytes, OOMScoreAdj: r.OomScoreAdj, Unified: r.Unified,
	}
	for _, h := range r.HugepageLimits {
		if res.HugepageLimits == nil {
			res.HugepageLimits = map[string]uint64{}
		}
		res.HugepageLimits[h.PageSize] = h.Limit
	}
	return res
}

// parseSignal turns SIGNAL_SIGTERM, or SIGTERM of an older API, into SIGTERM.
func parseSignal(s runtimev1.Signal) string {
	if s == 0 {
		return ""
	}
	name := strings.TrimPrefix(s.String(), "SIGNAL_")
	name = strings.Replace(name, "MINPLUS", "MIN+", 1)
	return strings.Replace(name, "MAXMINUS", "MAX-", 1)
}
