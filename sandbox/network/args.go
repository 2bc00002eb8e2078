package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Annotations that limit a pod's traffic, in bits a second.
const (
	ingressAnnotation = "kubernetes.io/ingress-bandwidth"
	egressAnnotation  = "kubernetes.io/egress-bandwidth"
)

// Capability arguments, by the names and shapes of CONVENTIONS.md of the CNI
// project. libcni passes each only to plugins that declare it.
type (
	portMapping struct {
		HostPort      int32  `json:"hostPort"`
		ContainerPort int32  `json:"containerPort"`
		Protocol      string `json:"protocol"`
		HostIP        string `json:"hostIP,omitempty"`
	}
	bandwidth struct {
		IngressRate  uint64 `json:"ingressRate,omitempty"`
		IngressBurst uint64 `json:"ingressBurst,omitempty"`
		EgressRate   uint64 `json:"egressRate,omitempty"`
		EgressBurst  uint64 `json:"egressBurst,omitempty"`
	}
)

// noBurst is a burst so large that only the rate limits.
const noBurst = math.MaxInt32

// runtimeConf is what plugins are told of the pod. Its error names a wrong
// annotation.
func runtimeConf(pod sandbox.PodNetwork) (*libcni.RuntimeConf, error) {
	caps, err := capabilities(pod)
	if err != nil {
		return nil, err
	}
	return &libcni.RuntimeConf{
		ContainerID: pod.ID,
		NetNS:       pod.NetNS,
		IfName:      ifName,
		Args: [][2]string{
			{"IgnoreUnknown", "1"},
			{"K8S_POD_NAMESPACE", pod.Namespace},
			{"K8S_POD_NAME", pod.Name},
			{"K8S_POD_INFRA_CONTAINER_ID", pod.ID},
			{"K8S_POD_UID", pod.UID},
		},
		CapabilityArgs: caps,
	}, nil
}

func capabilities(pod sandbox.PodNetwork) (map[string]any, error) {
	caps := make(map[string]any)
	if ports := portMappings(pod.Ports); len(ports) > 0 {
		caps["portMappings"] = ports
	}
	bw, err := podBandwidth(pod.Annotations)
	if err != nil {
		return nil, err
	}
	if bw != (bandwidth{}) {
		caps["bandwidth"] = bw
	}
	if d := pod.DNS; d != nil && len(d.Servers)+len(d.Searches)+len(d.Options) > 0 {
		caps["dns"] = map[string][]string{"servers": d.Servers, "searches": d.Searches, "options": d.Options}
	}
	if pod.CgroupPath != "" {
		caps["cgroupPath"] = pod.CgroupPath
	}
	if len(pod.Annotations) > 0 {
		caps["io.kubernetes.cri.pod-annotations"] = pod.Annotations
	}
	return caps, nil
}

// portMappings leaves out ports without a host port: they need no mapping.
func portMappings(ports []sandbox.PortMapping) []portMapping {
	var out []portMapping
	for _, p := range ports {
		if p.HostPort > 0 {
			out = append(out, portMapping{p.HostPort, p.ContainerPort, p.Protocol, p.HostIP})
		}
	}
	return out
}

func podBandwidth(annotations map[string]string) (bandwidth, error) {
	var bw bandwidth
	var err error
	if s, ok := annotations[ingressAnnotation]; ok {
		if bw.IngressRate, err = parseBitRate(s); err != nil {
			return bw, fmt.Errorf("annotation %s: %w: %w", ingressAnnotation, err, sandbox.ErrInvalid)
		}
		bw.IngressBurst = noBurst
	}
	if s, ok := annotations[egressAnnotation]; ok {
		if bw.EgressRate, err = parseBitRate(s); err != nil {
			return bw, fmt.Errorf("annotation %s: %w: %w", egressAnnotation, err, sandbox.ErrInvalid)
		}
		bw.EgressBurst = noBurst
	}
	return bw, nil
}

// podResult takes the pod's addresses, in the plugins' order, from what ADD
// returned.
func podResult(added types.Result, netns string) (*sandbox.NetworkResult, error) {
	r, err := types100.NewResultFromResult(added)
	if err != nil {
		return nil, fmt.Errorf("result of ADD: %w", err)
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	result := &sandbox.NetworkResult{Raw: raw}
	for _, ip := range r.IPs {
		addr, ok := netip.AddrFromSlice(ip.Address.IP)
		if ok && ofPod(r, ip, netns) {
			result.IPs = append(result.IPs, addr.Unmap())
		}
	}
	if len(result.IPs) == 0 {
		return nil, errors.New("its plugins gave the pod no IP address: does the configuration have an ipam section?")
	}
	return result, nil
}

// ofPod says whether an address is on the pod's interface. An older result does
// not tell.
func ofPod(r *types100.Result, ip *types100.IPConfig, netns string) bool {
	if ip.Interface == nil || *ip.Interface < 0 || *ip.Interface >= len(r.Interfaces) {
		return true
	}
	i := r.Interfaces[*ip.Interface]
	return i.Name == ifName && (i.Sandbox == netns || i.Sandbox == "")
}
