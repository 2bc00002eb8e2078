package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
)

const limitedYAML = `
	apiVersion: v1
	kind: Pod
	metadata: {name: limited}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers:
	  - name: box
	    image: registry.test/toolbox:v1
	    command: [sleep, inf]
	    resources: {requests: {memory: 32Mi, cpu: 50m}, limits: {memory: 64Mi, cpu: 200m}}
`

func limits(t *testing.T, n *namespace) {
	n.apply(limitedYAML + `
	---
	apiVersion: v1
	kind: Pod
	metadata: {name: guaranteed}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers: [{name: box, image: "registry.test/toolbox:v1", command: [sleep, inf], resources: {limits: {memory: 64Mi, cpu: 100m}}}]
	---
	apiVersion: v1
	kind: Pod
	metadata: {name: best}
	spec:
	  terminationGracePeriodSeconds: 1
	  containers: [{name: box, image: "registry.test/toolbox:v1", command: [sleep, inf]}]
	`)
	n.ready("limited", "guaranteed", "best")
	for pod, want := range map[string]corev1.PodQOSClass{
		"limited": corev1.PodQOSBurstable, "guaranteed": corev1.PodQOSGuaranteed, "best": corev1.PodQOSBestEffort,
	} {
		if got := n.pod(pod).Status.QOSClass; got != want {
			t.Errorf("pod %s is %s, want %s", pod, got, want)
		}
	}
	n.wantMemoryLimit("limited", "box", 64<<20)
}

func resize(t *testing.T, n *namespace) {
	n.apply(limitedYAML)
	n.ready("limited")
	before := container(n.pod("limited"), "box")
	n.kubectl("patch", "pod", "limited", "--subresource=resize", "-p",
		`{"spec": {"containers": [{"name": "box", "resources": {"requests": {"memory": "48Mi", "cpu": "100m"}, "limits": {"memory": "128Mi", "cpu": "400m"}}}]}}`)
	n.eventually("the new limits in the status", func() error {
		r := container(n.pod("limited"), "box").Resources
		if r == nil || r.Limits.Memory().String() != "128Mi" || r.Limits.Cpu().String() != "400m" {
			return fmt.Errorf("they are %+v", r)
		}
		return nil
	})
	n.wantMemoryLimit("limited", "box", 128<<20)
	after := container(n.pod("limited"), "box")
	if after.ContainerID != before.ContainerID || after.RestartCount != 0 {
		t.Errorf("the container was started again: %s, now %s", before.ContainerID, after.ContainerID)
	}
}

// wantMemoryLimit looks for the limit in the control group of the container,
// which is found by its id.
func (n *namespace) wantMemoryLimit(pod, name string, want int64) {
	n.t.Helper()
	_, id, _ := strings.Cut(container(n.pod(pod), name).ContainerID, "://")
	roots, err := isolate.CgroupRoots()
	if err != nil {
		n.t.Fatal(err)
	}
	var found []string
	for _, root := range roots {
		for _, file := range []string{"memory.limit_in_bytes", "memory.max"} {
			matches, err := filepath.Glob(filepath.Join(root, isolate.Group(), "kubelet", "*", "*", "pod*", "*"+id+"*", file))
			if err != nil {
				n.t.Fatal(err)
			}
			guaranteed, err := filepath.Glob(filepath.Join(root, isolate.Group(), "kubelet", "*", "pod*", "*"+id+"*", file))
			if err != nil {
				n.t.Fatal(err)
			}
			found = append(append(found, matches...), guaranteed...)
		}
	}
	if len(found) != 1 {
		n.t.Fatalf("container %s has control groups %q, want one with a limit of memory", id, found)
	}
	got, err := os.ReadFile(found[0])
	if err != nil {
		n.t.Fatal(err)
	}
	if strings.TrimSpace(string(got)) != fmt.Sprint(want) {
		n.t.Errorf("%s is %s, want %d", found[0], got, want)
	}
}
