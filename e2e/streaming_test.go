package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

// transports are the ways in which a client can talk to the streaming server.
var transports = map[string]func(*rest.Config, *url.URL) (remotecommand.Executor, error){
	"SPDY": func(c *rest.Config, u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewSPDYExecutor(c, "POST", u)
	},
	"websocket": func(c *rest.Config, u *url.URL) (remotecommand.Executor, error) {
		return remotecommand.NewWebSocketExecutor(c, "GET", u.String())
	},
}

func executor(t testing.TB, transport, rawURL string) remotecommand.Executor {
	t.Helper()
	u, err := url.Parse(rawURL)
	must(t, err)
	e, err := transports[transport](&rest.Config{Host: u.Host}, u)
	must(t, err)
	return e
}

func eachTransport(t *testing.T, test func(t *testing.T, transport string)) {
	for name := range transports {
		t.Run(name, func(t *testing.T) { test(t, name) })
	}
}

// execURL asks for a stream of what the options have.
func (c *container) execURL(o remotecommand.StreamOptions, command ...string) string {
	c.t.Helper()
	r, err := c.pod.node.Client.RuntimeServiceClient.Exec(c.t.Context(), &runtime.ExecRequest{
		ContainerId: c.id, Cmd: command, Tty: o.Tty, Stdin: o.Stdin != nil, Stdout: o.Stdout != nil, Stderr: o.Stderr != nil,
	})
	if err != nil {
		c.t.Fatalf("exec %q: %v", command, err)
	}
	return r.Url
}

func (c *container) stream(ctx context.Context, transport string, o remotecommand.StreamOptions, command ...string) error {
	c.t.Helper()
	return executor(c.t, transport, c.execURL(o, command...)).StreamWithContext(ctx, o)
}

func TestStreamingExec(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	eachTransport(t, func(t *testing.T, transport string) {
		for name, tc := range map[string]struct {
			command               []string
			stdin, stdout, stderr string
			code                  int
		}{
			"output":       {[]string{"echo", "-n", "hello"}, "", "hello", "", 0},
			"stderr":       {[]string{"stderr", "to", "stderr"}, "", "", "to stderr\n", 0},
			"exit code":    {[]string{"exit", "42"}, "", "", "", 42},
			"input":        {[]string{"cat"}, "fed\nto cat", "fed\nto cat", "", 0},
			"unread input": {[]string{"echo", "done"}, strings.Repeat("x", 1<<20), "done\n", "", 0},
			"long input":   {[]string{"cat"}, strings.Repeat("0123456789abcde\n", 1<<17), strings.Repeat("0123456789abcde\n", 1<<17), "", 0},
		} {
			t.Run(name, func(t *testing.T) {
				var stdout, stderr bytes.Buffer
				o := remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}
				if tc.stdin != "" {
					o.Stdin = strings.NewReader(tc.stdin)
				}
				err := c.stream(t.Context(), transport, o, tc.command...)
				if code := exitCode(t, err); code != tc.code || stdout.String() != tc.stdout || stderr.String() != tc.stderr {
					t.Errorf("got stdout %q, stderr %q, exit code %d, want %q, %q, %d", short(stdout.String()), stderr.String(), code, short(tc.stdout), tc.stderr, tc.code)
				}
			})
		}
	})
}

// exitCode is the exit code that a stream ended with.
func exitCode(t *testing.T, err error) int {
	t.Helper()
	var status utilexec.CodeExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return status.Code
	}
	t.Fatalf("stream: %v", err)
	return -1
}

func short(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

func TestStreamingExecOfAMissingCommand(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	err := c.stream(t.Context(), "SPDY", remotecommand.StreamOptions{Stdout: io.Discard}, "no-such-command")
	if err == nil || !strings.Contains(err.Error(), "no-such-command") {
		t.Errorf("got %v, want an error that names the command", err)
	}
}

// A client that goes away takes the command with it that it talked to.
func TestStreamingExecEndsWithItsClient(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	c.waitLine("up")
	before := len(guestPIDs(t, c.id))
	for name, o := range map[string]remotecommand.StreamOptions{
		"with stdin":    {Stdout: io.Discard},
		"with terminal": {Stdout: io.Discard, Tty: true},
	} {
		t.Run(name, func(t *testing.T) {
			r, w := io.Pipe()
			defer w.Close()
			o.Stdin = r
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- c.stream(ctx, "SPDY", o, "sleep", "4321") }()
			eventually(t, "the command", func() bool { return len(guestPIDs(t, c.id)) == before+1 })
			cancel()
			<-ended
			eventually(t, "the end of the command", func() bool { return len(guestPIDs(t, c.id)) == before })
		})
	}
}

// A job that nobody talks to goes on without its client.
func TestStreamingExecWithoutStdinOutlivesItsClient(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	c.waitLine("up")
	before := len(guestPIDs(t, c.id))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- c.stream(ctx, "SPDY", remotecommand.StreamOptions{Stdout: io.Discard}, "sleep", "2")
	}()
	eventually(t, "the command", func() bool { return len(guestPIDs(t, c.id)) == before+1 })
	cancel()
	<-ended
	time.Sleep(300 * time.Millisecond)
	if now := len(guestPIDs(t, c.id)); now != before+1 {
		t.Errorf("%d processes after the client has gone, want %d", now, before+1)
	}
	eventually(t, "the end of the command by itself", func() bool { return len(guestPIDs(t, c.id)) == before })
}

func TestStreamingExecEndsWithItsContainer(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	c.waitLine("up")
	ended := make(chan error, 1)
	r, w := io.Pipe()
	go func() { ended <- c.stream(t.Context(), "SPDY", remotecommand.StreamOptions{Stdout: w}, "top") }()
	expect(t, r, "up\n")
	c.stop(0)
	select {
	case err := <-ended:
		if code := exitCode(t, err); code != 137 {
			t.Errorf("exit code %d, want 137", code)
		}
	case <-time.After(patience):
		t.Error("the stream outlives its container")
	}
}

// expect reads from r until want has come.
func expect(t *testing.T, r io.Reader, want string) {
	t.Helper()
	got := make(chan error, 1)
	var (
		mu   sync.Mutex
		seen []byte
	)
	go func() {
		b := make([]byte, 4096)
		for found := false; !found; {
			n, err := r.Read(b)
			mu.Lock()
			seen = append(seen, b[:n]...)
			found = bytes.Contains(seen, []byte(want))
			mu.Unlock()
			if err != nil && !found {
				got <- fmt.Errorf("%q has not come, but %q: %w", want, short(string(seen)), err)
				return
			}
		}
		got <- nil
	}()
	select {
	case err := <-got:
		must(t, err)
	case <-time.After(patience):
		mu.Lock()
		defer mu.Unlock()
		t.Fatalf("%q does not come, but %q", want, seen[max(0, len(seen)-200):])
	}
}

func TestStreamingTokensWorkOnce(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	o := remotecommand.StreamOptions{Stdout: io.Discard}
	u := c.execURL(o, "true")
	must(t, executor(t, "SPDY", u).StreamWithContext(t.Context(), o))
	if err := executor(t, "SPDY", u).StreamWithContext(t.Context(), o); err == nil {
		t.Error("a token was good for a second time")
	}
	if err := executor(t, "SPDY", u[:strings.LastIndex(u, "/")]+"/AAAA").StreamWithContext(t.Context(), o); err == nil {
		t.Error("a token that nobody gave was good")
	}
}

func TestStreamingRequestsAreChecked(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	idle := n.hostPod(t).create(criclient.ContainerSpec{Image: n.toolbox(t)})
	for name, tc := range map[string]struct {
		request *runtime.ExecRequest
		code    codes.Code
	}{
		"terminal and stderr":   {&runtime.ExecRequest{ContainerId: c.id, Cmd: []string{"true"}, Tty: true, Stdout: true, Stderr: true}, codes.InvalidArgument},
		"no stream":             {&runtime.ExecRequest{ContainerId: c.id, Cmd: []string{"true"}}, codes.InvalidArgument},
		"no command":            {&runtime.ExecRequest{ContainerId: c.id, Stdout: true}, codes.InvalidArgument},
		"unknown container":     {&runtime.ExecRequest{ContainerId: "unknown", Cmd: []string{"true"}, Stdout: true}, codes.NotFound},
		"container not started": {&runtime.ExecRequest{ContainerId: idle.id, Cmd: []string{"true"}, Stdout: true}, codes.FailedPrecondition},
	} {
		_, err := n.Client.RuntimeServiceClient.Exec(t.Context(), tc.request)
		wantCode(t, name, err, tc.code)
	}
}

// What a command prints beyond the size of a message is read and dropped.
func TestExecSyncCutsAVeryLongOutput(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	r, err := n.Client.Exec(t.Context(), c.id, 60, "yes", "2500000")
	must(t, err)
	if n := len(r.Stdout); n < 15<<20 || n > 16<<20 || r.ExitCode != 0 || !bytes.HasPrefix(r.Stdout, []byte("line 0\n")) {
		t.Errorf("%d bytes, exit code %d, want the first 16 MiB and 0", n, r.ExitCode)
	}
}

func TestManyStreamsAtOnce(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			var out bytes.Buffer
			text := strings.Repeat("abc", 10000)
			err := c.stream(t.Context(), "SPDY", remotecommand.StreamOptions{Stdin: strings.NewReader(text), Stdout: &out}, "cat")
			if err != nil || out.String() != text {
				t.Errorf("got %d bytes, %v, want %d", out.Len(), err, len(text))
			}
		})
	}
	all.Wait()
}
