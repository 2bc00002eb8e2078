package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/crilog"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

// Short names for the long ones of the interface.
type (
	podConfig       = *runtime.PodSandboxConfig
	containerConfig = *runtime.ContainerConfig
	containerFilter = runtime.ContainerFilter
	imageFile       = images.File
)

const (
	created = runtime.ContainerState_CONTAINER_CREATED
	running = runtime.ContainerState_CONTAINER_RUNNING
	exited  = runtime.ContainerState_CONTAINER_EXITED
)

// container is a container of a test. It goes with its pod.
type container struct {
	t   testing.TB
	pod *pod
	id  string
}

// create makes a container from the short form; a name is given when it lacks
// one.
func (p *pod) create(spec criclient.ContainerSpec) *container {
	p.t.Helper()
	if spec.Name == "" {
		spec.Name = p.node.unique("c")
	}
	return p.createFrom(spec.Config())
}

func (p *pod) createFrom(config containerConfig) *container {
	p.t.Helper()
	id, err := p.node.Client.Create(p.t.Context(), p.id, p.config, config)
	if err != nil {
		p.t.Fatalf("create container of %s: %v", config.Image.Image, err)
	}
	return &container{t: p.t, pod: p, id: id}
}

// run creates and starts a container.
func (p *pod) run(spec criclient.ContainerSpec) *container {
	p.t.Helper()
	c := p.create(spec)
	c.start()
	return c
}

func (c *container) start() {
	c.t.Helper()
	if err := c.pod.node.Client.Start(c.t.Context(), c.id); err != nil {
		c.t.Fatalf("start container: %v", err)
	}
}

func (c *container) status() *runtime.ContainerStatus {
	c.t.Helper()
	s, err := c.pod.node.Client.Container(c.t.Context(), c.id)
	if err != nil {
		c.t.Fatalf("status of container: %v", err)
	}
	return s
}

// wait waits until the container has exited.
func (c *container) wait() *runtime.ContainerStatus {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	s, err := c.pod.node.Client.WaitExited(ctx, c.id)
	if err != nil {
		c.t.Fatalf("wait for the exit: %v\nlog: %q", err, c.tryLines())
	}
	return s
}

// stop stops the container and gives its status and the time it took.
func (c *container) stop(grace int64) (*runtime.ContainerStatus, time.Duration) {
	c.t.Helper()
	start := time.Now()
	if err := c.pod.node.Client.Stop(c.t.Context(), c.id, grace); err != nil {
		c.t.Fatalf("stop container: %v", err)
	}
	took := time.Since(start)
	s := c.status()
	if s.State != exited {
		c.t.Errorf("after stop the container is %v", s.State)
	}
	return s, took
}

// logPath is where the log must be, by what was asked for.
func (c *container) logPath() string { return c.status().LogPath }

// entries is the log as it is now.
func (c *container) entries() []crilog.Entry {
	c.t.Helper()
	entries, err := crilog.ReadFile(c.logPath())
	if err != nil {
		c.t.Fatal(err)
	}
	return entries
}

// lines are the lines of one stream of the log as it is now; "" is both.
func (c *container) lines(stream string) []string {
	c.t.Helper()
	return crilog.Lines(c.entries(), stream)
}

// tryLines is for error texts.
func (c *container) tryLines() []string {
	s, err := c.pod.node.Client.Container(context.Background(), c.id)
	if err != nil {
		return []string{err.Error()}
	}
	entries, err := crilog.ReadFile(s.LogPath)
	if err != nil {
		return []string{err.Error()}
	}
	return crilog.Lines(entries, "")
}

// waitLine waits until the log has a line.
func (c *container) waitLine(want string) {
	c.t.Helper()
	eventually(c.t, "log line "+want, func() bool { return slices.Contains(c.lines("stdout"), want) })
}

// wantExit checks how the container ended.
func (c *container) wantExit(s *runtime.ContainerStatus, code int32, reason string) {
	c.t.Helper()
	if s.State != exited || s.ExitCode != code || s.Reason != reason {
		c.t.Errorf("container is %v with exit code %d, reason %q (%s), want exit code %d, reason %q\nlog: %q",
			s.State, s.ExitCode, s.Reason, s.Message, code, reason, c.tryLines())
	}
}

// exec runs a command that must succeed and gives its stdout.
func (c *container) exec(command ...string) string {
	c.t.Helper()
	r, err := c.pod.node.Client.Exec(c.t.Context(), c.id, 30, command...)
	if err != nil {
		c.t.Fatalf("exec %q: %v", command, err)
	}
	if r.ExitCode != 0 {
		c.t.Fatalf("exec %q: exit code %d, stdout %q, stderr %q", command, r.ExitCode, r.Stdout, r.Stderr)
	}
	return string(r.Stdout)
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// wantCode checks the gRPC code of an error and that its text has all parts.
func wantCode(t testing.TB, what string, err error, code codes.Code, parts ...string) {
	t.Helper()
	if got := status.Code(err); got != code {
		t.Errorf("%s: got code %v (%v), want %v", what, got, err, code)
	}
	wantParts(t, what, err, parts...)
}

// wantError checks that there is an error whose text has all parts.
func wantError(t testing.TB, what string, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: got no error, want one with %q", what, parts)
		return
	}
	wantParts(t, what, err, parts...)
}

func wantParts(t testing.TB, what string, err error, parts ...string) {
	t.Helper()
	if err == nil {
		return
	}
	for _, part := range parts {
		if !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(part)) {
			t.Errorf("%s: error %q does not say %q", what, err, part)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writeFile makes a file below a fresh directory and gives the directory.
func writeFile(t testing.TB, name, content string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777))
	must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666))
	return dir
}

func contextWithTimeout(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}
