package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
)

// Network gives pods their network namespaces. Safe for concurrent use.
type Network interface {
	// Setup makes the namespace of the pod and connects it. Nothing is left
	// behind when it fails, unless its error wraps ErrLeftBehind: then Teardown
	// must be called, until it succeeds.
	Setup(ctx context.Context, pod PodNetwork) (*NetworkResult, error)
	// Teardown disconnects the pod and removes its namespace. It succeeds on
	// what is already gone, and can be called again after an error.
	Teardown(ctx context.Context, pod PodNetwork) error
	// Status says whether Setup can work now, and if not, why.
	Status(ctx context.Context) NetworkStatus
	// Counters reads the counters of the interfaces in a namespace, loopback
	// left out.
	Counters(netns string) ([]InterfaceCounters, error)
	// Orphans removes every namespace of ours whose pod id is not in keep.
	Orphans(ctx context.Context, keep map[string]bool) error
}

// ErrLeftBehind says that what was done could not all be undone.
var ErrLeftBehind = errors.New("not all of it is undone")

// PodNetwork names one pod to the network. The same value must be given to
// Setup and Teardown, so it is part of the pod's record.
type PodNetwork struct {
	ID          string            `json:"id"` // sandbox id
	Name        string            `json:"name"`
	Namespace   string            `json:"namespace"`
	UID         string            `json:"uid"`
	NetNS       string            `json:"netns"` // path where the namespace is bound; chosen by NetNSPath
	Hostname    string            `json:"hostname,omitempty"`
	Ports       []PortMapping     `json:"ports,omitempty"` // only those with a host port
	DNS         *DNS              `json:"dns,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	CgroupPath  string            `json:"cgroupPath,omitempty"`
	// Made says that the namespace is there already, as it belongs to the
	// user namespace of the pod, and only has to be connected.
	Made bool `json:"made,omitempty"`
}

// PortMapping publishes a port of the pod on the host.
type PortMapping struct {
	Protocol      string `json:"protocol"` // tcp, udp or sctp
	HostIP        string `json:"hostIP,omitempty"`
	HostPort      int32  `json:"hostPort"`
	ContainerPort int32  `json:"containerPort"`
}

// DNS is the resolver configuration of a pod.
type DNS struct {
	Servers  []string `json:"servers,omitempty"`
	Searches []string `json:"searches,omitempty"`
	Options  []string `json:"options,omitempty"`
}

// NetworkResult is what Setup gave the pod.
type NetworkResult struct {
	IPs []netip.Addr    `json:"ips"` // the first is the pod IP
	Raw json.RawMessage `json:"raw,omitempty"`
}

// NetworkStatus is the truth behind the NetworkReady condition.
type NetworkStatus struct {
	Ready  bool
	Reason string // CamelCase, empty when ready
	Detail string // one readable sentence with the remedy
	Name   string // of the CNI network in use
}
