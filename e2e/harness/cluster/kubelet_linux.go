package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubebin"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubenode"
)

// kubeletDir has the kubelet's configuration and files; its root directory is
// below, for the kubelet mounts that on itself.
func (c *Cluster) kubeletDir() string  { return filepath.Join(c.options.Dir, "kubelet") }
func (c *Cluster) kubeletRoot() string { return filepath.Join(c.kubeletDir(), "root") }

// PodDir is where the kubelet keeps the volumes of a pod.
func (c *Cluster) PodDir(uid string) string { return filepath.Join(c.kubeletRoot(), "pods", uid) }

// Manifests is the directory of static pods.
func (c *Cluster) Manifests() string { return kubenode.Manifests(c.kubeletDir()) }

func (c *Cluster) configureKubelet() error {
	if err := os.MkdirAll(c.Manifests(), 0o755); err != nil {
		return err
	}
	changes := map[string]any{
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": c.pki.crt("ca")},
		},
		"authorization":      map[string]any{"mode": "Webhook"},
		"tlsCertFile":        c.pki.crt("kubelet"),
		"tlsPrivateKeyFile":  c.pki.keyFile("kubelet"),
		"clusterDNS":         []string{clusterDNS},
		"clusterDomain":      clusterDomain,
		"maxPods":            c.options.MaxPods,
		"registryPullQPS":    0,
		"eventRecordQPS":     0,
		"kubeAPIQPS":         500,
		"kubeAPIBurst":       1000,
		"healthzBindAddress": "127.0.0.1",
		// Limits of volumes are checked by these figures.
		"volumeStatsAggPeriod": "5s",
		// What a configuration changes in a volume is seen soon.
		"configMapAndSecretChangeDetectionStrategy": "Watch",
	}
	maps.Copy(changes, c.options.Kubelet)
	data, err := json.MarshalIndent(kubenode.Config(c.Server.Socket(), c.kubeletDir(), changes), "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(c.kubeletConfig(), data, 0o644)
}

func (c *Cluster) kubeletConfig() string { return filepath.Join(c.kubeletDir(), "config.json") }

// StartKubelet starts the kubelet again after StopKubelet.
func (c *Cluster) StartKubelet(ctx context.Context) error {
	args := []string{
		"--config=" + c.kubeletConfig(),
		"--kubeconfig=" + c.kubeconfigOf("kubelet"),
		"--root-dir=" + c.kubeletRoot(),
		"--cert-dir=" + filepath.Join(c.kubeletDir(), "pki"),
		"--hostname-override=" + c.options.NodeName,
		"--node-ip=" + kubenode.IP,
	}
	profile, err := c.profileFlags(ctx)
	if err != nil {
		return err
	}
	if err := c.start(kubebin.Kubelet, slices.Concat(args, profile, c.options.KubeletFlags)...); err != nil {
		return err
	}
	return c.waitNode(ctx)
}

// profileFlags are what the server itself says that its kubelet must be told.
func (c *Cluster) profileFlags(ctx context.Context) ([]string, error) {
	if c.options.Profile == "" {
		return nil, nil
	}
	out, err := exec.CommandContext(ctx, c.options.Server.Binary, "kubelet-flags",
		"--profile", c.options.Profile, "--socket", c.Server.Socket()).Output()
	if err != nil {
		return nil, fmt.Errorf("ask for the kubelet's flags: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// StopKubelet ends the kubelet. Pods go on.
func (c *Cluster) StopKubelet() error { return c.stop(kubebin.Kubelet) }

// KubeletURL is where the kubelet listens.
func (c *Cluster) KubeletURL() string {
	return "https://" + net.JoinHostPort(kubenode.IP, strconv.Itoa(kubeletPort))
}

// waitNode waits until the kubelet serves and its node is ready.
func (c *Cluster) waitNode(ctx context.Context) error {
	client, err := c.httpClient()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	err = c.wait(ctx, "the kubelet", func(ctx context.Context) error {
		return answersOK(ctx, client, c.KubeletURL()+"/healthz")
	})
	if err != nil {
		return err
	}
	return c.wait(ctx, "node "+c.options.NodeName, func(ctx context.Context) error {
		ready, err := c.nodeReady(ctx)
		if err == nil && !ready {
			err = fmt.Errorf("node %s is not ready", c.options.NodeName)
		}
		return err
	})
}
