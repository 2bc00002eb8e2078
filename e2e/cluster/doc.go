// Package cluster holds the tests with a whole Kubernetes: a control plane, a
// kubelet, kubectl, and this project's server as the only runtime.
//
// A scenario is something that users of Kubernetes do, done by kubectl in a
// namespace of its own. The tables of scenarios stand beside what they are
// about. `go test ./e2e/cluster` runs the core of them, -all runs every one, and
// `make kubelet-e2e` does that and writes the table of docs/kubernetes.md.
//
// All scenarios share one cluster. Those that disturb the node come last, one by
// one; the others run side by side.
package cluster
