// Package cluster brings up a Kubernetes cluster of one node whose only runtime
// is cri-wasmer: etcd, API server, scheduler, controller manager, kubelet and
// server, with the programs that package kubebin builds.
//
//	kubectl ──> kube-apiserver ──> etcd
//	              ↑   ↑   └──────> kubelet ──> cri-wasmer ──> pods
//	      scheduler   controller-manager
//
// With Options.Metrics there is metrics-server as well, between the API server
// and the kubelet.
//
// It must run in the namespaces of package isolate: ports and addresses are
// fixed, and the node is the network namespace. There is no kube-proxy and no
// DNS, which are native programs: a service's own address leads nowhere, those
// of its pods do.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/daemon"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubebin"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/program"
)

// Options say what cluster to start. Binaries, Dir and Server.Binary are needed.
type Options struct {
	Binaries     string         // directory with the programs of Kubernetes
	Dir          string         // holds everything; short, for unix sockets are in it
	Server       daemon.Options // Dir and CgroupParent are set by Start
	NodeName     string         // "wasm-node" when empty
	MaxPods      int            // 110 when 0
	Kubelet      map[string]any // replaces fields of the kubelet's configuration
	Profile      string         // of cri-wasmer kubelet-flags, whose flags the kubelet gets; "" for none
	KubeletFlags []string       // further ones, such as --node-labels
	Metrics      bool           // metrics-server, for kubectl top and autoscalers
	NoKubelet    bool           // the caller brings the node's kubelet
}

// Cluster is a running cluster. Kubectl and what asks the API are safe for
// concurrent use; what starts and stops programs is for one goroutine.
type Cluster struct {
	Server *daemon.Daemon

	options   Options
	pki       *pki
	proxyPKI  *pki
	client    *rest.RESTClient
	processes map[string]*program.Program // by name
}

// Start starts a cluster and waits until its node is ready, if it is to have one.
// On an error nothing is left but the logs in Dir, of which the error shows the
// end.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	if !isolate.Inside() {
		return nil, errors.New("start cluster: it must run in the namespaces of package isolate, which needs root")
	}
	if o.NodeName == "" {
		o.NodeName = "wasm-node"
	}
	if o.MaxPods == 0 {
		o.MaxPods = 110
	}
	o.Server.Dir = filepath.Join(o.Dir, "server")
	o.Server.CgroupParent = "/" + isolate.Group() + "/default"
	c := &Cluster{options: o, processes: map[string]*program.Program{}}
	if err := c.bringUp(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start cluster: %w", err), c.stopAll())
	}
	return c, nil
}

func (c *Cluster) bringUp(ctx context.Context) error {
	if err := os.MkdirAll(c.options.Server.Dir, 0o755); err != nil {
		return err
	}
	if err := c.makePKI(); err != nil {
		return fmt.Errorf("make certificates: %w", err)
	}
	client, err := newClient(c.URL(), c.pki)
	if err != nil {
		return err
	}
	c.client = client
	if c.Server, err = daemon.Start(ctx, c.options.Server); err != nil {
		return err
	}
	if err := c.configureKubelet(); err != nil {
		return fmt.Errorf("configure kubelet: %w", err)
	}
	if err := c.startControlPlane(ctx); err != nil {
		return err
	}
	if c.options.Metrics {
		if err := c.startMetrics(ctx); err != nil {
			return err
		}
	}
	if c.options.NoKubelet {
		return nil
	}
	return c.StartKubelet(ctx)
}

// start starts one of the programs of Kubernetes.
func (c *Cluster) start(name string, args ...string) error {
	p, err := program.Start(c.options.Dir, filepath.Join(c.options.Binaries, name), args...)
	if err != nil {
		return err
	}
	c.processes[name] = p
	return nil
}

func (c *Cluster) stop(name string) error {
	p := c.processes[name]
	delete(c.processes, name)
	return p.Stop()
}

// Close ends the cluster with all its pods and removes its directory.
func (c *Cluster) Close() error {
	err := c.stopAll()
	return errors.Join(err, isolate.RemoveTree(c.options.Dir))
}

// stopAll ends everything that runs; the kubelet before the pods, which it would
// start again, and before the API server, which it would miss.
func (c *Cluster) stopAll() error {
	var errs []error
	for _, name := range []string{kubebin.Kubelet, kubebin.Scheduler, kubebin.ControllerManager, kubebin.MetricsServer} {
		errs = append(errs, c.stop(name))
	}
	if c.Server != nil {
		errs = append(errs, c.Server.RemoveAllPods(context.Background()), c.Server.Close())
	}
	for _, name := range []string{kubebin.APIServer, kubebin.Etcd} {
		errs = append(errs, c.stop(name))
	}
	return errors.Join(errs...)
}

// Dir has the logs of all programs and all that the cluster keeps.
func (c *Cluster) Dir() string { return c.options.Dir }

// NodeName is the name of the node.
func (c *Cluster) NodeName() string { return c.options.NodeName }

// Kubeconfig is a file for kubectl inside of the network namespace.
func (c *Cluster) Kubeconfig() string { return c.kubeconfigOf(admin) }

// WriteKubeconfig writes another one, which speaks to another address.
func (c *Cluster) WriteKubeconfig(file, server string) error {
	return c.pki.writeKubeconfig(file, server, admin)
}

// PIDs gives the processes of the programs of Kubernetes that run.
func (c *Cluster) PIDs() map[string]int {
	pids := map[string]int{}
	for name, p := range c.processes {
		pids[name] = p.PID()
	}
	return pids
}

// Command is kubectl, to be started by the caller.
func (c *Cluster) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.options.Binaries, kubebin.Kubectl), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig(), "HOME="+c.options.Dir)
	return cmd
}

// Kubectl runs kubectl and gives its standard output. An error holds what it
// wrote to its standard error, and is an *exec.ExitError when it failed.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := c.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
