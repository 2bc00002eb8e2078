package telemetry

import (
	"context"
	"path"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

const namespace = "cri_wasmer"

// Build describes the program.
type Build struct {
	Version, Commit, Go string
}

// Metrics counts and times. Its methods never block. Safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	requests *prometheus.CounterVec
	requestT *prometheus.HistogramVec
	inFlight prometheus.Gauge

	starts  *prometheus.CounterVec
	startT  prometheus.Histogram
	exits   *prometheus.CounterVec
	execs   *prometheus.CounterVec
	execT   prometheus.Histogram
	workers *prometheus.CounterVec

	pulls    *prometheus.CounterVec
	pullT    prometheus.Histogram
	compiles *prometheus.CounterVec
	compileT *prometheus.HistogramVec
	lookups  *prometheus.CounterVec

	networks *prometheus.CounterVec
	networkT *prometheus.HistogramVec
}

// Buckets from what a start takes to what a compilation takes.
var (
	quick = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	slow  = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}
)

// NewMetrics makes the metrics, with those of the Go runtime and the process.
func NewMetrics(b Build) *Metrics {
	m := &Metrics{
		requests: counters("requests_total", "Requests of the CRI that have ended, by method and gRPC code.", "method", "code"),
		requestT: histograms("request_duration_seconds", "How long requests took, streams left out.", quick, "method"),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: "requests_in_flight", Help: "Requests under way, streams included."}),

		starts:  counters("container_starts_total", "Starts of containers, by result: ok or error.", "result"),
		startT:  histogram("container_start_duration_seconds", "How long it took until a guest ran.", quick),
		exits:   counters("container_exits_total", "Ends of containers, by reason.", "reason"),
		execs:   counters("execs_total", "Commands run in containers, by result: ok when it ran to its end, timeout, or error.", "result"),
		execT:   histogram("exec_duration_seconds", "How long commands ran.", quick),
		workers: counters("worker_starts_total", "Starts of workers, by way: zygote, or scratch.", "way"),

		pulls:    counters("image_pulls_total", "Pulls of images, by result: ok, or the kind of error.", "result"),
		pullT:    histogram("image_pull_duration_seconds", "How long pulls took, compilation included.", slow),
		compiles: counters("compilations_total", "Compilations of modules, by compiler and result: ok or error.", "compiler", "result"),
		compileT: histograms("compilation_duration_seconds", "How long compilations took.", slow, "compiler"),
		lookups:  counters("code_lookups_total", "Lookups of compiled code, by the compiler of what was found, or none.", "compiler"),

		networks: counters("network_operations_total", "Connections of pods to their network, by operation (setup, teardown) and result: ok or error.", "operation", "result"),
		networkT: histograms("network_operation_duration_seconds", "How long that took, CNI plugins included.", quick, "operation"),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the labels say which program this is.",
		ConstLabels: prometheus.Labels{"version": b.Version, "commit": b.Commit, "goversion": b.Go},
	})
	build.Set(1)
	m.registry = prometheus.NewRegistry()
	m.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build,
		m.requests, m.requestT, m.inFlight, m.starts, m.startT, m.exits, m.execs, m.execT, m.workers,
		m.pulls, m.pullT, m.compiles, m.compileT, m.lookups, m.networks, m.networkT,
	)
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
}

// Results.
const (
	resultOK    = "ok"
	resultError = "error"
)

func resultOf(err error) string {
	if err != nil {
		return resultError
	}
	return resultOK
}

// ServerOptions count and time the requests of a gRPC server.
func (m *Metrics) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
			begin := time.Now()
			m.inFlight.Inc()
			defer func() {
				m.inFlight.Dec()
				m.requestT.WithLabelValues(path.Base(info.FullMethod)).Observe(time.Since(begin).Seconds())
				m.requestEnded(info.FullMethod, err)
			}()
			return next(ctx, req)
		}),
		grpc.ChainStreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
			m.inFlight.Inc()
			defer func() {
				m.inFlight.Dec()
				m.requestEnded(info.FullMethod, err)
			}()
			return next(srv, stream)
		}),
	}
}

func (m *Metrics) requestEnded(method string, err error) {
	m.requests.WithLabelValues(path.Base(method), status.Code(err).String()).Inc()
}

// ContainerStarted tells of a start, or why there was none.
func (m *Metrics) ContainerStarted(took time.Duration, err error) {
	m.starts.WithLabelValues(resultOf(err)).Inc()
	if err == nil {
		m.startT.Observe(took.Seconds())
	}
}

// ContainerExited tells of the end of a container.
func (m *Metrics) ContainerExited(reason string) { m.exits.WithLabelValues(reason).Inc() }

// ExecEnded tells of a command; result is ok, timeout or error.
func (m *Metrics) ExecEnded(took time.Duration, result string) {
	m.execs.WithLabelValues(result).Inc()
	if result == resultOK {
		m.execT.Observe(took.Seconds())
	}
}

// WorkerStarted tells how a worker came to be: zygote or scratch.
func (m *Metrics) WorkerStarted(way string) { m.workers.WithLabelValues(way).Inc() }

// ImagePulled tells of a pull; result is ok or the kind of error.
func (m *Metrics) ImagePulled(took time.Duration, result string) {
	m.pulls.WithLabelValues(result).Inc()
	if result == resultOK {
		m.pullT.Observe(took.Seconds())
	}
}

// Compiled tells of a compilation.
func (m *Metrics) Compiled(compiler string, took time.Duration, err error) {
	m.compiles.WithLabelValues(compiler, resultOf(err)).Inc()
	if err == nil {
		m.compileT.WithLabelValues(compiler).Observe(took.Seconds())
	}
}

// CodeLookedUp tells by which compiler the code was that was found; empty: none.
func (m *Metrics) CodeLookedUp(compiler string) {
	if compiler == "" {
		compiler = "none"
	}
	m.lookups.WithLabelValues(compiler).Inc()
}

// NetworkOperation tells of a setup or teardown.
func (m *Metrics) NetworkOperation(operation string, took time.Duration, err error) {
	m.networks.WithLabelValues(operation, resultOf(err)).Inc()
	m.networkT.WithLabelValues(operation).Observe(took.Seconds())
}

// State is what there is when metrics are scraped.
type State struct {
	Pods, Containers map[string]int // by phase
	Zygotes          int
	Images           int
	PulledBytes      int64 // since the daemon began
	Subscribers      int   // of events
}

// WatchState has read called at every scrape.
func (m *Metrics) WatchState(read func(context.Context) State) {
	m.registry.MustRegister(stateCollector{read})
}

type stateCollector struct{ read func(context.Context) State }

var (
	podsDesc        = gaugeDesc("pods", "Pods, by phase.", "phase")
	containersDesc  = gaugeDesc("containers", "Containers, by phase.", "phase")
	zygotesDesc     = gaugeDesc("zygotes", "Modules that are kept loaded for quick starts.")
	imagesDesc      = gaugeDesc("images", "Images in the store.")
	pulledDesc      = gaugeDesc("image_pull_bytes_total", "Bytes of layers and configurations read from registries.")
	subscribersDesc = gaugeDesc("event_subscribers", "Clients that listen to events.")
)

func gaugeDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

// Describe implements prometheus.Collector.
func (stateCollector) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{podsDesc, containersDesc, zygotesDesc, imagesDesc, pulledDesc, subscribersDesc} {
		c <- d
	}
}

// scrapeTimeout bounds what a scrape reads.
const scrapeTimeout = 5 * time.Second

// Collect implements prometheus.Collector.
func (s stateCollector) Collect(c chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	state := s.read(ctx)
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	for phase, n := range state.Pods {
		gauge(podsDesc, n, phase)
	}
	for phase, n := range state.Containers {
		gauge(containersDesc, n, phase)
	}
	gauge(zygotesDesc, state.Zygotes)
	gauge(imagesDesc, state.Images)
	c <- prometheus.MustNewConstMetric(pulledDesc, prometheus.CounterValue, float64(state.PulledBytes))
	gauge(subscribersDesc, state.Subscribers)
}
