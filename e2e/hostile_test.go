package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

// neighbour is a guest in a pod of its own that must go on answering.
type neighbour struct {
	t       testing.TB
	url     string
	client  *http.Client
	answers atomic.Int64
}

// newNeighbour starts it, and a client that asks it until the test ends.
func newNeighbour(t *testing.T, n *node) *neighbour {
	t.Helper()
	p := n.pod(t, criclient.PodSpec{})
	p.serve("net2-c")
	nb := &neighbour{t: t, url: "http://" + net.JoinHostPort(podIP(t, n, p), "8080/"), client: &http.Client{Timeout: patience}}
	var done sync.WaitGroup
	stop := make(chan struct{})
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			if err := nb.ask(); err != nil {
				t.Errorf("the neighbour does not answer: %v", err)
				return
			}
			nb.answers.Add(1)
		}
	})
	t.Cleanup(func() {
		close(stop)
		done.Wait()
		nb.client.CloseIdleConnections()
	})
	return nb
}

func (nb *neighbour) ask() error {
	r, err := nb.client.Get(nb.url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err == nil && string(body) != "hello / from c\n" {
		err = fmt.Errorf("it says %q", body)
	}
	return err
}

// wantAnswers waits for more answers: they come while others misbehave.
func (nb *neighbour) wantAnswers(more int64) {
	nb.t.Helper()
	from := nb.answers.Load()
	eventually(nb.t, "answers of the neighbour", func() bool { return nb.answers.Load() >= from+more || nb.t.Failed() })
}

func TestHostileGuestsHarmNobodyElse(t *testing.T) {
	n := sharedNode(t)
	nb := newNeighbour(t, n)
	p := n.hostPod(t)
	with := images.Program(guest(t, "hostile-c"))
	with.Layers[0] = append(with.Layers[0], imageFile{Name: "tmp/", Type: typeDirectory, Mode: 0o1777})
	image := n.pull(t, "hostile", with.Artifact())

	t.Run("ends by itself", func(t *testing.T) {
		for name, tc := range map[string]struct {
			args   []string
			limit  int64 // of memory
			code   int32
			reason string
			output string // in what it writes, or in the message
		}{
			"recursion that calls the host": {args: []string{"deep"}, code: 134, reason: "Trap", output: "stack"},
			"all memory, touched":           {args: []string{"grow"}, limit: 64 << 20, code: 137, reason: "OOMKilled", output: "begun"},
			"all memory, reserved":          {args: []string{"reserve"}, limit: 64 << 20, reason: "Completed", output: " pages"},
			"100,000 files":                 {args: []string{"files", "100000"}, reason: "Completed", output: "errno 33"},
			"100,000 sockets":               {args: []string{"sockets", "100000"}, reason: "Completed", output: "errno 33"},
			"absurd sizes":                  {args: []string{"sizes"}, reason: "Completed", output: "30 refused"},
			"a flood of lines":              {args: []string{"lines", "200000"}, reason: "Completed", output: "begun"},
		} {
			t.Run(name, func(t *testing.T) {
				c := p.run(criclient.ContainerSpec{Image: image, Args: tc.args, MemoryLimit: tc.limit})
				nb.wantAnswers(5)
				s := c.wait()
				c.wantExit(s, tc.code, tc.reason)
				if out := strings.Join(append(c.lines(""), s.Message), "\n"); !strings.Contains(out, tc.output) {
					t.Errorf("it wrote %q and left the message %q, want %q", c.lines(""), s.Message, tc.output)
				}
				nb.wantAnswers(5)
			})
		}
	})
	t.Run("is ended", func(t *testing.T) {
		for name, tc := range map[string]struct {
			image string
			args  []string
		}{
			"an endless loop":             {image: n.program(t, "spin-c")},
			"a flood of calls":            {image: image, args: []string{"calls"}},
			"a flood of opens and closes": {image: image, args: []string{"opens"}},
		} {
			t.Run(name, func(t *testing.T) {
				c := p.run(criclient.ContainerSpec{Image: tc.image, Args: tc.args})
				eventually(t, "its first line", func() bool { return len(c.lines("stdout")) > 0 })
				nb.wantAnswers(20)
				s, _ := c.stop(20)
				c.wantExit(s, 143, "Error")
				nb.wantAnswers(5)
			})
			t.Run(name+", without grace", func(t *testing.T) {
				c := p.run(criclient.ContainerSpec{Image: tc.image, Args: tc.args})
				eventually(t, "its first line", func() bool { return len(c.lines("stdout")) > 0 })
				s, _ := c.stop(0)
				c.wantExit(s, 137, "Error")
			})
		}
	})
	t.Run("pids", func(t *testing.T) { // a guest cannot make any
		c := p.run(criclient.ContainerSpec{Image: image, Args: []string{"calls"}})
		eventually(t, "its first line", func() bool { return len(c.lines("stdout")) > 0 })
		if pids := guestPIDs(t, c.id); len(pids) != 1 {
			t.Errorf("it has processes %d, want one", pids)
		}
		c.stop(0)
	})
	if r, err := n.Client.Status(t.Context(), &runtime.StatusRequest{}); err != nil || !r.Status.Conditions[0].Status {
		t.Errorf("the server's status is %v, %v", r, err)
	}
	nb.wantAnswers(5)
}
