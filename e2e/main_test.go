package e2e

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/built"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
)

// The main thread keeps the network namespace of the process: no test, some of
// which enter others, runs on it.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if !isolate.Inside() {
		if err := built.MakeGuests(); err != nil {
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

// guest gives the module of a guest of e2e/guests, such as hello-go.
func guest(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(built.Guest(name))
	if err != nil {
		t.Fatalf("no guest %s: %v", name, err)
	}
	return data
}

// requireServer skips a test that cannot have a server, and says why.
func requireServer(t testing.TB) string {
	t.Helper()
	if why := built.Missing(); why != "" {
		t.Skip(why)
	}
	return built.Server()
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
	t.Cleanup(func() {
		if t.Failed() {
			n.revive()
		}
		n.close()
	})
	n.watch(t)
	return n
}
