package main

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
	"github.com/cri-wasmer/cri-wasmer/internal/version"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
	"github.com/cri-wasmer/cri-wasmer/telemetry"
)

// openTelemetry comes first, so that health can be asked for while the daemon
// starts. Metrics are always counted, which costs next to nothing.
func (d *daemon) openTelemetry(ctx context.Context) (err error) {
	build := version.Get()
	d.metrics = telemetry.NewMetrics(telemetry.Build{Version: build.Version, Commit: build.Commit, Go: build.Go})
	if o := d.options.Metrics; o.Address != "" {
		d.health, err = telemetry.Serve(telemetry.ServerConfig{Address: o.Address, Metrics: d.metrics, Pprof: o.Pprof, Logger: d.log})
		if err != nil {
			return err
		}
		d.onClose(d.health.Close)
	}
	if o := d.options.Tracing; o.Endpoint != "" {
		d.traces, err = telemetry.StartTraces(ctx, telemetry.TracesConfig{
			Endpoint: o.Endpoint, PerMillion: o.PerMillion, Version: build.Version, Logger: d.log,
		})
		if err != nil {
			return err
		}
		d.onClose(d.closeTraces)
	}
	return nil
}

// closeTraces loses what a collector does not take: no reason to fail.
func (d *daemon) closeTraces() error {
	if err := d.traces.Close(); err != nil {
		d.log.Warn("the last traces are lost", "error", err)
	}
	return nil
}

// ready tells why requests are not served; empty: they are.
func (d *daemon) ready(whyNot string) {
	if d.health != nil {
		d.health.Ready(whyNot)
	}
}

// serverOptions make the CRI server count and trace. It is called when all parts
// are open.
func (d *daemon) serverOptions() []grpc.ServerOption {
	d.metrics.WatchState(d.state)
	options := d.metrics.ServerOptions()
	if d.traces != nil {
		options = append(options, d.traces.ServerOptions()...)
	}
	return options
}

// state counts what there is.
func (d *daemon) state(ctx context.Context) telemetry.State {
	s := telemetry.State{
		Pods:       map[string]int{string(sandbox.PhaseReady): 0, string(sandbox.PhaseNotReady): 0},
		Containers: map[string]int{string(sandbox.PhaseCreated): 0, string(sandbox.PhaseRunning): 0, string(sandbox.PhaseExited): 0},
		Zygotes:    d.launcher.Zygotes(), Subscribers: d.manager.Subscribers(), PulledBytes: d.images.Downloaded(),
	}
	for _, p := range d.manager.Pods() {
		s.Pods[string(p.Status().Phase)]++
	}
	for _, c := range d.manager.Containers() {
		s.Containers[string(c.Status().Phase)]++
	}
	images, err := d.images.List(ctx)
	if err != nil {
		d.log.Warn("count images for metrics", "error", err)
	}
	s.Images = len(images)
	return s
}

// observer gives metrics the result of an exec in a word.
type observer struct{ *telemetry.Metrics }

var _ sandbox.Observer = observer{}

func (o observer) ExecEnded(took time.Duration, err error) {
	switch {
	case err == nil:
		o.Metrics.ExecEnded(took, "ok")
	case errors.Is(err, context.DeadlineExceeded):
		o.Metrics.ExecEnded(took, "timeout")
	default:
		o.Metrics.ExecEnded(took, "error")
	}
}

// pullResults are the kinds of error of a pull, as metrics call them.
var pullResults = []struct {
	kind error
	name string
}{
	{context.Canceled, "canceled"}, {context.DeadlineExceeded, "timeout"}, {imgerr.ErrSignature, "signature"},
	{imgerr.ErrUnauthorized, "unauthorized"}, {imgerr.ErrUnavailable, "unavailable"}, {imgerr.ErrDigestMismatch, "digest_mismatch"},
	{imgerr.ErrUnsupported, "unsupported"}, {imgerr.ErrMalformed, "malformed"}, {imgerr.ErrUnsafe, "unsafe"}, {imgerr.ErrLimit, "limit"},
	{imgerr.ErrNoSpace, "no_space"}, {imgerr.ErrClosed, "closed"}, {imgerr.ErrNotFound, "not_found"},
}

func (d *daemon) imagePulled(took time.Duration, err error) {
	if err == nil {
		d.metrics.ImagePulled(took, "ok")
		return
	}
	for _, r := range pullResults {
		if errors.Is(err, r.kind) {
			d.metrics.ImagePulled(took, r.name)
			return
		}
	}
	d.metrics.ImagePulled(took, "other")
}
