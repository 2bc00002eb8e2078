package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/crilog"
)

// The benchmarks measure what a client of the socket sees:
//
//	make bench BENCHPKG=./e2e BENCHTIME=200x
//
// p50-ms and p99-ms are of single calls, in order of their size; ns/op is their
// mean.

// measure calls once for each iteration and reports the times that it gives.
func measure(b *testing.B, once func() time.Duration) {
	b.Helper()
	var all []time.Duration
	for b.Loop() {
		all = append(all, once())
	}
	report(b, all)
}

// report reports single times.
func report(b *testing.B, all []time.Duration) {
	slices.Sort(all)
	var sum time.Duration
	for _, d := range all {
		sum += d
	}
	at := func(share float64) float64 {
		return float64(all[int(share*float64(len(all)-1))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.5), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(float64(sum.Nanoseconds())/float64(len(all)), "ns/op")
}

// single measures once, whatever the number of iterations.
func single(b *testing.B, value func() float64, unit string) {
	b.Helper()
	v := value()
	for b.Loop() { // its start forgets what was reported before
		continue
	}
	b.ReportMetric(v, unit)
	b.ReportMetric(0, "ns/op") // says nothing here: leave it out
}

func benchPod(b *testing.B, n *node, network string) (config podConfig, run func() string) {
	config = n.podConfig(criclient.PodSpec{HostNetwork: network == "host"})
	return config, func() string {
		config.Metadata.Name = n.unique("bench")
		id, err := n.Client.RunPod(context.Background(), config, "")
		must(b, err)
		return id
	}
}

func BenchmarkRunPodSandbox(b *testing.B) {
	n := sharedNode(b)
	for _, network := range []string{"host", "cni"} {
		b.Run(network, func(b *testing.B) {
			_, run := benchPod(b, n, network)
			measure(b, func() time.Duration {
				start := time.Now()
				id := run()
				took := time.Since(start)
				must(b, n.Client.RemovePod(context.Background(), id))
				return took
			})
		})
	}
}

func BenchmarkRemovePod(b *testing.B) {
	n := sharedNode(b)
	for _, network := range []string{"host", "cni"} {
		b.Run(network, func(b *testing.B) {
			_, run := benchPod(b, n, network)
			measure(b, func() time.Duration {
				id := run()
				start := time.Now()
				must(b, n.Client.RemovePod(context.Background(), id))
				return time.Since(start)
			})
		})
	}
}

// From before CreateContainer to the time that the first line of the log bears.
func BenchmarkCreateStartToFirstLine(b *testing.B) {
	n := sharedNode(b)
	for _, language := range []string{"c", "go", "rust"} {
		image := n.program(b, "hello-"+language)
		b.Run(language, func(b *testing.B) {
			config, run := benchPod(b, n, "host")
			pod := run()
			defer n.Client.RemovePod(context.Background(), pod)
			measure(b, func() time.Duration {
				spec := criclient.ContainerSpec{Name: n.unique("c"), Image: image}
				start := time.Now()
				c, err := n.Client.Create(b.Context(), pod, config, spec.Config())
				must(b, err)
				must(b, n.Client.Start(b.Context(), c))
				s, err := n.Client.WaitExited(b.Context(), c)
				must(b, err)
				entries, err := crilog.ReadFile(s.LogPath)
				must(b, err)
				must(b, n.Client.Remove(b.Context(), c))
				return entries[0].Time.Sub(start)
			})
		})
	}
}

func BenchmarkExecSync(b *testing.B) {
	n := sharedNode(b)
	trivial := toolboxImage(b)
	trivial.Layers[0] = append(trivial.Layers[0], imageFile{Name: "bin/exit-c", Data: guest(b, "exit-c")}, imageFile{Name: "bin/tool", Data: guest(b, "tool-go")})
	image := n.pull(b, "bench-exec", trivial.Artifact())
	for language, command := range map[string][]string{"c": {"exit-c", "0"}, "go": {"tool", "true"}, "toolbox": {"true"}} {
		b.Run(language, func(b *testing.B) {
			config, run := benchPod(b, n, "host")
			pod := run()
			defer n.Client.RemovePod(context.Background(), pod)
			c, err := n.Client.Create(b.Context(), pod, config, criclient.ContainerSpec{Image: image}.Config())
			must(b, err)
			must(b, n.Client.Start(b.Context(), c))
			measure(b, func() time.Duration {
				start := time.Now()
				r, err := n.Client.Exec(b.Context(), c, 30, command...)
				must(b, err)
				if r.ExitCode != 0 {
					b.Fatalf("exit code %d: %s", r.ExitCode, r.Stderr)
				}
				return time.Since(start)
			})
		})
	}
}

func BenchmarkStopAndRemoveContainer(b *testing.B) {
	n := sharedNode(b)
	image := n.program(b, "top-c")
	config, run := benchPod(b, n, "host")
	pod := run()
	defer n.Client.RemovePod(context.Background(), pod)
	measure(b, func() time.Duration {
		c, err := n.Client.Create(b.Context(), pod, config, criclient.ContainerSpec{Name: n.unique("c"), Image: image}.Config())
		must(b, err)
		must(b, n.Client.Start(b.Context(), c))
		start := time.Now()
		must(b, n.Client.Stop(b.Context(), c, 10))
		must(b, n.Client.Remove(b.Context(), c))
		return time.Since(start)
	})
}

// Whole lives: run, create, start, wait for the exit, stop, remove.
func BenchmarkPods(b *testing.B) {
	n := sharedNode(b)
	image := n.program(b, "hello-c")
	for _, network := range []string{"host", "cni"} {
		for _, clients := range []int{1, 4} {
			b.Run(fmt.Sprintf("%s/clients=%d", network, clients), func(b *testing.B) {
				start := time.Now()
				errs := inParallel(clients, b.N, func(int) error { return benchLife(b, n, network, image) })
				for _, err := range errs {
					b.Error(err)
				}
				b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "pods/s")
			})
		}
	}
}

func benchLife(b *testing.B, n *node, network, image string) error {
	config := n.podConfig(criclient.PodSpec{HostNetwork: network == "host"})
	id, err := n.Client.RunPod(b.Context(), config, "")
	if err != nil {
		return err
	}
	c, err := n.Client.Create(b.Context(), id, config, criclient.ContainerSpec{Image: image}.Config())
	if err != nil {
		return err
	}
	if err := n.Client.Start(b.Context(), c); err != nil {
		return err
	}
	if _, err := n.Client.WaitExited(b.Context(), c); err != nil {
		return err
	}
	return n.Client.RemovePod(b.Context(), id)
}

// The growth of the proportional set size of all processes, server included,
// for each further idle container in a pod of its own.
func BenchmarkIdleMemory(b *testing.B) {
	const count = 20
	n := sharedNode(b)
	for name, image := range map[string]string{"c": n.program(b, "top-c"), "go": n.toolbox(b)} {
		b.Run(name, func(b *testing.B) {
			single(b, func() float64 {
				first := idlePods(b, n, image, 1) // loads the module, which all others share
				defer removePods(b, n, first)
				time.Sleep(500 * time.Millisecond)
				before := totalPSS(b)
				ids := idlePods(b, n, image, count)
				defer removePods(b, n, ids)
				time.Sleep(500 * time.Millisecond)
				return float64(totalPSS(b)-before) / count / (1 << 20)
			}, "MiB/pod")
		})
	}
}

func BenchmarkServerAt100Pods(b *testing.B) {
	n := sharedNode(b)
	ids := idlePods(b, n, n.program(b, "top-c"), 100)
	defer removePods(b, n, ids)
	b.Run("memory", func(b *testing.B) {
		single(b, func() float64 { return float64(statusKiB(b, n.PID(), "VmRSS")) / 1024 }, "MiB-RSS")
	})
	b.Run("idle", func(b *testing.B) {
		single(b, func() float64 {
			before := processCPU(b, n.PID())
			time.Sleep(10 * time.Second)
			return 100 * (processCPU(b, n.PID()) - before).Seconds() / 10
		}, "%CPU")
	})
	b.Run("ListContainers", func(b *testing.B) {
		measure(b, func() time.Duration {
			start := time.Now()
			list, err := n.Client.ListContainers(b.Context(), &runtime.ListContainersRequest{})
			must(b, err)
			if len(list.Containers) < 100 {
				b.Fatalf("%d containers", len(list.Containers))
			}
			return time.Since(start)
		})
	})
	for name, list := range map[string]func() (int, error){
		"ListContainerStats": func() (int, error) {
			r, err := n.Client.ListContainerStats(b.Context(), &runtime.ListContainerStatsRequest{})
			return len(r.GetStats()), err
		},
		"ListPodSandboxStats": func() (int, error) {
			r, err := n.Client.ListPodSandboxStats(b.Context(), &runtime.ListPodSandboxStatsRequest{})
			return len(r.GetStats()), err
		},
		"ListPodSandboxMetrics": func() (int, error) {
			r, err := n.Client.ListPodSandboxMetrics(b.Context(), &runtime.ListPodSandboxMetricsRequest{})
			return len(r.GetPodMetrics()), err
		},
	} {
		b.Run(name, func(b *testing.B) {
			measure(b, func() time.Duration {
				start := time.Now()
				count, err := list()
				must(b, err)
				if count < 100 {
					b.Fatalf("%d of 100 and more", count)
				}
				return time.Since(start)
			})
		})
	}
	b.Run("PodSandboxStatus", func(b *testing.B) {
		measure(b, func() time.Duration {
			start := time.Now()
			_, err := n.Client.Pod(b.Context(), ids[0])
			must(b, err)
			return time.Since(start)
		})
	})
}

// One container writes lines of 128 bytes as fast as they are taken; a second
// of start and end is not counted.
func BenchmarkLogThroughput(b *testing.B) {
	const mib = 64
	n := sharedNode(b)
	image := n.program(b, "bigoutput-c")
	b.SetBytes(mib << 20)
	config, run := benchPod(b, n, "host")
	pod := run()
	defer n.Client.RemovePod(context.Background(), pod)
	for b.Loop() {
		c, err := n.Client.Create(b.Context(), pod, config, criclient.ContainerSpec{
			Name: n.unique("c"), Image: image, Args: []string{strconv.Itoa(mib), "128"},
		}.Config())
		must(b, err)
		must(b, n.Client.Start(b.Context(), c))
		s, err := n.Client.WaitExited(b.Context(), c)
		must(b, err)
		info, err := os.Stat(s.LogPath)
		must(b, err)
		if info.Size() < mib<<20 {
			b.Fatalf("the log has %d bytes", info.Size())
		}
		must(b, n.Client.Remove(b.Context(), c))
		must(b, os.Remove(s.LogPath))
	}
}

// Ten million calls of the host: how long one takes, and by how much they grow
// the process.
func BenchmarkHostCalls(b *testing.B) {
	n := sharedNode(b)
	var grown float64
	single(b, func() (took float64) {
		took, grown = hostCalls(b, n.hostPod(b), 10_000_000)
		return took
	}, "ns/call")
	b.ReportMetric(grown, "KiB-grown")
}

// hostCalls has a guest call the host and gives the nanoseconds of one call and
// the growth of the process in KiB.
func hostCalls(t testing.TB, p *pod, count int) (took, grown float64) {
	t.Helper()
	c := p.run(criclient.ContainerSpec{Image: p.node.program(t, "hostcalls-c"), Args: []string{strconv.Itoa(count)}})
	c.waitLine("ready")
	pids := guestPIDs(t, c.id)
	if len(pids) != 1 {
		t.Fatalf("the container has processes %d, want one", pids)
	}
	before := statusKiB(t, pids[0], "VmRSS")
	eventually(t, "the end of the calls", func() bool { return len(c.lines("stdout")) == 2 })
	grown = float64(statusKiB(t, pids[0], "VmRSS") - before)
	text, _, _ := strings.Cut(c.lines("stdout")[1], " ")
	took, err := strconv.ParseFloat(text, 64)
	must(t, err)
	return took, grown
}

func idlePods(b *testing.B, n *node, image string, count int) []string {
	b.Helper()
	var ids []string
	for range count {
		config := n.podConfig(criclient.PodSpec{HostNetwork: true})
		id, err := n.Client.RunPod(b.Context(), config, "")
		must(b, err)
		ids = append(ids, id)
		c, err := n.Client.Create(b.Context(), id, config, criclient.ContainerSpec{Image: image}.Config())
		must(b, err)
		must(b, n.Client.Start(b.Context(), c))
	}
	return ids
}

func removePods(b *testing.B, n *node, ids []string) {
	b.Helper()
	for _, id := range ids {
		must(b, n.Client.RemovePod(context.Background(), id))
	}
}

// totalPSS sums up the memory of every process in the namespace but the test
// itself; pages that processes share are counted once.
func totalPSS(b *testing.B) int64 {
	b.Helper()
	entries, err := os.ReadDir("/proc")
	must(b, err)
	var total int64
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == 1 || pid == os.Getpid() {
			continue
		}
		data, err := os.ReadFile(filepath.Join("/proc", e.Name(), "smaps_rollup"))
		if err != nil {
			continue // it has ended
		}
		total += kibField(b, string(data), "Pss") << 10
	}
	return total
}

func statusKiB(b testing.TB, pid int, key string) int64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(b, err)
	return kibField(b, string(data), key)
}

func kibField(b testing.TB, text, key string) int64 {
	b.Helper()
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			must(b, err)
			return n
		}
	}
	return 0
}
