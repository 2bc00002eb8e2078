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

// writePart replaces the part of a document that stands between the lines which
// say that target, such as kubelet-e2e, wrote it.
func writePart(file, target, text string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	begin := fmt.Sprintf("<!-- written by make %s: begin -->\n", target)
	end := fmt.Sprintf("<!-- written by make %s: end -->\n", target)
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s: no lines %q and %q to write between", file, begin, end)
	}
	return os.WriteFile(file, []byte(before+begin+text+end+after), 0o644)
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
