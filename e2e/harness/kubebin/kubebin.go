// Package kubebin builds the programs of Kubernetes, etcd and metrics-server from
// the module proxy, for tests with a real kubelet and a real control plane.
//
// Their versions stand in module/go.mod, a module of its own. The first build
// takes some minutes, which is why it tells how far it is; later ones come from
// Go's build cache, or are found done: beside each program lies a stamp of what
// it was built from.
package kubebin

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Version is that of k8s.io/kubernetes in module/go.mod.
const Version = "v1.37.2"

// The programs. A Program is the name of a file in the directory that Build
// fills.
const (
	Kubelet           = "kubelet"
	APIServer         = "kube-apiserver"
	Scheduler         = "kube-scheduler"
	ControllerManager = "kube-controller-manager"
	Kubectl           = "kubectl"
	Etcd              = "etcd"
	MetricsServer     = "metrics-server"
	Kubeadm           = "kubeadm"
)

// All are the programs that a cluster is made of.
func All() []string {
	return []string{Kubelet, APIServer, Scheduler, ControllerManager, Etcd, Kubectl, MetricsServer}
}

// packages are the programs that are not k8s.io/kubernetes/cmd/NAME.
var packages = map[string]string{
	Etcd:          "go.etcd.io/etcd/server/v3",
	MetricsServer: "sigs.k8s.io/metrics-server/cmd/metrics-server",
}

// flags must be the same for all programs, so that they share the build cache.
func flags() []string {
	const pkg = "k8s.io/component-base/version"
	return []string{"-buildvcs=false", "-ldflags", fmt.Sprintf(
		"-s -w -X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=1 -X %[1]s.gitMinor=37", pkg, Version)}
}

// Build brings the programs in dir up to date, with the module at
// e2e/harness/kubebin/module below repository. It tells on progress what it
// builds. An error has the compiler's words.
func Build(ctx context.Context, repository, dir string, progress io.Writer, programs ...string) error {
	module := filepath.Join(repository, "e2e", "harness", "kubebin", "module")
	want, err := stamp(module)
	if err != nil {
		return fmt.Errorf("build kubernetes: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil { // the compiler runs in module
		return fmt.Errorf("build kubernetes: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("build kubernetes: %w", err)
	}
	for i, program := range programs {
		if upToDate(filepath.Join(dir, program), want) {
			continue
		}
		fmt.Fprintf(progress, "kubernetes %s: building %s (%d of %d), which takes minutes the first time\n", Version, program, i+1, len(programs))
		start := time.Now()
		if err := build(ctx, module, filepath.Join(dir, program), want); err != nil {
			return fmt.Errorf("build %s: %w", program, err)
		}
		fmt.Fprintf(progress, "kubernetes %s: built %s in %v\n", Version, program, time.Since(start).Round(time.Second))
	}
	return nil
}

func build(ctx context.Context, module, file, want string) error {
	program := filepath.Base(file)
	pkg, ok := packages[program]
	if !ok {
		pkg = "k8s.io/kubernetes/cmd/" + program
	}
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build"}, flags()...), "-o", file, pkg)...)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return os.WriteFile(stampFile(file), []byte(want), 0o644)
}

func upToDate(file, want string) bool {
	if _, err := os.Stat(file); err != nil {
		return false
	}
	got, err := os.ReadFile(stampFile(file))
	return err == nil && string(got) == want
}

func stampFile(file string) string { return file + ".built-from" }

// stamp says from what a program is built.
func stamp(module string) (string, error) {
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		sum.Write(data)
	}
	return fmt.Sprintf("%x %s %s\n", sum.Sum(nil), runtime.Version(), strings.Join(flags(), " ")), nil
}
