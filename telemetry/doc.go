// Package telemetry shows how the daemon is doing: metrics for Prometheus, over
// HTTP together with health and profiles, and traces of requests, sent to an
// OpenTelemetry collector.
//
// Metrics are told things as they happen (a request has ended, an image was
// pulled) and ask for the rest when they are scraped (how many pods there are).
// All names begin with cri_wasmer_, and no label has values that a user can
// choose: their number is bounded. docs/observability.md lists them; a test
// compares.
package telemetry
