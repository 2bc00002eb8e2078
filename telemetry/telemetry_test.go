package telemetry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

func serveFor(t *testing.T, c ServerConfig) (*Server, *http.Client) {
	t.Helper()
	if c.Metrics == nil {
		c.Metrics = NewMetrics(Build{Version: "1.2.3"})
	}
	c.Logger = slog.New(slog.DiscardHandler)
	s, err := Serve(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, s.listener.Addr().Network(), s.Addr())
	}
	return s, &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

func get(t *testing.T, c *http.Client, path string) (int, string) {
	t.Helper()
	r, err := c.Get("http://daemon" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

func TestServer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "m.sock")
	if err := os.WriteFile(socket, nil, 0o644); err != nil { // of a daemon that was killed
		t.Fatal(err)
	}
	for _, address := range []string{":0", unixScheme + socket} {
		t.Run(address[:1], func(t *testing.T) {
			s, client := serveFor(t, ServerConfig{Address: address})
			if a, ok := s.listener.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
				t.Errorf("%q listens on %s, want loopback", address, a)
			}
			if code, body := get(t, client, "/healthz"); code != 200 || body != "ok\n" {
				t.Errorf("health: %d %q", code, body)
			}
			if code, body := get(t, client, "/readyz"); code != 503 || body != "starting\n" {
				t.Errorf("ready at first: %d %q", code, body)
			}
			s.Ready("")
			if code, body := get(t, client, "/readyz"); code != 200 {
				t.Errorf("ready at last: %d %q", code, body)
			}
			if code, body := get(t, client, "/metrics"); code != 200 || !strings.Contains(body, `cri_wasmer_build_info{commit="",goversion="",version="1.2.3"} 1`) {
				t.Errorf("metrics: %d %s", code, body)
			}
			if code, _ := get(t, client, "/debug/pprof/goroutine"); code != 404 {
				t.Errorf("profiles without being asked for: %d", code)
			}
		})
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestProfiles(t *testing.T) {
	_, client := serveFor(t, ServerConfig{Address: ":0", Pprof: true})
	if code, body := get(t, client, "/debug/pprof/goroutine?debug=1"); code != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("%d %s", code, body)
	}
}

func TestAddressInUse(t *testing.T) {
	s, _ := serveFor(t, ServerConfig{Address: "127.0.0.1:0"})
	_, err := Serve(ServerConfig{Address: s.Addr(), Metrics: NewMetrics(Build{}), Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "metrics.address") {
		t.Errorf("got %v, want the option's name", err)
	}
}

func TestMetricsCount(t *testing.T) {
	m := NewMetrics(Build{})
	m.ContainerStarted(time.Millisecond, nil)
	m.ContainerStarted(time.Millisecond, errors.New("no"))
	m.ContainerExited("OOMKilled")
	m.ExecEnded(time.Second, "timeout")
	m.WorkerStarted("zygote")
	m.ImagePulled(time.Second, "unauthorized")
	m.Compiled("cranelift", time.Second, nil)
	m.CodeLookedUp("")
	m.NetworkOperation("setup", time.Second, nil)
	m.WatchState(func(context.Context) State {
		return State{Pods: map[string]int{"ready": 2}, Containers: map[string]int{"running": 3}, Zygotes: 4, Images: 5, PulledBytes: 6, Subscribers: 7}
	})
	_, client := serveFor(t, ServerConfig{Address: ":0", Metrics: m})
	_, body := get(t, client, "/metrics")
	for _, want := range []string{
		`container_starts_total{result="ok"} 1`, `container_starts_total{result="error"} 1`, `container_start_duration_seconds_count 1`,
		`container_exits_total{reason="OOMKilled"} 1`, `execs_total{result="timeout"} 1`, `exec_duration_seconds_count 0`,
		`worker_starts_total{way="zygote"} 1`, `image_pulls_total{result="unauthorized"} 1`,
		`compilations_total{compiler="cranelift",result="ok"} 1`, `code_lookups_total{compiler="none"} 1`,
		`network_operations_total{operation="setup",result="ok"} 1`, `pods{phase="ready"} 2`, `containers{phase="running"} 3`,
		`zygotes 4`, `images 5`, `image_pull_bytes_total 6`, `event_subscribers 7`,
	} {
		if !strings.Contains(body, "\n"+namespace+"_"+want+"\n") {
			t.Errorf("no %s in:\n%s", want, body)
		}
	}
}

// callUnknown makes a request that no service of a server with options answers.
func callUnknown(t *testing.T, options []grpc.ServerOption) {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	answer := grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return status.Error(codes.NotFound, "nothing") })
	server := grpc.NewServer(append(options, answer)...)
	go server.Serve(l)
	defer server.GracefulStop()
	conn, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/pkg.Service/Method")
	if err == nil {
		err = stream.RecvMsg(nil)
	}
	if status.Code(err) != codes.NotFound {
		t.Fatal(err)
	}
}

func TestRequestsAreCounted(t *testing.T) {
	m := NewMetrics(Build{})
	callUnknown(t, m.ServerOptions())
	_, client := serveFor(t, ServerConfig{Address: ":0", Metrics: m})
	if _, body := get(t, client, "/metrics"); !strings.Contains(body, `cri_wasmer_requests_total{code="NotFound",method="Method"} 1`) ||
		!strings.Contains(body, "\ncri_wasmer_requests_in_flight 0\n") {
		t.Errorf("got:\n%s", body)
	}
}

func TestTracesReachTheCollector(t *testing.T) {
	var got []string // of the one request that Close waits for
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.URL.Path+" "+string(body))
	}))
	traces, err := StartTraces(t.Context(), TracesConfig{Endpoint: collector.URL, PerMillion: 1e6, Version: "1.2.3", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	callUnknown(t, traces.ServerOptions())
	if err := traces.Close(); err != nil {
		t.Fatal(err)
	}
	collector.Close()
	if len(got) != 1 || !strings.HasPrefix(got[0], "/v1/traces ") || !strings.Contains(got[0], "pkg.Service/Method") || !strings.Contains(got[0], "cri-wasmer") {
		t.Errorf("the collector got %q", got)
	}
}

// The page lists the metrics that there are, and no others.
func TestTheDocumentationHasEveryMetric(t *testing.T) {
	m := NewMetrics(Build{})
	m.WatchState(func(context.Context) State { return State{} })
	descs := make(chan *prometheus.Desc)
	go func() {
		m.registry.Describe(descs)
		close(descs)
	}()
	var have []string
	name := regexp.MustCompile(`fqName: "(\w+)"`)
	for d := range descs {
		if n := name.FindStringSubmatch(d.String())[1]; strings.HasPrefix(n, namespace) {
			have = append(have, n)
		}
	}
	docs, err := os.ReadFile("../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, match := range regexp.MustCompile("(?m)^\\| `(cri_wasmer_\\w+)").FindAllStringSubmatch(string(docs), -1) {
		listed = append(listed, match[1])
	}
	slices.Sort(have)
	slices.Sort(listed)
	if !slices.Equal(have, listed) {
		t.Errorf("docs/observability.md lists\n%q\nthere are\n%q", listed, have)
	}
}
