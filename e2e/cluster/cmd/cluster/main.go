// Command cluster brings up a Kubernetes cluster of one node whose runtime is
// cri-wasmer, says how to use it, and keeps it until it is interrupted. It is
// run from the top of the repository by `make cluster`.
//
// The cluster lives in namespaces of its own. kubectl reaches it from outside
// by a way that this command keeps open, and so does who pushes to its registry:
//
//	kubectl ──> 127.0.0.1:PORT ──> DIR/api.sock ──> 127.0.0.1:6443
//	     outside of the namespaces    │     inside
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/cluster"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/daemon"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubenode"
)

// The process outside tells the one inside by these.
const (
	dirVariable      = "CLUSTER_DIR"
	apiVariable      = "CLUSTER_API"
	registryVariable = "CLUSTER_REGISTRY"
)

type options struct {
	server, guests, binaries string
	node, profile, flags     string
}

func main() {
	var o options
	flag.StringVar(&o.server, "server", "bin/cri-wasmer", "the server of the node")
	flag.StringVar(&o.guests, "guests", "build/guests", "directory with compiled guests, for the example images")
	flag.StringVar(&o.binaries, "kubernetes", "build/kubernetes", "directory with the programs of Kubernetes")
	flag.StringVar(&o.node, "node", "wasm-node", "the name of the node")
	flag.StringVar(&o.profile, "profile", "", "a profile of cri-wasmer kubelet-flags for the kubelet, such as krustlet")
	flag.StringVar(&o.flags, "kubelet-flags", "", "further flags of the kubelet, separated by spaces")
	flag.Parse()
	for _, path := range []*string{&o.server, &o.guests, &o.binaries} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			fmt.Fprintln(os.Stderr, "cluster:", err)
			os.Exit(1)
		}
		*path = absolute
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	if isolate.Outside() {
		return outside()
	}
	if os.Geteuid() != 0 {
		return errors.New("pods are namespaces, mounts and control groups, which need root: sudo make cluster")
	}
	os.Exit(isolate.Run(func() int { return inside(o) }))
	return nil // not reached
}

// outside makes the directory and the way in, and waits for the end.
func outside() (err error) {
	dir, err := os.MkdirTemp("/tmp", "cwc")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	restore, err := kubenode.SaveSysctls()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	for variable, socket := range map[string]string{apiVariable: apiSocket(dir), registryVariable: registrySocket(dir)} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("listen for clients: %w", err)
		}
		way := relay(listener, func() (net.Conn, error) { return net.Dial("unix", socket) })
		defer way.Close()
		if err := os.Setenv(variable, listener.Addr().String()); err != nil {
			return err
		}
	}
	if err := os.Setenv(dirVariable, dir); err != nil {
		return err
	}
	var noted error
	code := isolate.RunTelling(func() int { return 1 }, func(pid int) {
		noted = os.WriteFile(pidFile(dir), []byte(strconv.Itoa(pid)), 0o644)
	})
	if code != 0 {
		return errors.Join(noted, fmt.Errorf("the cluster ended with code %d", code))
	}
	return noted
}

// pidFile names a process of the namespaces as it is seen from outside.
func pidFile(dir string) string { return filepath.Join(dir, "pid") }

func kubeconfig(dir string) string     { return filepath.Join(dir, "kubeconfig") }
func apiSocket(dir string) string      { return filepath.Join(dir, "api.sock") }
func registrySocket(dir string) string { return filepath.Join(dir, "registry.sock") }

// inside is the life of the cluster.
func inside(o options) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, o options) (err error) {
	dir := os.Getenv(dirVariable)
	if err := kubenode.Prepare(); err != nil {
		return err
	}
	registry, err := images.NewRegistry()
	if err != nil {
		return err
	}
	defer registry.Close()
	names, err := pushExamples(registry, o.guests)
	if err != nil {
		return err
	}
	fmt.Println("starting a cluster; its logs are in", dir)
	c, err := cluster.Start(ctx, clusterOptions(o, dir, registry))
	if err != nil {
		return err
	}
	defer func() {
		fmt.Println("ending the cluster")
		if err = errors.Join(err, c.Close()); err == nil {
			fmt.Println("the cluster has ended")
		}
	}()
	for socket, address := range map[string]string{
		apiSocket(dir):      strings.TrimPrefix(c.URL(), "https://"),
		registrySocket(dir): registry.Host(),
	} {
		listener, err := net.Listen("unix", socket)
		if err != nil {
			return fmt.Errorf("open the way in: %w", err)
		}
		way := relay(listener, func() (net.Conn, error) { return net.Dial("tcp", address) })
		defer way.Close()
	}
	if err := c.WriteKubeconfig(kubeconfig(dir), "https://"+os.Getenv(apiVariable)); err != nil {
		return err
	}
	explain(c, dir, o.server, o.binaries, names)
	<-ctx.Done()
	return nil
}

func clusterOptions(o options, dir string, registry *images.Registry) cluster.Options {
	mirror := daemon.Mirror(registry.URL())
	return cluster.Options{
		Binaries:     o.binaries,
		Dir:          filepath.Join(dir, "c"),
		NodeName:     o.node,
		Profile:      o.profile,
		Metrics:      true,
		KubeletFlags: strings.Fields(o.flags),
		Server: daemon.Options{
			Binary: o.server,
			Hosts: map[string]string{
				"webassembly.azurecr.io": mirror,
				exampleHost:              mirror,
				// By the name that it has outside.
				os.Getenv(registryVariable): mirror,
			},
		},
	}
}
