package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
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

// The benchmarks are run once each by `make kubelet-bench`, which writes their
// tables: a figure of a node with hundreds of pods is not a mean of many runs.

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
	measured.applied = reportQuantiles(b, "apply", kubectl)
	measured.running = reportQuantiles(b, "running", running)
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

// percentiles of the times are the columns of their table.
var percentiles = []int{50, 90, 99}

// reportQuantiles gives the times at the percentiles.
func reportQuantiles(b *testing.B, what string, times []time.Duration) (at []time.Duration) {
	slices.Sort(times)
	for _, q := range percentiles {
		t := times[(len(times)-1)*q/100]
		b.ReportMetric(float64(t.Milliseconds()), fmt.Sprintf("ms-%s-p%d", what, q))
		at = append(at, t)
	}
	return at
}

// BenchmarkDeployment scales a Deployment from 0 to so many pods and takes the
// time until all are ready, memory, and how long the kubelet's look at its pods
// (PLEG) lasts meanwhile and afterwards.
func BenchmarkDeployment(b *testing.B) {
	for _, replicas := range []int{10, 50, 110, 500} {
		b.Run(strconv.Itoa(replicas), func(b *testing.B) {
			for b.Loop() {
				measured.densities = append(measured.densities, density(b, replicas))
			}
		})
	}
}

// densityPatience is for hundreds of pods on a busy machine.
const densityPatience = 15 * time.Minute

// densityFigures are of one Deployment.
type densityFigures struct {
	replicas                int
	ready, gone             time.Duration
	pod                     int64 // bytes of one
	daemon, kubelet         int64 // bytes
	plegStarting, plegAfter time.Duration
}

func density(b *testing.B, replicas int) densityFigures {
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
	f := densityFigures{replicas: replicas}
	start := time.Now()
	n.kubectl("scale", "deployment/many", fmt.Sprintf("--replicas=%d", replicas))
	n.countPods(b, "ready", replicas, isReady)
	f.ready = time.Since(start)
	f.plegStarting = relist.mean(b)
	relist = newPleg(b, c)
	time.Sleep(15 * time.Second) // the kubelet looks once a second
	f.plegAfter = relist.mean(b)
	after := memoryOf(b, c)
	f.daemon, f.kubelet, f.pod = after.daemon, after.kubelet, (after.pods-before.pods)/int64(replicas)

	start = time.Now()
	n.kubectl("delete", "deployment", "many")
	n.countPods(b, "left", 0, func(*corev1.Pod) bool { return true })
	f.gone = time.Since(start)
	for unit, value := range map[string]float64{
		"s-all-ready": f.ready.Seconds(), "s-all-gone": f.gone.Seconds(),
		"ms-PLEG-starting": f.plegStarting.Seconds() * 1000, "ms-PLEG-idle": f.plegAfter.Seconds() * 1000,
		"MiB-daemon-RSS": mib(f.daemon), "MiB-kubelet-RSS": mib(f.kubelet), "MiB/pod": mib(f.pod),
	} {
		b.ReportMetric(value, unit)
	}
	return f
}

// countPods waits until so many pods of the Deployment are what is says.
func (n *namespace) countPods(b *testing.B, what string, want int, is func(*corev1.Pod) bool) {
	b.Helper()
	for deadline := time.Now().Add(densityPatience); ; time.Sleep(100 * time.Millisecond) {
		got := 0
		for _, pod := range n.pods("app=many") {
			if is(&pod) {
				got++
			}
		}
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("%d pods are %s after %v, want %d", got, what, densityPatience, want)
		}
	}
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

func (p pleg) mean(b *testing.B) time.Duration {
	b.Helper()
	sum, count := p.read(b)
	if count == p.count {
		b.Fatal("the kubelet has not listed its pods")
	}
	return time.Duration((sum - p.sum) / (count - p.count) * float64(time.Second))
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

// measured is what the benchmarks found, for the tables of docs/kubernetes.md.
var measured figures

type figures struct {
	load             string // of the machine, before
	applied, running []time.Duration
	densities        []densityFigures
}

// write writes the tables anew when both benchmarks ran and a file is named.
func (f *figures) write() error {
	if *table == "" || len(f.running) == 0 || len(f.densities) == 0 {
		return nil
	}
	return writePart(*table, "kubelet-bench", f.markdown())
}

func (f *figures) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d cores, with a load of %s before.\n", runtime.NumCPU(), f.load)
	fmt.Fprint(&b, "\n| from `kubectl apply` on, 100 pods one after the other |")
	for _, p := range percentiles {
		fmt.Fprintf(&b, " p%d |", p)
	}
	fmt.Fprintf(&b, "\n|---%s|\n", strings.Repeat("|---", len(percentiles)))
	row := func(name string, cells []string) { fmt.Fprintf(&b, "| %s | %s |\n", name, strings.Join(cells, " | ")) }
	row("kubectl is through", cells(f.applied, seconds(2)))
	row("the API shows the pod running and ready", cells(f.running, seconds(2)))

	fmt.Fprintln(&b)
	row("a Deployment scaled from 0 to", cells(f.densities, func(d densityFigures) string { return strconv.Itoa(d.replicas) }))
	fmt.Fprintf(&b, "|---%s|\n", strings.Repeat("|---", len(f.densities)))
	of := func(name string, cell func(densityFigures) string) { row(name, cells(f.densities, cell)) }
	of("all pods ready after", func(d densityFigures) string { return seconds(1)(d.ready) })
	of("all pods gone after its deletion", func(d densityFigures) string { return seconds(1)(d.gone) })
	of("memory of one pod (PSS of its processes)", func(d densityFigures) string { return fmt.Sprintf("%.2f MiB", mib(d.pod)) })
	of("memory of the daemon (RSS)", func(d densityFigures) string { return fmt.Sprintf("%.0f MiB", mib(d.daemon)) })
	of("memory of the kubelet (RSS)", func(d densityFigures) string { return fmt.Sprintf("%.0f MiB", mib(d.kubelet)) })
	of("the kubelet's look at its pods (PLEG), mean, while they start", func(d densityFigures) string { return milliseconds(d.plegStarting) })
	of("the same, when they run", func(d densityFigures) string { return milliseconds(d.plegAfter) })
	return b.String() + "\n"
}

func cells[T any](list []T, cell func(T) string) (texts []string) {
	for _, v := range list {
		texts = append(texts, cell(v))
	}
	return texts
}

func seconds(digits int) func(time.Duration) string {
	return func(d time.Duration) string { return fmt.Sprintf("%.*f s", digits, d.Seconds()) }
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f ms", d.Seconds()*1000) }

func TestTablesOfFiguresAreWhole(t *testing.T) {
	f := figures{
		load:    "0.1",
		applied: []time.Duration{time.Second, 2 * time.Second, 1234 * time.Millisecond},
		running: []time.Duration{3 * time.Second, 4 * time.Second, 5 * time.Second},
		densities: []densityFigures{
			{replicas: 10, ready: time.Second, pod: 1 << 20, daemon: 30 << 20, plegAfter: 1500 * time.Microsecond},
			{replicas: 500, gone: time.Minute, kubelet: 100 << 20},
		},
	}
	got := f.markdown()
	columns := 0 // of the table, 0 outside
	for line := range strings.Lines(got) {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		now := strings.Count(line, "|")
		if columns != 0 && now != columns {
			t.Errorf("the row %q does not have %d bars", line, columns)
		}
		columns = now
	}
	for _, want := range []string{
		"| kubectl is through | 1.00 s | 2.00 s | 1.23 s |\n", "| a Deployment scaled from 0 to | 10 | 500 |\n",
		"| memory of one pod (PSS of its processes) | 1.00 MiB | 0.00 MiB |\n", "| the same, when they run | 1.5 ms | 0.0 ms |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no row %q in\n%s", want, got)
		}
	}

	doc := filepath.Join(t.TempDir(), "doc.md")
	const begin, end = "before\n<!-- written by make kubelet-bench: begin -->\n", "<!-- written by make kubelet-bench: end -->\nafter\n"
	if err := os.WriteFile(doc, []byte(begin+"old\n"+end), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writePart(doc, "kubelet-bench", got); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(doc); err != nil || string(data) != begin+got+end {
		t.Errorf("the document is %q, %v", data, err)
	}
	if err := writePart(doc, "nothing", got); err == nil {
		t.Error("a document without the lines was written")
	}
}
