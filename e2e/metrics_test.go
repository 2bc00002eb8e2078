package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

// metered starts a node whose metrics can be scraped.
func metered(t testing.TB) (*node, *scraper) {
	t.Helper()
	requireServer(t)
	dir, err := os.MkdirTemp("/tmp", "cm") // short, for the socket
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &scraper{socket: filepath.Join(dir, "m.sock")}
	return ownNode(t, nodeOptions{flags: map[string]string{"metrics-address": "unix://" + s.socket, "metrics-pprof": "true"}}), s
}

// scraper reads the metrics of a server.
type scraper struct{ socket string }

func (s *scraper) get(path string) (*http.Response, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
	}}}
	return client.Get("http://daemon" + path)
}

// values gives each series, labels in its name, with its value.
func (s *scraper) values(t testing.TB) map[string]float64 {
	t.Helper()
	r, err := s.get("/metrics")
	must(t, err)
	defer r.Body.Close()
	values := map[string]float64{}
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		i := strings.LastIndexByte(lines.Text(), ' ')
		v, err := strconv.ParseFloat(lines.Text()[i+1:], 64)
		must(t, err)
		values[lines.Text()[:i]] = v
	}
	must(t, lines.Err())
	return values
}

func TestMetricsOfTheDaemon(t *testing.T) {
	n, s := metered(t)
	if r, err := s.get("/readyz"); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("ready: %v, %v", r, err)
	}
	if _, err := n.Client.Pull(t.Context(), n.ref("nobody:v1")); err == nil {
		t.Error("an image that is not there was pulled")
	}
	p := n.pod(t, criclient.PodSpec{})
	top := p.create(criclient.ContainerSpec{Image: n.toolbox(t), Args: []string{"top"}})
	top.start()
	top.exec("true")
	exit := p.create(criclient.ContainerSpec{Image: n.program(t, "exit-c"), Args: []string{"3"}})
	exit.start()
	exit.wait()
	got := s.values(t)
	for series, want := range map[string]float64{
		`pods{phase="ready"}`: 1, `containers{phase="running"}`: 1, `containers{phase="exited"}`: 1, `container_starts_total{result="ok"}`: 2,
		`execs_total{result="ok"}`: 1, `exec_duration_seconds_count`: 1, `image_pulls_total{result="ok"}`: 2, `image_pulls_total{result="not_found"}`: 1,
		`images`: 2, `compilations_total{compiler="cranelift",result="ok"}`: 2, `network_operations_total{operation="setup",result="ok"}`: 1,
		`requests_total{code="OK",method="RunPodSandbox"}`: 1, `request_duration_seconds_count{method="RunPodSandbox"}`: 1,
		`requests_total{code="NotFound",method="PullImage"}`: 1, `container_exits_total{reason="Error"}`: 1, `requests_in_flight`: 0,
	} {
		if v, ok := got["cri_wasmer_"+series]; !ok || v != want {
			t.Errorf("%s is %v (there: %t), want %v", series, v, ok, want)
		}
	}
	for _, series := range []string{`image_pull_bytes_total`, `zygotes`, `worker_starts_total{way="zygote"}`, `code_lookups_total{compiler="cranelift"}`} {
		if got["cri_wasmer_"+series] == 0 {
			t.Errorf("%s is 0 or not there", series)
		}
	}
}

// settled waits until a server has no more goroutines than before.
func (s *scraper) settled(t testing.TB, before map[string]float64) error {
	t.Helper()
	const series = "go_goroutines"
	var now float64
	for range 200 {
		if now = s.values(t)[series]; now <= before[series] {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the server had %v goroutines and has %v", before[series], now)
}
