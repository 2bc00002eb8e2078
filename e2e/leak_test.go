package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/leak"
)

const (
	leakPods    = 200
	leakClients = 8
)

func TestNothingRemainsAfterManyPods(t *testing.T) {
	n, metrics := metered(t)
	short, long := n.program(t, "hello-c"), n.program(t, "top-c")
	// The first pods bring what stays for good: the bridge, a warm daemon.
	for i := range leakClients {
		must(t, podLife(t, n, i, short, long))
	}
	scope := leak.Scope{Daemon: n.PID(), Dirs: []string{n.Root(), n.State()}}
	time.Sleep(time.Second) // what the first pods left in the air
	counted := metrics.values(t)
	before, err := leak.Take(scope)
	must(t, err)
	start := time.Now()
	errs := inParallel(leakClients, leakPods, func(i int) error { return podLife(t, n, i, short, long) })
	for _, err := range errs {
		t.Error(err)
	}
	t.Logf("%d pods at %d at once in %v", leakPods, leakClients, time.Since(start).Round(time.Millisecond))
	more, err := leak.Wait(before, scope, 20*time.Second)
	must(t, err)
	if len(more) > 0 {
		t.Errorf("after %d pods there is more than before:\n%s", leakPods, strings.Join(more, "\n"))
	}
	must(t, metrics.settled(t, counted))
}

// podLife is the life of pod number i: run, use and remove, each in one of a few
// ways.
func podLife(t *testing.T, n *node, i int, short, long string) error {
	ctx := t.Context()
	config := n.podConfig(criclient.PodSpec{HostNetwork: i%4 == 3})
	id, err := n.Client.RunPod(ctx, config, "")
	if err != nil {
		return fmt.Errorf("pod %d: run: %w", i, err)
	}
	image := short
	if i%2 == 1 {
		image = long
	}
	c, err := n.Client.Create(ctx, id, config, criclient.ContainerSpec{Image: image}.Config())
	if err != nil {
		return fmt.Errorf("pod %d: create: %w", i, err)
	}
	if i%5 != 0 { // every fifth container is never started
		if err := n.Client.Start(ctx, c); err != nil {
			return fmt.Errorf("pod %d: start: %w", i, err)
		}
		if err := useContainer(t, n, i, c, image == short); err != nil {
			return fmt.Errorf("pod %d: %w", i, err)
		}
	}
	if i%3 == 0 {
		if err := n.Client.Remove(ctx, c); err != nil {
			return fmt.Errorf("pod %d: remove container: %w", i, err)
		}
	}
	if err := n.Client.RemovePod(ctx, id); err != nil {
		return fmt.Errorf("pod %d: remove: %w", i, err)
	}
	return nil
}

func useContainer(t *testing.T, n *node, i int, c string, short bool) error {
	ctx, cancel := contextWithTimeout(t, patience)
	defer cancel()
	if short {
		s, err := n.Client.WaitExited(ctx, c)
		if err != nil {
			return err
		}
		if s.ExitCode != 0 {
			return fmt.Errorf("exit code %d, reason %s", s.ExitCode, s.Reason)
		}
		return nil
	}
	if i%7 != 0 {
		return nil // the removal of the pod must end it
	}
	return n.Client.Stop(ctx, c, 5)
}

// inParallel calls work for 0 to count-1, some at a time, and gives the errors.
func inParallel(clients, count int, work func(i int) error) []error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		errs []error
	)
	next := make(chan int)
	for range clients {
		wg.Go(func() {
			for i := range next {
				if err := work(i); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	for i := range count {
		next <- i
	}
	close(next)
	wg.Wait()
	return errs
}

func TestManyContainersOfOnePodAtOnce(t *testing.T) {
	n := sharedNode(t)
	p := n.pod(t, criclient.PodSpec{})
	image := n.program(t, "exit-c")
	errs := inParallel(8, 24, func(i int) error {
		spec := criclient.ContainerSpec{Name: fmt.Sprintf("c%d", i), Image: image, Args: []string{fmt.Sprint(i)}}
		id, err := n.Client.Create(t.Context(), p.id, p.config, spec.Config())
		if err != nil {
			return fmt.Errorf("create %d: %w", i, err)
		}
		if err := n.Client.Start(t.Context(), id); err != nil {
			return fmt.Errorf("start %d: %w", i, err)
		}
		ctx, cancel := contextWithTimeout(t, patience)
		defer cancel()
		s, err := n.Client.WaitExited(ctx, id)
		if err != nil {
			return err
		}
		if s.ExitCode != int32(i) {
			return fmt.Errorf("container %d has exit code %d", i, s.ExitCode)
		}
		return nil
	})
	for _, err := range errs {
		t.Error(err)
	}
}

// Each call may win or lose against the others; none may do harm.
func TestCallsThatRace(t *testing.T) {
	n := sharedNode(t)
	image := n.program(t, "top-c")
	for i := range 10 {
		p := n.hostPod(t)
		c := p.create(criclient.ContainerSpec{Image: image})
		calls := []func() error{
			func() error { return n.Client.Start(t.Context(), c.id) },
			func() error { return n.Client.Stop(t.Context(), c.id, 1) },
			func() error { return n.Client.Remove(t.Context(), c.id) },
			func() error {
				_, err := n.Client.StopPodSandbox(t.Context(), &runtime.StopPodSandboxRequest{PodSandboxId: p.id})
				return err
			},
			func() error {
				_, err := n.Client.Container(t.Context(), c.id)
				return err
			},
		}
		for _, err := range inParallel(len(calls), len(calls), func(k int) error { return calls[(k+i)%len(calls)]() }) {
			t.Logf("round %d: %v", i, err)
		}
		must(t, n.Client.RemovePod(t.Context(), p.id))
		_, err := n.Client.Container(t.Context(), c.id)
		wantError(t, "status after all", err)
	}
}
