package leak

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(isolate.Run(m.Run)) }

// Each kind of thing is made, must be seen, is taken away and must be gone.
func TestEachKindIsSeenAndGone(t *testing.T) {
	if !isolate.Inside() {
		t.Skip("needs root to make namespaces")
	}
	dir := t.TempDir()
	roots, err := isolate.CgroupRoots()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(roots[0], isolate.Group()), 0o755); err != nil {
		t.Fatal(err)
	}
	scope := Scope{Daemon: os.Getpid(), Dirs: []string{dir}}
	for _, tc := range []struct {
		want string
		make func(t *testing.T) (undo func() error)
	}{
		{"process sleep", func(t *testing.T) func() error {
			cmd := exec.Command("sleep", "60")
			must(t, cmd.Start())
			return func() error { defer cmd.Wait(); return cmd.Process.Kill() }
		}},
		{"mount " + dir, func(t *testing.T) func() error {
			must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
			return func() error { return unix.Unmount(dir, 0) }
		}},
		{"file " + dir + "/left", func(t *testing.T) func() error {
			must(t, os.WriteFile(filepath.Join(dir, "left"), nil, 0o600))
			return func() error { return os.Remove(filepath.Join(dir, "left")) }
		}},
		{"cgroup " + roots[0], func(t *testing.T) func() error {
			group := filepath.Join(roots[0], isolate.Group(), "left")
			must(t, os.Mkdir(group, 0o755))
			return func() error { return os.Remove(group) }
		}},
		{"daemon fd pipe", func(t *testing.T) func() error {
			r, w, err := os.Pipe()
			must(t, err)
			return func() error { _ = r.Close(); return w.Close() }
		}},
		{"link leaky", func(t *testing.T) func() error {
			ip, err := exec.LookPath("ip")
			if err != nil {
				t.Skip("needs the ip command")
			}
			must(t, exec.Command(ip, "link", "add", "leaky", "type", "bridge").Run())
			return func() error { return exec.Command(ip, "link", "del", "leaky").Run() }
		}},
		{"netns", func(t *testing.T) func() error {
			cmd := exec.Command("sleep", "60")
			cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
			must(t, cmd.Start())
			return func() error { defer cmd.Wait(); return cmd.Process.Kill() }
		}},
	} {
		t.Run(strings.Fields(tc.want)[0], func(t *testing.T) {
			before, err := Take(scope)
			must(t, err)
			undo := tc.make(t)
			more, err := Wait(before, scope, 0)
			must(t, err)
			if !strings.Contains(strings.Join(more, "\n"), tc.want) {
				t.Errorf("got %q, want one with %q", more, tc.want)
			}
			must(t, undo())
			more, err = Wait(before, scope, 5*time.Second)
			must(t, err)
			if len(more) > 0 {
				t.Errorf("after the undo there is %q", more)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
