package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
	crierrors "k8s.io/cri-api/pkg/errors"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/wasmmod"
)

// Each image is stored, since a pull is no promise that it runs; the container
// is refused with words that name the image, the file and what is wrong with
// it; and nothing of the attempt remains.
func TestCreateRefusesWhatCannotRun(t *testing.T) {
	n := sharedNode(t)
	elf, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	for name, tc := range map[string]struct {
		program []byte
		parts   []string
	}{
		"text":             {[]byte("#!/bin/sh\necho hello\n"), []string{"wasm"}},
		"empty":            {[]byte{}, []string{"wasm"}},
		"elf":              {elf[:64<<10], []string{"elf"}},
		"truncated":        {guest(t, "hello-c")[:5000], nil},
		"component":        {wasmmod.Component(), []string{"component"}},
		"without-start":    {wasmmod.WithoutStart(), []string{"_start"}},
		"reactor":          {guest(t, "reactor-c"), []string{"_start"}},
		"unmet-import":     {wasmmod.Importing("env", "foo"), []string{"env", "foo"}},
		"unknown-function": {wasmmod.Importing("wasi_snapshot_preview1", "fd_fly"), []string{"fd_fly"}},
		"wasix":            {wasmmod.Importing("wasix_32v1", "proc_fork"), []string{"wasix", "proc_fork"}},
		"emscripten":       {wasmmod.Importing("env", "emscripten_resize_heap"), []string{"emscripten"}},
		"proxy-wasm":       {wasmmod.Importing("env", "proxy_log"), []string{"proxy"}},
		"go-js":            {wasmmod.Importing("gojs", "runtime.wasmExit"), []string{"js"}},
	} {
		t.Run(name, func(t *testing.T) {
			image := images.Program(tc.program)
			image.Layers[0][0].Name = "opt/broken.wasm"
			image.Entrypoint = []string{"/opt/broken.wasm"}
			ref := n.pull(t, "refused-"+name, image.Artifact())
			p := n.hostPod(t)
			spec := criclient.ContainerSpec{Name: "same", Image: ref}
			_, err := n.Client.Create(t.Context(), p.id, p.config, spec.Config())
			wantError(t, "create", err, append(slices.Clone(tc.parts), ref, "/opt/broken.wasm")...)
			wantNothingIn(t, p)
			spec.Image = n.program(t, "exit-c")
			c := p.run(spec)
			c.wantExit(c.wait(), 0, "Completed")
		})
	}
}

// wantNothingIn checks that a pod has no container.
func wantNothingIn(t *testing.T, p *pod) {
	t.Helper()
	spec := &containerFilter{PodSandboxId: p.id}
	if ids := containerIDs(t, p.node, spec); len(ids) != 0 {
		t.Errorf("after a failed create the pod has %q", ids)
	}
}

func TestCreateRefusesACommandThatIsNotThere(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	for name, command := range map[string][]string{
		"absolute":  {"/bin/no-such-tool"},
		"by path":   {"no-such-tool"},
		"directory": {"/bin"},
	} {
		_, err := n.Client.Create(t.Context(), p.id, p.config, criclient.ContainerSpec{Image: n.toolbox(t), Command: command}.Config())
		wantError(t, name, err, command[0])
		wantNothingIn(t, p)
	}
}

func TestCreateRefusesAModuleThatCannotFitItsLimit(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	const mebibyte = 1 << 20
	ref := n.pull(t, "big-memory", images.Program(wasmmod.WithMemory(512*mebibyte/wasmmod.PageSize)).Artifact())
	_, err := n.Client.Create(t.Context(), p.id, p.config, criclient.ContainerSpec{Image: ref, MemoryLimit: 64 * mebibyte}.Config())
	wantError(t, "512 MiB at the start with a limit of 64 MiB", err, "memory", ref)
	wantNothingIn(t, p)
	c := p.run(criclient.ContainerSpec{Image: ref})
	c.wantExit(c.wait(), 0, "Completed")
}

func TestCreateRefusesAnImageWithoutProgram(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	image := images.Program(guest(t, "exit-c"))
	image.Entrypoint = nil
	image.Layers[0] = []images.File{{Name: "etc/data", Data: []byte("no program")}}
	ref := n.pull(t, "no-program", image.Artifact())
	_, err := n.Client.Create(t.Context(), p.id, p.config, criclient.ContainerSpec{Image: ref}.Config())
	wantError(t, "image without entrypoint or module", err, ref)
	wantNothingIn(t, p)
}

// The kubelet counts image volumes that fail, and knows them by the start of the
// text.
func TestImageVolumesThatFailSaySo(t *testing.T) {
	n := sharedNode(t)
	image, p := n.toolbox(t), n.hostPod(t)
	for name, mount := range map[string]*runtime.Mount{
		"no such image": {ContainerPath: "/v", Readonly: true, Image: &runtime.ImageSpec{Image: n.ref("nobody:v1")}},
		"no such path":  {ContainerPath: "/v", Readonly: true, Image: &runtime.ImageSpec{Image: image}, ImageSubPath: "no/where"},
		"writable":      {ContainerPath: "/v", Image: &runtime.ImageSpec{Image: image}},
	} {
		spec := criclient.ContainerSpec{Image: image, Mounts: []*runtime.Mount{mount}}
		_, err := n.Client.Create(t.Context(), p.id, p.config, spec.Config())
		if s := status.Convert(err); !strings.HasPrefix(s.Message(), crierrors.ErrImageVolumeMountFailed.Error()) || s.Code() == codes.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantNothingIn(t, p)
}
