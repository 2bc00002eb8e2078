package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/crilog"
)

// maxEntry is how much text one entry of a log may have.
const maxEntry = 16 << 10

func TestLogHasEveryLineOfBothStreams(t *testing.T) {
	n := sharedNode(t)
	before := time.Now()
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.program(t, "partial-c")})
	c.wantExit(c.wait(), 0, "Completed")
	want := []string{"in three pieces", strings.Repeat("b", 40000), "", "stdout without newline"}
	if got := c.lines("stdout"); !slices.Equal(got, want) {
		t.Errorf("stdout has lines %.60q, want %.60q", got, want)
	}
	if got, want := c.lines("stderr"), []string{"to stderr", "stderr without newline"}; !slices.Equal(got, want) {
		t.Errorf("stderr has lines %q, want %q", got, want)
	}
	last := before.Add(-time.Second)
	partial := 0
	for _, e := range c.entries() {
		if len(e.Text) > maxEntry {
			t.Errorf("an entry has %d bytes of text, more than %d", len(e.Text), maxEntry)
		}
		if e.Time.Before(last) || e.Time.After(time.Now().Add(time.Second)) {
			t.Errorf("entry at %v follows one at %v", e.Time, last)
		}
		last = e.Time
		if e.Partial() && strings.HasPrefix(e.Text, "bbb") {
			partial++
		}
	}
	if partial < 2 {
		t.Errorf("a line of 40000 bytes has %d partial entries, want at least 2", partial)
	}
}

// Whoever sees EXITED sees the whole log: no retry here.
func TestExitedMeansThatTheLogIsComplete(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	image := n.program(t, "bigoutput-c")
	for range 5 {
		c := p.run(criclient.ContainerSpec{Image: image, Args: []string{"4", "1024"}})
		c.wantExit(c.wait(), 0, "Completed")
		lines := c.lines("stdout")
		if len(lines) != 4096 {
			t.Fatalf("the log has %d lines, want 4096", len(lines))
		}
		for i, line := range lines {
			if want := fmt.Sprintf("%014d ", i); len(line) != 1023 || !strings.HasPrefix(line, want) {
				t.Fatalf("line %d is %.40q of %d bytes", i, line, len(line))
			}
		}
	}
}

func TestReopenMovesTheLogToANewFile(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.program(t, "ticker-c"), Args: []string{"10", "100"}})
	path := c.logPath()
	var rotated []string
	for i := range 3 {
		eventually(t, "some ticks", func() bool { return len(c.lines("stdout")) > 3 })
		old := fmt.Sprintf("%s.%d", path, i)
		must(t, os.Rename(path, old))
		_, err := n.Client.ReopenContainerLog(t.Context(), &runtime.ReopenContainerLogRequest{ContainerId: c.id})
		must(t, err)
		if _, err := os.Stat(path); err != nil {
			t.Errorf("after reopen: %v", err)
		}
		size := fileSize(t, old)
		time.Sleep(50 * time.Millisecond)
		if now := fileSize(t, old); now != size {
			t.Errorf("the old log grew from %d to %d bytes after reopen", size, now)
		}
		rotated = append(rotated, old)
	}
	c.wantExit(c.wait(), 0, "Completed")
	var ticks []string
	for _, file := range append(rotated, path) {
		entries, err := crilog.ReadFile(file)
		must(t, err)
		ticks = append(ticks, crilog.Lines(entries, "stdout")...)
	}
	wantTicks(t, ticks, 100)
}

// wantTicks checks that no tick is missing or there twice. With count 0, any
// number of them will do.
func wantTicks(t *testing.T, ticks []string, count int) {
	t.Helper()
	for i, tick := range ticks {
		if want := fmt.Sprintf("tick %d", i); tick != want {
			t.Fatalf("line %d of the ticker is %q, want %q", i, tick, want)
		}
	}
	if count > 0 && len(ticks) != count {
		t.Errorf("got %d ticks, want %d", len(ticks), count)
	}
}

func TestReopenNeedsARunningContainer(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).create(criclient.ContainerSpec{Image: n.program(t, "exit-c")})
	reopen := func() error {
		_, err := n.Client.ReopenContainerLog(t.Context(), &runtime.ReopenContainerLogRequest{ContainerId: c.id})
		return err
	}
	wantCode(t, "reopen before start", reopen(), codes.FailedPrecondition)
	c.start()
	c.wait()
	wantCode(t, "reopen after exit", reopen(), codes.FailedPrecondition)
}

// A pod that has the host's /var/log can put anything in the place of a log.
func TestLogsAreRegularFiles(t *testing.T) {
	n := sharedNode(t)
	other := filepath.Join(t.TempDir(), "other")
	must(t, os.WriteFile(other, []byte("of the host"), 0o600))
	for name, put := range map[string]func(path string) error{
		"a pipe": func(path string) error { return unix.Mkfifo(path, 0o644) },
		"a link": func(path string) error { return os.Symlink(other, path) },
		"a pipe that is read": func(path string) error {
			if err := unix.Mkfifo(path, 0o644); err != nil {
				return err
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err == nil {
				t.Cleanup(func() { _ = f.Close() })
			}
			return err
		},
		"a directory": func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		p := n.hostPod(t)
		ctx, cancel := contextWithTimeout(t, patience)
		defer cancel()
		c := p.create(criclient.ContainerSpec{Image: n.program(t, "ticker-c"), Args: []string{"5"}})
		must(t, os.MkdirAll(filepath.Dir(c.logPath()), 0o755))
		must(t, put(c.logPath()))
		wantError(t, "start with "+name+" for a log", n.Client.Start(ctx, c.id), c.logPath())

		c = p.run(criclient.ContainerSpec{Name: "rotated", Image: n.program(t, "ticker-c"), Args: []string{"5"}})
		must(t, os.Rename(c.logPath(), c.logPath()+".1"))
		must(t, put(c.logPath()))
		_, err := n.Client.ReopenContainerLog(ctx, &runtime.ReopenContainerLogRequest{ContainerId: c.id})
		wantError(t, "reopen with "+name+" for a log", err, c.logPath())
		must(t, n.Client.RemovePod(ctx, p.id))
	}
	if data, err := os.ReadFile(other); string(data) != "of the host" {
		t.Errorf("the file behind the link has %q, %v", data, err)
	}
}

func TestContainerWithoutLogPathRuns(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.program(t, "bigoutput-c"), Args: []string{"1"}, NoLog: true})
	c.wantExit(c.wait(), 0, "Completed")
	if got := c.logPath(); got != "" {
		t.Errorf("log path is %q, want none", got)
	}
}

func TestLogIsThereWhenStartReturns(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.program(t, "top-c")})
	if _, err := os.Stat(c.logPath()); err != nil {
		t.Errorf("right after start: %v", err)
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	return info.Size()
}
