package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/crilog"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/daemon"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
)

// ends are the two ways in which a server goes: as told, and without warning.
var ends = map[string]func(*daemon.Daemon) error{
	"SIGTERM": (*daemon.Daemon).Stop,
	"SIGKILL": (*daemon.Daemon).Kill,
}

func TestContainersOutliveTheServer(t *testing.T) {
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			n := ownNode(t, nodeOptions{})
			p := n.pod(t, criclient.PodSpec{})
			ip := podIP(t, n, p)
			ticker := n.program(t, "ticker-c")
			goesOn := p.run(criclient.ContainerSpec{Name: "goes-on", Image: ticker, Args: []string{"5"}})
			neverStarted := p.create(criclient.ContainerSpec{Name: "never-started", Image: ticker, Args: []string{"1", "3", "0"}})
			endedBefore := p.run(criclient.ContainerSpec{Name: "ended-before", Image: n.program(t, "exit-c"), Args: []string{"9"}})
			endedBefore.wait()
			endsMeanwhile := p.run(criclient.ContainerSpec{Name: "ends-meanwhile", Image: ticker, Args: []string{"20", "40", "5"}})
			goMeanwhile := p.run(criclient.ContainerSpec{Name: "go-meanwhile", Image: n.toolbox(t), Args: []string{"sleep", "0.5"}})
			stoppedPod := n.hostPod(t)
			_, err := n.Client.StopPodSandbox(t.Context(), &runtime.StopPodSandboxRequest{PodSandboxId: stoppedPod.id})
			must(t, err)
			goesOn.waitLine("tick 3")
			endsMeanwhile.waitLine("tick 3")

			must(t, end(n.Daemon))
			pids := guestPIDs(t, goesOn.id)
			if len(pids) == 0 {
				t.Fatal("the guest ended with the server")
			}
			time.Sleep(1500 * time.Millisecond)
			must(t, n.Start(t.Context()))

			if s, err := n.Client.Pod(t.Context(), p.id); err != nil || s.State != runtime.PodSandboxState_SANDBOX_READY || s.GetNetwork().GetIp() != ip {
				t.Errorf("the pod is %v, %v, want ready with ip %s", s, err, ip)
			}
			if s, err := n.Client.Pod(t.Context(), stoppedPod.id); err != nil || s.State != runtime.PodSandboxState_SANDBOX_NOTREADY {
				t.Errorf("the stopped pod is %v, %v", s, err)
			}
			if s := goesOn.status(); s.State != running || !slices.Equal(guestPIDs(t, goesOn.id), pids) {
				t.Errorf("goes-on is %v", s)
			}
			if s := neverStarted.status(); s.State != created {
				t.Errorf("never-started is %v", s)
			}
			endedBefore.wantExit(endedBefore.status(), 9, "Error")
			s := endsMeanwhile.status()
			endsMeanwhile.wantExit(s, 5, "Error")
			if at := time.Unix(0, s.FinishedAt); time.Since(at) < 100*time.Millisecond || s.FinishedAt < s.StartedAt {
				t.Errorf("ends-meanwhile finished at %v, which is when the server came back", at)
			}
			wantTicks(t, endsMeanwhile.lines("stdout"), 40)
			goMeanwhile.wantExit(goMeanwhile.status(), 0, "Completed")

			wantAdopted(t, goesOn)
			neverStarted.start()
			neverStarted.wantExit(neverStarted.wait(), 0, "Completed")
			wantTicks(t, neverStarted.lines("stdout"), 3)
		})
	}
}

// wantAdopted checks that the server can do with a ticker that it found running
// what it can do with one that it started, and that no tick was lost.
func wantAdopted(t *testing.T, c *container) {
	t.Helper()
	n := c.pod.node
	r, err := n.Client.Exec(t.Context(), c.id, 20, "/app.wasm", "1", "1", "4")
	must(t, err)
	if r.ExitCode != 4 {
		t.Errorf("exec in an adopted container has exit code %d, want 4", r.ExitCode)
	}
	path := c.logPath()
	must(t, os.Rename(path, path+".1"))
	_, err = n.Client.ReopenContainerLog(t.Context(), &runtime.ReopenContainerLogRequest{ContainerId: c.id})
	must(t, err)
	eventually(t, "ticks in the new log", func() bool { return len(c.lines("stdout")) > 2 })
	s, _ := c.stop(10)
	c.wantExit(s, 143, "Error")
	wantTicks(t, append(linesOf(t, path+".1"), linesOf(t, path)...), 0)
}

func TestTruthAboutDeathsWhileTheServerWasDown(t *testing.T) {
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			n := ownNode(t, nodeOptions{})
			p := n.hostPod(t)
			killed := p.run(criclient.ContainerSpec{Image: n.program(t, "top-c")})
			out := p.run(criclient.ContainerSpec{Image: n.program(t, "memhog-c"), Args: []string{"8"}, MemoryLimit: 64 << 20})
			killed.waitLine("up")
			out.waitLine("holding 8 MiB")
			oom := p.create(criclient.ContainerSpec{Image: n.program(t, "oom-c"), MemoryLimit: 64 << 20})
			trap := p.create(criclient.ContainerSpec{Image: n.program(t, "trap-c"), Args: []string{"div0"}})
			oom.start()
			trap.start()
			must(t, end(n.Daemon))
			killGuest(t, killed)
			time.Sleep(time.Second)
			must(t, n.Start(t.Context()))
			killed.wantExit(killed.wait(), 137, "Error")
			oom.wantExit(oom.wait(), 137, "OOMKilled")
			s := trap.wait()
			trap.wantExit(s, 134, "Trap")
			if !strings.Contains(s.Message, "divide_by_zero") {
				t.Errorf("the trap's message is %q", s.Message)
			}
			if s := out.status(); s.State != running {
				t.Errorf("the container that nobody touched is %v", s.State)
			}
		})
	}
}

// Whatever a server was doing when it was killed, the next one comes up, and
// every pod it shows can be removed.
func TestKillAtAnyMoment(t *testing.T) {
	n := ownNode(t, nodeOptions{})
	image := n.program(t, "top-c")
	for i := range 12 {
		ctx, cancel := contextWithTimeout(t, patience)
		done := make(chan struct{})
		go func() {
			defer close(done)
			// The server dies under these calls: their errors are expected.
			config := n.podConfig(criclient.PodSpec{HostNetwork: i%2 == 0})
			id, err := n.Client.RunPod(ctx, config, "")
			if err != nil {
				return
			}
			c, err := n.Client.Create(ctx, id, config, criclient.ContainerSpec{Image: image}.Config())
			if err == nil && n.Client.Start(ctx, c) == nil {
				_ = n.Client.RemovePod(ctx, id)
			}
		}()
		time.Sleep(time.Duration(i) * 7 * time.Millisecond)
		must(t, n.Kill())
		<-done
		cancel()
		must(t, n.Start(t.Context()))
		must(t, n.RemoveAllPods(t.Context()))
		if ids := podIDs(t, n, nil); len(ids) != 0 {
			t.Errorf("round %d: pods %q cannot be removed", i, ids)
		}
	}
	wantNoGuests(t)
}

// wantNoGuests checks that no process is left in the control groups of pods.
func wantNoGuests(t *testing.T) {
	t.Helper()
	eventually(t, "the end of all guests", func() bool { return len(guestPIDs(t, isolate.Group()+"/pods")) == 0 })
}

// linesOf are the lines that stdout has in a log file.
func linesOf(t *testing.T, path string) []string {
	t.Helper()
	entries, err := crilog.ReadFile(path)
	must(t, err)
	return crilog.Lines(entries, "stdout")
}

// A server keeps its directories, its socket and its control groups against another
// one.
func TestSecondServerIsRefused(t *testing.T) {
	n := ownNode(t, nodeOptions{})
	other := t.TempDir()
	for _, tc := range []struct {
		name  string
		other map[string]string // flags of the second server that differ
		want  string            // that its error names
	}{
		{"root", map[string]string{"--socket": other + "/cri.sock", "--state": other + "/state"}, n.Root()},
		{"state", map[string]string{"--socket": other + "/cri.sock", "--root": other + "/root"}, n.State()},
		{"socket", map[string]string{"--root": other + "/root", "--state": other + "/state"}, n.Socket()},
		{"control groups", map[string]string{"--root": other + "/root", "--state": other + "/state", "--socket": other + "/cri.sock"}, "control group /"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := n.Command()
			for i, arg := range args {
				if value, ok := tc.other[arg]; ok {
					args[i+1] = value
				}
			}
			ctx, cancel := contextWithTimeout(t, patience)
			defer cancel()
			out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
			if err == nil || ctx.Err() != nil {
				t.Errorf("the second server ended with %v, %v; want it to end at once with an error", err, ctx.Err())
			}
			if !strings.Contains(string(out), tc.want) {
				t.Errorf("the second server says %q, want it to name %s", out, tc.want)
			}
			client, err := criclient.Dial(n.Socket()) // a new connection goes to who has the socket now
			must(t, err)
			defer client.Close()
			if _, err := client.Version(t.Context(), &runtime.VersionRequest{}); err != nil {
				t.Errorf("the first server: %v", err)
			}
		})
	}
}

func TestServerEndsInTimeOnSIGTERM(t *testing.T) {
	n := ownNode(t, nodeOptions{})
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	c.waitLine("up")
	go func() { // a call that lasts longer than the server
		_, _ = n.Client.Exec(t.Context(), c.id, 0, "sleep", "4343")
	}()
	eventually(t, "the command", func() bool { return len(guestPIDs(t, c.id)) > 1 })
	must(t, n.Stop()) // fails when the server goes on
	if _, err := os.Stat(n.Socket()); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	must(t, n.Start(t.Context()))
}

// A record that cannot be read must not keep the others from being served.
func TestDamagedRecordDoesNotStopTheServer(t *testing.T) {
	n := ownNode(t, nodeOptions{})
	good, bad := n.hostPod(t), n.hostPod(t)
	must(t, n.Stop())
	damaged := 0
	for _, dir := range []string{n.Root(), n.State()} {
		for path := range files(t, dir) {
			if strings.Contains(path, bad.id) && strings.HasSuffix(path, ".json") {
				must(t, os.WriteFile(path, []byte("{ not json"), 0o600))
				damaged++
			}
		}
	}
	if damaged == 0 {
		t.Fatal("found no record of the pod to damage")
	}
	must(t, n.Start(t.Context()))
	if _, err := n.Client.Pod(t.Context(), good.id); err != nil {
		t.Errorf("the other pod: %v", err)
	}
	c := good.run(criclient.ContainerSpec{Image: n.program(t, "exit-c")})
	c.wantExit(c.wait(), 0, "Completed")
}

// A pod may go while one of its containers is still made, for a client that gave
// up. Nobody but the container's record can then tell where its control group is.
func TestKilledWhileAContainerOfARemovedPodIsMade(t *testing.T) {
	n := ownNode(t, nodeOptions{})
	image := images.Program(guest(t, "exit-c"))
	image.Layers = append(image.Layers, []images.File{{Name: "slow.wasm", Data: guest(t, "tool-go")}}) // compiled when it is asked for
	ref := n.pull(t, "slow-to-make", image.Artifact())
	p := n.hostPod(t)
	created := make(chan error, 1)
	go func() {
		_, err := n.Client.Create(t.Context(), p.id, p.config, criclient.ContainerSpec{Image: ref, Command: []string{"/slow.wasm"}}.Config())
		created <- err
	}()
	groups := func() []string {
		var found []string
		for _, pattern := range []string{"/sys/fs/cgroup/*", "/sys/fs/cgroup"} {
			list, err := filepath.Glob(filepath.Join(pattern, p.config.Linux.CgroupParent, strings.Repeat("[0-9a-f]", 64)))
			must(t, err)
			found = append(found, list...)
		}
		return found
	}
	eventually(t, "the control group of the container", func() bool { return len(groups()) > 0 })
	must(t, n.Client.RemovePod(t.Context(), p.id))
	must(t, n.Kill())
	if err := <-created; err == nil {
		t.Fatal("the container was made before its pod was removed")
	}
	must(t, n.Start(t.Context()))
	if left := groups(); len(left) > 0 {
		t.Errorf("control groups of a container without a pod are left: %q", left)
	}
}
