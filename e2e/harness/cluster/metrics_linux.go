package cluster

import (
	"context"
	_ "embed"
	"encoding/base64"
	"os"
	"strconv"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubebin"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubenode"
)

const (
	// metricsUser is the user of metrics-server, and the name of its certificate,
	// with which it serves as well.
	metricsUser = "metrics-server"
	metricsHost = "metrics-server.kube-system.svc"
	metricsPort = 4443

	metricsAPI = "/apis/metrics.k8s.io/v1beta1"
)

// metricsObjects are what metrics-server's own manifests make, with a program on
// the node in the place of a pod.
//
//go:embed metrics.yaml
var metricsObjects string

// startMetrics starts metrics-server and waits until the API server hands
// requests on to it. Figures of nodes and pods come later, when it has looked
// twice.
func (c *Cluster) startMetrics(ctx context.Context) error {
	ca, err := os.ReadFile(c.pki.crt("ca"))
	if err != nil {
		return err
	}
	objects := strings.NewReplacer(
		"USER", metricsUser, "ADDRESS", kubenode.IP, "PORT", strconv.Itoa(metricsPort),
		"CA", base64.StdEncoding.EncodeToString(ca)).Replace(metricsObjects)
	err = c.wait(ctx, "the objects of metrics-server", func(ctx context.Context) error {
		if _, err := c.Kubectl(ctx, objects, "apply", "-f", "-"); err != nil {
			return err
		}
		// It ends when it may not read this.
		_, err := c.Kubectl(ctx, "", "auth", "can-i", "get", "configmap/extension-apiserver-authentication",
			"--namespace=kube-system", "--as="+metricsUser)
		return err
	})
	if err != nil {
		return err
	}
	if err := c.start(kubebin.MetricsServer, c.metricsFlags()...); err != nil {
		return err
	}
	return c.wait(ctx, "metrics-server", func(ctx context.Context) error {
		_, err := c.Raw(ctx, metricsAPI)
		return err
	})
}

func (c *Cluster) metricsFlags() []string {
	kubeconfig := c.kubeconfigOf(metricsUser)
	return []string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--secure-port=" + strconv.Itoa(metricsPort),
		"--tls-cert-file=" + c.pki.crt(metricsUser),
		"--tls-private-key-file=" + c.pki.keyFile(metricsUser),
		"--kubelet-certificate-authority=" + c.pki.crt("ca"),
		"--kubelet-preferred-address-types=InternalIP",
		"--metric-resolution=15s",
	}
}
