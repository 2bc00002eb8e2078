package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// realGroup makes a group on this machine, whatever version it has.
func realGroup(t *testing.T, res sandbox.Resources) sandbox.Cgroup {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make control groups")
	}
	m, err := New(Config{Driver: sandbox.DriverCgroupfs, DefaultParent: fmt.Sprintf("/cri-wasmer-test-%d-%s", os.Getpid(), t.Name())})
	if err != nil {
		t.Skip("no control groups are mounted: ", err)
	}
	g, err := m.Create(t.Context(), "", "c", res)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(g.Kill(context.Background()), g.Delete(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return g
}

func TestUpdateScoresTheProcessesOfAGroup(t *testing.T) {
	g := realGroup(t, sandbox.Resources{})
	var pids []int
	for range 2 {
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		if err := g.Join(t.Context(), cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, cmd.Process.Pid)
	}
	score := func() string {
		all := map[string]bool{}
		var one string
		for _, pid := range pids {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
			if err != nil {
				t.Fatal(err)
			}
			one = strings.TrimSpace(string(text))
			all[one] = true
		}
		if len(all) != 1 {
			t.Errorf("they have different scores: %v", all)
		}
		return one
	}
	update := func(n int64) {
		t.Helper()
		if err := g.Update(t.Context(), sandbox.Resources{OOMScoreAdj: n}); err != nil {
			t.Errorf("update to %d: %v", n, err)
		}
	}
	for _, tt := range []struct {
		set  int64
		want string
	}{{700, "700"}, {600, "600"}, {0, "600"}} {
		if update(tt.set); score() != tt.want {
			t.Errorf("after %d they have %s, want %s", tt.set, score(), tt.want)
		}
	}
	// Below what this process may: no error, and the kernel decides.
	if update(-1000); score() != "-1000" && score() != "600" {
		t.Errorf("after -1000 they have %s, want that or what it was", score())
	}
	if err := g.Update(t.Context(), sandbox.Resources{OOMScoreAdj: 1001}); !errors.Is(err, ErrInvalid) {
		t.Errorf("1001: %v, want that it is invalid", err)
	}
}
