package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
)

// The main thread keeps the network namespace of the process: no test, some of
// which enter others, runs on it.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if !isolate.Inside() {
		if err := buildGuests(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(isolate.Run(func() int {
		code := m.Run()
		sharedMu.Lock()
		defer sharedMu.Unlock()
		if shared != nil {
			shared.close()
		}
		return code
	}))
}

// repository is the top of the source tree.
func repository() string {
	dir, err := filepath.Abs("..")
	if err != nil {
		panic(err)
	}
	return dir
}

// serverBinary is the server to test: that of make build, or the one in the
// directory that E2E_BIN names.
func serverBinary() string {
	dir := os.Getenv("E2E_BIN")
	if dir == "" {
		dir = filepath.Join(repository(), "bin")
	}
	return filepath.Join(dir, "cri-wasmer")
}

func guestDir() string { return filepath.Join(repository(), "build", "guests") }

// buildGuests brings the guests up to date; that takes a moment only when they
// are.
func buildGuests() error {
	cmd := exec.Command("make", "-s", "-C", "guests", "all", "OUT="+guestDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build guests: %w\n%s", err, out)
	}
	return nil
}

// guest gives the module of a guest of e2e/guests, such as hello-go.
func guest(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(guestDir(), name+".wasm"))
	if err != nil {
		t.Fatalf("no guest %s: %v", name, err)
	}
	return data
}

// requireServer skips a test that cannot have a server, and says why.
func requireServer(t testing.TB) string {
	t.Helper()
	if !isolate.Inside() {
		t.Skip("needs root: pods are namespaces, mounts and control groups")
	}
	binary := serverBinary()
	for _, file := range []string{binary, binary + "-worker"} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("needs %s: make build", strings.TrimPrefix(file, repository()+"/"))
		}
	}
	return binary
}

var (
	sharedMu sync.Mutex
	shared   *node
)

// sharedNode is the node of all tests that leave it as they found it. Its pods
// have addresses of both families, in subnets other than the default, which the
// bridges of tests' own nodes have.
func sharedNode(t testing.TB) *node {
	t.Helper()
	requireServer(t)
	sharedMu.Lock()
	defer sharedMu.Unlock()
	if shared == nil {
		n, err := startNode(t, nodeOptions{flags: map[string]string{"cni-subnets": "10.89.0.0/16,fd00:89::/64"}})
		if err != nil {
			t.Fatal(err)
		}
		shared = n
	}
	shared.watch(t)
	return shared
}

// ownNode is a node for this test alone.
func ownNode(t testing.TB, o nodeOptions) *node {
	t.Helper()
	requireServer(t)
	n, err := startNode(t, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	n.watch(t)
	return n
}
