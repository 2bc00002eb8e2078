package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/crilog"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/procstat"
)

// row is one line of the table.
type row struct {
	name, unit string
	rounds     int
	more       bool    // more is better
	must, aim  float64 // what part of the peer's figure ours has at most; with more, at least. 0: nothing is promised
	absolute   bool    // must and aim are limits of our own figure
	sample     func(ctx context.Context, f *fixture) (float64, error)
}

// stage is a state of a server in which rows are measured.
type stage struct {
	open func(ctx context.Context, s *server) (*fixture, error)
	rows []row
}

// fixture is a server in such a state.
type fixture struct {
	*server
	pod       string // one that is there
	config    *runtime.PodSandboxConfig
	container string // one in it that runs
	idleSpace int64  // of the server without the bulk image
}

func stages() []stage {
	return []stage{
		{open: bare, rows: []row{
			{name: "RunPodSandbox, host network", unit: "ms", rounds: 60, must: 1. / 12, aim: 1. / 40, sample: runPod(true)},
			{name: "RunPodSandbox, CNI bridge", unit: "ms", rounds: 30, must: 1. / 3, sample: runPod(false)},
			{name: "stop + remove, host network", unit: "ms", rounds: 60, must: 1. / 15, aim: 1. / 30, sample: stopPod},
			{name: "pods/s, whole life, host network, 4 clients", unit: "/s", rounds: 5, more: true, must: 8, aim: 20, sample: podsPerSecond},
		}},
		{open: withPod, rows: []row{
			{name: "Create + Start to first log line, C", unit: "ms", rounds: 60, must: 1. / 6, aim: 1. / 12, sample: firstLine("hello-c")},
			{name: "Create + Start to first log line, Go", unit: "ms", rounds: 60, must: 1. / 6, aim: 1. / 12, sample: firstLine("hello-go")},
			{name: "ExecSync, C", unit: "ms", rounds: 100, must: 1. / 4, aim: 1. / 7, sample: execSync("exit-c")},
			{name: "ExecSync, Go", unit: "ms", rounds: 100, must: 1. / 4, aim: 1. / 7, sample: execSync("true")},
			{name: "exec stream (SPDY), C", unit: "ms", rounds: 60, sample: execStream("exit-c")},
			{name: "log throughput of one container", unit: "MB/s", rounds: 3, more: true, must: 3, aim: 10, sample: logThroughput},
		}},
		{open: bare, rows: []row{
			{name: "memory per idle pod (PSS), C", unit: "MiB", rounds: 2, must: 1. / 3, aim: 1. / 5, sample: idleMemory("top-c")},
			{name: "memory per idle pod (PSS), Go", unit: "MiB", rounds: 2, must: 1. / 2, aim: 1. / 3, sample: idleMemory("tool-go")},
		}},
		{open: withBulk, rows: []row{
			{name: pullRow, unit: "ms", rounds: 5, must: 1, sample: pullBulk},
			{name: pullCPURow, unit: "ms", rounds: 3, must: 1, sample: pullCPU},
			{name: pullMemoryRow, unit: "MiB", rounds: 3, absolute: true, must: 60, sample: pullMemory},
		}},
		{open: with100Pods, rows: []row{
			{name: "daemon RSS at 100 pods", unit: "MiB", rounds: 1, absolute: true, must: 60, aim: 40, sample: daemonRSS},
			{name: "daemon CPU, idle, at 100 pods", unit: "%", rounds: 3, absolute: true, must: 0.5, aim: 0.2, sample: idleCPU},
			{name: "ListContainerStats at 100 pods", unit: "ms", rounds: 20, must: 1. / 10, aim: 1. / 40, sample: listStats},
		}},
	}
}

func bare(_ context.Context, s *server) (*fixture, error) { return &fixture{server: s}, nil }

func withPod(ctx context.Context, s *server) (*fixture, error) {
	pod, config, err := s.run(ctx, true)
	if err != nil {
		return nil, err
	}
	c, err := s.start(ctx, pod, config, s.newContainer("top-c"))
	return &fixture{server: s, pod: pod, config: config, container: c}, err
}

func with100Pods(ctx context.Context, s *server) (*fixture, error) {
	for range 100 {
		if _, err := s.idle(ctx, "top-c"); err != nil {
			return nil, err
		}
	}
	time.Sleep(2 * time.Second) // for what still goes on
	return &fixture{server: s}, nil
}

func ms(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }

func runPod(hostNetwork bool) func(context.Context, *fixture) (float64, error) {
	return func(ctx context.Context, f *fixture) (float64, error) {
		config := f.newPod(hostNetwork)
		start := time.Now()
		id, err := f.client.RunPod(ctx, config, "")
		if err != nil {
			return 0, err
		}
		took := ms(start)
		return took, f.client.RemovePod(ctx, id)
	}
}

func stopPod(ctx context.Context, f *fixture) (float64, error) {
	id, err := f.idle(ctx, "top-c")
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = f.client.RemovePod(ctx, id)
	return ms(start), err
}

func podsPerSecond(ctx context.Context, f *fixture) (float64, error) {
	const clients = 4
	each := 10
	if f.name == "cri-wasmer" { // a like time
		each = 100
	}
	errs := make(chan error, clients)
	start := time.Now()
	for range clients {
		go func() {
			for range each {
				if err := f.life(ctx); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	var failed error
	for range clients {
		if err := <-errs; err != nil {
			failed = err
		}
	}
	return float64(clients*each) / time.Since(start).Seconds(), failed
}

// life is all that can happen to a pod whose container ends by itself.
func (s *server) life(ctx context.Context) error {
	pod, config, err := s.run(ctx, true)
	if err != nil {
		return err
	}
	c, err := s.start(ctx, pod, config, s.newContainer("hello-c"))
	if err != nil {
		return err
	}
	if _, err := s.client.WaitExited(ctx, c); err != nil {
		return err
	}
	return s.client.RemovePod(ctx, pod)
}

// firstLine takes the time from before CreateContainer to what the first line of
// the log bears.
func firstLine(program string) func(context.Context, *fixture) (float64, error) {
	return func(ctx context.Context, f *fixture) (float64, error) {
		config := f.newContainer(program)
		start := time.Now()
		id, err := f.start(ctx, f.pod, f.config, config)
		if err != nil {
			return 0, err
		}
		s, err := f.client.WaitExited(ctx, id)
		if err != nil {
			return 0, err
		}
		entries, err := crilog.ReadFile(s.LogPath)
		if err != nil {
			return 0, err
		}
		if len(entries) == 0 {
			return 0, fmt.Errorf("the log %s of an ended container is empty", s.LogPath)
		}
		return float64(entries[0].Time.Sub(start).Microseconds()) / 1000, f.client.Remove(ctx, id)
	}
}

func execSync(command string) func(context.Context, *fixture) (float64, error) {
	return func(ctx context.Context, f *fixture) (float64, error) {
		start := time.Now()
		r, err := f.client.Exec(ctx, f.container, 30, command)
		if err != nil {
			return 0, err
		}
		if r.ExitCode != 0 {
			return 0, fmt.Errorf("%s: exit code %d: %s", command, r.ExitCode, r.Stderr)
		}
		return ms(start), nil
	}
}

func execStream(command string) func(context.Context, *fixture) (float64, error) {
	return func(ctx context.Context, f *fixture) (float64, error) {
		start := time.Now()
		r, err := f.client.RuntimeServiceClient.Exec(ctx, &runtime.ExecRequest{ContainerId: f.container, Cmd: []string{command}, Stdout: true, Stderr: true})
		if err != nil {
			return 0, err
		}
		u, err := url.Parse(r.Url)
		if err != nil {
			return 0, err
		}
		e, err := remotecommand.NewSPDYExecutor(&rest.Config{Host: u.Host}, "POST", u)
		if err != nil {
			return 0, err
		}
		err = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: io.Discard, Stderr: io.Discard})
		return ms(start), err
	}
}

// logThroughput has one container write lines of 128 bytes as fast as they are
// taken, and counts what is in the log, without the stamps.
func logThroughput(ctx context.Context, f *fixture) (float64, error) {
	const mib = 64
	start := time.Now()
	id, err := f.start(ctx, f.pod, f.config, f.newContainer("bigoutput-c", fmt.Sprint(mib), "128"))
	if err != nil {
		return 0, err
	}
	s, err := f.client.WaitExited(ctx, id)
	if err != nil {
		return 0, err
	}
	took := time.Since(start).Seconds()
	info, err := os.Stat(s.LogPath)
	if err != nil {
		return 0, err
	}
	if info.Size() < mib<<20 {
		return 0, fmt.Errorf("the log of an ended container has %d bytes of at least %d", info.Size(), mib<<20)
	}
	if err := f.client.Remove(ctx, id); err != nil {
		return 0, err
	}
	return mib << 20 / 1e6 / took, os.Remove(s.LogPath)
}

// idleMemory is by how much one more idle pod makes all processes grow.
func idleMemory(program string) func(context.Context, *fixture) (float64, error) {
	return func(ctx context.Context, f *fixture) (float64, error) {
		const count = 20
		if _, err := f.idle(ctx, program); err != nil { // brings what all share
			return 0, err
		}
		before, err := settledPSS()
		if err != nil {
			return 0, err
		}
		for range count {
			if _, err := f.idle(ctx, program); err != nil {
				return 0, err
			}
		}
		after, err := settledPSS()
		if err != nil {
			return 0, err
		}
		return float64(after-before) / count / (1 << 20), f.removeAll()
	}
}

func settledPSS() (int64, error) {
	time.Sleep(time.Second)
	return procstat.TotalPSS(1, os.Getpid())
}

func daemonRSS(_ context.Context, f *fixture) (float64, error) {
	rss, err := procstat.RSS(f.pid)
	return float64(rss) / (1 << 20), err
}

func idleCPU(ctx context.Context, f *fixture) (float64, error) {
	const watched = 10 * time.Second
	before, err := procstat.CPU(f.pid)
	if err != nil {
		return 0, err
	}
	select {
	case <-time.After(watched):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	after, err := procstat.CPU(f.pid)
	return 100 * (after - before).Seconds() / watched.Seconds(), err
}

func listStats(ctx context.Context, f *fixture) (float64, error) {
	start := time.Now()
	r, err := f.client.ListContainerStats(ctx, &runtime.ListContainerStatsRequest{})
	if err != nil {
		return 0, err
	}
	if len(r.Stats) < 100 {
		return 0, fmt.Errorf("%d statistics of 100 containers", len(r.Stats))
	}
	return ms(start), nil
}
