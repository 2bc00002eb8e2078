package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubebin"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubenode"
)

const (
	apiPort     = 6443
	kubeletPort = 10250
	etcdURL     = "http://127.0.0.1:2379"

	services      = "10.96.0.0/16"
	apiService    = "10.96.0.1"
	clusterDNS    = "10.96.0.10"
	clusterDomain = "cluster.local"

	// admin is the user of kubectl and of this package.
	admin = "admin"

	// proxyClient is the API server as the servers behind it see it.
	proxyClient = "front-proxy-client"
)

// startTimeout is how long a program may take until it answers: a busy machine
// of two cores starts six of them at once.
const startTimeout = 5 * time.Minute

func (c *Cluster) makePKI() error {
	p, err := newPKI(filepath.Join(c.options.Dir, "pki"))
	if err != nil {
		return err
	}
	c.pki = p
	node := c.options.NodeName
	for _, s := range []subject{
		{name: "apiserver", user: "kube-apiserver", hosts: []string{
			"127.0.0.1", kubenode.IP, apiService, "localhost",
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain}},
		{name: "apiserver-kubelet-client", user: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}},
		{name: admin, user: "kubernetes-admin", groups: []string{"system:masters"}},
		{name: "scheduler", user: "system:kube-scheduler"},
		{name: "controller-manager", user: "system:kube-controller-manager"},
		{name: "kubelet", user: "system:node:" + node, groups: []string{"system:nodes"}, hosts: []string{kubenode.IP, node}},
		{name: metricsUser, user: metricsUser, hosts: []string{metricsHost}},
	} {
		if err := p.issue(s); err != nil {
			return err
		}
	}
	if err := p.serviceAccountKey(); err != nil {
		return err
	}
	for _, name := range []string{admin, "scheduler", "controller-manager", "kubelet", metricsUser} {
		if err := p.writeKubeconfig(c.kubeconfigOf(name), c.URL(), name); err != nil {
			return err
		}
	}
	return c.makeProxyPKI()
}

// makeProxyPKI makes an authority of its own, by which the API server is known
// to the servers behind it, metrics-server here: whom it vouches for may name any
// user.
func (c *Cluster) makeProxyPKI() error {
	p, err := newPKI(filepath.Join(c.options.Dir, "proxy-pki"))
	if err != nil {
		return err
	}
	c.proxyPKI = p
	return p.issue(subject{name: proxyClient, user: proxyClient})
}

func (c *Cluster) kubeconfigOf(name string) string {
	return filepath.Join(c.options.Dir, name+".kubeconfig")
}

func (c *Cluster) startControlPlane(ctx context.Context) error {
	if err := c.start(kubebin.Etcd, c.etcdFlags()...); err != nil {
		return err
	}
	if err := c.start(kubebin.APIServer, c.apiserverFlags()...); err != nil {
		return err
	}
	if err := c.waitAPIServer(ctx); err != nil {
		return err
	}
	if err := c.start(kubebin.ControllerManager, c.controllerManagerFlags()...); err != nil {
		return err
	}
	err := c.start(kubebin.Scheduler,
		"--kubeconfig="+c.kubeconfigOf("scheduler"),
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=500", "--kube-api-burst=1000")
	if err != nil {
		return err
	}
	// Without it the API server takes no pod.
	return c.wait(ctx, "the service account default", func(ctx context.Context) error {
		return c.client.Get().Namespace("default").Resource("serviceaccounts").Name("default").Do(ctx).Error()
	})
}

func (c *Cluster) etcdFlags() []string {
	return []string{
		"--data-dir=" + filepath.Join(c.options.Dir, "etcd"),
		"--unsafe-no-fsync",
		"--log-level=warn",
		"--listen-client-urls=" + etcdURL,
		"--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=http://127.0.0.1:2380",
	}
}

func (c *Cluster) apiserverFlags() []string {
	return []string{
		"--etcd-servers=" + etcdURL,
		"--bind-address=0.0.0.0", // the network namespace has no way out
		"--secure-port=" + strconv.Itoa(apiPort),
		"--advertise-address=" + kubenode.IP,
		"--service-cluster-ip-range=" + services,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--enable-bootstrap-token-auth",
		"--allow-privileged",
		"--client-ca-file=" + c.pki.crt("ca"),
		"--tls-cert-file=" + c.pki.crt("apiserver"),
		"--tls-private-key-file=" + c.pki.keyFile("apiserver"),
		"--kubelet-certificate-authority=" + c.pki.crt("ca"),
		"--kubelet-client-certificate=" + c.pki.crt("apiserver-kubelet-client"),
		"--kubelet-client-key=" + c.pki.keyFile("apiserver-kubelet-client"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc." + clusterDomain,
		"--service-account-key-file=" + filepath.Join(c.pki.dir, "sa.pub"),
		"--service-account-signing-key-file=" + c.pki.keyFile("sa"),
		// Servers behind this one are reached by the endpoints of their services:
		// no kube-proxy makes the services' own addresses work.
		"--enable-aggregator-routing",
		"--proxy-client-cert-file=" + c.proxyPKI.crt(proxyClient),
		"--proxy-client-key-file=" + c.proxyPKI.keyFile(proxyClient),
		"--requestheader-client-ca-file=" + c.proxyPKI.crt("ca"),
		"--requestheader-allowed-names=" + proxyClient,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
	}
}

func (c *Cluster) controllerManagerFlags() []string {
	return []string{
		"--kubeconfig=" + c.kubeconfigOf("controller-manager"),
		"--leader-elect=false",
		"--secure-port=0",
		"--use-service-account-credentials",
		"--root-ca-file=" + c.pki.crt("ca"),
		"--service-account-private-key-file=" + c.pki.keyFile("sa"),
		"--cluster-signing-cert-file=" + c.pki.crt("ca"),
		"--cluster-signing-key-file=" + c.pki.keyFile("ca"),
		"--flex-volume-plugin-dir=" + filepath.Join(c.options.Dir, "flex"),
		"--horizontal-pod-autoscaler-sync-period=5s",
		"--controllers=*,bootstrapsigner,tokencleaner", // for kubeadm join, as kubeadm starts it
		"--kube-api-qps=500", "--kube-api-burst=1000",
	}
}

// waitAPIServer waits until the API server is ready for all requests.
func (c *Cluster) waitAPIServer(ctx context.Context) error {
	client, err := c.httpClient()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	return c.wait(ctx, "the API server", func(ctx context.Context) error {
		return answersOK(ctx, client, c.URL()+"/readyz")
	})
}

// httpClient speaks to the API server and to the kubelet as the admin.
func (c *Cluster) httpClient() (*http.Client, error) {
	cert, err := tls.LoadX509KeyPair(c.pki.crt(admin), c.pki.keyFile(admin))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(c.pki.crt("ca"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}},
		Timeout:   30 * time.Second,
	}, nil
}

func answersOK(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r, err := client.Do(request)
	if err != nil {
		return err
	}
	_ = r.Body.Close() // only the status counts
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, r.Status)
	}
	return nil
}

// URL is where the API server listens, inside of the network namespace.
func (c *Cluster) URL() string {
	return "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(apiPort))
}

// wait calls ready until it succeeds, as long as all programs live.
func (c *Cluster) wait(ctx context.Context, what string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		for _, p := range c.processes {
			if dead := p.Alive(); dead != nil {
				return fmt.Errorf("wait for %s: %w", what, dead)
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w: %w", what, ctx.Err(), err)
		}
	}
}
