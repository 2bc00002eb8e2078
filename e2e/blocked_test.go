package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

// A guest that waits in a call ends by the stop signal all the same: the grace
// would end it with 137.
func TestAWaitingGuestStopsAtOnce(t *testing.T) {
	n := sharedNode(t)
	image := n.program(t, "blocked-c")
	for _, kind := range []string{
		"sleep", "poll", "stdin", "fifo-open", "fifo-read", "fifo-write", "accept", "recv", "connect", "getaddrinfo",
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			config := n.podConfig(criclient.PodSpec{})
			config.Annotations = map[string]string{"listen.cri-wasmer.dev/" + kind: "tcp://127.0.0.1:7 backlog=1, udp://127.0.0.1:53"}
			config.DnsConfig = &runtime.DNSConfig{Servers: []string{"127.0.0.1"}, Options: []string{"timeout:30", "attempts:5"}}
			p := n.podFrom(t, config, "")
			fifo := t.TempDir()
			must(t, unix.Mkfifo(filepath.Join(fifo, "f"), 0o666))
			container := criclient.ContainerSpec{
				Name: kind, Image: image, Args: []string{kind}, Mounts: []*runtime.Mount{{HostPath: fifo, ContainerPath: "/fifo"}},
			}.Config()
			container.Stdin = kind == "stdin"
			c := p.createFrom(container)
			c.start()
			c.waitLine("waiting")
			eventually(t, "the guest to wait in its call", func() bool { return asleep(t, c) })
			s, _ := c.stop(int64(patience.Seconds()))
			c.wantExit(s, 143, "Error")
		})
	}
}

// asleep says that the thread of the guest, which is the first of its process,
// waits in the kernel.
func asleep(t *testing.T, c *container) bool {
	t.Helper()
	pids := guestPIDs(t, c.id)
	if len(pids) == 0 {
		t.Fatalf("the container has no process; log: %q", c.tryLines())
	}
	for range 5 { // whoever works is seen at it sooner or later
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", pids[0], pids[0]))
		must(t, err)
		if _, rest, _ := strings.Cut(string(b), ") "); !strings.HasPrefix(rest, "S") {
			return false
		}
	}
	return true
}
