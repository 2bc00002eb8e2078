// Command cluster brings up a Kubernetes cluster of one node whose runtime is
// cri-wasmer, says how to use it, and keeps it until it is interrupted. It is
// run from the top of the repository by `make cluster`.
//
// The cluster lives in namespaces of its own. kubectl reaches it from outside
// by a way that this command keeps open:
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
	dirVariable  = "CLUSTER_DIR"
	portVariable = "CLUSTER_ADDRESS"
)

type options struct {
	server, guests, binaries string
	flags                    string
}

func main() {
	var o options
	flag.StringVar(&o.server, "server", "bin/cri-wasmer", "the server of the node")
	flag.StringVar(&o.guests, "guests", "build/guests", "directory with compiled guests, for the example images")
	flag.StringVar(&o.binaries, "kubernetes", "build/kubernetes", "directory with the programs of Kubernetes")
	flag.StringVar(&o.flags, "kubelet-flags", "", "further flags of the kubelet, separated by spaces")
	flag.Parse()
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
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for kubectl: %w", err)
	}
	way := relay(listener, func() (net.Conn, error) { return net.Dial("unix", apiSocket(dir)) })
	defer way.Close()
	for name, value := range map[string]string{dirVariable: dir, portVariable: listener.Addr().String()} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
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

func kubeconfig(dir string) string { return filepath.Join(dir, "kubeconfig") }
func apiSocket(dir string) string  { return filepath.Join(dir, "api.sock") }

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
	c, err := cluster.Start(ctx, cluster.Options{
		Binaries:     o.binaries,
		Dir:          filepath.Join(dir, "c"),
		KubeletFlags: strings.Fields(o.flags),
		Server: daemon.Options{
			Binary: o.server,
			Hosts: map[string]string{
				"webassembly.azurecr.io": daemon.Mirror(registry.URL()),
				exampleHost:              daemon.Mirror(registry.URL()),
			},
		},
	})
	if err != nil {
		return err
	}
	defer func() {
		fmt.Println("ending the cluster")
		err = errors.Join(err, c.Close())
	}()
	listener, err := net.Listen("unix", apiSocket(dir))
	if err != nil {
		return fmt.Errorf("open the way in: %w", err)
	}
	way := relay(listener, func() (net.Conn, error) { return net.Dial("tcp", strings.TrimPrefix(c.URL(), "https://")) })
	defer way.Close()
	if err := c.WriteKubeconfig(kubeconfig(dir), "https://"+os.Getenv(portVariable)); err != nil {
		return err
	}
	explain(c, dir, o.binaries, names)
	<-ctx.Done()
	return nil
}
