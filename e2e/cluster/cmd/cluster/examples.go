package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/cluster"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

// exampleHost is the registry of the images that the cluster brings along.
const exampleHost = "example.test"

// pushExamples makes an image of every guest, and that of the Krustlet tutorial.
// It gives the names of the former.
func pushExamples(r *images.Registry, guests string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(guests, "*.wasm"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no guests in %s: make guests", guests)
	}
	var names []string
	for _, file := range files {
		module, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name := filepath.Base(file[:len(file)-len(".wasm")])
		if _, err := r.Push(name, "v1", images.Program(module).Artifact()); err != nil {
			return nil, err
		}
		names = append(names, exampleHost+"/"+name+":v1")
	}
	hello, err := os.ReadFile(filepath.Join(guests, "hello-rust.wasm"))
	if err != nil {
		return nil, err
	}
	_, err = r.Push("hello-wasm", "v1", images.Krustlet(hello))
	return names, err
}

// explain tells a person how to use the cluster.
func explain(c *cluster.Cluster, dir, server, binaries string, names []string) {
	fmt.Printf(`
The cluster is ready: node %s. In another terminal:

  export KUBECONFIG=%s
  export REGISTRY=%s
  export PATH=%s:%s:$PATH

  kubectl get nodes -o wide
  kubectl run hello --image=webassembly.azurecr.io/hello-wasm:v1 --restart=Never
  kubectl logs hello
  kubectl top pods -A

What is pushed to $REGISTRY can be run. There is no kube-proxy and no DNS: services
have endpoints, but no address that works. To reach pods by their addresses, or the
server by crictl:

  nsenter -n -t $(cat %s)
  crictl -r unix://%s ps

Images of the guests of the tests are there as well:
`, c.NodeName(), kubeconfig(dir), os.Getenv(registryVariable), binaries, filepath.Dir(server),
		pidFile(dir), c.Server.Socket())
	for _, name := range names {
		fmt.Println(" ", name)
	}
	fmt.Println("\nCtrl-C ends the cluster.")
}
