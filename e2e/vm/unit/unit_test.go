//go:build vm

package unit

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

const (
	service  = "cri-wasmer.service"
	slice    = "criwasmerunit.slice" // of the pod
	socket   = "/run/cri-wasmer/cri.sock"
	patience = 5 * time.Minute
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run gives what a command prints, which must succeed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		log, _ := exec.Command("journalctl", "--no-pager", "-n", "50", "-u", service).CombinedOutput()
		t.Fatalf("%s %s: %v\n%s\n%s", name, strings.Join(args, " "), err, out, log)
	}
	return strings.TrimSpace(string(out))
}

func property(t *testing.T, name string) string {
	t.Helper()
	return run(t, "systemctl", "show", "--value", "--property", name, service)
}

// The commands of docs/deploy.md, and what systemd does by itself, under a
// container that runs.
func TestContainersOutliveTheUnit(t *testing.T) {
	run(t, "systemctl", "daemon-reload")
	run(t, "systemctl", "enable", "--now", service) // returns when the daemon serves: Type=notify
	t.Cleanup(func() { _ = exec.Command("systemctl", "disable", "--now", service).Run() })
	run(t, "/usr/local/bin/cri-wasmer", "doctor")

	client, err := criclient.Dial(socket)
	must(t, err)
	t.Cleanup(func() { _ = client.Close() })
	pod, container := startContainer(t, client)
	pids := guests(t)
	if len(pids) == 0 {
		t.Fatal("the container has no process")
	}

	for _, step := range []struct {
		name string
		do   func()
	}{
		{"restart", func() { run(t, "systemctl", "restart", service) }},
		{"kill", func() {
			before := property(t, "MainPID")
			run(t, "systemctl", "kill", "--kill-whom=main", "--signal=KILL", service)
			eventually(t, "another daemon", func() bool {
				return property(t, "MainPID") != before && property(t, "ActiveState") == "active"
			})
		}},
		{"stop and start", func() {
			run(t, "systemctl", "stop", service)
			if now := guests(t); !slices.Equal(now, pids) {
				t.Errorf("the container's processes were %q, without the daemon they are %q", pids, now)
			}
			run(t, "systemctl", "start", service)
		}},
	} {
		step.do()
		var status *runtime.ContainerStatus
		eventually(t, "the daemon after "+step.name, func() bool {
			status, err = client.Container(t.Context(), container)
			return err == nil
		})
		if now := guests(t); status.State != runtime.ContainerState_CONTAINER_RUNNING || !slices.Equal(now, pids) {
			t.Errorf("after %s the container is %v with processes %q, before %q", step.name, status.State, now, pids)
		}
	}
	must(t, client.RemovePod(t.Context(), pod))
	if left := guests(t); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
}

func startContainer(t *testing.T, client *criclient.Client) (pod, container string) {
	t.Helper()
	registry, err := images.NewRegistry()
	must(t, err)
	t.Cleanup(registry.Close)
	module, err := os.ReadFile("/src/build/guests/top-c.wasm")
	must(t, err)
	_, err = registry.Push("top-c", "v1", images.Program(module).Artifact())
	must(t, err)
	ref := registry.Host() + "/top-c:v1"
	_, err = client.Pull(t.Context(), ref)
	must(t, err)
	config := criclient.PodSpec{Name: "unit", CgroupParent: slice}.Config()
	pod, err = client.RunPod(t.Context(), config, "")
	must(t, err)
	spec := criclient.ContainerSpec{Image: ref, NoLog: true}
	container, err = client.Create(t.Context(), pod, config, spec.Config())
	must(t, err)
	must(t, client.Start(t.Context(), container))
	return pod, container
}

// guests lists the processes of the pod.
func guests(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cgroup")
	must(t, err)
	var pids []string
	for _, name := range names {
		group, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(group), slice) { // it may have ended
			pids = append(pids, filepath.Base(filepath.Dir(name)))
		}
	}
	slices.Sort(pids)
	return pids
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}
