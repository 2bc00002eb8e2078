package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	toolbox "github.com/cri-wasmer/cri-wasmer/e2e/images"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/built"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/cluster"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/daemon"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubenode"
)

// Registries whose place those of the test take. The private one wants the user
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
func sharedCloud(t testing.TB) *cloud {
	t.Helper()
	if why := built.Missing(); why != "" {
		t.Skip(why)
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
	root := filepath.Join(dir, "images")
	if err := mountImageFS(root); err != nil {
		return nil, err
	}
	c.Cluster, err = cluster.Start(ctx, cluster.Options{
		Binaries: built.Kubernetes(),
		Dir:      dir,
		MaxPods:  600,
		Metrics:  *all,
		Kubelet: map[string]any{
			"evictionHard": map[string]string{
				"imagefs.available": "10%", "memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
			"evictionPressureTransitionPeriod": "1s",
			"imageMinimumGCAge":                "1s",
		},
		Server: daemon.Options{
			Binary: built.Server(),
			Root:   root,
			Hosts: map[string]string{
				publicHost:  daemon.Server(c.public.URL()),
				privateHost: daemon.Server(c.private.URL()),
				deadHost:    daemon.Server("http://127.0.0.1:1"),
			},
		},
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// imageFSSize is that of the file system of images, small enough to be filled.
const imageFSSize = 1 << 30

func mountImageFS(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0755", imageFSSize)); err != nil {
		return fmt.Errorf("mount a file system for images: %w", err)
	}
	return nil
}

// pushImages makes registry.test/NAME:v1 for every guest, registry.test/toolbox:v1
// with the programs of a system, and a few for single scenarios.
func (c *cloud) pushImages(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(built.Guests(), "*-*.wasm"))
	if err != nil {
		return err
	}
	for _, file := range files {
		name := filepath.Base(file[:len(file)-len(".wasm")])
		artifact, err := programImage(name)
		if err != nil {
			return err
		}
		if _, err := c.public.Push(name, "v1", artifact); err != nil {
			return err
		}
		if name != "hello-c" {
			continue
		}
		if _, err = c.private.Push(name, "v1", artifact); err != nil {
			return err
		}
	}
	native := images.LinuxHost(images.Rootfs{
		Layers:     [][]images.File{{{Name: "app", Data: []byte("\x7fELF\x02\x01\x01")}}},
		Entrypoint: []string{"/app"},
	})
	if _, err := c.public.Push("native", "v1", native.Artifact()); err != nil {
		return err
	}
	return c.pushToolbox(ctx)
}

// programImage makes the image of a guest.
func programImage(guest string) (images.Artifact, error) {
	module, err := os.ReadFile(built.Guest(guest))
	if err != nil {
		return images.Artifact{}, err
	}
	return images.Program(module).Artifact(), nil
}

func (c *cloud) pushToolbox(ctx context.Context) error {
	module, err := toolbox.ReadModule(ctx, built.Guest("toolbox"))
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
