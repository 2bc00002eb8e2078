package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
)

// What a clone must copy, page by page, is no part of the module: that is in a
// file in memory.
func TestZygoteKeepsItsModuleInAFile(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.toolbox(t)})
	c.waitLine("up")
	shared := 0
	for _, pid := range zygotes(t, n) {
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		must(t, err)
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		must(t, err)
		if !strings.Contains(string(maps), "memfd:module") {
			continue // a small module, or one that is still loading
		}
		shared++
		if own := kibField(t, string(rollup), "Anonymous"); own > 2<<10 {
			t.Errorf("zygote %d has %d KiB of memory that its clones copy", pid, own)
		}
	}
	if shared == 0 {
		t.Error("no zygote keeps its module in a file")
	}
}

// zygotes lists the processes of the server that keep a module.
func zygotes(t *testing.T, n *node) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	must(t, err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		command, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err != nil || !strings.HasPrefix(string(command), "cri-wasmer-worker\x00zygote\x00") {
			continue
		}
		if parent, err := os.ReadFile("/proc/" + e.Name() + "/status"); err == nil && strings.Contains(string(parent), fmt.Sprintf("\nPPid:\t%d\n", n.PID())) {
			pids = append(pids, pid)
		}
	}
	return pids
}
