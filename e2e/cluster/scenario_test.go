package cluster

import (
	"flag"
	"slices"
	"strings"
	"testing"
	"time"
)

// scenario is something that users of Kubernetes do.
type scenario struct {
	name  string // a sentence for the table, without a full stop
	core  bool   // part of `make test`
	alone bool   // disturbs others, so runs when no other does
	run   func(t *testing.T, n *namespace)
}

// area is a part of the table.
type area struct {
	title     string
	scenarios []scenario
}

// areas lists all scenarios in the order of the table.
var areas = []area{
	{"Workloads", workloads},
	{"Pods and their containers", podScenarios},
	{"Volumes", volumes},
	{"kubectl", kubectlScenarios},
	{"Probes", probes},
	{"The node", nodeScenarios},
}

func TestScenarios(t *testing.T) {
	c := sharedCloud(t)
	var results results
	pick := func(alone bool) func(t *testing.T) {
		return func(t *testing.T) {
			for _, a := range areas {
				for _, s := range a.scenarios {
					if s.alone != alone || !(s.core || *all) {
						continue
					}
					t.Run(testName(s.name), func(t *testing.T) {
						if !alone {
							t.Parallel()
						}
						start := time.Now()
						defer func() { results.add(a.title, s.name, time.Since(start), t.Failed()) }()
						s.run(t, newNamespace(t, c))
					})
				}
			}
		}
	}
	t.Run("together", pick(false))
	results.errors = runtimeErrors(t, c) // a kubelet that is started again counts from 0
	t.Run("alone", pick(true))
	checkNothingLeft(t, c)
	if *table != "" && flag.Lookup("test.run").Value.String() == "" {
		if err := writePart(*table, "kubelet-e2e", results.markdown()); err != nil {
			t.Error(err)
		}
	}
}

// testName makes a name for `go test -run` of a sentence.
func testName(sentence string) string {
	words := strings.FieldsFunc(sentence, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9')
	})
	return strings.ToLower(strings.Join(words, "-"))
}

func TestScenariosHaveDifferentNames(t *testing.T) {
	var names []string
	for _, a := range areas {
		for _, s := range a.scenarios {
			if name := testName(s.name); slices.Contains(names, name) {
				t.Errorf("two scenarios are called %q", name)
			} else {
				names = append(names, name)
			}
		}
	}
}
