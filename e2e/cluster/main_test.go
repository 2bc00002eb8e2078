package cluster

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubebin"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubenode"
)

var (
	all   = flag.Bool("all", false, "run all scenarios and not their core alone")
	table = flag.String("table", "", "the `file` whose table of scenarios is written anew")
)

// together is how many scenarios run side by side: most of them wait.
const together = "6"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", together); err != nil {
		panic(err) // testing has registered it
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if !isolate.Outside() {
		return isolate.Run(func() int { return runAndClose(m) })
	}
	// Outside of the namespaces, where there is a network to fetch modules by.
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	restore, err := kubenode.SaveSysctls()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := isolate.Run(func() int { return runAndClose(m) })
	if err := restore(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func runAndClose(m *testing.M) int {
	code := m.Run()
	if err := closeShared(); err != nil {
		fmt.Fprintln(os.Stderr, "end the cluster:", err)
		return 1
	}
	return code
}

func repository() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return dir
}

// serverBinary is the server to test: that of make build, or the one in the
// directory that E2E_BIN names.
func serverBinary() string {
	dir := os.Getenv("E2E_BIN")
	if dir == "" {
		dir = filepath.Join(repository(), "bin")
	}
	return filepath.Join(dir, "cri-wasmer")
}

func binaries() string { return filepath.Join(repository(), "build", "kubernetes") }
func guestDir() string { return filepath.Join(repository(), "build", "guests") }

func toolboxModule() string { return filepath.Join(guestDir(), "toolbox.wasm") }

// prepare builds what the tests run besides the server.
func prepare() error {
	out, err := exec.Command("make", "-s", "-C", "../guests", "all", "OUT="+guestDir()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build guests: %w\n%s", err, out)
	}
	return kubebin.Build(context.Background(), repository(), binaries(), os.Stderr, kubebin.All()...)
}
