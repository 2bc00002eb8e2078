package kubelet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
)

// version is that of k8s.io/kubernetes in binary/go.mod.
const version = "v1.37.2"

func TestMain(m *testing.M) {
	if isolate.Inside() || os.Geteuid() != 0 {
		os.Exit(isolate.Run(m.Run))
	}
	// Outside of the namespaces, where there is a network to fetch modules by.
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	restore, err := saveSysctls("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
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

func kubeletBinary() string { return filepath.Join(repository(), "build", "kubelet") }
func guestDir() string      { return filepath.Join(repository(), "build", "guests") }

// prepare builds what the test runs besides the server.
func prepare() error {
	out, err := exec.Command("make", "-s", "-C", "../guests", "all", "OUT="+guestDir()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build guests: %w\n%s", err, out)
	}
	if out, err := exec.Command(kubeletBinary(), "--version").Output(); err == nil && strings.TrimSpace(string(out)) == "Kubernetes "+version {
		return nil
	}
	fmt.Fprintf(os.Stderr, "building kubelet %s, which takes some minutes the first time\n", version)
	const pkg = "k8s.io/component-base/version"
	build := exec.Command("go", "build", "-buildvcs=false", "-o", kubeletBinary(),
		"-ldflags", fmt.Sprintf("-s -w -X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=37", pkg, version, pkg, pkg),
		"k8s.io/kubernetes/cmd/kubelet")
	build.Dir = "binary"
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build kubelet %s: %w\n%s", version, err, out)
	}
	return nil
}

// saveSysctls remembers settings of the whole machine, for the kubelet sets
// them, and gives what puts them back.
func saveSysctls(names ...string) (restore func() error, err error) {
	saved := map[string][]byte{}
	for _, name := range names {
		value, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if err != nil {
			return nil, fmt.Errorf("save sysctl: %w", err)
		}
		saved[name] = value
	}
	return func() error {
		for name, value := range saved {
			if err := os.WriteFile(filepath.Join("/proc/sys", name), value, 0o644); err != nil {
				return fmt.Errorf("restore sysctl: %w", err)
			}
		}
		return nil
	}, nil
}
