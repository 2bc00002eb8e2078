package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// ginkgoReport is what ginkgo's JSON report has of interest, one for each suite.
type ginkgoReport struct {
	SpecReports []specReport
	RunTime     time.Duration
}

type specReport struct {
	ContainerHierarchyTexts []string
	LeafNodeType            string
	LeafNodeText            string
	State                   string
	RunTime                 time.Duration
	Failure                 struct {
		Message  string
		Location struct {
			FileName   string
			LineNumber int
		}
	}
}

func (s *specReport) name() string {
	return strings.Join(append(slices.Clone(s.ContainerHierarchyTexts), s.LeafNodeText), " ")
}

// result is what came of a run.
type result struct {
	passed, failed, skipped int
	took                    time.Duration
	failures                []string
	excluded                []string            // lines
	reasons                 map[string][]string // why specs skipped themselves
	filtered                []string            // left out by the arguments of the user
}

func readReport(path string, excluded []exclusion) (*result, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var reports []ginkgoReport
	if err := json.Unmarshal(data, &reports); err != nil {
		return nil, fmt.Errorf("read report of critest: %w", err)
	}
	r := &result{reasons: map[string][]string{}}
	for i := range reports {
		r.took += reports[i].RunTime
		for j := range reports[i].SpecReports {
			r.add(&reports[i].SpecReports[j], excluded)
		}
	}
	return r, nil
}

// add counts one spec. Other nodes, such as what runs before the suite, count
// when they fail.
func (r *result) add(s *specReport, excluded []exclusion) {
	spec := s.LeafNodeType == "It"
	switch s.State {
	case "passed":
		if spec {
			r.passed++
		}
	case "skipped", "pending":
		if spec {
			r.skip(s, excluded)
		}
	default: // failed, panicked, timedout, interrupted, aborted
		r.failed++
		at := s.Failure.Location
		r.failures = append(r.failures, fmt.Sprintf("%s: %s\n    %s:%d\n    %s", s.State, s.name(), at.FileName, at.LineNumber,
			strings.ReplaceAll(strings.TrimSpace(s.Failure.Message), "\n", "\n    ")))
	}
}

func (r *result) skip(s *specReport, excluded []exclusion) {
	r.skipped++
	name := s.name()
	if i := slices.IndexFunc(excluded, func(e exclusion) bool { return e.name == name }); i >= 0 {
		r.excluded = append(r.excluded, fmt.Sprintf("%s\n    %s", name, excluded[i].reason))
		return
	}
	if s.Failure.Message == "" {
		r.filtered = append(r.filtered, name)
		return
	}
	r.reasons[s.Failure.Message] = append(r.reasons[s.Failure.Message], name)
}

// print shows what was left out and why, what failed, and the line that counts.
func (r *result) print(w io.Writer) {
	if len(r.excluded) > 0 {
		fmt.Fprintf(w, "\nLeft out by name, as no WebAssembly program can pass them (%d):\n", len(r.excluded))
		for _, line := range r.excluded {
			fmt.Fprintln(w, " ", line)
		}
	}
	for _, reason := range sortedKeys(r.reasons) {
		fmt.Fprintf(w, "\nSkipped by critest, %d: %s\n", len(r.reasons[reason]), reason)
		for _, name := range r.reasons[reason] {
			fmt.Fprintln(w, " ", name)
		}
	}
	if len(r.filtered) > 0 {
		fmt.Fprintf(w, "\nNot asked for, as benchmarks are unless critest is told so (%d):\n", len(r.filtered))
		for _, name := range r.filtered {
			fmt.Fprintln(w, " ", name)
		}
	}
	if len(r.failures) > 0 {
		fmt.Fprintf(w, "\nFailed (%d):\n", len(r.failures))
		for _, f := range r.failures {
			fmt.Fprintln(w, " ", f)
		}
	}
	fmt.Fprintf(w, "\nin %s\ncritest: %d passed, %d failed, %d skipped\n", r.took.Round(time.Second), r.passed, r.failed, r.skipped)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
