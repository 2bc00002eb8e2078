package isolate

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func TestMain(m *testing.M) { os.Exit(Run(m.Run)) }

func TestNamespacesAreOwnAndOrphansAreReaped(t *testing.T) {
	if !Inside() {
		t.Skip("needs root to make namespaces")
	}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(links) != 1 || links[0].Name != "lo" || links[0].Flags&net.FlagUp == 0 {
		t.Errorf("links are %+v, want loopback alone, up", links)
	}
	if os.Getpid() > 20 {
		t.Errorf("pid is %d, want a small one", os.Getpid())
	}
	out, err := exec.Command("sh", "-c", "sleep 0.2 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	proc := filepath.Join("/proc", string(out[:len(out)-1]))
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(proc); os.IsNotExist(err) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the orphan %s is still there", proc)
		}
	}
}

func TestGroupNamesThisRun(t *testing.T) {
	if !Inside() {
		t.Skip("needs root to make namespaces")
	}
	roots, err := CgroupRoots()
	if err != nil || len(roots) == 0 {
		t.Fatalf("cgroup hierarchies: %q, %v", roots, err)
	}
	dir := filepath.Join(roots[0], Group(), "left", "behind")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := removeTree(filepath.Join(roots[0], Group())); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(roots[0], Group())); !os.IsNotExist(err) {
		t.Errorf("the group is still there: %v", err)
	}
}
