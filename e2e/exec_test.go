package e2e

import (
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"k8s.io/client-go/tools/remotecommand"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

func TestExecRunsACommandOfTheImage(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	for name, tc := range map[string]struct {
		command        []string
		stdout, stderr string
		code           int32
	}{
		"through PATH":       {[]string{"echo", "-n", "hello"}, "hello", "", 0},
		"absolute path":      {[]string{"/bin/echo", "a", "b c"}, "a b c\n", "", 0},
		"own entrypoint":     {[]string{"/bin/tool", "echo", "again"}, "again\n", "", 0},
		"exit code":          {[]string{"exit", "3"}, "", "", 3},
		"high exit code":     {[]string{"exit", "255"}, "", "", 255},
		"stderr":             {[]string{"stderr", "to", "stderr"}, "", "to stderr\n", 0},
		"stdin is at an end": {[]string{"cat"}, "", "", 0},
		"empty output":       {[]string{"true"}, "", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := n.Client.Exec(t.Context(), c.id, 30, tc.command...)
			must(t, err)
			if string(r.Stdout) != tc.stdout || string(r.Stderr) != tc.stderr || r.ExitCode != tc.code {
				t.Errorf("got stdout %q, stderr %q, exit code %d, want %q, %q, %d", r.Stdout, r.Stderr, r.ExitCode, tc.stdout, tc.stderr, tc.code)
			}
		})
	}
	if s := c.status(); s.State != running {
		t.Errorf("after all execs the container is %v", s.State)
	}
}

func TestExecSharesTheContainersSandbox(t *testing.T) {
	n := sharedNode(t)
	dir := writeFile(t, "in.txt", "mounted\n")
	podConfig := n.podConfig(criclient.PodSpec{})
	podConfig.Hostname = "exec-host"
	p := n.podFrom(t, podConfig, "")
	config := criclient.ContainerSpec{
		Name: "main", Image: n.toolbox(t), WorkingDir: "/data",
		Env:    map[string]string{"FLAVOUR": "rye"},
		Mounts: []*runtime.Mount{{HostPath: dir, ContainerPath: "/mnt/dir"}},
	}.Config()
	config.Linux.SecurityContext.RunAsUser = &runtime.Int64Value{Value: 1042}
	c := p.createFrom(config)
	c.start()
	if got := c.exec("env"); !strings.Contains(got, "FLAVOUR=rye\n") || !strings.Contains(got, "PATH=/usr/bin:/bin\n") {
		t.Errorf("environment is %q", got)
	}
	for want, command := range map[string][]string{
		"/data\n":     {"pwd"},
		"exec-host\n": {"hostname"},
		"1042\n":      {"id", "-u"},
		"2042\n":      {"id", "-g"},
		"mounted\n":   {"cat", "/mnt/dir/in.txt"},
	} {
		if got := c.exec(command...); got != want {
			t.Errorf("exec %q: got %q, want %q", command, got, want)
		}
	}
	c.exec("write", "/data/left", "by one exec")
	if got := c.exec("cat", "left"); got != "by one exec" {
		t.Errorf("the next exec reads %q", got)
	}
}

func TestExecTimeoutEndsTheCommand(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	c.waitLine("up")
	before := len(guestPIDs(t, c.id))
	start := time.Now()
	_, err := n.Client.Exec(t.Context(), c.id, 1, "sleep", "4321")
	wantCode(t, "exec that takes too long", err, codes.DeadlineExceeded)
	if took := time.Since(start); took < time.Second {
		t.Errorf("a timeout of 1 s took %v", took)
	}
	if now := len(guestPIDs(t, c.id)); now != before {
		t.Errorf("when exec returns the container has %d processes, before it had %d", now, before)
	}
	if got := c.exec("echo", "still here"); got != "still here\n" {
		t.Errorf("the next exec gives %q", got)
	}
}

// A client that goes away takes its command with it.
func TestExecEndsWithItsClient(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	c.waitLine("up")
	before := len(guestPIDs(t, c.id))
	ctx, cancel := contextWithTimeout(t, 500*time.Millisecond)
	defer cancel()
	if _, err := n.Client.Exec(ctx, c.id, 0, "sleep", "4321"); err == nil {
		t.Error("a command that sleeps for an hour ended within half a second")
	}
	eventually(t, "the end of the command", func() bool { return len(guestPIDs(t, c.id)) == before })
}

// A command that is killed cannot tell how it ended, and what it printed before is
// there.
func TestExecThatIsKilled(t *testing.T) {
	n := sharedNode(t)
	image := toolboxImage(t)
	image.Layers[0] = append(image.Layers[0], imageFile{Name: "bin/oom", Data: guest(t, "oom-c")})
	spec := criclient.ContainerSpec{Image: n.pull(t, "exec-killed", image.Artifact()), MemoryLimit: 64 << 20}
	signal := func(s syscall.Signal) func(*container, int) {
		return func(c *container, main int) {
			for _, pid := range guestPIDs(t, c.id) {
				if pid != main {
					must(t, syscall.Kill(pid, s))
				}
			}
		}
	}
	for name, tc := range map[string]struct {
		command []string
		end     func(c *container, main int)
		code    int32
		stdout  string
	}{
		"by SIGKILL":             {[]string{"top"}, signal(syscall.SIGKILL), 137, "up\n"},
		"by SIGTERM":             {[]string{"top"}, signal(syscall.SIGTERM), 143, "up\n"},
		"for its memory":         {[]string{"oom"}, func(*container, int) {}, 137, "touched 16 MiB\n"},
		"with its container":     {[]string{"top"}, func(c *container, main int) { must(t, syscall.Kill(main, syscall.SIGKILL)) }, 137, "up\n"},
		"by the container's end": {[]string{"top"}, func(c *container, _ int) { c.stop(5) }, 137, "up\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := n.hostPod(t).run(spec)
			c.waitLine("up")
			main := guestPIDs(t, c.id)[0]
			printed, w := io.Pipe()
			defer printed.Close()
			ended := make(chan error, 1)
			o := remotecommand.StreamOptions{Stdout: w}
			e := executor(t, "SPDY", c.execURL(o, tc.command...))
			go func() {
				ended <- e.StreamWithContext(t.Context(), o)
				w.Close()
			}()
			expect(t, printed, tc.stdout)
			go io.Copy(io.Discard, printed)
			tc.end(c, main)
			if code := exitCode(t, <-ended); code != int(tc.code) {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
		})
	}
}

func TestExecOfAMissingCommand(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	for _, command := range []string{"no-such-command", "/bin/no-such-command", "/etc/passwd", "/bin"} {
		_, err := n.Client.Exec(t.Context(), c.id, 5, command)
		wantError(t, "exec "+command, err, command)
	}
	_, err := n.Client.Exec(t.Context(), c.id, 5)
	wantCode(t, "exec of nothing", err, codes.InvalidArgument)
}

func TestExecNeedsARunningContainer(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).create(criclient.ContainerSpec{Image: n.toolbox(t)})
	_, err := n.Client.Exec(t.Context(), c.id, 5, "true")
	wantCode(t, "exec before start", err, codes.FailedPrecondition)
	c.start()
	c.stop(5)
	_, err = n.Client.Exec(t.Context(), c.id, 5, "true")
	wantCode(t, "exec after exit", err, codes.FailedPrecondition)
}

func TestExecOfAnArtifactRunsItsModule(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.program(t, "ticker-c"), Args: []string{"1000"}})
	r, err := n.Client.Exec(t.Context(), c.id, 30, "/app.wasm", "1", "3", "9")
	must(t, err)
	if string(r.Stdout) != "tick 0\ntick 1\ntick 2\n" || r.ExitCode != 9 {
		t.Errorf("got stdout %q, exit code %d", r.Stdout, r.ExitCode)
	}
}

func TestExecTrapHasTheExitCodeOfATrap(t *testing.T) {
	n := sharedNode(t)
	image := toolboxImage(t)
	image.Layers = append(image.Layers, trapLayer(t))
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.pull(t, "exec-trap", image.Artifact())})
	r, err := n.Client.Exec(t.Context(), c.id, 30, "trap", "div0")
	must(t, err)
	if r.ExitCode != 134 || !strings.Contains(string(r.Stderr), "divide_by_zero") {
		t.Errorf("exit code %d, stderr %q, want 134 and the function divide_by_zero", r.ExitCode, r.Stderr)
	}
	if s := c.status(); s.State != running {
		t.Errorf("after the trap of an exec the container is %v", s.State)
	}
}

// trapLayer puts the trap guest into PATH.
func trapLayer(t *testing.T) []images.File {
	t.Helper()
	return []images.File{{Name: "bin/trap", Data: guest(t, "trap-c")}}
}

func TestExecGivesAllOfALongOutput(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	out := c.exec("yes", "50000")
	if lines := strings.Count(out, "\n"); lines != 50000 || !strings.HasSuffix(out, "line 49999\n") {
		t.Errorf("got %d lines that end with %q", lines, out[max(0, len(out)-20):])
	}
}

func TestManyExecsAtOnce(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	codes := make(chan int32, 16)
	for i := range 16 {
		go func() {
			r, err := n.Client.Exec(t.Context(), c.id, 60, "exit", []string{"10", "11", "12", "13"}[i%4])
			if err != nil {
				codes <- -1
				return
			}
			codes <- r.ExitCode
		}()
	}
	count := map[int32]int{}
	for range 16 {
		count[<-codes]++
	}
	for _, code := range []int32{10, 11, 12, 13} {
		if count[code] != 4 {
			t.Errorf("exit codes are %v, want 10 to 13 four times each", count)
		}
	}
}
