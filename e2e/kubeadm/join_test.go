package kubeadm

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/built"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/cluster"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/daemon"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubebin"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubenode"
)

const (
	patience = 5 * time.Minute
	nodeName = "wasm-node"
	token    = "abcdef.0123456789abcdef"

	registryHost = "registry.test"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// machine is the one that kubeadm makes a node of.
type machine struct {
	*cluster.Cluster
	dir string
}

func TestKubeadmJoinsAndResetsANode(t *testing.T) {
	if why := built.Missing(); why != "" {
		t.Skip(why)
	}
	m := startMachine(t)
	m.initControlPlane(t)

	join := m.kubeadm(t, "join", "--config", m.joinConfig(t), "--ignore-preflight-errors", "SystemVerification")
	if !strings.Contains(join, "This node has joined the cluster") {
		t.Errorf("kubeadm join says:\n%s", join)
	}
	// kubeadm does not wait for the kubelet to register the node.
	m.kubectl(t, "", "wait", "node/"+nodeName, "--for=create", "--timeout", patience.String())
	m.kubectl(t, "", "wait", "node/"+nodeName, "--for=condition=ready", "--timeout", patience.String())
	node, err := m.Node(t.Context())
	must(t, err)
	if got := node.Labels["cri-wasmer.dev/runtime"]; got != "wasmer" {
		t.Errorf("the node's label is %q", got)
	}
	ours := func(taint corev1.Taint) bool { return taint.ToString() == "cri-wasmer.dev/runtime=wasmer:NoSchedule" }
	if !slices.ContainsFunc(node.Spec.Taints, ours) { // beside which that of a node which is not ready yet may be still
		t.Errorf("the node's taints are %v", node.Spec.Taints)
	}
	if got := node.Status.NodeInfo.ContainerRuntimeVersion; !strings.HasPrefix(got, "cri-wasmer://") {
		t.Errorf("the node's runtime is %q", got)
	}
	m.runHello(t)
	m.checkFiles(t)
	m.checkDoctor(t)

	// Without the socket it looks for runtimes that it knows.
	m.kubeadm(t, "reset", "--force", "--cri-socket", "unix://"+m.Server.Socket())
	list, err := m.Server.Client.ListPodSandbox(t.Context(), &runtime.ListPodSandboxRequest{})
	must(t, err)
	if len(list.Items) > 0 {
		t.Errorf("kubeadm reset leaves %d pods in the runtime", len(list.Items))
	}
}

// checkFiles looks for the socket where docs/deploy.md says that kubeadm keeps it.
func (m *machine) checkFiles(t *testing.T) {
	t.Helper()
	endpoint := "unix://" + m.Server.Socket()
	for name, want := range map[string]bool{"config.yaml": true, "instance-config.yaml": true, "kubeadm-flags.env": false} {
		data, err := os.ReadFile(filepath.Join("/var/lib/kubelet", name))
		must(t, err)
		if got := strings.Contains(string(data), endpoint); got != want {
			t.Errorf("%s has the socket: %v, want %v:\n%s", name, got, want, data)
		}
	}
}

// checkDoctor wants the doctor to find the kubelet that kubeadm made, and nothing
// wrong.
func (m *machine) checkDoctor(t *testing.T) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), built.Server(), append([]string{"doctor"}, m.Server.Command()[2:]...)...).CombinedOutput()
	for _, want := range []string{"configuration in /var/lib/kubelet/config.yaml", "it uses unix://" + m.Server.Socket(), "0 problems"} {
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("the doctor does not say %q: %v\n%s", want, err, out)
		}
	}
}

// startMachine starts the control plane and the server, and makes room for what
// kubeadm writes.
func startMachine(t *testing.T) *machine {
	t.Helper()
	must(t, kubenode.Prepare())
	// As kubeadm's guide has it; a network namespace may inherit something else.
	must(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0))
	registry, err := images.NewRegistry()
	must(t, err)
	t.Cleanup(registry.Close)
	module, err := os.ReadFile(built.Guest("hello-c"))
	must(t, err)
	_, err = registry.Push("hello-c", "v1", images.Program(module).Artifact())
	must(t, err)
	dir, err := os.MkdirTemp("/tmp", "cwa")
	must(t, err)
	t.Cleanup(func() {
		if err := isolate.RemoveTree(dir); err != nil {
			t.Error(err)
		}
	})
	hideEtc(t, filepath.Join(dir, "etc"))
	c, err := cluster.Start(t.Context(), cluster.Options{
		Binaries:  built.Kubernetes(),
		Dir:       filepath.Join(dir, "c"),
		NodeName:  nodeName,
		NoKubelet: true,
		Server: daemon.Options{
			Binary: built.Server(),
			Hosts:  map[string]string{registryHost: daemon.Server(registry.URL())},
		},
	})
	must(t, err)
	m := &machine{Cluster: c, dir: dir}
	t.Cleanup(func() {
		if t.Failed() {
			log, err := os.ReadFile(m.kubeletLog())
			t.Logf("the log of the kubelet: %v\n%s", err, log[max(0, len(log)-8000):])
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	must(t, m.playSystemd())
	t.Cleanup(func() {
		if out, err := m.command(context.Background(), "systemctl", "stop", "kubelet").CombinedOutput(); err != nil {
			t.Errorf("stop the kubelet: %v\n%s", err, out)
		}
	})
	return m
}

// hideEtc lays a directory over /etc, which takes what is written there, and in which
// the node has a name.
func hideEtc(t *testing.T, dir string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"))
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	must(t, os.Mkdir(upper, 0o755))
	must(t, os.Mkdir(work, 0o755))
	must(t, unix.Mount("overlay", "/etc", "overlay", 0, fmt.Sprintf("lowerdir=/etc,upperdir=%s,workdir=%s", upper, work)))
	must(t, os.WriteFile("/etc/hosts", []byte("127.0.0.1 localhost\n"+kubenode.IP+" "+nodeName+"\n"), 0o644))
}

// systemctl does what kubeadm asks systemd for, with the command line of
// kubeadm's drop-in for the kubelet.
const systemctl = `#!/bin/sh
stop() {
	[ -e DIR/kubelet.pid ] || return 0
	pid=$(cat DIR/kubelet.pid)
	rm DIR/kubelet.pid
	kill $pid
	while kill -0 $pid 2>/dev/null; do sleep 0.1; done
}
case "$1 $2" in
"restart kubelet" | "start kubelet")
	stop
	. /var/lib/kubelet/kubeadm-flags.env
	setsid kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \
		--config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS </dev/null >>DIR/kubelet.log 2>&1 &
	echo $! >DIR/kubelet.pid
	;;
"stop kubelet") stop ;;
"is-active kubelet") [ -e DIR/kubelet.pid ] && echo active || echo inactive ;;
esac
`

func (m *machine) playSystemd() error {
	bin := filepath.Join(m.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	for _, name := range []string{kubebin.Kubelet, kubebin.Kubeadm} {
		if err := os.Symlink(filepath.Join(built.Kubernetes(), name), filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(bin, "systemctl"), []byte(strings.ReplaceAll(systemctl, "DIR", m.dir)), 0o755)
}

func (m *machine) kubeletLog() string { return filepath.Join(m.dir, "kubelet.log") }

// command is one that finds the programs of the machine first.
func (m *machine) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	bin := filepath.Join(m.dir, "bin")
	cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	return cmd
}

// kubeadm gives what kubeadm prints, which must succeed.
func (m *machine) kubeadm(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	out, err := m.command(ctx, kubebin.Kubeadm, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubeadm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	t.Logf("kubeadm %s:\n%s", strings.Join(args, " "), out)
	return string(out)
}

func (m *machine) kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := m.Kubectl(t.Context(), stdin, args...)
	must(t, err)
	return out
}

// initControlPlane does what kubeadm init does to a control plane that runs, so
// that nodes can join it.
func (m *machine) initControlPlane(t *testing.T) {
	t.Helper()
	kubelet, err := json.Marshal(map[string]any{
		"apiVersion":         "kubelet.config.k8s.io/v1beta1",
		"kind":               "KubeletConfiguration",
		"cgroupRoot":         kubenode.Group(),
		"failCgroupV1":       false,
		"failSwapOn":         false,
		"resolvConf":         "",
		"volumePluginDir":    "/var/lib/kubelet/plugins",
		"healthzBindAddress": "127.0.0.1",
	})
	must(t, err)
	config := m.write(t, "init.yaml", fmt.Sprintf(`apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens: [{token: %s, groups: ["system:bootstrappers:kubeadm:default-node-token"], usages: [signing, authentication]}]
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: %s
networking: {serviceSubnet: 10.96.0.0/16}
---
%s
`, token, kubebin.Version, kubelet))
	m.kubeadm(t, "config", "validate", "--config", config)
	for _, phase := range [][]string{{"upload-config", "all"}, {"bootstrap-token"}} {
		m.kubeadm(t, append(append([]string{"init", "phase"}, phase...), "--config", config, "--kubeconfig", m.Kubeconfig())...)
	}
}

// joinConfig is that of docs/deploy.md, without a check of the control plane's
// certificate, which has an authority of its own.
func (m *machine) joinConfig(t *testing.T) string {
	t.Helper()
	registration, err := exec.CommandContext(t.Context(), built.Server(), "kubelet-flags",
		"--profile", "dedicated", "--output", "kubeadm", "--socket", m.Server.Socket()).Output()
	must(t, err)
	file := m.write(t, "join.yaml", fmt.Sprintf(`apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken:
    apiServerEndpoint: %s:6443
    token: %s
    unsafeSkipCAVerification: true
%s  name: %s
`, kubenode.IP, token, registration, nodeName))
	m.kubeadm(t, "config", "validate", "--config", file)
	return file
}

func (m *machine) write(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(m.dir, name)
	must(t, os.WriteFile(file, []byte(content), 0o600))
	return file
}

// runHello runs a pod that names the RuntimeClass, until it has succeeded.
func (m *machine) runHello(t *testing.T) {
	t.Helper()
	class, err := exec.CommandContext(t.Context(), built.Server(), "kubelet-flags", "--profile", "dedicated", "--output", "runtimeclass").Output()
	must(t, err)
	m.kubectl(t, string(class), "apply", "-f", "-")
	m.kubectl(t, "", "run", "hello", "--restart=Never", "--image="+registryHost+"/hello-c:v1",
		"--overrides", `{"spec": {"runtimeClassName": "wasm"}}`)
	m.kubectl(t, "", "wait", "pod/hello", "--for=jsonpath={.status.phase}=Succeeded", "--timeout", patience.String())
	pod, err := m.Pod(t.Context(), "default", "hello")
	must(t, err)
	if pod.Status.Phase != corev1.PodSucceeded || pod.Spec.NodeName != nodeName {
		t.Errorf("the pod is %s on node %q", pod.Status.Phase, pod.Spec.NodeName)
	}
}
