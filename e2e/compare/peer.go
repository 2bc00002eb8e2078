package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

// peerConfig is containerd's. A machine that may not lower a process's
// oom_score_adj needs restrict_oom_score_adj.
var peerConfig = template.Must(template.New("config").Parse(`version = 3
root = "{{.Dir}}/root"
state = "/run/peer"
[grpc]
  address = "{{.Dir}}/cri.sock"
[ttrpc]
  address = "{{.Dir}}/ttrpc.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{{.Pause}}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "{{.Bin}}/runc"
        SystemdCgroup = false
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{{.Plugins}}"]
    conf_dir = "{{.Network}}"
`))

type peerPaths struct{ Dir, Bin, Plugins, Network, Pause string }

// startPeer starts containerd.
func startPeer(ctx context.Context, o options, dir, pause string) (*server, error) {
	bin, err := filepath.Abs(o.peer)
	if err != nil {
		return nil, err
	}
	plugins, err := filepath.Abs(o.plugins)
	if err != nil {
		return nil, err
	}
	p := peerPaths{Dir: filepath.Join(dir, "peer"), Bin: bin, Plugins: plugins, Network: filepath.Join(dir, "net.d"), Pause: pause}
	if err := p.writeConfig(); err != nil {
		return nil, err
	}
	cmd, ended, err := p.spawn()
	if err != nil {
		return nil, err
	}
	end := func() error { return endPeer(cmd, ended) }
	client, err := criclient.Dial(filepath.Join(p.Dir, "cri.sock"))
	if err != nil {
		return nil, errors.Join(err, end())
	}
	if err := awaitReady(ctx, client, ended); err != nil {
		return nil, errors.Join(fmt.Errorf("containerd: %w; the end of its log:\n%s", err, p.lastLog()), client.Close(), end())
	}
	return &server{name: "containerd", client: client, pid: cmd.Process.Pid, dir: p.Dir, end: func() error {
		return errors.Join(client.Close(), end())
	}}, nil
}

func (p peerPaths) writeConfig() error {
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return err
	}
	var text strings.Builder
	if err := peerConfig.Execute(&text, p); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.Dir, "config.toml"), []byte(text.String()), 0o644)
}

func (p peerPaths) spawn() (*exec.Cmd, <-chan struct{}, error) {
	log, err := os.Create(filepath.Join(p.Dir, "log"))
	if err != nil {
		return nil, nil, err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(p.Bin, "containerd"), "--config", filepath.Join(p.Dir, "config.toml"))
	cmd.Env = append(os.Environ(), "PATH="+p.Bin+":"+os.Getenv("PATH")) // the shim is found there
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // a server may end in any way
		close(ended)
	}()
	return cmd, ended, nil
}

func (p peerPaths) lastLog() string {
	data, err := os.ReadFile(filepath.Join(p.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4096):])
}

func awaitReady(ctx context.Context, c *criclient.Client, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		_, err := c.Version(ctx, &runtime.VersionRequest{})
		if err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ended:
			return errors.New("it has ended at once")
		case <-ctx.Done():
			return err
		}
	}
}

func endPeer(cmd *exec.Cmd, ended <-chan struct{}) error {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-ended:
		return nil
	case <-time.After(30 * time.Second):
		return errors.Join(errors.New("containerd does not end on SIGTERM"), cmd.Process.Kill())
	}
}
