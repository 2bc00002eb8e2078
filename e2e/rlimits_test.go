package e2e

import (
	"regexp"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

func TestResourceLimits(t *testing.T) {
	n := ownNode(t, nodeOptions{flags: map[string]string{"container-rlimits": "nofile=100:200,core=0,nproc=4000,fsize=1048576"}})
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.shell(t), Command: []string{"sleep", "1000"}})
	r, err := n.Client.Exec(t.Context(), c.id, 30, "cat", "/proc/self/limits", "/proc/1/limits")
	must(t, err)
	for _, want := range []string{`Max open files +100 +200 `, `Max core file size +0 +0 `, `Max processes +4000 +4000 `, `Max file size +1048576 +1048576 `} {
		if got := regexp.MustCompile(want).FindAllString(string(r.Stdout), -1); len(got) != 2 {
			t.Errorf("%q is there %d times, want it for command and container:\n%s%s", strings.TrimSpace(want), len(got), r.Stdout, r.Stderr)
		}
	}
	r, err = n.Client.Exec(t.Context(), c.id, 30, "sh", "-c", "dd if=/dev/zero of=/big bs=65536 count=32")
	must(t, err)
	if r.ExitCode != 153 && r.ExitCode != 1 { // by SIGXFSZ, unless the program was quicker to see its error
		t.Errorf("a file above the limit: %v, want a failure", r)
	}
}
