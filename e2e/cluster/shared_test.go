package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	toolbox "github.com/cri-wasmer/cri-wasmer/e2e/images"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/cluster"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/daemon"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubenode"
)

// Registries that the server reaches by mirrors. The private one wants the user
// and the password below; nothing listens at the dead one.
const (
	publicHost  = "registry.test"
	privateHost = "private.test"
	deadHost    = "dead.test"

	registryUser, registryPassword = "wasm", "sesame"
)

// cloud is the cluster of all scenarios with its registries.
type cloud struct {
	*cluster.Cluster
	public, private *images.Registry
}

var (
	sharedMu sync.Mutex
	shared   *cloud
	broken   error // why there is no cluster
)

// sharedCloud starts the cluster for the first who asks.
func sharedCloud(t *testing.T) *cloud {
	t.Helper()
	if !isolate.Inside() {
		t.Skip("needs root: pods are namespaces, mounts and control groups")
	}
	for _, file := range []string{serverBinary(), serverBinary() + "-worker"} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("needs %s: make build", filepath.Base(file))
		}
	}
	sharedMu.Lock()
	defer sharedMu.Unlock()
	if shared == nil && broken == nil {
		shared, broken = startCloud(context.Background()) // it outlives this test
	}
	if broken != nil {
		t.Fatal(broken)
	}
	return shared
}

func closeShared() error {
	sharedMu.Lock()
	defer sharedMu.Unlock()
	if shared == nil {
		return nil
	}
	shared.public.Close()
	shared.private.Close()
	return shared.Close()
}

func startCloud(ctx context.Context) (*cloud, error) {
	if err := kubenode.Prepare(); err != nil {
		return nil, err
	}
	c := &cloud{}
	var err error
	if c.public, err = images.NewRegistry(); err != nil {
		return nil, err
	}
	if c.private, err = images.NewRegistry(); err != nil {
		return nil, err
	}
	if err := c.pushImages(ctx); err != nil {
		return nil, err
	}
	c.private.SetFault(images.BasicAuth(registryUser, registryPassword))
	dir, err := os.MkdirTemp("/tmp", "cwc")
	if err != nil {
		return nil, err
	}
	c.Cluster, err = cluster.Start(ctx, cluster.Options{
		Binaries: binaries(),
		Dir:      dir,
		Server: daemon.Options{
			Binary: serverBinary(),
			Hosts: map[string]string{
				publicHost:  daemon.Mirror(c.public.URL()),
				privateHost: daemon.Mirror(c.private.URL()),
				deadHost:    daemon.Mirror("http://127.0.0.1:1"),
			},
		},
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// pushImages makes registry.test/NAME:v1 for every guest, registry.test/toolbox:v1
// with the programs of a system, and a few for single scenarios.
func (c *cloud) pushImages(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(guestDir(), "*-*.wasm"))
	if err != nil {
		return err
	}
	for _, file := range files {
		module, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		name := filepath.Base(file[:len(file)-len(".wasm")])
		if _, err := c.public.Push(name, "v1", images.Program(module).Artifact()); err != nil {
			return err
		}
		if name != "hello-c" {
			continue
		}
		_, err = c.private.Push(name, "v1", images.Program(module).Artifact())
		native := images.LinuxHost(images.Rootfs{
			Layers:     [][]images.File{{{Name: "app", Data: []byte("\x7fELF\x02\x01\x01")}}},
			Entrypoint: []string{"/app"},
		})
		_, err2 := c.public.Push("native", "v1", native.Artifact())
		if err := errors.Join(err, err2); err != nil {
			return err
		}
	}
	return c.pushToolbox(ctx)
}

func (c *cloud) pushToolbox(ctx context.Context) error {
	module, err := toolbox.ReadModule(ctx, toolboxModule())
	if err != nil {
		return fmt.Errorf("read the toolbox: %w", err)
	}
	set, err := toolbox.Build(module)
	if err != nil {
		return err
	}
	box := set[:1]
	box[0].Names = []string{"toolbox:v1", "toolbox:v2"}
	return toolbox.Push(ctx, c.public.Host(), true, box)
}
