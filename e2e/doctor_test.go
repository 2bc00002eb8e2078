package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/built"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

// doctor runs the doctor with the flags of the node's server.
func (n *node) doctor(t testing.TB, args ...string) cliResult {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built.Server(), append(append([]string{"doctor"}, n.Command()[2:]...), args...)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		t.Fatal(err)
	}
	return cliResult{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

func TestDoctorOfAHealthyNode(t *testing.T) {
	n := ownNode(t, nodeOptions{})
	ref := n.pull(t, "doctor", images.Program(guest(t, "top-c")).Artifact())
	n.pod(t, criclient.PodSpec{}).run(criclient.ContainerSpec{Image: ref})
	r := n.doctor(t, "--deep", "--registry", n.registry.Host())
	if r.code != 0 {
		t.Errorf("exit code %d: %s", r.code, r.errs)
	}
	wantText(t, "doctor", r.out, "the daemon answers at "+n.Socket(), "condition RuntimeReady", "condition NetworkReady", "wasmer 2.0.0", "compiles",
		"1 image, ", "consistent (all of it was read)", "holds 1 pod and 1 container", n.registry.Host()+" answers", "0 problems")

	must(t, n.Kill())
	r = n.doctor(t)
	if r.code != 0 {
		t.Errorf("without a daemon: exit code %d: %s%s", r.code, r.out, r.errs)
	}
	wantText(t, "doctor without a daemon", r.out, "no daemon runs", "run without a daemon: the next one adopts them", "nothing is left of pods that are gone")
	must(t, n.Start(t.Context()))
}

func TestDoctorFindsDamage(t *testing.T) {
	n := ownNode(t, nodeOptions{})
	n.pull(t, "doctor/module", images.Krustlet(guest(t, "hello-c")))
	blob := filepath.Join(n.Root(), "images/blobs/sha256", strings.TrimPrefix(images.Digest(guest(t, "hello-c")), "sha256:"))
	data, err := os.ReadFile(blob)
	must(t, err)
	data[len(data)/2] ^= 1
	must(t, os.WriteFile(blob, data, 0o600))
	code, err := filepath.Glob(filepath.Join(n.Root(), "code/image/*"))
	must(t, err)
	must(t, os.Truncate(code[0], 100))
	r := n.doctor(t, "--deep", "-o", "json")
	if r.code != 1 {
		t.Errorf("exit code %d", r.code)
	}
	var found struct {
		Problems int
		Findings []struct{ Check, Status, Text, Remedy string }
	}
	must(t, json.Unmarshal([]byte(r.out), &found))
	var texts []string
	for _, f := range found.Findings {
		if f.Status == "problem" {
			texts = append(texts, f.Text)
			if f.Check != "images" || f.Remedy == "" {
				t.Errorf("finding %+v, want one about images with a remedy", f)
			}
		}
	}
	wantText(t, "problems", strings.Join(texts, "\n"), "damaged content: blob "+images.Digest(guest(t, "hello-c")), n.ref("doctor/module:v1"), "bad compiled code")
	if found.Problems != len(texts) {
		t.Errorf("%d problems are counted, %d are listed", found.Problems, len(texts))
	}
}
