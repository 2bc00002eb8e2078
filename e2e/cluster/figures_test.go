package cluster

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/cluster"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubebin"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/procstat"
)

// The benchmarks are run once each by `make kubelet-bench`: a figure of a node
// with hundreds of pods is not a mean of many runs.

// idlePod is a pod that does nothing but run, so that figures are those of the
// runtime.
const idlePod = `
	apiVersion: v1
	kind: Pod
	metadata: {name: NAME}
	spec:
	  terminationGracePeriodSeconds: 1
	  enableServiceLinks: false
	  containers: [{name: top, image: "registry.test/top-c:v1"}]
`

// BenchmarkPodStart starts pods one after the other by kubectl apply, with the
// image present, and takes the times until the API shows them running and ready.
func BenchmarkPodStart(b *testing.B) {
	const pods = 100
	n := newNamespace(b, sharedCloud(b))
	n.startPod("first") // pulls and compiles
	kubectl := make([]time.Duration, 0, pods)
	running := make([]time.Duration, 0, pods)
	for b.Loop() {
		for i := range pods {
			start := time.Now()
			applied, ran := n.startPod(fmt.Sprintf("pod-%d", i))
			kubectl, running = append(kubectl, applied.Sub(start)), append(running, ran.Sub(start))
			n.kubectl("delete", "pod", fmt.Sprintf("pod-%d", i), "--wait=false")
		}
	}
	reportQuantiles(b, "apply", kubectl)
	reportQuantiles(b, "running", running)
}

// startPod gives when kubectl apply was through, and when the pod was seen
// running and ready, as one status says both of a container without probes.
func (n *namespace) startPod(name string) (applied, running time.Time) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	watch, err := n.c.WatchPods(ctx, n.name)
	if err != nil {
		n.t.Fatal(err)
	}
	defer watch.Stop()
	ran := make(chan time.Time, 1)
	go func() {
		for event := range watch.ResultChan() {
			if pod, ok := event.Object.(*corev1.Pod); ok && pod.Name == name && isReady(pod) {
				ran <- time.Now()
				return
			}
		}
	}()
	n.apply(strings.ReplaceAll(idlePod, "NAME", name))
	applied = time.Now()
	select {
	case running = <-ran:
	case <-ctx.Done():
		n.t.Fatalf("pod %s does not run after %v", name, patience)
	}
	return applied, running
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && pod.Status.Phase == corev1.PodRunning
		}
	}
	return false
}

func reportQuantiles(b *testing.B, what string, times []time.Duration) {
	slices.Sort(times)
	for _, q := range []int{50, 90, 99} {
		b.ReportMetric(float64(times[(len(times)-1)*q/100].Milliseconds()), fmt.Sprintf("ms-%s-p%d", what, q))
	}
}

// BenchmarkDeployment scales a Deployment from 0 to so many pods and takes the
// time until all are ready, memory, and how long the kubelet's look at its pods
// (PLEG) lasts meanwhile and afterwards.
func BenchmarkDeployment(b *testing.B) {
	for _, replicas := range []int{10, 50, 110, 500} {
		b.Run(strconv.Itoa(replicas), func(b *testing.B) {
			for b.Loop() {
				density(b, replicas)
			}
		})
	}
}

// densityPatience is for hundreds of pods on a busy machine.
const densityPatience = 15 * time.Minute

func density(b *testing.B, replicas int) {
	c := sharedCloud(b)
	n := newNamespace(b, c)
	n.startPod("first")
	before := memoryOf(b, c)
	relist := newPleg(b, c)
	n.apply(`
	apiVersion: apps/v1
	kind: Deployment
	metadata: {name: many}
	spec:
	  replicas: 0
	  selector: {matchLabels: {app: many}}
	  template:
	    metadata: {labels: {app: many}}
	    spec:
	      terminationGracePeriodSeconds: 1
	      enableServiceLinks: false
	      containers: [{name: top, image: "registry.test/top-c:v1"}]
	`)
	start := time.Now()
	n.kubectl("scale", "deployment/many", fmt.Sprintf("--replicas=%d", replicas))
	for deadline := start.Add(densityPatience); ; time.Sleep(100 * time.Millisecond) {
		ready := 0
		for _, pod := range n.pods("app=many") {
			if isReady(&pod) {
				ready++
			}
		}
		if ready == replicas {
			break
		}
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d pods are ready after %v", ready, replicas, densityPatience)
		}
	}
	b.ReportMetric(time.Since(start).Seconds(), "s-all-ready")
	b.ReportMetric(relist.mean(b), "ms-PLEG-starting")
	relist = newPleg(b, c)
	time.Sleep(15 * time.Second) // the kubelet looks once a second
	b.ReportMetric(relist.mean(b), "ms-PLEG-idle")
	after := memoryOf(b, c)
	b.ReportMetric(mib(after.daemon), "MiB-daemon-RSS")
	b.ReportMetric(mib(after.kubelet), "MiB-kubelet-RSS")
	b.ReportMetric(mib(after.pods-before.pods)/float64(replicas), "MiB/pod")

	start = time.Now()
	n.kubectl("delete", "deployment", "many")
	for len(n.pods("app=many")) > 0 {
		if time.Since(start) > densityPatience {
			b.Fatalf("pods are left %v after the deletion", densityPatience)
		}
		time.Sleep(200 * time.Millisecond)
	}
	b.ReportMetric(time.Since(start).Seconds(), "s-all-gone")
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// memory is what a node's parts take.
type memory struct {
	daemon, kubelet int64 // resident
	pods            int64 // proportional, of all processes but those of Kubernetes, the daemon and the test
}

func memoryOf(b *testing.B, c *cloud) memory {
	b.Helper()
	var m memory
	var err error
	if m.daemon, err = procstat.RSS(c.Server.PID()); err != nil {
		b.Fatal(err)
	}
	if m.kubelet, err = procstat.RSS(c.PIDs()[kubebin.Kubelet]); err != nil {
		b.Fatal(err)
	}
	others := []int{1, os.Getpid(), c.Server.PID()}
	for _, pid := range c.PIDs() {
		others = append(others, pid)
	}
	if m.pods, err = procstat.TotalPSS(others...); err != nil {
		b.Fatal(err)
	}
	return m
}

// pleg takes the mean time of the kubelet's relists from now on.
type pleg struct {
	c          *cluster.Cluster
	sum, count float64
}

func newPleg(b *testing.B, c *cloud) pleg {
	b.Helper()
	p := pleg{c: c.Cluster}
	p.sum, p.count = p.read(b)
	return p
}

// mean is in milliseconds.
func (p pleg) mean(b *testing.B) float64 {
	b.Helper()
	sum, count := p.read(b)
	if count == p.count {
		b.Fatal("the kubelet has not listed its pods")
	}
	return (sum - p.sum) / (count - p.count) * 1000
}

func (p pleg) read(b *testing.B) (sum, count float64) {
	b.Helper()
	data, err := p.c.Raw(b.Context(), "/api/v1/nodes/"+p.c.NodeName()+"/proxy/metrics")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		for name, value := range map[string]*float64{
			"kubelet_pleg_relist_duration_seconds_sum ": &sum, "kubelet_pleg_relist_duration_seconds_count ": &count,
		} {
			text, ok := strings.CutPrefix(line, name)
			if !ok {
				continue
			}
			if *value, err = strconv.ParseFloat(strings.TrimSpace(text), 64); err != nil {
				b.Fatal(err)
			}
		}
	}
	return sum, count
}
