package kubelet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubebin"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubenode"
)

func TestMain(m *testing.M) {
	if !isolate.Outside() {
		os.Exit(isolate.Run(m.Run))
	}
	// Outside of the namespaces, where there is a network to fetch modules by.
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	restore, err := kubenode.SaveSysctls()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := isolate.Run(m.Run)
	if err := restore(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
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

func kubeletBinary() string { return filepath.Join(binaries(), kubebin.Kubelet) }
func binaries() string      { return filepath.Join(repository(), "build", "kubernetes") }
func guestDir() string      { return filepath.Join(repository(), "build", "guests") }

// prepare builds what the test runs besides the server.
func prepare() error {
	out, err := exec.Command("make", "-s", "-C", "../guests", "all", "OUT="+guestDir()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build guests: %w\n%s", err, out)
	}
	return kubebin.Build(context.Background(), repository(), binaries(), os.Stderr, kubebin.Kubelet)
}
