package sandbox

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"time"
)

// Pod is a place for containers. Safe for concurrent use.
type Pod struct {
	id      string
	created time.Time
	op      sync.Mutex // the right to change the phase

	stopTold bool // subscribers know that it is stopped; guarded by op

	mu   sync.Mutex
	rec  podRecord
	init Process // pid 1 of a shared pid namespace, or nil

	cpu cpuWindow
}

// podRecord is what is on disk about a pod.
type podRecord struct {
	ID        string      `json:"id"`
	Config    PodConfig   `json:"config"`
	Phase     Phase       `json:"phase"`
	CreatedAt time.Time   `json:"createdAt"`
	Network   *PodNetwork `json:"network,omitempty"` // nil: the host's
	Result    *NetworkResult
	// Disconnected says that the pod was taken from its network, to which nothing
	// more is to be said of it: the node may have another one by now.
	Disconnected bool          `json:"disconnected,omitempty"`
	Hostname     string        `json:"hostname"`
	Init         *ProcessRef   `json:"init,omitempty"`
	Kept         PodNamespaces `json:"kept,omitzero"`
	Cgroup       string        `json:"cgroup,omitempty"` // of the init process
	Label        Label         `json:"label,omitzero"`
}

// PodStatus is a snapshot of a pod.
type PodStatus struct {
	ID        string
	Config    PodConfig
	Phase     Phase
	CreatedAt time.Time
	IPs       []netip.Addr
	NetNS     string // path; empty: the host's
	CNIResult []byte
	InitPID   int
	Hostname  string
	Cgroup    string // of the init process, or empty
	Kept      PodNamespaces
	Label     Label
}

// ID is the sandbox id.
func (p *Pod) ID() string { return p.id }

// Status is a snapshot; what it points to must not be changed.
func (p *Pod) Status() PodStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := PodStatus{ID: p.rec.ID, Config: p.rec.Config, Phase: p.rec.Phase, CreatedAt: p.rec.CreatedAt, Hostname: p.rec.Hostname, Cgroup: p.rec.Cgroup, Kept: p.rec.Kept, Label: p.rec.Label}
	if p.rec.Network != nil {
		s.NetNS = p.rec.Network.NetNS
	}
	if p.rec.Result != nil {
		s.IPs, s.CNIResult = p.rec.Result.IPs, p.rec.Result.Raw
	}
	if p.rec.Init != nil {
		s.InitPID = p.rec.Init.PID
	}
	return s
}

func (p *Pod) phase() Phase {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rec.Phase
}

func (p *Pod) letGo() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.init == nil {
		return nil
	}
	return p.init.Close()
}

func (p *Pod) name() string { return "pod sandbox " + p.id }

// podKey is the name that only one pod can have.
func podKey(c *PodConfig) string {
	return fmt.Sprintf("pod %s_%s_%s_%d", c.Name, c.Namespace, c.UID, c.Attempt)
}

// Names of the small files of a pod.
const (
	fileHosts    = "hosts"
	fileHostname = "hostname"
	fileResolv   = "resolv.conf"
)

func (m *Manager) podFiles(id string) []BindFile {
	dir := m.podDir(id)
	return []BindFile{
		{HostPath: filepath.Join(dir, fileHosts), ContainerPath: "/etc/hosts"},
		{HostPath: filepath.Join(dir, fileHostname), ContainerPath: "/etc/hostname"},
		{HostPath: filepath.Join(dir, fileResolv), ContainerPath: "/etc/resolv.conf"},
	}
}
