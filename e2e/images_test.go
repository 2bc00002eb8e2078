package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/daemon"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

// image asks for the status of an image; nil when there is none.
func (n *node) image(t testing.TB, ref string) *runtime.Image {
	t.Helper()
	r, err := n.Client.Images.ImageStatus(t.Context(), &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: ref}})
	if err != nil {
		t.Fatalf("status of image %s: %v", ref, err)
	}
	return r.Image
}

func (n *node) removeImage(t testing.TB, ref string) {
	t.Helper()
	_, err := n.Client.Images.RemoveImage(t.Context(), &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: ref}})
	if err != nil {
		t.Errorf("remove image %s: %v", ref, err)
	}
}

func (n *node) listImages(t testing.TB, filter string) []*runtime.Image {
	t.Helper()
	r, err := n.Client.Images.ListImages(t.Context(), &runtime.ListImagesRequest{
		Filter: &runtime.ImageFilter{Image: &runtime.ImageSpec{Image: filter}},
	})
	must(t, err)
	return r.Images
}

// artifactFormats are the formats in which the module is the image, those with
// a root filesystem are in rootfsFormats.
func artifactFormats(module []byte) map[string]images.Artifact {
	return map[string]images.Artifact{
		"krustlet":    images.Krustlet(module),
		"wasm-to-oci": images.WasmToOCI(module),
		"cncf":        images.CNCF(module),
	}
}

func rootfsFormats(module []byte) map[string]images.Artifact {
	with := func(edit func(*images.Rootfs)) images.Artifact {
		r := images.Program(module)
		edit(&r)
		return r.Artifact()
	}
	return map[string]images.Artifact{
		"wasi-wasm":    with(func(*images.Rootfs) {}),
		"wasip1-wasm":  with(func(r *images.Rootfs) { r.OS, r.Arch = "wasip1", "wasm" }),
		"wasi-wasm32":  with(func(r *images.Rootfs) { r.OS, r.Arch = "wasi", "wasm32" }),
		"capital":      with(func(r *images.Rootfs) { r.OS, r.Arch = "Wasip1", "wasm" }),
		"linux-host":   images.LinuxHost(images.Program(module)).Artifact(),
		"docker":       with(func(r *images.Rootfs) { r.Docker = true }),
		"zstd":         with(func(r *images.Rootfs) { r.Compression = images.Zstd }),
		"uncompressed": with(func(r *images.Rootfs) { r.Compression = images.Uncompressed }),
	}
}

func TestEveryFormatPullsAndRuns(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	module := guest(t, "hello-c")
	formats := artifactFormats(module)
	for name, a := range rootfsFormats(module) {
		formats[name] = a
	}
	for name, a := range formats {
		t.Run(name, func(t *testing.T) {
			ref := n.push(t, "format/"+name, a)
			id, err := n.Client.Pull(t.Context(), ref)
			must(t, err)
			wantID := a.Config.Digest()
			if artifactFormats(module)[name].MediaType != "" {
				wantID = a.Digest()
			}
			if name == "cncf" {
				wantID = id // its config is JSON of its own: either digest is an address
			}
			if id != wantID {
				t.Errorf("image ref is %s, want %s", id, wantID)
			}
			wantImage(t, n, ref, id, a.Digest())
			for _, image := range []string{ref, id, n.ref("format/"+name) + "@" + a.Digest()} {
				c := p.run(criclient.ContainerSpec{Image: image, Args: []string{"argument"}})
				s := c.wait()
				c.wantExit(s, 0, "Completed")
				if s.ImageId != id {
					t.Errorf("the container has image id %q, want %q", s.ImageId, id)
				}
				out := c.lines("stdout")
				if !slices.Contains(out, "hello from c") || !slices.Contains(out, "arg 1 argument") {
					t.Errorf("stdout is %q", out)
				}
				must(t, n.Client.Remove(t.Context(), c.id))
			}
			n.removeImage(t, ref)
		})
	}
}

// wantImage checks what ImageStatus says of an image by each of its names.
func wantImage(t *testing.T, n *node, ref, id, digest string) {
	t.Helper()
	repository := ref[:strings.LastIndex(ref, ":")]
	for _, name := range []string{ref, id, strings.TrimPrefix(id, "sha256:")[:12], repository + "@" + digest} {
		i := n.image(t, name)
		if i == nil {
			t.Errorf("status of %s is empty", name)
			continue
		}
		if i.Id != id || i.Size == 0 || !slices.Contains(i.RepoTags, ref) || !slices.Contains(i.RepoDigests, repository+"@"+digest) {
			t.Errorf("status of %s is %v, want id %s, tag %s, digest %s", name, i, id, ref, digest)
		}
	}
}

func TestIndexGivesTheImageForWasm(t *testing.T) {
	n := sharedNode(t)
	right := images.Program(guest(t, "hello-c"))
	wrong := images.Program([]byte("not this one"))
	wasi := images.Platform{OS: "wasi", Architecture: "wasm"}
	index := images.WithAttestation(right.Artifact(), wasi)
	manyPlatforms := images.Index{MediaType: images.OCIIndex, Children: []images.Child{
		{Artifact: images.LinuxHost(wrong).Artifact(), Platform: images.Platform{OS: "linux", Architecture: "arm64"}},
		{Artifact: images.LinuxHost(wrong).Artifact(), Platform: images.Platform{OS: "linux", Architecture: "amd64"}},
		{Artifact: right.Artifact(), Platform: images.Platform{OS: "wasip1", Architecture: "wasm"}},
	}}
	onlyChild := images.Index{MediaType: images.OCIIndex, Children: []images.Child{
		{Artifact: right.Artifact(), Platform: images.Platform{OS: "plan9", Architecture: "riscv64"}},
	}}
	for name, x := range map[string]images.Index{"attestation": index, "many-platforms": manyPlatforms, "only-child": onlyChild} {
		t.Run(name, func(t *testing.T) {
			digest, err := n.registry.PushIndex("index/"+name, "v1", x)
			must(t, err)
			ref := n.ref("index/" + name)
			id, err := n.Client.Pull(t.Context(), ref+":v1")
			must(t, err)
			i := n.image(t, ref+":v1")
			if i == nil || !slices.Contains(i.RepoDigests, ref+"@"+digest) {
				t.Errorf("image is %v, want the digest of the index %s", i, digest)
			}
			c := n.hostPod(t).run(criclient.ContainerSpec{Image: id})
			c.wantExit(c.wait(), 0, "Completed")
			must(t, n.Client.Remove(t.Context(), c.id))
			n.removeImage(t, ref+":v1")
		})
	}
}

func TestPullByDigestHasNoTag(t *testing.T) {
	n := sharedNode(t)
	a := images.Rootfs{Layers: images.Program(guest(t, "exit-c")).Layers, Entrypoint: []string{"/app.wasm"}, Env: []string{"ONLY=here"}}.Artifact()
	n.push(t, "by-digest", a)
	ref := n.ref("by-digest") + "@" + a.Digest()
	_, err := n.Client.Pull(t.Context(), ref)
	must(t, err)
	i := n.image(t, ref)
	if i == nil || len(i.RepoTags) != 0 || !slices.Equal(i.RepoDigests, []string{ref}) {
		t.Errorf("image is %v, want no tag and the digest %s", i, ref)
	}
	n.removeImage(t, ref)
}

func TestOneImageUnderManyNames(t *testing.T) {
	n := sharedNode(t)
	image := images.Program(guest(t, "exit-c"))
	image.Env = append(image.Env, "SHARED=yes")
	a := image.Artifact()
	var refs []string
	for _, repository := range []string{"names/one", "names/two", "names/two"} {
		refs = append(refs, n.push(t, repository, a))
	}
	ids := map[string]bool{}
	for _, ref := range refs {
		id, err := n.Client.Pull(t.Context(), ref)
		must(t, err)
		ids[id] = true
	}
	if len(ids) != 1 {
		t.Fatalf("the same image has ids %v", ids)
	}
	tags := slices.Compact(sorted(refs...))
	if i := n.image(t, refs[0]); !slices.Equal(sorted(i.GetRepoTags()...), tags) {
		t.Errorf("tags are %q, want %q", i.GetRepoTags(), tags)
	}
	n.removeImage(t, refs[0])
	for _, ref := range refs {
		if i := n.image(t, ref); i != nil {
			t.Errorf("after removal by one name, %s is still %v", ref, i)
		}
	}
}

// Their config is the same empty object: the id must come from elsewhere.
func TestArtifactsWithEmptyConfigsAreDifferentImages(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	one := n.pull(t, "empty/one", images.Krustlet(guest(t, "hello-c")))
	two := n.pull(t, "empty/two", images.Krustlet(guest(t, "hello-rust")))
	if a, b := n.image(t, one), n.image(t, two); a.Id == b.Id {
		t.Fatalf("both have id %s", a.Id)
	}
	for ref, want := range map[string]string{one: "hello from c", two: "hello from rust"} {
		c := p.run(criclient.ContainerSpec{Image: ref})
		c.wantExit(c.wait(), 0, "Completed")
		if out := c.lines("stdout"); !slices.Contains(out, want) {
			t.Errorf("%s writes %q, want %q", ref, out, want)
		}
	}
}

func TestTagThatMovedIsPulledAnew(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	first := n.pull(t, "moving", images.Program(guest(t, "hello-c")).Artifact())
	before := n.image(t, first).GetId()
	second := n.pull(t, "moving", images.Program(guest(t, "hello-rust")).Artifact())
	if after := n.image(t, second).GetId(); after == before || after == "" {
		t.Fatalf("the id was %s and is %s", before, after)
	}
	c := p.run(criclient.ContainerSpec{Image: second})
	c.wantExit(c.wait(), 0, "Completed")
	if out := c.lines("stdout"); !slices.Contains(out, "hello from rust") {
		t.Errorf("the tag runs %q", out)
	}
}

func TestImageListAndRemoval(t *testing.T) {
	n := sharedNode(t)
	image := images.Program(guest(t, "exit-c"))
	image.Env = append(image.Env, "LISTED=yes")
	ref := n.pull(t, "listed", image.Artifact())
	if list := n.listImages(t, ref); len(list) != 1 || !slices.Contains(list[0].RepoTags, ref) {
		t.Errorf("list by name is %v", list)
	}
	has := func() bool {
		return slices.ContainsFunc(n.listImages(t, ""), func(i *runtime.Image) bool { return slices.Contains(i.RepoTags, ref) })
	}
	if !has() {
		t.Error("the list of all lacks it")
	}
	errs := make(chan error, 5)
	for range 5 {
		go func() {
			_, err := n.Client.Images.RemoveImage(t.Context(), &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: ref}})
			errs <- err
		}()
	}
	for range 5 {
		if err := <-errs; err != nil {
			t.Errorf("parallel removal: %v", err)
		}
	}
	if has() || n.image(t, ref) != nil {
		t.Error("the removed image is still there")
	}
	if i := n.image(t, n.ref("never-there:v1")); i != nil {
		t.Errorf("unknown image has status %v", i)
	}
}

func TestImageFsInfoNamesADirectory(t *testing.T) {
	n := sharedNode(t)
	n.program(t, "exit-c")
	r, err := n.Client.Images.ImageFsInfo(t.Context(), &runtime.ImageFsInfoRequest{})
	must(t, err)
	if len(r.ImageFilesystems) == 0 {
		t.Fatal("no image filesystem")
	}
	for _, f := range append(r.ImageFilesystems, r.ContainerFilesystems...) {
		if _, err := os.Stat(f.GetFsId().GetMountpoint()); err != nil || f.Timestamp == 0 {
			t.Errorf("filesystem %v: %v", f, err)
		}
	}
	if used := r.ImageFilesystems[0].GetUsedBytes().GetValue(); used == 0 {
		t.Error("the images use no byte")
	}
}

// An image of the seed's kind under its own name, which a mirror serves.
func TestMirrorServesAnotherRegistrysName(t *testing.T) {
	n := sharedNode(t)
	must(t, n.SetHosts("webassembly.azurecr.io", daemon.Mirror(n.registry.URL())))
	n.push(t, "hello-wasm", images.Krustlet(guest(t, "hello-rust")))
	const ref = "webassembly.azurecr.io/hello-wasm:v1"
	_, err := n.Client.Pull(t.Context(), ref)
	must(t, err)
	if i := n.image(t, ref); i == nil || !slices.Contains(i.RepoTags, ref) || slices.Contains(i.RepoTags, n.ref("hello-wasm:v1")) {
		t.Errorf("image is %v, want the tag %s and not the mirror's", i, ref)
	}
	c := n.hostPod(t).run(criclient.ContainerSpec{Image: ref})
	c.wantExit(c.wait(), 0, "Completed")
	if out := c.lines("stdout"); !slices.Contains(out, "hello from rust") {
		t.Errorf("stdout is %q", out)
	}
}
