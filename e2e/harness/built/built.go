// Package built says where make puts what the tests run, and makes what they need
// besides the server.
package built

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubebin"
)

// Repository is the top of the source tree: a test runs in the directory e2e in it,
// or below that.
func Repository() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	e2e := dir
	for filepath.Base(e2e) != "e2e" {
		if e2e == "/" {
			panic(dir + " is not in the directory e2e")
		}
		e2e = filepath.Dir(e2e)
	}
	return filepath.Dir(e2e)
}

// Server is the server to test: that of make build, or the one in the directory
// that E2E_BIN names.
func Server() string {
	dir := os.Getenv("E2E_BIN")
	if dir == "" {
		dir = filepath.Join(Repository(), "bin")
	}
	return filepath.Join(dir, "cri-wasmer")
}

// Guests is the directory of the compiled guests.
func Guests() string { return filepath.Join(Repository(), "build", "guests") }

// Guest is the module of a guest of e2e/guests, such as hello-go.
func Guest(name string) string { return filepath.Join(Guests(), name+".wasm") }

// Kubernetes is the directory of the programs of Kubernetes.
func Kubernetes() string { return filepath.Join(Repository(), "build", "kubernetes") }

// Missing says why there can be no server; empty when there can.
func Missing() string {
	if !isolate.Inside() {
		return "needs root: pods are namespaces, mounts and control groups"
	}
	for _, file := range []string{Server(), Server() + "-worker"} {
		if _, err := os.Stat(file); err != nil {
			return fmt.Sprintf("needs %s: make build", strings.TrimPrefix(file, Repository()+"/"))
		}
	}
	return ""
}

// MakeGuests brings the guests up to date; that takes a moment only when they
// are.
func MakeGuests() error {
	out, err := exec.Command("make", "-s", "-C", filepath.Join(Repository(), "e2e", "guests"), "all", "OUT="+Guests()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("build guests: %w\n%s", err, out)
	}
	return nil
}

// MakeKubernetes brings programs of Kubernetes up to date. It needs the network
// outside of the namespaces of package isolate, to fetch modules by.
func MakeKubernetes(programs ...string) error {
	return kubebin.Build(context.Background(), Repository(), Kubernetes(), os.Stderr, programs...)
}
