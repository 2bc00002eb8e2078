package e2e

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
)

func (p *pod) stats() *runtime.PodSandboxStats {
	p.t.Helper()
	r, err := p.node.Client.PodSandboxStats(p.t.Context(), &runtime.PodSandboxStatsRequest{PodSandboxId: p.id})
	if err != nil {
		p.t.Fatal(err)
	}
	return r.Stats
}

func TestPodStats(t *testing.T) {
	n := sharedNode(t)
	p := n.pod(t, criclient.PodSpec{Labels: map[string]string{"measured": "yes"}})
	c := p.create(criclient.ContainerSpec{Image: n.toolbox(t), Args: []string{"top"}, MemoryLimit: 64 << 20})
	c.start()
	knock(t, p)
	s := p.stats()
	if s.Attributes.Id != p.id || s.Attributes.Metadata.Name != p.config.Metadata.Name || s.Attributes.Labels["measured"] != "yes" {
		t.Errorf("attributes are %v", s.Attributes)
	}
	l := s.Linux
	if l.Cpu.Timestamp == 0 || l.Cpu.UsageCoreNanoSeconds.Value == 0 || l.Cpu.UsageNanoCores == nil {
		t.Errorf("cpu is %v", l.Cpu)
	}
	if l.Memory.WorkingSetBytes.GetValue() == 0 || l.Memory.UsageBytes.Value < l.Memory.RssBytes.Value || l.Memory.PageFaults.Value == 0 {
		t.Errorf("memory is %v", l.Memory)
	}
	if i := l.Network.GetDefaultInterface(); i.GetName() != "eth0" || i.RxBytes.Value == 0 || i.TxBytes.Value == 0 || len(l.Network.Interfaces) != 0 {
		t.Errorf("network is %v", l.Network)
	}
	if l.Process.ProcessCount.Value != 1 {
		t.Errorf("%d processes, want the guest's alone", l.Process.ProcessCount.Value)
	}
	if len(l.Containers) != 1 || l.Containers[0].Attributes.Id != c.id || l.Containers[0].Memory.AvailableBytes.GetValue() == 0 {
		t.Errorf("containers are %v", l.Containers)
	}
	list, err := n.Client.ListPodSandboxStats(t.Context(), &runtime.ListPodSandboxStatsRequest{
		Filter: &runtime.PodSandboxStatsFilter{LabelSelector: map[string]string{"measured": "yes"}},
	})
	if err != nil || len(list.Stats) != 1 || list.Stats[0].Attributes.Id != p.id {
		t.Errorf("list is %v, %v", list, err)
	}
}

// knock sends something to a pod, which answers that nobody listens.
func knock(t *testing.T, p *pod) {
	t.Helper()
	s, err := p.node.Client.Pod(t.Context(), p.id)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(s.Network.Ip, "9"), patience)
	if err == nil {
		conn.Close()
		t.Fatal("somebody listens on the discard port of a pod")
	}
}

// A host network pod shows no network: the node's traffic is not its own. The
// group that is named after the pod, as the kubelet's is, counts what containers
// used that are gone.
func TestPodStatsOfThePodsOwnGroup(t *testing.T) {
	n := sharedNode(t)
	uid := "3f1e-" + n.unique("uid")
	p := n.pod(t, criclient.PodSpec{HostNetwork: true, UID: uid, CgroupParent: isolate.Parent("pod" + uid)})
	keep := p.create(criclient.ContainerSpec{Image: n.program(t, "top-c")})
	keep.start()
	spin := p.create(criclient.ContainerSpec{Image: n.program(t, "spin-c")})
	spin.start()
	used := func() uint64 { return p.stats().Linux.Cpu.UsageCoreNanoSeconds.Value }
	for used() < uint64(100*time.Millisecond) {
		time.Sleep(5 * time.Millisecond)
	}
	if s := p.stats(); s.Linux.Network != nil || s.Linux.Process.ProcessCount.Value != 2 || len(s.Linux.Containers) != 2 {
		t.Errorf("got %v, want two processes and no network", s.Linux)
	}
	before := used()
	if err := n.Client.Remove(t.Context(), spin.id); err != nil {
		t.Fatal(err)
	}
	if after := used(); after < before {
		t.Errorf("the pod used %d ns of CPU, and %d after a container was removed", before, after)
	}
}

func TestStatsOfNobody(t *testing.T) {
	n := sharedNode(t)
	_, err := n.Client.PodSandboxStats(t.Context(), &runtime.PodSandboxStatsRequest{PodSandboxId: "none"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("stats of a pod that is not: %v", err)
	}
	_, err = n.Client.ContainerStats(t.Context(), &runtime.ContainerStatsRequest{ContainerId: "none"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("stats of a container that is not: %v", err)
	}
}

// Every metric has the labels that its descriptor promises.
func TestPodMetrics(t *testing.T) {
	n := sharedNode(t)
	uid := "5a2b-" + n.unique("uid")
	p := n.pod(t, criclient.PodSpec{UID: uid, CgroupParent: isolate.Parent("pod" + uid)})
	spec := criclient.ContainerSpec{Image: n.toolbox(t), Args: []string{"top"}, MemoryLimit: 64 << 20}
	config := spec.Config()
	config.Linux.Resources.CpuPeriod, config.Linux.Resources.CpuQuota, config.Linux.Resources.CpuShares = 100000, 50000, 512
	c := p.createFrom(config)
	c.start()
	keys := descriptors(t, n)
	m := podMetrics(t, n, p.id)
	if len(m.ContainerMetrics) != 1 || m.ContainerMetrics[0].ContainerId != c.id {
		t.Fatalf("containers are %v", m.ContainerMetrics)
	}
	seen := map[string]uint64{}
	for _, metric := range slices.Concat(m.Metrics, m.ContainerMetrics[0].Metrics) {
		labels, ok := keys[metric.Name]
		if !ok || len(labels) != len(metric.LabelValues) {
			t.Errorf("%s has values %q of the labels %q", metric.Name, metric.LabelValues, labels)
			continue
		}
		if pod := metric.LabelValues[slices.Index(labels, "pod")]; pod != p.config.Metadata.Name {
			t.Errorf("%s is of pod %q", metric.Name, pod)
		}
		if container := metric.LabelValues[slices.Index(labels, "container")]; container == "main" || strings.Contains(metric.Name, "network") {
			seen[metric.Name] = metric.Value.Value
		}
	}
	for name := range keys {
		if _, ok := seen[name]; !ok && !mayLack(name) {
			t.Errorf("no value of %s", name)
		}
	}
	for name, want := range map[string]uint64{
		"container_spec_memory_limit_bytes": 64 << 20, "container_spec_cpu_quota": 50000, "container_spec_cpu_shares": 512, "container_processes": 1,
	} {
		if seen[name] != want {
			t.Errorf("%s is %d, want %d", name, seen[name], want)
		}
	}
}

// mayLack says of which metrics a machine may have nothing: no block device
// behind the files, no huge pages, cgroup v1.
func mayLack(name string) bool {
	for _, part := range []string{"_blkio_", "_fs_reads", "_fs_writes", "_hugetlb_", "_pressure_"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

func descriptors(t *testing.T, n *node) map[string][]string {
	t.Helper()
	r, err := n.Client.ListMetricDescriptors(t.Context(), &runtime.ListMetricDescriptorsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string][]string{}
	for _, d := range r.Descriptors {
		if d.Help == "" || len(d.LabelKeys) == 0 || keys[d.Name] != nil {
			t.Errorf("descriptor %v is incomplete or doubled", d)
		}
		keys[d.Name] = d.LabelKeys
	}
	return keys
}

func podMetrics(t *testing.T, n *node, pod string) *runtime.PodSandboxMetrics {
	t.Helper()
	r, err := n.Client.ListPodSandboxMetrics(t.Context(), &runtime.ListPodSandboxMetricsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range r.PodMetrics {
		if m.PodSandboxId == pod {
			return m
		}
	}
	t.Fatalf("no metrics of pod %s", pod)
	return nil
}
