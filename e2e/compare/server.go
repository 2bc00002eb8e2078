package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/daemon"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
)

// server is one of the two. Safe for concurrent use.
type server struct {
	name   string
	client *criclient.Client
	pid    int
	images map[string]string // by program
	dir    string
	end    func() error
	serial atomic.Int64
}

// network is the configuration of both: what most clusters have, a bridge.
const network = `{
  "cniVersion": "1.0.0", "name": "compare",
  "plugins": [
    {"type": "bridge", "bridge": "compare0", "isGateway": true,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.123.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}, "backend": "nftables"}
  ]
}
`

func writeNetwork(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "10-compare.conflist"), []byte(network), 0o644)
}

// privateRun gives the run a /run of its own, where containerd has its state and
// shims their sockets.
func privateRun() error {
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return os.Mkdir("/run/netns", 0o755)
}

func startOurs(ctx context.Context, o options, dir string) (*server, error) {
	plugins, err := filepath.Abs(o.plugins)
	if err != nil {
		return nil, err
	}
	d, err := daemon.Start(ctx, daemon.Options{
		Binary: o.server, Dir: filepath.Join(dir, "ours"), CgroupParent: "/" + isolate.Group() + "/ours",
		Flags: map[string]string{"cni-conf-dir": filepath.Join(dir, "net.d"), "cni-bin-dirs": plugins},
	})
	if err != nil {
		return nil, err
	}
	return &server{name: "cri-wasmer", client: d.Client, pid: d.PID(), dir: filepath.Join(dir, "ours"), end: d.Close}, nil
}

// newPod is the configuration of a pod with a name of its own.
func (s *server) newPod(hostNetwork bool) *runtime.PodSandboxConfig {
	name := fmt.Sprintf("pod-%d", s.serial.Add(1))
	return criclient.PodSpec{
		Name: name, HostNetwork: hostNetwork, LogDirectory: filepath.Join(s.dir, "logs", name),
		CgroupParent: "/" + isolate.Group() + "/pods-of-" + s.name,
	}.Config()
}

func (s *server) newContainer(program string, args ...string) *runtime.ContainerConfig {
	return criclient.ContainerSpec{Name: fmt.Sprintf("c-%d", s.serial.Add(1)), Image: s.images[program], Args: args}.Config()
}

// run starts a pod.
func (s *server) run(ctx context.Context, hostNetwork bool) (id string, config *runtime.PodSandboxConfig, err error) {
	config = s.newPod(hostNetwork)
	id, err = s.client.RunPod(ctx, config, "")
	return id, config, err
}

// start creates and starts a container.
func (s *server) start(ctx context.Context, pod string, podConfig *runtime.PodSandboxConfig, config *runtime.ContainerConfig) (string, error) {
	id, err := s.client.Create(ctx, pod, podConfig, config)
	if err != nil {
		return "", err
	}
	return id, s.client.Start(ctx, id)
}

// idle starts a pod with a container that waits.
func (s *server) idle(ctx context.Context, program string) (pod string, err error) {
	pod, config, err := s.run(ctx, true)
	if err != nil {
		return "", err
	}
	_, err = s.start(ctx, pod, config, s.newContainer(program))
	return pod, err
}

// removeAll removes every pod.
func (s *server) removeAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	list, err := s.client.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	for _, p := range list.Items {
		if err := s.client.RemovePod(ctx, p.Id); err != nil {
			return fmt.Errorf("%s: remove pod: %w", s.name, err)
		}
	}
	return nil
}
