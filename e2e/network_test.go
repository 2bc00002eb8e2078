package e2e

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/leak"
)

func podIP(t testing.TB, n *node, p *pod) string {
	t.Helper()
	s, err := n.Client.Pod(t.Context(), p.id)
	must(t, err)
	return s.GetNetwork().GetIp()
}

// listenInPod listens in the network of a container's process and answers every
// connection with text.
func listenInPod(t *testing.T, c *container, port int, text string) {
	t.Helper()
	pids := guestPIDs(t, c.id)
	if len(pids) == 0 {
		t.Fatal("the container has no process")
	}
	serveIn(t, fmt.Sprintf("/proc/%d/ns/net", pids[0]), fmt.Sprintf("0.0.0.0:%d", port), func(conn *net.TCPConn) {
		_, _ = io.WriteString(conn, text)
		_ = conn.Close()
	})
}

func dialText(address string) (string, error) {
	conn, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	data, err := io.ReadAll(conn)
	return string(data), err
}

func TestPodsHaveTheirOwnAddressAndAreReached(t *testing.T) {
	n := sharedNode(t)
	a, b := n.pod(t, criclient.PodSpec{}), n.pod(t, criclient.PodSpec{})
	addresses := map[string]bool{}
	for i, p := range []*pod{a, b} {
		ip := podIP(t, n, p)
		if addr, err := netip.ParseAddr(ip); err != nil || addr.IsLoopback() || addresses[ip] {
			t.Fatalf("pod has address %q (%v); those so far are %v", ip, err, addresses)
		}
		addresses[ip] = true
		c := p.run(criclient.ContainerSpec{Image: n.program(t, "top-c")})
		want := fmt.Sprintf("from pod %d", i)
		listenInPod(t, c, 8080, want)
		if got, err := dialText(net.JoinHostPort(ip, "8080")); got != want {
			t.Errorf("the host reads %q from %s, %v, want %q", got, ip, err, want)
		}
	}
}

func TestHostPortLeadsToThePod(t *testing.T) {
	n := sharedNode(t)
	config := n.podConfig(criclient.PodSpec{})
	config.PortMappings = []*runtime.PortMapping{
		{Protocol: runtime.Protocol_TCP, ContainerPort: 8080, HostPort: 12345},
		{Protocol: runtime.Protocol_TCP, ContainerPort: 9090}, // no host port: nothing to do
	}
	p := n.podFrom(t, config, "")
	c := p.run(criclient.ContainerSpec{Image: n.program(t, "top-c")})
	listenInPod(t, c, 8080, "through the host port")
	for _, address := range []string{"127.0.0.1:12345"} {
		if got, err := dialText(address); got != "through the host port" {
			t.Errorf("%s gives %q, %v", address, got, err)
		}
	}
	must(t, n.Client.RemovePod(t.Context(), p.id))
	if got, err := dialText("127.0.0.1:12345"); err == nil {
		t.Errorf("after the pod's removal the port still gives %q", got)
	}
	n.podFrom(t, config, "") // the port is free again
}

func TestHostNetworkPodSharesTheHostsNetwork(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.program(t, "top-c")})
	own, err := os.Readlink("/proc/self/ns/net")
	must(t, err)
	for _, pid := range guestPIDs(t, c.id) {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); got != own {
			t.Errorf("process %d is in %s (%v), want %s", pid, got, err, own)
		}
	}
}

func TestPodNamespacesAreNotTheHosts(t *testing.T) {
	n := sharedNode(t)
	c := n.pod(t, criclient.PodSpec{}).run(criclient.ContainerSpec{Image: n.program(t, "top-c")})
	pids := guestPIDs(t, c.id)
	if len(pids) == 0 {
		t.Fatal("the container has no process")
	}
	for _, kind := range []string{"net", "mnt", "pid", "ipc", "uts"} {
		own, err := os.Readlink("/proc/self/ns/" + kind)
		must(t, err)
		got, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pids[0], kind))
		must(t, err)
		if got == own {
			t.Errorf("the guest shares the %s namespace of the host", kind)
		}
	}
}

const brokenNetwork = `{
  "cniVersion": "1.0.0", "name": "broken",
  "plugins": [{"type": "works"}, {"type": "fails"}]
}`

const okNetwork = `{"cniVersion": "1.0.0", "name": "fine", "plugins": [{"type": "works"}]}`

// worksPlugin answers as a plugin must, and keeps a file while it is added.
const worksPlugin = `#!/bin/sh
dir=$(dirname "$0")
case "$CNI_COMMAND" in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}' ;;
ADD) touch "$dir/added-$CNI_CONTAINERID"
  echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"'"$CNI_NETNS"'"}],"ips":[{"address":"10.9.8.7/24","interface":0}]}' ;;
DEL) rm -f "$dir/added-$CNI_CONTAINERID" ;;
esac
`

const failsPlugin = `#!/bin/sh
case "$CNI_COMMAND" in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}' ;;
ADD) echo '{"cniVersion":"1.0.0","code":100,"msg":"the cable is not plugged in","details":"e2e"}'; exit 1 ;;
esac
`

func TestFailingNetworkPlugin(t *testing.T) {
	conf, bin := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(conf, "10-net.conflist"), []byte(brokenNetwork), 0o644))
	must(t, os.WriteFile(filepath.Join(bin, "works"), []byte(worksPlugin), 0o755))
	must(t, os.WriteFile(filepath.Join(bin, "fails"), []byte(failsPlugin), 0o755))
	n := ownNode(t, nodeOptions{flags: map[string]string{"cni-conf-dir": conf, "cni-bin-dirs": bin}})
	scope := leak.Scope{Daemon: n.PID(), Dirs: []string{n.Root(), n.State(), bin}}
	before, err := leak.Take(scope)
	must(t, err)
	config := n.podConfig(criclient.PodSpec{})
	_, err = n.Client.RunPod(t.Context(), config, "")
	wantError(t, "run pod", err, "the cable is not plugged in")
	if ids := podIDs(t, n, nil); len(ids) != 0 {
		t.Errorf("the failed pod is listed: %q", ids)
	}
	more, err := leak.Wait(before, scope, 5*time.Second)
	must(t, err)
	if len(more) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(more, "\n"))
	}
	n.hostPod(t) // needs no plugin

	must(t, os.WriteFile(filepath.Join(conf, "10-net.conflist"), []byte(okNetwork), 0o644))
	eventually(t, "the new configuration", func() bool {
		p, err := n.Client.RunPod(t.Context(), config, "")
		if err != nil {
			return false
		}
		if ip := podIP(t, n, &pod{t: t, node: n, id: p}); ip != "10.9.8.7" {
			t.Errorf("the pod has address %q, want that of the plugin", ip)
		}
		must(t, n.Client.RemovePod(t.Context(), p))
		return true
	})
	if left := files(t, bin); len(left) != 3 {
		t.Errorf("the plugins still keep %v", left)
	}
}

// slowPlugin never comes to the end of ADD, and says who it is.
const slowPlugin = `#!/bin/sh
dir=$(dirname "$0")
case "$CNI_COMMAND" in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}' ;;
ADD) touch "$dir/added-$CNI_CONTAINERID"
  echo $$ >"$dir/pid.new" && mv "$dir/pid.new" "$dir/pid"
  exec sleep 1000 ;;
esac
`

// TestServerKilledWhileAPluginWorks: no plugin goes on without the server, and
// the next one undoes what it did.
func TestServerKilledWhileAPluginWorks(t *testing.T) {
	conf, bin := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(conf, "10-net.conflist"), []byte(okNetwork), 0o644))
	must(t, os.WriteFile(filepath.Join(bin, "works"), []byte(slowPlugin), 0o755))
	n := ownNode(t, nodeOptions{flags: map[string]string{"cni-conf-dir": conf, "cni-bin-dirs": bin}})
	config := n.podConfig(criclient.PodSpec{})
	ctx, cancel := contextWithTimeout(t, patience)
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := n.Client.RunPod(ctx, config, "")
		failed <- err
	}()
	var pid int
	eventually(t, "the plugin to work", func() bool {
		text, err := os.ReadFile(filepath.Join(bin, "pid"))
		if err == nil {
			pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		}
		return err == nil
	})
	must(t, n.Kill())
	if err := <-failed; err == nil {
		t.Error("the pod was made by a server that was killed")
	}
	eventually(t, "the plugin to end with the server", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
	must(t, os.Remove(filepath.Join(bin, "pid")))
	must(t, os.WriteFile(filepath.Join(bin, "works.new"), []byte(worksPlugin), 0o755))
	must(t, os.Rename(filepath.Join(bin, "works.new"), filepath.Join(bin, "works")))
	must(t, n.Start(t.Context()))
	if ids := podIDs(t, n, nil); len(ids) != 0 {
		t.Errorf("the unfinished pod is listed: %q", ids)
	}
	if left := files(t, bin); len(left) != 2 { // the directory and the plugin
		t.Errorf("DEL was not called: the plugin still keeps %v", left)
	}
	if left, err := os.ReadDir(filepath.Join(n.State(), "netns")); err != nil || len(left) != 0 {
		t.Errorf("network namespaces that are left: %v, %v", left, err)
	}
	p := n.podFrom(t, config, "") // the name is free
	if ip := podIP(t, n, p); ip != "10.9.8.7" {
		t.Errorf("the pod has address %q, want that of the plugin", ip)
	}
}

// TestServerServesThoughPluginsHang: a plugin that hangs is often why pods are unfinished
// when a server ends. The next one gives each no more than it gives any undoing, and
// to all of them at once.
func TestServerServesThoughPluginsHang(t *testing.T) {
	conf, bin := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(conf, "10-net.conflist"), []byte(okNetwork), 0o644))
	works := filepath.Join(bin, "works")
	must(t, os.WriteFile(works, []byte(slowPlugin), 0o755))
	n := ownNode(t, nodeOptions{flags: map[string]string{"cni-conf-dir": conf, "cni-bin-dirs": bin}})
	ctx, cancel := contextWithTimeout(t, patience)
	defer cancel()
	const pods = 4
	failed := make(chan error, pods)
	for range pods {
		config := n.podConfig(criclient.PodSpec{})
		go func() {
			_, err := n.Client.RunPod(ctx, config, "")
			failed <- err
		}()
	}
	eventually(t, "the plugins to work", func() bool {
		added, err := filepath.Glob(filepath.Join(bin, "added-*"))
		return err == nil && len(added) == pods
	})
	must(t, n.Kill())
	for range pods {
		<-failed
	}
	must(t, os.WriteFile(works+".new", []byte(strings.Replace(slowPlugin, "ADD) ", "ADD|DEL) ", 1)), 0o755))
	must(t, os.Rename(works+".new", works))
	start := time.Now()
	must(t, n.Start(t.Context()))
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("with %d pods whose plugins hang the server served after %v", pods, took)
	}
	ids := podIDs(t, n, nil)
	if len(ids) != pods {
		t.Errorf("the pods are %q, want those %d that are not undone", ids, pods)
	}
	must(t, os.WriteFile(works+".new", []byte(worksPlugin), 0o755))
	must(t, os.Rename(works+".new", works))
	for _, id := range ids {
		must(t, n.Client.RemovePod(t.Context(), id))
	}
	if added, err := filepath.Glob(filepath.Join(bin, "added-*")); err != nil || len(added) != 0 {
		t.Errorf("the plugin still keeps %q, %v", added, err)
	}
}

// stubbornPlugin fails to add, and to delete while a file is there.
const stubbornPlugin = `#!/bin/sh
dir=$(dirname "$0")
case "$CNI_COMMAND" in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}' ;;
ADD) touch "$dir/added-$CNI_CONTAINERID"
  echo '{"cniVersion":"1.0.0","code":100,"msg":"half of it is done"}'; exit 1 ;;
DEL) if [ -e "$dir/down" ]; then echo '{"cniVersion":"1.0.0","code":11,"msg":"the store is down"}'; exit 1; fi
  rm -f "$dir/added-$CNI_CONTAINERID" ;;
esac
`

// TestAFailedPodStaysUntilItsNetworkIsUndone: nobody would call DEL again if the
// pod were forgotten.
func TestAFailedPodStaysUntilItsNetworkIsUndone(t *testing.T) {
	conf, bin := t.TempDir(), t.TempDir()
	down := filepath.Join(bin, "down")
	must(t, os.WriteFile(filepath.Join(conf, "10-net.conflist"), []byte(okNetwork), 0o644))
	must(t, os.WriteFile(filepath.Join(bin, "works"), []byte(stubbornPlugin), 0o755))
	must(t, os.WriteFile(down, nil, 0o644))
	n := ownNode(t, nodeOptions{flags: map[string]string{"cni-conf-dir": conf, "cni-bin-dirs": bin}})
	config := n.podConfig(criclient.PodSpec{})
	for _, restart := range []bool{false, true} {
		_, err := n.Client.RunPod(t.Context(), config, "")
		wantError(t, "run pod", err, "half of it is done", "the store is down")
		ids := podIDs(t, n, nil)
		if len(ids) != 1 {
			t.Fatalf("the pods are %q, want the one that failed", ids)
		}
		if restart {
			must(t, n.Kill())
			must(t, n.Start(t.Context()))
		}
		s, err := n.Client.Pod(t.Context(), ids[0])
		must(t, err)
		if s.State != runtime.PodSandboxState_SANDBOX_NOTREADY {
			t.Errorf("the pod that failed is %v", s.State)
		}
		wantError(t, "remove the pod", n.Client.RemovePod(t.Context(), ids[0]), "the store is down")
		must(t, os.Remove(down))
		must(t, n.Client.RemovePod(t.Context(), ids[0]))
		if left := files(t, bin); len(left) != 2 {
			t.Errorf("the plugin still keeps %v", left)
		}
		if ids := podIDs(t, n, nil); len(ids) != 0 {
			t.Errorf("after its removal the pods are %q", ids)
		}
		must(t, os.WriteFile(down, nil, 0o644))
	}
	must(t, os.WriteFile(filepath.Join(bin, "works"), []byte(worksPlugin), 0o755))
	n.podFrom(t, config, "") // the name is free
}

// TestAPodLeavesItsNetworkOnce: DEL is not called again for a pod that has left its
// network. The node may have another one by then, which never knew the pod.
func TestAPodLeavesItsNetworkOnce(t *testing.T) {
	conf, bin := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(conf, "10-net.conflist"), []byte(okNetwork), 0o644))
	must(t, os.WriteFile(filepath.Join(bin, "works"), []byte(worksPlugin), 0o755))
	n := ownNode(t, nodeOptions{flags: map[string]string{"cni-conf-dir": conf, "cni-bin-dirs": bin, "cni-bundled": "false"}})
	stopped := n.podFrom(t, n.podConfig(criclient.PodSpec{}), "")
	runs := n.podFrom(t, n.podConfig(criclient.PodSpec{}), "")
	must(t, n.stopPod(t, stopped.id))
	if left := files(t, bin); len(left) != 3 { // the directory, the plugin, and the pod that runs
		t.Errorf("with one pod stopped and one running the plugin keeps %v", left)
	}
	must(t, os.WriteFile(filepath.Join(bin, "another"), []byte(strings.Replace(stubbornPlugin, "DEL)", `DEL) touch "$dir/down";`, 1)), 0o755))
	must(t, os.WriteFile(filepath.Join(conf, "10-net.conflist"), []byte(strings.ReplaceAll(okNetwork, "works", "another")), 0o644))
	must(t, n.stopPod(t, stopped.id))
	must(t, n.Kill())
	must(t, n.Start(t.Context()))
	must(t, n.stopPod(t, stopped.id))
	for _, p := range []*pod{stopped, runs} {
		must(t, n.Client.RemovePod(t.Context(), p.id))
	}
	if left := files(t, bin); len(left) != 3 { // the directory and both plugins
		t.Errorf("DEL of the other network was called, or not that of the pods: the plugins keep %v", left)
	}
	must(t, os.Remove(filepath.Join(bin, "another")))
	_, err := n.Client.RunPod(t.Context(), n.podConfig(criclient.PodSpec{}), "")
	wantCode(t, "run pod without the plugin", err, codes.Unavailable, "another", "cni.bin_dirs")
	if c := networkReady(t, n); c.Status || c.Reason != "NetworkPluginMissing" {
		t.Errorf("without its plugin the network is %v", c)
	}
	if ids := podIDs(t, n, nil); len(ids) != 0 {
		t.Errorf("of the failed attempt remains %q", ids)
	}
}

func (n *node) stopPod(t *testing.T, id string) error {
	t.Helper()
	_, err := n.Client.StopPodSandbox(t.Context(), &runtime.StopPodSandboxRequest{PodSandboxId: id})
	return err
}

// networkReady is the server's own word on its network.
func networkReady(t *testing.T, n *node) *runtime.RuntimeCondition {
	t.Helper()
	s, err := n.Client.Status(t.Context(), &runtime.StatusRequest{})
	must(t, err)
	i := slices.IndexFunc(s.Status.Conditions, func(c *runtime.RuntimeCondition) bool { return c.Type == "NetworkReady" })
	if i < 0 {
		t.Fatalf("conditions are %v, want NetworkReady among them", s.Status.Conditions)
	}
	return s.Status.Conditions[i]
}

func TestServersOnOneMachineHaveTheirOwnSubnets(t *testing.T) {
	first := ownNode(t, nodeOptions{})
	config := first.podConfig(criclient.PodSpec{})
	config.PortMappings = []*runtime.PortMapping{{Protocol: runtime.Protocol_TCP, ContainerPort: 8080, HostPort: 12346}}
	listenInPod(t, first.podFrom(t, config, "").run(criclient.ContainerSpec{Image: first.program(t, "top-c")}), 8080, "the first")

	second := ownNode(t, nodeOptions{})
	c := networkReady(t, second)
	if c.Status || c.Reason != "NetworkSubnetTaken" {
		t.Errorf("the second says %v, want that its subnet is taken", c)
	}
	_, err := second.Client.RunPod(t.Context(), second.podConfig(criclient.PodSpec{}), "")
	for _, want := range []string{fmt.Sprintf("pid %d", first.PID()), first.State(), "cni.subnets"} {
		if !strings.Contains(c.Message, want) || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the second's condition is %q, its pod's error %v: want %q in both", c.Message, err, want)
		}
	}
	second.hostPod(t) // needs no network
	_, err = second.Client.UpdateRuntimeConfig(t.Context(), &runtime.UpdateRuntimeConfigRequest{
		RuntimeConfig: &runtime.RuntimeConfig{NetworkConfig: &runtime.NetworkConfig{PodCidr: "10.87.0.0/24"}},
	})
	must(t, err)
	if ip := podIP(t, second, second.pod(t, criclient.PodSpec{})); !strings.HasPrefix(ip, "10.87.0.") {
		t.Errorf("the second's pod has %s, want an address of the pod CIDR", ip)
	}
	if got, err := dialText("127.0.0.1:12346"); got != "the first" {
		t.Errorf("beside the second server the host port of the first one's pod gives %q, %v", got, err)
	}

	must(t, first.Kill())
	third := ownNode(t, nodeOptions{})
	if c := networkReady(t, third); !c.Status {
		t.Errorf("after the first was killed the third says %v, want that its network is ready", c)
	}
	must(t, first.Start(t.Context()))
	if c := networkReady(t, first); c.Status || !strings.Contains(c.Message, third.State()) {
		t.Errorf("started again, the first says %v, want that the third has its subnet", c)
	}
}
