package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
)

// TracesConfig says where traces go.
type TracesConfig struct {
	Endpoint string // URL of an OTLP collector over HTTP
	// PerMillion of the requests that come without a trace begin one; those
	// that belong to one follow its decision.
	PerMillion int
	Version    string
	Logger     *slog.Logger
}

// Traces sends spans of requests to a collector. Safe for concurrent use.
type Traces struct{ provider *trace.TracerProvider }

// flushTimeout bounds how long the end of the daemon waits for a collector.
const flushTimeout = 3 * time.Second

// StartTraces begins to send. A collector that does not answer loses spans and
// is told of in the log, nothing more.
func StartTraces(ctx context.Context, c TracesConfig) (*Traces, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("option tracing.endpoint: %w", err)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces" // as the protocol has it
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, fmt.Errorf("send traces to %s (option tracing.endpoint): %w", c.Endpoint, err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { c.Logger.Warn("traces are lost", "error", err) }))
	provider := trace.NewTracerProvider(
		trace.WithBatcher(exporter),
		trace.WithSampler(trace.ParentBased(trace.TraceIDRatioBased(float64(c.PerMillion)/1e6))),
		trace.WithResource(resource.NewSchemaless(attribute.String("service.name", "cri-wasmer"), attribute.String("service.version", c.Version))),
	)
	return &Traces{provider}, nil
}

// ServerOptions trace the requests of a gRPC server.
func (t *Traces) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(t.provider), otelgrpc.WithPropagators(propagation.TraceContext{}),
	))}
}

// Close sends what is left, if the collector takes it in time.
func (t *Traces) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	return t.provider.Shutdown(ctx)
}
