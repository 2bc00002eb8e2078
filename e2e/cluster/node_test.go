package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/built"
)

var nodeScenarios = []scenario{
	{name: "Static pods: from a file in a directory, and gone with it", run: staticPod},
	{name: "Drain evicts the pods of a Deployment; they come back after uncordon", alone: true, run: drain},
	{name: "Disk pressure: unused images are removed and the pressure ends", alone: true, run: diskPressure},
	{name: "The kubelet is started again: containers go on", alone: true, run: kubeletRestart},
	{name: "The server is killed and started again: containers, probes and exit codes go on", alone: true, run: serverRestart},
	{name: "The server is upgraded to another binary under running pods", alone: true, run: serverUpgrade},
}

func staticPod(t *testing.T, n *namespace) {
	file := filepath.Join(n.c.Manifests(), n.name+".yaml")
	hidden := filepath.Join(n.c.Dir(), n.name+".yaml")
	yaml := dedent(strings.ReplaceAll(`
	apiVersion: v1
	kind: Pod
	metadata: {name: static, namespace: NS}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers: [{name: box, image: "registry.test/tool-go:v1", args: [top]}]
	`, "NS", n.name))
	if err := os.WriteFile(hidden, []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(hidden, file); err != nil {
		t.Fatal(err)
	}
	name := "static-" + n.c.NodeName()
	n.eventually("the mirror pod", func() error {
		_, err := n.c.Pod(t.Context(), n.name, name)
		return err
	})
	n.ready(name)
	n.wantEventualLog("up\n", name)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	n.waitFor("delete", "pod/"+name)
}

func drain(t *testing.T, n *namespace) {
	n.apply(deploymentYAML)
	n.rolled("deployment/web")
	before := n.pods("app=web")
	t.Cleanup(func() { n.afterwards("uncordon", n.c.NodeName()) })
	n.kubectl("drain", n.c.NodeName(), "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout", patience.String())
	for _, pod := range before {
		if running := n.running(string(pod.UID)); len(running) > 0 {
			t.Errorf("pod %s still runs after the drain", pod.Name)
		}
	}
	n.kubectl("uncordon", n.c.NodeName())
	n.rolled("deployment/web")
}

// twoPods are one that goes on, with a probe, and one that ends when it is told.
const twoPods = `
	apiVersion: v1
	kind: Pod
	metadata: {name: long}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers:
	  - name: box
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "i=0; while true; do echo $i; i=$((i+1)); sleep 0.2; done"]
	    livenessProbe: {exec: {command: ["true"]}, periodSeconds: 1, timeoutSeconds: 30, failureThreshold: 3}
	---
	apiVersion: v1
	kind: Pod
	metadata: {name: short}
	spec:
	  restartPolicy: Never
	  volumes: [{name: dir, hostPath: {path: DIR}}]
	  containers:
	  - name: box
	    image: registry.test/toolbox:v1
	    command: [sh, -c, "while [ ! -e /dir/end ]; do sleep 0.1; done; exit 23"]
	    volumeMounts: [{name: dir, mountPath: /dir}]
`

// interruption starts two pods, lets interrupt stop something, ends one of the
// pods meanwhile, and looks that nothing was lost after resume.
func interruption(t *testing.T, n *namespace, interrupt, resume func() error) {
	dir := t.TempDir()
	n.apply(strings.ReplaceAll(twoPods, "DIR", dir))
	n.ready("long", "short")
	before := container(n.pod("long"), "box")
	n.eventually("some lines of the log", func() error { return moreNumbers(n, 0) })
	if err := interrupt(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "end"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := resume(); err != nil {
		t.Fatal(err)
	}
	if end := n.terminated("short", "box"); end.ExitCode != 23 {
		t.Errorf("the one that ended meanwhile ended with %+v, want code 23", end)
	}
	n.kubectl("exec", "long", "--", "true")
	after := container(n.pod("long"), "box")
	if after.ContainerID != before.ContainerID || after.RestartCount != before.RestartCount {
		t.Errorf("the container was started again: %s, now %s", before.ContainerID, after.ContainerID)
	}
	lines := wantNumbers(t, n.kubectl("logs", "long"))
	n.eventually("more lines of the log", func() error { return moreNumbers(n, lines) })
	wantNumbers(t, n.kubectl("logs", "long"))
	n.kubectl("delete", "pod", "long", "short")
}

// wantNumbers wants lines with 0, 1, 2 and so on: none lost, none twice. It gives
// how many there are.
func wantNumbers(t *testing.T, log string) int {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(log, "\n"), "\n")
	for i, line := range lines {
		if line != fmt.Sprint(i) {
			t.Fatalf("line %d of the log is %q", i, line)
		}
	}
	return len(lines)
}

// moreNumbers wants the pod's log to have more lines than there were.
func moreNumbers(n *namespace, were int) error {
	log, err := n.try("logs", "long")
	if got := strings.Count(log, "\n"); err == nil && got <= were {
		err = fmt.Errorf("the log has %d lines, %d before", got, were)
	}
	return err
}

func kubeletRestart(t *testing.T, n *namespace) {
	interruption(t, n, n.c.StopKubelet, func() error { return n.c.StartKubelet(t.Context()) })
}

func serverRestart(t *testing.T, n *namespace) {
	interruption(t, n, n.c.Server.Kill, func() error { return n.c.Server.Start(t.Context()) })
}

func serverUpgrade(t *testing.T, n *namespace) {
	upgraded, err := newerServer(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	interruption(t, n, n.c.Server.Stop, func() error { return n.c.Server.Upgrade(t.Context(), upgraded) })
	if got := n.kubectl("get", "node", n.c.NodeName(), "-o", "jsonpath={.status.nodeInfo.containerRuntimeVersion}"); !strings.HasPrefix(got, "cri-wasmer://") {
		t.Errorf("the node's runtime is %q", got)
	}
	if err := n.c.Server.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := n.c.Server.Upgrade(t.Context(), built.Server()); err != nil { // back, as in a rollback
		t.Fatal(err)
	}
}

// newerServer copies the server, its worker and library, as an upgrade puts new
// files in the place of old ones.
func newerServer(dir string) (string, error) {
	top := filepath.Dir(filepath.Dir(built.Server()))
	for _, sub := range []string{"bin", "lib"} {
		if err := os.CopyFS(filepath.Join(dir, sub), os.DirFS(filepath.Join(top, sub))); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "bin", "cri-wasmer"), nil
}

// diskPressure fills the file system that the runtime keeps images on.
func diskPressure(t *testing.T, n *namespace) {
	const image = publicHost + "/files-c:v1"
	n.kubectl("run", "once", "--restart=Never", "--image="+image)
	n.waitFor("jsonpath={.status.containerStatuses[0].state.terminated.exitCode}", "pod/once")
	n.kubectl("delete", "pod", "once")
	has := func() bool {
		r, err := n.c.Server.Client.Images.ImageStatus(t.Context(), &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: image}})
		if err != nil {
			t.Fatal(err)
		}
		return r.Image != nil
	}
	if !has() {
		t.Fatalf("%s is not there to be removed", image)
	}
	free := freeBytes(t, n.c.Server.Root())
	ballast := filepath.Join(n.c.Server.Root(), "ballast")
	if err := os.WriteFile(ballast, make([]byte, free-imageFSSize/20), 0o600); err != nil { // 5 % are left
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(ballast) }) // when it is still there
	n.eventually("the end of an image that nobody uses", func() error {
		if has() {
			return fmt.Errorf("%s is there", image)
		}
		return nil
	})
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if now := freeBytes(t, n.c.Server.Root()); now <= free {
		t.Errorf("%d bytes are free, %d were before the image was removed", now, free)
	}
	n.waitFor("condition=DiskPressure=false", "node/"+n.c.NodeName())
}

func freeBytes(t *testing.T, dir string) int64 {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	return int64(fs.Bavail) * fs.Bsize
}
