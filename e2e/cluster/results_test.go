package cluster

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// result is how a scenario went.
type result struct {
	area, name string
	took       time.Duration
	failed     bool
}

// results collects them. Safe for concurrent use.
type results struct {
	mu     sync.Mutex
	list   []result
	errors string // of the kubelet's calls of the runtime
}

func (r *results) add(area, name string, took time.Duration, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, result{area, name, took, failed})
}

// The table stands between these lines of the document.
const (
	tableStart = "<!-- written by make kubelet-e2e: begin -->\n"
	tableEnd   = "<!-- written by make kubelet-e2e: end -->\n"
)

// write replaces the table in a document.
func (r *results) write(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(data), tableStart)
	_, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s: no lines %q and %q to write a table between", file, tableStart, tableEnd)
	}
	return os.WriteFile(file, []byte(before+tableStart+r.markdown()+tableEnd+after), 0o644)
}

func (r *results) markdown() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, a := range areas {
		fmt.Fprintf(&b, "\n### %s\n\n| scenario | result | seconds |\n|---|---|---|\n", a.title)
		for _, s := range a.scenarios {
			fmt.Fprintf(&b, "| %s | %s |\n", s.name, r.cells(a.title, s.name))
		}
	}
	fmt.Fprintf(&b, "\nErrors of the kubelet's calls of the runtime during the run\n(`kubelet_runtime_operations_errors_total`): %s.\n\n", r.errors)
	return b.String()
}

func (r *results) cells(area, name string) string {
	for _, res := range r.list {
		if res.area != area || res.name != name {
			continue
		}
		word := "passed"
		if res.failed {
			word = "failed"
		}
		return fmt.Sprintf("%s | %.1f", word, res.took.Seconds())
	}
	return "not run | "
}

// checkNothingLeft waits until the runtime has nothing more of the namespaces of
// all scenarios. The kubelet removes dead pods once a minute, which is too
// long for the core alone: there, nothing may run.
func checkNothingLeft(t *testing.T, c *cloud) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	filter := &runtime.PodSandboxFilter{}
	if !*all {
		filter.State = &runtime.PodSandboxStateValue{State: runtime.PodSandboxState_SANDBOX_READY}
	}
	for {
		list, err := c.Server.Client.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{Filter: filter})
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) == 0 {
			return
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%d pods are left in the runtime, the first is %v", len(list.Items), list.Items[0])
		}
	}
}

const errorsMetric = "kubelet_runtime_operations_errors_total"

// runtimeErrors gives what the kubelet counted, in words.
func runtimeErrors(t *testing.T, c *cloud) string {
	t.Helper()
	data, err := c.Raw(t.Context(), "/api/v1/nodes/"+c.NodeName()+"/proxy/metrics")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, errorsMetric); ok {
			found = append(found, "`"+strings.TrimSpace(rest)+"`")
		}
	}
	if len(found) == 0 {
		return "none"
	}
	return strings.Join(found, ", ")
}
