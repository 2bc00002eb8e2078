package cluster

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/built"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubebin"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubenode"
)

var (
	all   = flag.Bool("all", false, "run all scenarios and not their core alone")
	table = flag.String("table", "", "the `file` whose table of scenarios, or figures, is written anew")
)

// together is how many scenarios run side by side: most of them wait.
const together = "6"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", together); err != nil {
		panic(err) // testing has registered it
	}
	os.Exit(kubenode.Run(func() int { return runAndClose(m) }, func() error {
		return errors.Join(built.MakeGuests(), built.MakeKubernetes(kubebin.All()...))
	}))
}

func runAndClose(m *testing.M) int {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	measured.load, _, _ = strings.Cut(string(load), " ")
	code := m.Run()
	if err := measured.write(); err != nil {
		fmt.Fprintln(os.Stderr, "write the figures:", err)
		return 1
	}
	if err := closeShared(); err != nil {
		fmt.Fprintln(os.Stderr, "end the cluster:", err)
		return 1
	}
	return code
}
