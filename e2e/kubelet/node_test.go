package kubelet

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/built"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubebin"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubenode"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/program"
)

const (
	nodeName = "wasm-node"
	apiURL   = "https://127.0.0.1:10250"
)

// kubelet is a running kubelet without an API server.
type kubelet struct {
	dir    string
	pods   string // its directory of pods
	gates  map[string]bool
	client *http.Client
}

// podStatus is what the test wants of a pod's status.
type podStatus struct {
	Phase             string
	PodIP             string
	ContainerStatuses []struct {
		Name  string
		State struct {
			Terminated *struct {
				ExitCode int
				Reason   string
			}
		}
	}
}

type podList struct {
	Items []struct {
		Metadata struct{ Name string }
		Status   podStatus
	}
}

// startKubelet starts a kubelet with the feature gates that are named.
func startKubelet(t *testing.T, socket string, gates ...string) *kubelet {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "cwkubelet")
	must(t, err)
	root := filepath.Join(dir, "root")
	k := &kubelet{
		dir:    dir,
		pods:   filepath.Join(root, "pods"),
		gates:  map[string]bool{},
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: 2 * time.Minute},
	}
	for _, gate := range gates {
		k.gates[gate] = true
	}
	must(t, os.MkdirAll(k.manifests(), 0o755))
	config, err := json.Marshal(k.config(socket))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644))
	k.start(t, root)
	return k
}

func (k *kubelet) manifests() string { return kubenode.Manifests(k.dir) }

func (k *kubelet) config(socket string) map[string]any {
	return kubenode.Config(socket, k.dir, map[string]any{
		"address":        "127.0.0.1",
		"authentication": map[string]any{"anonymous": map[string]any{"enabled": true}, "webhook": map[string]any{"enabled": false}},
		"authorization":  map[string]any{"mode": "AlwaysAllow"},
		"registerNode":   false,
		"featureGates":   k.gates,
	})
}

func (k *kubelet) start(t *testing.T, root string) {
	t.Helper()
	p, err := program.Start(k.dir, filepath.Join(built.Kubernetes(), kubebin.Kubelet),
		"--config", filepath.Join(k.dir, "config.json"),
		"--root-dir", root,
		"--cert-dir", filepath.Join(k.dir, "pki"),
		"--hostname-override", nodeName,
		"--node-ip", kubenode.IP)
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the kubelet's log:\n%s", p.Tail(40))
		}
		// It mounts its root on itself.
		if err := errors.Join(p.Stop(), isolate.RemoveTree(k.dir)); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "a healthy kubelet", func() bool {
		must(t, p.Alive())
		r, err := k.client.Get(apiURL + "/healthz")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

func (k *kubelet) podName(name string) string { return name + "-" + nodeName }

func (k *kubelet) writeManifest(t *testing.T, data []byte) {
	t.Helper()
	hidden := filepath.Join(k.dir, "pod.json")
	must(t, os.WriteFile(hidden, data, 0o644))
	must(t, os.Rename(hidden, filepath.Join(k.manifests(), "pod.json")))
}

func (k *kubelet) removeManifest(t *testing.T) {
	t.Helper()
	must(t, os.Remove(filepath.Join(k.manifests(), "pod.json")))
}

func (k *kubelet) podList(t *testing.T) []podStatus {
	t.Helper()
	var list podList
	must(t, json.Unmarshal([]byte(k.get(t, "/pods")), &list))
	var all []podStatus
	for _, item := range list.Items {
		all = append(all, item.Status)
	}
	return all
}

// pod gives the status of a pod; empty when the kubelet does not know it.
func (k *kubelet) pod(t *testing.T, name string) podStatus {
	t.Helper()
	var list podList
	must(t, json.Unmarshal([]byte(k.get(t, "/pods")), &list))
	for _, item := range list.Items {
		if item.Metadata.Name == k.podName(name) {
			return item.Status
		}
	}
	return podStatus{}
}

func (k *kubelet) waitRunning(t *testing.T, name string) podStatus {
	t.Helper()
	var s podStatus
	eventually(t, "pod "+name+" in phase Running", func() bool {
		s = k.pod(t, name)
		return s.Phase == "Running"
	})
	return s
}

func (k *kubelet) get(t *testing.T, path string) string {
	t.Helper()
	r, err := k.client.Get(apiURL + path)
	must(t, err)
	return body(t, "GET "+path, r, http.StatusOK)
}

func (k *kubelet) post(t *testing.T, path string, status int) string {
	t.Helper()
	r, err := k.client.Post(apiURL+path, "text/plain", nil)
	must(t, err)
	return body(t, "POST "+path, r, status)
}

func body(t *testing.T, what string, r *http.Response, status int) string {
	t.Helper()
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	must(t, err)
	if r.StatusCode != status {
		t.Fatal(fmt.Errorf("%s: status %d, want %d: %s", what, r.StatusCode, status, data))
	}
	return string(data)
}
