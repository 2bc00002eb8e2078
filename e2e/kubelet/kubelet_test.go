package kubelet

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/built"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/daemon"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubenode"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/leak"
)

// patience is how long anything may take on a busy machine. The kubelet removes
// dead pods once a minute.
const patience = 5 * time.Minute

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// startServer starts the server and a registry that has the images of the test.
func startServer(t *testing.T) (*daemon.Daemon, *images.Registry) {
	t.Helper()
	if why := built.Missing(); why != "" {
		t.Skip(why)
	}
	must(t, kubenode.Prepare())
	dir, err := os.MkdirTemp("/tmp", "cwk")
	must(t, err)
	registry, err := images.NewRegistry()
	must(t, err)
	t.Cleanup(registry.Close)
	server, err := daemon.Start(t.Context(), daemon.Options{
		Binary:       built.Server(),
		Dir:          dir,
		Hosts:        map[string]string{"webassembly.azurecr.io": daemon.Mirror(registry.URL())},
		CgroupParent: "/" + isolate.Group() + "/default",
	})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the server's log:\n%s", server.Tail(60))
		}
		if err := server.Destroy(); err != nil {
			t.Error(err)
		}
	})
	return server, registry
}

func guest(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(built.Guest(name))
	must(t, err)
	return data
}

// tools is an image with the tool guest under a few names.
func tools(t *testing.T) images.Artifact {
	t.Helper()
	files := []images.File{{Name: "bin/", Type: '5'}, {Name: "bin/tool", Data: guest(t, "tool-go")}}
	for _, applet := range []string{"echo", "exit", "cat", "hostname"} {
		files = append(files, images.File{Name: "bin/" + applet, Type: '1', Link: "bin/tool"})
	}
	return images.Rootfs{
		Layers:     [][]images.File{files},
		Entrypoint: []string{"/bin/tool"},
		Cmd:        []string{"top"},
		Env:        []string{"PATH=/bin"},
	}.Artifact()
}

func push(t *testing.T, r *images.Registry, repository string, a images.Artifact) string {
	t.Helper()
	_, err := r.Push(repository, "v1", a)
	must(t, err)
	return r.Host() + "/" + repository + ":v1"
}

const helloImage = "webassembly.azurecr.io/hello-wasm:v1"

// warmUp pulls images and runs them without the kubelet, so that what a server
// keeps, such as the bridge and loaded modules, is there before stock is taken.
func warmUp(t *testing.T, server *daemon.Daemon, refs ...string) {
	t.Helper()
	for _, ref := range refs {
		if _, err := server.Client.Pull(t.Context(), ref); err != nil {
			t.Fatalf("pull %s: %v", ref, err)
		}
	}
	config := criclient.PodSpec{Name: "warm-up"}.Config()
	pod, err := server.Client.RunPod(t.Context(), config, "")
	must(t, err)
	for i, ref := range refs {
		spec := criclient.ContainerSpec{Name: fmt.Sprintf("c%d", i), Image: ref, Args: []string{"true"}, NoLog: true}
		id, err := server.Client.Create(t.Context(), pod, config, spec.Config())
		must(t, err)
		must(t, server.Client.Start(t.Context(), id))
		_, err = server.Client.WaitExited(t.Context(), id)
		must(t, err)
	}
	must(t, server.Client.RemovePod(t.Context(), pod))
}

// manifest is a static pod: the program of the Krustlet tutorial, one that goes
// on, and one that fails.
func manifest(toolImage, exitImage string) []byte {
	container := func(name, image string, args ...string) map[string]any {
		return map[string]any{
			"name": name, "image": image, "args": args,
			"env": []any{map[string]any{"name": "POD_NAME", "valueFrom": map[string]any{"fieldRef": map[string]any{"fieldPath": "metadata.name"}}}},
			"resources": map[string]any{
				"limits": map[string]any{"memory": "64Mi", "cpu": "500m"},
			},
		}
	}
	data, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{"name": "wasm", "namespace": "default"},
		"spec": map[string]any{
			"restartPolicy":                 "Never",
			"terminationGracePeriodSeconds": 5,
			"containers": []any{
				container("hello", helloImage, "from", "the", "kubelet"),
				container("server", toolImage, "top"),
				container("failing", exitImage, "3"),
			},
		},
	})
	if err != nil {
		panic(err) // it is made of maps and strings
	}
	return data
}

func TestStaticPod(t *testing.T) {
	server, registry := startServer(t)
	push(t, registry, "hello-wasm", images.Krustlet(guest(t, "hello-rust")))
	toolImage := push(t, registry, "tools", tools(t))
	exitImage := push(t, registry, "exit", images.Program(guest(t, "exit-c")).Artifact())
	warmUp(t, server, helloImage, toolImage, exitImage)
	k := startKubelet(t, server.Socket())
	scope := leak.Scope{
		Daemon: server.PID(),
		Dirs:   []string{server.Root(), server.State(), k.pods},
		Ignore: []string{"process kubelet", "netns of processes"},
		// The kubelet makes these for itself, sooner or later, one after the other.
		IgnoreEnds: []string{"/kubepods", "/kubepods/besteffort", "/kubepods/burstable"},
	}
	before, err := leak.Take(scope)
	must(t, err)

	start := time.Now()
	k.writeManifest(t, manifest(toolImage, exitImage))
	status := k.waitRunning(t, "wasm")
	t.Logf("from the manifest to phase Running, as the kubelet's API shows it: %v", time.Since(start).Round(time.Millisecond))
	if status.PodIP == "" {
		t.Error("the pod has no address")
	}
	checkLogs(t, k)
	checkExec(t, k)
	checkExitCodes(t, k)

	k.removeManifest(t)
	waitGone(t, k, server) // the kubelet collects dead pods once a minute
	more, err := leak.Wait(before, scope, patience)
	must(t, err)
	if len(more) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(more, "\n"))
	}
}

func checkLogs(t *testing.T, k *kubelet) {
	t.Helper()
	path := "/containerLogs/default/" + k.podName("wasm") + "/hello"
	lines := strings.Split(k.get(t, path+"?follow=true"), "\n") // until the container ends
	for _, want := range []string{"hello from rust", "arg 3 kubelet", "env POD_NAME=" + k.podName("wasm"), "bye from rust"} {
		if !slices.Contains(lines, want) {
			t.Errorf("the log %q lacks %q", lines, want)
		}
	}
	if tail := k.get(t, path+"?tailLines=1"); tail != "bye from rust\n" {
		t.Errorf("the last line of the log is %q", tail)
	}
}

func checkExec(t *testing.T, k *kubelet) {
	t.Helper()
	run := "/run/default/" + k.podName("wasm") + "/server?cmd="
	if got := k.post(t, run+"echo+hello+wasm", 200); got != "hello wasm\n" {
		t.Errorf("exec gives %q", got)
	}
	if got := k.post(t, run+"hostname", 200); got != k.podName("wasm")+"\n" {
		t.Errorf("the host name is %q, want that of the pod", got)
	}
	k.post(t, run+"exit+4", 500)
}

func checkExitCodes(t *testing.T, k *kubelet) {
	t.Helper()
	eventually(t, "the exit codes of two containers", func() bool {
		codes := map[string]string{}
		for _, c := range k.pod(t, "wasm").ContainerStatuses {
			if e := c.State.Terminated; e != nil {
				codes[c.Name] = fmt.Sprintf("%d %s", e.ExitCode, e.Reason)
			}
		}
		return codes["hello"] == "0 Completed" && codes["failing"] == "3 Error" && len(codes) == 2
	})
}

// waitGone waits until neither the kubelet nor the server knows of a pod.
func waitGone(t *testing.T, k *kubelet, server *daemon.Daemon) {
	t.Helper()
	eventually(t, "the end of the pod", func() bool {
		list, err := server.Client.ListPodSandbox(t.Context(), &runtime.ListPodSandboxRequest{})
		must(t, err)
		containers, err := server.Client.ListContainers(t.Context(), &runtime.ListContainersRequest{})
		must(t, err)
		return len(list.Items) == 0 && len(containers.Containers) == 0 && len(k.podList(t)) == 0
	})
}
