package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/leak"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/procstat"
)

// probed are containers whose probes are commands.
type probed struct {
	n   *node
	ids []string
}

func startProbed(t testing.TB, n *node, count int) *probed {
	t.Helper()
	program := images.Program(guest(t, "top-c"))
	program.Layers[0] = append(program.Layers[0], images.File{Name: "bin/exit-c", Data: guest(t, "exit-c")})
	image := n.pull(t, "probed", program.Artifact())
	p := &probed{n: n}
	for range count {
		c := n.hostPod(t).run(criclient.ContainerSpec{Image: image})
		p.ids = append(p.ids, c.id)
	}
	return p
}

// round probes every container once, all at the same time, and gives how long
// each took.
func (p *probed) round(t testing.TB) []time.Duration {
	t.Helper()
	took := make([]time.Duration, len(p.ids))
	var all sync.WaitGroup
	for i, id := range p.ids {
		all.Go(func() {
			start := time.Now()
			r, err := p.n.Client.Exec(t.Context(), id, 30, "exit-c")
			if err != nil || r.ExitCode != 0 {
				t.Errorf("probe of container %d: %v, %v", i, r, err)
			}
			took[i] = time.Since(start)
		})
	}
	all.Wait()
	return took
}

// stock is what probes might add to.
type stock struct {
	things     leak.Snapshot // processes, cgroups, mounts, files, descriptors
	rss, total int64         // of the server, of all processes
	threads    int64         // of the server
}

func (p *probed) stock(t testing.TB) (s stock, scope leak.Scope) {
	t.Helper()
	time.Sleep(500 * time.Millisecond) // the kernel takes things down in its own time
	scope = leak.Scope{Daemon: p.n.PID(), Dirs: []string{p.n.Root(), p.n.State()}}
	var err error
	s.things, err = leak.Take(scope)
	must(t, err)
	s.rss, err = procstat.RSS(p.n.PID())
	must(t, err)
	s.total, err = procstat.TotalPSS(1, os.Getpid())
	must(t, err)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.n.PID()))
	must(t, err)
	_, rest, _ := strings.Cut(string(status), "\nThreads:")
	_, err = fmt.Sscan(rest, &s.threads)
	must(t, err)
	return s, scope
}

func TestProbesByExecAddUpToNothing(t *testing.T) {
	n, metrics := metered(t)
	p := startProbed(t, n, 20)
	for range 5 { // what comes once: buffers, threads, the module in memory
		p.round(t)
	}
	before, scope := p.stock(t)
	goroutines := metrics.values(t)
	for range 15 {
		p.round(t)
	}
	more, err := leak.Wait(before.things, scope, 20*time.Second)
	must(t, err)
	if len(more) > 0 {
		t.Errorf("300 probes leave more than there was:\n%s", strings.Join(more, "\n"))
	}
	if err := metrics.settled(t, goroutines); err != nil {
		t.Error(err)
	}
	after, _ := p.stock(t)
	t.Logf("server: %d to %d KiB, all processes: %d to %d KiB", before.rss>>10, after.rss>>10, before.total>>10, after.total>>10)
	if grown := (after.total - before.total) >> 10; grown > 24<<10 { // a leak of 100 KiB each would be 30 MiB
		t.Errorf("all processes have grown by %d KiB", grown)
	}
}

// Fifty containers are probed once a second; each iteration is a second:
//
//	make bench BENCHPKG=./e2e BENCH=ExecProbes BENCHTIME=180x
func BenchmarkExecProbes(b *testing.B) {
	n, metrics := metered(b)
	p := startProbed(b, n, 50)
	for range 5 {
		p.round(b)
	}
	before, _ := p.stock(b)
	goroutines := metrics.values(b)["go_goroutines"]
	cpu, err := procstat.CPU(n.PID())
	must(b, err)
	start := time.Now()
	var all []time.Duration
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for b.Loop() {
		<-tick.C
		all = append(all, p.round(b)...)
	}
	elapsed := time.Since(start)
	busy, err := procstat.CPU(n.PID())
	must(b, err)
	after, _ := p.stock(b)
	more := metrics.values(b)["go_goroutines"] - goroutines
	report(b, all)
	b.ReportMetric(float64(after.rss-before.rss)/1024, "server-KiB-grown")
	b.ReportMetric(float64(after.total-before.total)/1024, "all-KiB-grown")
	b.ReportMetric(float64(after.threads-before.threads), "server-threads-grown")
	b.ReportMetric(more, "server-goroutines-grown")
	b.ReportMetric(float64(len(after.things.Since(before.things))), "things-more")
	b.ReportMetric(100*(busy-cpu).Seconds()/elapsed.Seconds(), "server-%CPU")
}
