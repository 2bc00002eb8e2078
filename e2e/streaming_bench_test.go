package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/tools/remotecommand"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

func BenchmarkExecStream(b *testing.B) {
	n := sharedNode(b)
	c := n.hostPod(b).run(criclient.ContainerSpec{Image: n.toolbox(b)})
	for transport := range transports {
		b.Run(transport, func(b *testing.B) {
			measure(b, func() time.Duration {
				start := time.Now()
				must(b, c.stream(b.Context(), transport, remotecommand.StreamOptions{Stdout: io.Discard, Stderr: io.Discard}, "true"))
				return time.Since(start)
			})
		})
	}
}

const flowed = 4 << 20 // bytes in one iteration of a throughput

// BenchmarkExecOutput takes the output of a command that prints without end.
func BenchmarkExecOutput(b *testing.B) {
	n := sharedNode(b)
	c := n.hostPod(b).run(criclient.ContainerSpec{Image: n.toolbox(b)})
	for transport := range transports {
		b.Run(transport, func(b *testing.B) {
			ctx, leave := context.WithCancel(b.Context())
			defer leave()
			r, w := io.Pipe()
			in, _ := io.Pipe() // a command with stdin ends with its client
			ended := make(chan error, 1)
			go func() {
				ended <- c.stream(ctx, transport, remotecommand.StreamOptions{Stdin: in, Stdout: w}, "cat", "/dev/zero")
			}()
			flow(b, n, r)
			leave()
			r.Close()
			<-ended
		})
	}
}

func BenchmarkPortForward(b *testing.B) {
	n := sharedNode(b)
	p := n.hostPod(b)
	block := make([]byte, 1<<16)
	port := serveIn(b, "", "127.0.0.1:0", func(c *net.TCPConn) {
		defer c.Close()
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	})
	for transport := range forwarders {
		b.Run(transport, func(b *testing.B) {
			conn, err := net.Dial("tcp", p.forward(b, transport, port))
			must(b, err)
			defer conn.Close()
			flow(b, n, conn)
		})
	}
}

// flow reads from r and reports how fast, and what memory the server has then.
func flow(b *testing.B, n *node, r io.Reader) {
	b.SetBytes(flowed)
	for b.Loop() {
		_, err := io.CopyN(io.Discard, r, flowed)
		must(b, err)
	}
	b.ReportMetric(float64(int(statusKiB(b, n.PID(), "VmRSS")))/1024, "server-MiB")
}

// Many sessions at once, each with a client that waits: none is lost, and what
// they cost is given back.
func TestTwoHundredExecSessions(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	before, files := int(statusKiB(t, n.PID(), "VmRSS")), openFiles(t, n)
	const sessions = 200
	var clients [sessions]*client
	var all sync.WaitGroup
	for i := range clients {
		clients[i] = talk(t, "SPDY", i%2 == 0, func(o remotecommand.StreamOptions) string { return c.execURL(o, "cat") })
	}
	for _, s := range clients {
		s.say("ping\n")
	}
	for i, s := range clients {
		all.Go(func() {
			b := make([]byte, len("ping"))
			if _, err := io.ReadFull(s.out, b); err != nil || string(b) != "ping" {
				t.Errorf("session %d: got %q, %v", i, b, err)
			}
		})
	}
	all.Wait()
	during := int(statusKiB(t, n.PID(), "VmRSS"))
	for _, s := range clients {
		must(t, s.stdin.Close())
	}
	for i, s := range clients {
		if err := s.end(); err != nil {
			t.Errorf("session %d: %v", i, err)
		}
	}
	t.Logf("server: %d KiB before, %d KiB with %d sessions: %.0f KiB each", before, during, sessions, float64(during-before)/sessions)
	if each := (during - before) / sessions; each > 1024 { // most of it are the compressors of SPDY
		t.Errorf("a session costs the server %d KiB", each)
	}
	eventually(t, "the end of all commands", func() bool { return len(guestPIDs(t, c.id)) == 1 })
	eventually(t, "that the server closes all files", func() bool { return openFiles(t, n) <= files+8 })
}

func openFiles(t testing.TB, n *node) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.PID()))
	must(t, err)
	return len(entries)
}

// A client that stops reading makes its command wait; the server keeps nothing
// but what is in its buffers.
func TestExecClientThatStopsReading(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	s := talk(t, "SPDY", false, func(o remotecommand.StreamOptions) string { return c.execURL(o, "cat", "/dev/zero") })
	s.expect(strings.Repeat("\x00", 100))
	before := int(statusKiB(t, n.PID(), "VmRSS"))
	time.Sleep(2 * time.Second)
	if grown := int(statusKiB(t, n.PID(), "VmRSS")) - before; grown > 16<<10 {
		t.Errorf("in two seconds the server has grown by %d KiB", grown)
	}
	if got := c.exec("echo", "served"); got != "served\n" {
		t.Errorf("meanwhile another command gives %q", got)
	}
	s.leave()
	s.end()
	eventually(t, "the end of the command", func() bool { return len(guestPIDs(t, c.id)) == 1 })
}
