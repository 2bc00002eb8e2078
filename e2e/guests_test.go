package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/wasmmod"
)

func TestHelloInThreeLanguages(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	for _, language := range []string{"go", "c", "rust"} {
		t.Run(language, func(t *testing.T) {
			c := p.run(criclient.ContainerSpec{
				Image: n.program(t, "hello-"+language),
				Args:  []string{"first", "second argument", ""},
				Env:   map[string]string{"EXIT_CODE": "7", "GREETING": "grüß dich"},
			})
			c.wantExit(c.wait(), 7, "Error")
			out := c.lines("stdout")
			want := []string{"hello from " + language, "arg 0 /app.wasm", "arg 1 first", "arg 2 second argument", "arg 3 "}
			if len(out) < len(want) || !slices.Equal(out[:len(want)], want) {
				t.Errorf("stdout starts with %q, want %q", out, want)
			}
			for _, line := range []string{
				"env EXIT_CODE=7",
				"env GREETING=grüß dich",
				"env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			} {
				if !slices.Contains(out, line) {
					t.Errorf("stdout %q lacks %q", out, line)
				}
			}
			if got, want := c.lines("stderr"), []string{"bye from " + language}; !slices.Equal(got, want) {
				t.Errorf("stderr is %q, want %q", got, want)
			}
		})
	}
}

func TestExitCodeIsTheGuests(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	image := n.program(t, "exit-c")
	for _, code := range []int32{0, 1, 42, 127, 128, 134, 255} {
		c := p.run(criclient.ContainerSpec{Image: image, Args: []string{fmt.Sprint(code)}})
		reason := "Error"
		if code == 0 {
			reason = "Completed"
		}
		s := c.wait()
		c.wantExit(s, code, reason)
		if s.StartedAt < s.CreatedAt || s.FinishedAt < s.StartedAt {
			t.Errorf("exit %d: created %d, started %d, finished %d are not in order", code, s.CreatedAt, s.StartedAt, s.FinishedAt)
		}
	}
}

// These guests check the host themselves and say what is wrong.
func TestGuestsThatCheckTheirHost(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	for name, want := range map[string]string{
		"files-c":    "files: ok",
		"files-go":   "files: ok",
		"files-rust": "files: ok",
		"clocks-c":   "clocks: ok",
	} {
		t.Run(name, func(t *testing.T) {
			c := p.run(criclient.ContainerSpec{Image: n.program(t, name)})
			c.wantExit(c.wait(), 0, "Completed")
			if out := strings.Join(c.lines(""), "\n"); !strings.Contains(out, want) {
				t.Errorf("output is %q, want %q in it", out, want)
			}
		})
	}
}

func TestStartSectionRunsBeforeStart(t *testing.T) {
	n := sharedNode(t)
	image := n.pull(t, "start-section", images.Program(wasmmod.StartSection()).Artifact())
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: image})
	c.wantExit(c.wait(), 0, "Completed")
	if got, want := c.lines("stdout"), []string{"start section", "_start"}; !slices.Equal(got, want) {
		t.Errorf("stdout is %q, want %q", got, want)
	}
}

func TestStdinIsAtItsEndWhenNotAskedFor(t *testing.T) {
	n := sharedNode(t)
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.program(t, "echo-c")})
	c.wantExit(c.wait(), 0, "Completed")
	if got, want := c.lines("stderr"), []string{"stdin ended after 0 bytes"}; !slices.Equal(got, want) {
		t.Errorf("stderr is %q, want %q", got, want)
	}
}

func TestEnvironmentValuesNeedNotBeText(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	for _, language := range []string{"go", "c", "rust"} {
		c := p.run(criclient.ContainerSpec{
			Image: n.program(t, "hello-"+language),
			Env:   map[string]string{"RAW": "\xff\xfe bytes"},
		})
		c.wantExit(c.wait(), 0, "Completed")
		if want := "env RAW=\xff\xfe bytes"; !slices.Contains(c.lines("stdout"), want) {
			t.Errorf("%s: stdout %q lacks %q", language, c.lines("stdout"), want)
		}
	}
}

func TestContainersOfOneImageDoNotShareFiles(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	image := n.toolbox(t)
	first := p.run(criclient.ContainerSpec{Image: image, Args: []string{"write", "/etc/marker", "changed"}})
	first.wantExit(first.wait(), 0, "Completed")
	second := p.run(criclient.ContainerSpec{Image: image, Args: []string{"cat", "/etc/marker"}})
	second.wantExit(second.wait(), 0, "Completed")
	if got, want := second.lines("stdout"), []string{"made by the image"}; !slices.Equal(got, want) {
		t.Errorf("the second container reads %q, want %q", got, want)
	}
}

// An engine that loses a few bytes at each call is noticed here: at 10 bytes a
// call, the process would grow by 20 MB.
func TestHostCallsDoNotGrowTheProcess(t *testing.T) {
	n := sharedNode(t)
	took, grown := hostCalls(t, n.hostPod(t), 2_000_000)
	t.Logf("%.0f ns per call, %.0f KiB more after two million", took, grown)
	if grown > 4096 {
		t.Errorf("two million calls grew the process by %.0f KiB", grown)
	}
}
