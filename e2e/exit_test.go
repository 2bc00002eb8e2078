package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/wasmmod"
)

func TestStopSignalEndsAGuest(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	interrupted := images.Program(guest(t, "top-c"))
	interrupted.StopSignal = "SIGINT"
	for name, tc := range map[string]struct {
		image  string
		signal runtime.Signal
		code   int32
	}{
		"C":                        {image: n.program(t, "top-c"), code: 128 + 15},
		"Go":                       {image: n.toolbox(t), code: 128 + 15},
		"busy loop":                {image: n.program(t, "spin-c"), code: 128 + 15},
		"signal of the image":      {image: n.pull(t, "stop-signal", interrupted.Artifact()), code: 128 + 2},
		"signal of the container":  {image: n.program(t, "top-c"), signal: runtime.Signal_SIGNAL_SIGUSR1, code: 128 + 10},
		"container before image":   {image: n.pull(t, "stop-signal", interrupted.Artifact()), signal: runtime.Signal_SIGNAL_SIGQUIT, code: 128 + 3},
		"kill as the first signal": {image: n.program(t, "top-c"), signal: runtime.Signal_SIGNAL_SIGKILL, code: 128 + 9},
	} {
		t.Run(name, func(t *testing.T) {
			config := criclient.ContainerSpec{Name: n.unique("c"), Image: tc.image}.Config()
			config.StopSignal = tc.signal
			c := p.createFrom(config)
			c.start()
			eventually(t, "its first line", func() bool { return len(c.lines("stdout")) > 0 })
			s, _ := c.stop(3600) // the code tells which signal ended it
			c.wantExit(s, tc.code, "Error")
		})
	}
}

func TestStopWithoutGraceKills(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.program(t, "top-c")})
	c.waitLine("up")
	s, _ := c.stop(0)
	c.wantExit(s, 137, "Error")
}

func TestKilledProcessIsSeenAtOnce(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.program(t, "top-c")})
	c.waitLine("up")
	killGuest(t, c)
	c.wantExit(c.wait(), 137, "Error")
}

// killGuest sends SIGKILL to the process whose cgroup is that of the container.
func killGuest(t *testing.T, c *container) {
	t.Helper()
	pids := guestPIDs(t, c.id)
	if len(pids) == 0 {
		t.Fatal("the container has no process")
	}
	for _, pid := range pids {
		must(t, syscall.Kill(pid, syscall.SIGKILL))
	}
}

// guestPIDs are the processes in control groups named after the container.
func guestPIDs(t testing.TB, id string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	must(t, err)
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		groups, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cgroup"))
		if err == nil && strings.Contains(string(groups), id) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestTrapHasItsReasonAndTheFunctions(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	cracked := n.pull(t, "cracked", images.Program(wasmmod.TrapAfter("before the trap\n")).Artifact())
	for name, tc := range map[string]struct {
		image string
		args  []string
		parts []string // of the message, any case
	}{
		"unreachable":   {n.program(t, "trap-c"), []string{"unreachable"}, []string{"unreachable", "hit_unreachable", "turn_wheel", "open_valve"}},
		"division":      {n.program(t, "trap-c"), []string{"div0"}, []string{"divi", "divide_by_zero", "turn_wheel"}},
		"out of bounds": {n.program(t, "trap-c"), []string{"oob"}, []string{"out of bounds", "read_out_of_bounds", "turn_wheel"}},
		"null call":     {n.program(t, "trap-c"), []string{"nullcall"}, []string{"call", "call_null", "turn_wheel"}},
		"recursion":     {n.program(t, "trap-c"), []string{"recursion"}, []string{"stack", "recurse_for_ever"}},
		"abort":         {n.program(t, "trap-c"), []string{"abort"}, []string{"unreachable", "abort", "turn_wheel"}},
		"rust panic":    {n.program(t, "panic-rust"), nil, []string{"unreachable", "deliver_parcel"}},
		"hand made":     {cracked, nil, []string{"unreachable", "crack", "squeeze"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := p.run(criclient.ContainerSpec{Image: tc.image, Args: tc.args})
			s := c.wait()
			c.wantExit(s, 134, "Trap")
			log := strings.ToLower(strings.Join(c.lines("stderr"), "\n"))
			for _, part := range tc.parts {
				if !strings.Contains(strings.ToLower(s.Message), part) {
					t.Errorf("the message %q lacks %q", s.Message, part)
				}
				if !strings.Contains(log, part) {
					t.Errorf("the log on stderr %q lacks %q", log, part)
				}
			}
			if out := c.lines("stdout"); len(out) == 0 {
				t.Error("what the guest wrote before the trap is not in the log")
			}
		})
	}
}

func TestMemoryLimitKills(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.program(t, "oom-c"), MemoryLimit: 64 << 20})
	c.wantExit(c.wait(), 137, "OOMKilled")
	if out := strings.Join(c.lines("stdout"), "\n"); !strings.Contains(out, "touched 16 MiB") || strings.Contains(out, "touched 96 MiB") {
		t.Errorf("with a limit of 64 MiB the guest wrote %q", out)
	}
}

// TestStartWithoutMemory: what is too little to start at all is not the program's.
func TestStartWithoutMemory(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	limited := func(bytes int64) containerConfig {
		config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.program(t, "hello-c"), MemoryLimit: bytes}.Config()
		config.Linux.Resources.MemorySwapLimitInBytes = bytes
		return config
	}
	c := p.createFrom(limited(256 << 10))
	err := n.Client.Start(t.Context(), c.id)
	wantCode(t, "start with 256 KiB", err, codes.FailedPrecondition, "memory limit of 262144 bytes")
	s := c.status()
	c.wantExit(s, 128, "StartError")
	if !strings.Contains(s.Message, "raise its memory limit") {
		t.Errorf("status says %q", s.Message)
	}
	_, err = n.Client.Create(t.Context(), p.id, p.config, limited(64<<10))
	wantCode(t, "create with 64 KiB", err, codes.InvalidArgument, "128 KiB of memory", "limit of 64 KiB")
}

// TestOutOfMemoryBesideAKill: with systemd the group of a container is gone when
// it is asked which of the two it was.
func TestOutOfMemoryBesideAKill(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	before, after := p.run(criclient.ContainerSpec{Image: n.program(t, "top-c")}), p.run(criclient.ContainerSpec{Image: n.program(t, "top-c")})
	before.waitLine("up")
	after.waitLine("up")
	killGuest(t, before)
	before.wantExit(before.wait(), 137, "Error")
	for range 2 {
		c := p.run(criclient.ContainerSpec{Image: n.program(t, "oom-c"), MemoryLimit: 64 << 20})
		c.wantExit(c.wait(), 137, "OOMKilled")
	}
	killGuest(t, after)
	after.wantExit(after.wait(), 137, "Error")
}

func TestMemoryBelowTheLimitIsFine(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.program(t, "memhog-c"), Args: []string{"24"}, MemoryLimit: 64 << 20})
	c.waitLine("holding 24 MiB")
	s, _ := c.stop(10)
	c.wantExit(s, 143, "Error")
}

func TestCPULimitSlowsASpinningGuest(t *testing.T) {
	n := sharedNode(t)
	config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.program(t, "spin-c")}.Config()
	config.Linux.Resources.CpuPeriod, config.Linux.Resources.CpuQuota = 100_000, 20_000
	c := n.hostPod(t).createFrom(config)
	c.start()
	c.waitLine("spinning")
	before := guestCPU(t, c.id)
	time.Sleep(2 * time.Second)
	used := guestCPU(t, c.id) - before
	if used < 100*time.Millisecond || used > 800*time.Millisecond {
		t.Errorf("with a fifth of a CPU the guest used %v in 2 s, want about 400 ms", used)
	}
}

// guestCPU is the processor time that the processes of a container have used.
func guestCPU(t *testing.T, id string) time.Duration {
	t.Helper()
	pids := guestPIDs(t, id)
	if len(pids) == 0 {
		t.Fatal("the container has no process")
	}
	var sum time.Duration
	for _, pid := range pids {
		sum += processCPU(t, pid)
	}
	return sum
}

// processCPU is the processor time of one process, user and system.
func processCPU(t testing.TB, pid int) time.Duration {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	must(t, err)
	_, after, _ := strings.Cut(string(data), ") ")
	var ticks int64
	for _, field := range strings.Fields(after)[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		must(t, err)
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100
}
