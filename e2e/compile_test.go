package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

// A compilation runs as nobody, under a filter, in a cgroup of its own that is
// gone afterwards.
func TestCompilationsAreConfined(t *testing.T) {
	n := sharedNode(t)
	image := images.Program(guest(t, "tool-go")) // takes a second or two
	image.Layers[0][0].Data = append(image.Layers[0][0].Data, customSection(n.unique("confined"))...)
	ref := n.push(t, "confined", image.Artifact())
	pulled := make(chan error, 1)
	go func() { _, err := n.Client.Pull(t.Context(), ref); pulled <- err }()
	var seen map[string]string
	for done := false; !done; {
		select {
		case err := <-pulled:
			must(t, err)
			done = true
		case <-time.After(time.Millisecond):
			if s := compiler(t); s["Seccomp"] == "2" {
				seen = s
			}
		}
	}
	if seen == nil {
		t.Fatal("no compilation was seen under a filter")
	}
	for field, want := range map[string]string{
		"Uid": "65534\t65534\t65534\t65534", "Gid": "65534\t65534\t65534\t65534", "Groups": "", "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
		"NoNewPrivs": "1", "Seccomp": "2",
	} {
		if seen[field] != want {
			t.Errorf("%s of the compiler is %q, want %q", field, seen[field], want)
		}
	}
	if !strings.Contains(seen["cgroup"], "/compile-") {
		t.Errorf("the compiler is in the cgroups %q", seen["cgroup"])
	}
	if pid := seen["Pid"]; pid != "" {
		if _, err := os.Stat("/proc/" + pid); err == nil {
			t.Errorf("the compiler, process %s, is still there", pid)
		}
	}
	n.removeImage(t, ref)
}

// compiler reads the status of a process that compiles; nil when
// there is none.
func compiler(t *testing.T) map[string]string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, path := range all {
		line, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(line, []byte("\x00compile\x00")) {
			continue
		}
		dir := filepath.Dir(path)
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		cgroup, err2 := os.ReadFile(filepath.Join(dir, "cgroup"))
		if err != nil || err2 != nil {
			continue
		}
		s := map[string]string{"cgroup": string(cgroup)}
		for line := range strings.Lines(string(status)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			s[key] = strings.TrimSpace(value)
		}
		return s
	}
	return nil
}
