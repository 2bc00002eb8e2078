package imageservice

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
	"github.com/cri-wasmer/cri-wasmer/imageservice/format"
	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

const (
	wasmContent  = "application/vnd.wasm.content.layer.v1+wasm"
	runwasiLayer = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"
	moduleLayer  = "application/vnd.module.wasm.content.layer.v1+wasm"
)

// artifact pushes a manifest with the given config and layers of one media
// type.
func (f *fixture) artifact(repo, manifestType, configType, config, layerType, title string, modules ...string) format.Descriptor {
	f.t.Helper()
	var layers []format.Descriptor
	for _, m := range modules {
		d := f.blob(repo, []byte(m), layerType)
		if title != "" {
			d.Annotations = map[string]string{"org.opencontainers.image.title": title}
		}
		layers = append(layers, d)
	}
	m := map[string]any{"schemaVersion": 2, "config": f.blob(repo, []byte(config), configType), "layers": layers}
	if manifestType != "" {
		m["mediaType"] = manifestType
	} else {
		manifestType = ociManifest
	}
	return f.manifest(repo, "v1", manifestType, m)
}

// stubCodes is a compiler that compiles nothing and remembers what it was
// asked.
type stubCodes struct {
	fail  error
	calls int

	mu    sync.Mutex // the janitor calls too
	owned map[string]bool
}

func (c *stubCodes) owns(digest string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.owned[digest]
}

func (c *stubCodes) Preflight(f *os.File, _ string) (*codecache.Report, error) {
	head := make([]byte, 4)
	n, _ := f.ReadAt(head, 0)
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data := make([]byte, info.Size())
	f.ReadAt(data, 0)
	r := &codecache.Report{Module: digestOf(data), Size: info.Size(), ABI: "test"}
	if string(head[:n]) != "\x00asm" {
		return r, &codecache.Refusal{Kind: codecache.NotModule, Is: "is no module", Remedy: "build one"}
	}
	return r, nil
}

func (c *stubCodes) Code(context.Context, *os.File) (*codecache.Code, error) {
	c.calls++
	if c.fail != nil {
		return nil, c.fail
	}
	f, err := os.Open(os.DevNull)
	return &codecache.Code{File: f}, err
}

func (c *stubCodes) Own(string) {}
func (c *stubCodes) OwnOnly(d map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owned = d
}
func (c *stubCodes) Tiers(string) []codecache.Tier {
	return []codecache.Tier{{Compiler: "stub"}}
}
func (c *stubCodes) Usage() (int64, int64) { return 1000, 1 }

func TestEveryFormatIsPulled(t *testing.T) {
	mod := func(s string) string { return wasmModule(s) }
	const component = "\x00asm\x0d\x00\x01\x00"
	for _, tc := range []struct {
		name     string
		push     func(f *fixture)
		kind     format.Kind
		artifact string // path of the module
		program  ProgramState
		path     string
		idIs     string // "config" or "manifest"
		reason   string
	}{
		{"krustlet, as the seed has it", func(f *fixture) {
			f.artifact("img", dockerManifest, dockerConfig, "{}", wasmContent, "module.wasm", mod("k"))
		}, format.Krustlet, "/module.wasm", ProgramReady, "/module.wasm", "manifest", ""},
		{"wasm-to-oci without media type", func(f *fixture) {
			f.artifact("img", "", "application/vnd.wasm.config.v1+json", "{}", wasmContent, "hello.wasm", mod("w"))
		}, format.WasmToOCI, "/hello.wasm", ProgramReady, "/hello.wasm", "manifest", ""},
		{"cncf artifact", func(f *fixture) {
			f.artifact("img", ociManifest, "application/vnd.wasm.config.v0+json", `{"architecture":"wasm","os":"wasip1"}`, "application/wasm", "", mod("c"))
		}, format.CNCF, "/module.wasm", ProgramReady, "/module.wasm", "manifest", ""},
		{"cncf artifact with two layers", func(f *fixture) {
			f.artifact("img", ociManifest, "application/vnd.wasm.config.v0+json", `{}`, "application/wasm", "", mod("1"), mod("2"))
		}, format.CNCF, "", ProgramRefused, "", "manifest", "one layer only"},
		{"component", func(f *fixture) {
			f.artifact("img", ociManifest, "application/vnd.wasm.config.v0+json", `{"os":"wasip2"}`, "application/wasm", "", component)
		}, format.CNCF, "/module.wasm", ProgramReady, "/module.wasm", "manifest", ""},
		{"runwasi", func(f *fixture) {
			f.artifact("img", ociManifest, ociConfig, `{"architecture":"wasm","os":"wasip1","rootfs":{"type":"layers","diff_ids":[]},"config":{"Cmd":["old.wasm","arg"]}}`, runwasiLayer, "", mod("r"))
		}, format.Runwasi, "/module.wasm", ProgramReady, "/module.wasm", "manifest", ""},
		{"wasmcloud legacy", func(f *fixture) {
			f.artifact("img", ociManifest, "application/vnd.wasmcloud.actor.archive.config", "{}", moduleLayer, "actor.wasm", mod("m"))
		}, format.Module, "/actor.wasm", ProgramReady, "/actor.wasm", "manifest", ""},
		{"spin", func(f *fixture) {
			repo := "img"
			f.manifest(repo, "v1", ociManifest, map[string]any{"schemaVersion": 2,
				"config": f.blob(repo, []byte(`{"architecture":"wasm","os":"Wasip1","rootfs":{"diff_ids":[]}}`), ociConfig),
				"layers": []format.Descriptor{f.blob(repo, []byte(component), wasmContent), f.blob(repo, []byte("{}"), "application/vnd.fermyon.spin.application.v1+config")}})
		}, format.Spin, "", ProgramRefused, "", "manifest", "Spin application"},
		{"module under an unknown type", func(f *fixture) {
			f.artifact("img", ociManifest, "application/vnd.oci.empty.v1+json", "{}", "application/octet-stream", "x.wasm", mod("u"))
		}, format.Raw, "/x.wasm", ProgramReady, "/x.wasm", "manifest", ""},
		{"webc", func(f *fixture) {
			pkg := images.Webc{Version: 2, Manifest: map[string]any{"command": map[string]any{"run": images.WebcCommand("a", nil)}}, Atoms: map[string][]byte{"a": []byte(mod("w"))}}
			f.artifact("img", ociManifest, "application/vnd.oci.empty.v1+json", "{}", "application/vnd.wasmer.webc.v3", "", string(pkg.Encode()))
		}, format.Webc, "", ProgramReady, "/bin/run", "manifest", ""},
		{"tar under an unknown type", func(f *fixture) {
			f.artifact("img", ociManifest, "application/vnd.who.knows", "{}", "application/octet-stream", "", string(gz(f.t, tarOf(f.t, entry{name: "only.wasm", body: mod("t")}))))
		}, format.Rootfs, "", ProgramReady, "/only.wasm", "manifest", ""},
		{"rootfs with gzip", func(f *fixture) { f.hello("img", "v1", "wasi", "wasm") }, format.Rootfs, "", ProgramReady, "/hello.wasm", "config", ""},
		{"rootfs with zstd", func(f *fixture) {
			img := helloImage("wasip1", "wasm")
			img.layers, img.pack = [][]byte{tarOf(f.t, entry{name: "hello.wasm", body: mod("z")})}, zst
			f.push("img", "v1", img)
		}, format.Rootfs, "", ProgramReady, "/hello.wasm", "config", ""},
		{"rootfs without compression", func(f *fixture) {
			img := helloImage("linux", "amd64")
			img.layers, img.pack = [][]byte{tarOf(f.t, entry{name: "hello.wasm", body: mod("p")})}, func(_ testing.TB, b []byte) []byte { return b }
			f.push("img", "v1", img)
		}, format.Rootfs, "", ProgramReady, "/hello.wasm", "config", ""},
		{"docker manifest, empty platform", func(f *fixture) {
			img := helloImage("", "")
			img.docker, img.layers = true, [][]byte{tarOf(f.t, entry{name: "hello.wasm", body: mod("d")})}
			f.push("img", "v1", img)
		}, format.Rootfs, "", ProgramReady, "/hello.wasm", "config", ""},
		{"entrypoint file#function", func(f *fixture) {
			img := rootfsImage{os: "wasi", arch: "wasm", config: map[string]any{"Entrypoint": []string{"/hello.wasm#run"}}}
			img.layers = [][]byte{tarOf(f.t, entry{name: "hello.wasm", body: mod("f")})}
			f.push("img", "v1", img)
		}, format.Rootfs, "", ProgramReady, "/hello.wasm", "config", ""},
		{"no entrypoint, one module", func(f *fixture) {
			f.push("img", "v1", rootfsImage{layers: [][]byte{tarOf(f.t, entry{name: "app.wasm", body: mod("o")}, entry{name: "readme"})}})
		}, format.Rootfs, "", ProgramReady, "/app.wasm", "config", ""},
		{"compat annotation", func(f *fixture) {
			f.push("img", "v1", rootfsImage{annotations: map[string]string{compatVariant: "compat"},
				layers: [][]byte{tarOf(f.t, entry{name: "plugin.wasm", body: mod("x")}, entry{name: "other.wasm", body: mod("y")})}})
		}, format.Rootfs, "", ProgramReady, "/plugin.wasm", "config", ""},
		{"program by PATH through links", func(f *fixture) {
			f.push("img", "v1", rootfsImage{config: map[string]any{"Cmd": []string{"sh"}, "Env": []string{"PATH=/nowhere:/bin"}},
				layers: [][]byte{tarOf(f.t, entry{name: "usr/bin/box.wasm", body: mod("b")}, entry{name: "bin", typ: '2', link: "/usr/bin"}), tarOf(f.t, entry{name: "usr/bin/sh", typ: '2', link: "../../../usr/bin/box.wasm"})}})
		}, format.Rootfs, "", ProgramReady, "/usr/bin/box.wasm", "config", ""},
		{"native program", func(f *fixture) {
			f.push("img", "v1", rootfsImage{config: map[string]any{"Cmd": []string{"/bin/sh"}}, layers: [][]byte{tarOf(f.t, entry{name: "bin/sh", body: "\x7fELF"})}})
		}, format.Rootfs, "", ProgramRefused, "/bin/sh", "config", "entrypoint /bin/sh is no module: build one"},
		{"program that is missing", func(f *fixture) {
			f.push("img", "v1", rootfsImage{config: map[string]any{"Cmd": []string{"/nothing"}}, layers: [][]byte{tarOf(f.t, entry{name: "a"})}})
		}, format.Rootfs, "", ProgramRefused, "", "config", "/nothing is not in the image"},
		{"nothing to run", func(f *fixture) {
			f.push("img", "v1", rootfsImage{layers: [][]byte{tarOf(f.t, entry{name: "a"})}})
		}, format.Rootfs, "", ProgramNone, "", "config", "names no entrypoint"},
		{"deleted by an upper layer", func(f *fixture) {
			f.push("img", "v1", rootfsImage{config: map[string]any{"Cmd": []string{"/a.wasm"}}, layers: [][]byte{tarOf(f.t, entry{name: "a.wasm", body: mod("")}), tarOf(f.t, entry{name: ".wh.a.wasm"})}})
		}, format.Rootfs, "", ProgramRefused, "", "config", "/a.wasm is not in the image"},
		{"hidden by an opaque directory", func(f *fixture) {
			f.push("img", "v1", rootfsImage{config: map[string]any{"Cmd": []string{"/d/a.wasm"}}, layers: [][]byte{tarOf(f.t, entry{name: "d/a.wasm", body: mod("")}), tarOf(f.t, entry{name: "d/"}, entry{name: "d/.wh..wh..opq"})}})
		}, format.Rootfs, "", ProgramRefused, "", "config", "/d/a.wasm is not in the image"},
		{"link loop", func(f *fixture) {
			f.push("img", "v1", rootfsImage{config: map[string]any{"Cmd": []string{"/l"}}, layers: [][]byte{tarOf(f.t, entry{name: "l", typ: '2', link: "l"})}})
		}, format.Rootfs, "", ProgramRefused, "", "config", "too many symbolic links"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t)
			tc.push(f)
			s := openService(t, func(c *Config) { c.Code = &stubCodes{} })
			img := mustPull(t, s, f.host+"/img:v1")
			if img.Format != tc.kind || img.Module != tc.artifact || img.Artifact != (tc.artifact != "") {
				t.Errorf("format %s, module %q, want %s, %q", img.Format, img.Module, tc.kind, tc.artifact)
			}
			if img.Program.State != tc.program || img.Program.Path != tc.path || !strings.Contains(img.Program.Reason, tc.reason) {
				t.Errorf("program = %+v, want %s %s %q", img.Program, tc.program, tc.path, tc.reason)
			}
			if (img.ID == img.Manifest) != (tc.idIs == "manifest") {
				t.Errorf("id %s, manifest %s, want the digest of the %s", img.ID, img.Manifest, tc.idIs)
			}
			if tc.artifact != "" {
				if img.Config.Entrypoint[0] != tc.artifact || len(img.Layers) != 1 {
					t.Errorf("entrypoint %v, layers %v", img.Config.Entrypoint, img.Layers)
				}
				entries, err := os.ReadDir(img.Layers[0])
				if err != nil || len(entries) != 1 || "/"+entries[0].Name() != tc.artifact {
					t.Errorf("layer holds %v, %v", entries, err)
				}
			}
			if again, err := s.Status(context.Background(), img.ID); err != nil || again.ID != img.ID || again.Manifest != img.Manifest {
				t.Errorf("Status by id = %v, %v", again, err)
			}
		})
	}
}

func TestArtifactsKeepTheArgumentsOfTheirConfig(t *testing.T) {
	f := newFixture(t)
	f.artifact("a", ociManifest, ociConfig, `{"rootfs":{"diff_ids":[]},"config":{"Entrypoint":["/old","-x"],"Cmd":["y"],"Env":["A=b"]}}`, runwasiLayer, "", wasmModule("1"))
	f.artifact("b", ociManifest, ociConfig, `{"rootfs":{"diff_ids":[]},"config":{"Cmd":["/old","y"]}}`, runwasiLayer, "", wasmModule("2"))
	s := openService(t, nil)
	for repo, want := range map[string]string{"a": "[/module.wasm -x] [y] [A=b]", "b": "[/module.wasm] [y] []"} {
		c := mustPull(t, s, f.host+"/"+repo+":v1").Config
		if got := fmt.Sprint(c.Entrypoint, " ", c.Cmd, " ", c.Env); got != want {
			t.Errorf("%s: %s, want %s", repo, got, want)
		}
	}
}

// All artifacts of these kinds have the same configuration: their ids must
// differ all the same.
func TestEqualConfigurationsDoNotMakeEqualImages(t *testing.T) {
	f := newFixture(t)
	empty := `{"architecture":"wasm","os":"wasip1","rootfs":{"type":"layers","diff_ids":[]},"config":{}}`
	for i, push := range []func(repo string){
		func(r string) { f.artifact(r, dockerManifest, dockerConfig, "{}", wasmContent, "", wasmModule(r)) },
		func(r string) {
			f.artifact(r, "", "application/vnd.wasm.config.v1+json", "{}", wasmContent, "", wasmModule(r))
		},
		func(r string) { f.artifact(r, ociManifest, ociConfig, empty, runwasiLayer, "", wasmModule(r)) },
	} {
		one, two := fmt.Sprintf("one%d", i), fmt.Sprintf("two%d", i)
		push(one)
		push(two)
		s := openService(t, nil)
		a, b := mustPull(t, s, f.host+"/"+one+":v1"), mustPull(t, s, f.host+"/"+two+":v1")
		if a.ID == b.ID {
			t.Errorf("shape %d: both images have the id %s", i, a.ID)
		}
		for _, img := range []*Image{a, b} {
			data, err := os.ReadFile(filepath.Join(img.Layers[0], "module.wasm"))
			if err != nil || !strings.Contains(img.RepoTags[0], strings.TrimLeft(string(data[len(data)-4:]), "t")) {
				t.Errorf("%s holds %q, %v", img.RepoTags, data, err)
			}
		}
	}
}

func TestIndexesGiveTheBestChild(t *testing.T) {
	f := newFixture(t)
	wasm, native := f.hello("i", "", "wasi", "wasm"), f.hello("i", "", "linux", "amd64")
	platform := func(d format.Descriptor, os, arch string) format.Descriptor {
		d.Platform = &format.Platform{OS: os, Architecture: arch}
		return d
	}
	att := platform(native, "unknown", "unknown")
	att.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	index := f.manifest("i", "both", ociIndex, map[string]any{"schemaVersion": 2, "mediaType": ociIndex,
		"manifests": []format.Descriptor{platform(native, "linux", "amd64"), att, platform(wasm, "Wasi", "wasm")}})
	f.manifest("i", "list", dockerList, map[string]any{"schemaVersion": 2, "mediaType": dockerList, "manifests": []format.Descriptor{platform(native, "windows", "arm64"), att}})
	f.manifest("i", "none", ociIndex, map[string]any{"schemaVersion": 2, "manifests": []format.Descriptor{platform(native, "windows", "arm64"), platform(wasm, "js", "wasm")}})
	nested := index
	for range 6 {
		nested = f.manifest("i", "", ociIndex, map[string]any{"schemaVersion": 2, "manifests": []format.Descriptor{nested}})
	}
	s := openService(t, func(c *Config) { c.HostArch = "amd64" })
	img := mustPull(t, s, f.host+"/i:both")
	if img.Manifest != wasm.Digest || img.RepoDigests[0] != f.host+"/i@"+index.Digest || !strings.Contains(img.PlatformReason, "preferred") {
		t.Errorf("image = %s, %s, %q", describe(img), img.Manifest, img.PlatformReason)
	}
	byDigest := mustPull(t, s, f.host+"/i@"+index.Digest)
	if byDigest.ID != img.ID || len(byDigest.RepoDigests) != 1 {
		t.Errorf("by digest: %s", describe(byDigest))
	}
	if only := mustPull(t, s, f.host+"/i:list"); only.Manifest != native.Digest {
		t.Errorf("the single child was not taken: %s", only.Manifest)
	}
	if _, err := s.Pull(context.Background(), PullRequest{Ref: f.host + "/i:none"}); !errors.Is(err, imgerr.ErrUnsupported) || !strings.Contains(err.Error(), "windows/arm64") {
		t.Errorf("no platform fits: %v", err)
	}
	if _, err := s.Pull(context.Background(), PullRequest{Ref: f.host + "/i@" + nested.Digest}); !errors.Is(err, imgerr.ErrLimit) {
		t.Errorf("deep index: %v, want ErrLimit", err)
	}
}

func TestPullByDigestHasNoTag(t *testing.T) {
	f := newFixture(t)
	d := f.hello("d", "", "wasi", "wasm")
	s := openService(t, nil)
	img := mustPull(t, s, f.host+"/d@"+d.Digest)
	if len(img.RepoTags) != 0 || len(img.RepoDigests) != 1 || img.RepoDigests[0] != f.host+"/d@"+d.Digest {
		t.Errorf("image = %s", describe(img))
	}
}

func TestAMovedTagLeavesTheOldImage(t *testing.T) {
	f := newFixture(t)
	f.hello("m", "v1", "wasi", "wasm")
	s := openService(t, nil)
	old := mustPull(t, s, f.host+"/m:v1")
	img := helloImage("wasi", "wasm")
	img.layers = [][]byte{tarOf(t, entry{name: "hello.wasm", body: wasmModule("new")})}
	f.push("m", "v1", img)
	now := mustPull(t, s, f.host+"/m:v1")
	if now.ID == old.ID {
		t.Fatal("the tag did not move")
	}
	left, err := s.Status(context.Background(), old.ID)
	if err != nil || len(left.RepoTags) != 0 || len(left.RepoDigests) != 1 {
		t.Errorf("old image = %v, %v", left, err)
	}
	if got, _ := s.Status(context.Background(), f.host+"/m:v1"); got != now {
		t.Error("the tag leads to the old image")
	}
}

func TestOneImageFromTwoRegistries(t *testing.T) {
	a, b := newFixture(t), newFixture(t)
	a.hello("pause", "3.9", "wasi", "wasm")
	b.hello("pause", "3.9", "wasi", "wasm")
	s := openService(t, nil)
	one, two := mustPull(t, s, a.host+"/pause:3.9"), mustPull(t, s, b.host+"/pause:3.9")
	if one.ID != two.ID || len(two.RepoTags) != 2 || len(two.RepoDigests) != 2 {
		t.Errorf("images = %s and %s", describe(one), describe(two))
	}
}

func TestUserFollowsTheCRI(t *testing.T) {
	f := newFixture(t)
	s := openService(t, nil)
	for user, want := range map[string]string{"1002": "1002 ", "www-data": "<nil> www-data", "1003:1004": "1003 ", "www-data:1004": "<nil> www-data"} {
		img := helloImage("wasi", "wasm")
		img.config["User"], img.layers = user, [][]byte{tarOf(t, entry{name: "hello.wasm", body: wasmModule("")})}
		repo := "u" + strings.ReplaceAll(user, ":", "-")
		f.push(repo, "latest", img)
		got := mustPull(t, s, f.host+"/"+repo)
		text := "<nil> " + got.Username
		if got.UID != nil {
			text = fmt.Sprint(*got.UID, " ", got.Username)
		}
		if text != want || got.Config.User != user {
			t.Errorf("user %q: %q, want %q", user, text, want)
		}
	}
}

// The directory that a layer needs and does not describe must not change how
// the layer below describes it.
func TestDirectoriesKeepTheirAttributes(t *testing.T) {
	f := newFixture(t)
	f.push("img", "v1", rootfsImage{layers: [][]byte{
		tarOf(t, entry{name: "tmp/", mode: 0o1777}, entry{name: "srv/", mode: 0o750, uid: 5}, entry{name: "srv/data/", mode: 0o700, gid: 9}, entry{name: "usr/"}),
		tarOf(t, entry{name: "tmp/x", body: "x"}, entry{name: "srv/data/y", body: "y"}, entry{name: "usr/z", body: "z"}, entry{name: "new/w", body: "w"}),
	}})
	f.push("img", "v2", rootfsImage{layers: [][]byte{tarOf(t, entry{name: "tmp/", mode: 0o1777}), tarOf(t, entry{name: "tmp/", mode: 0o700}, entry{name: "tmp/x"})}})
	s := openService(t, nil)
	img := mustPull(t, s, f.host+"/img:v1")
	if len(img.Layers) != 3 || img.ID == img.Manifest {
		t.Fatalf("layers = %v, want a third on top; id %s", img.Layers, img.ID)
	}
	for p, want := range map[string]string{"tmp": "dtrwxrwxrwx 0:0", "srv": "drwxr-x--- 5:0", "srv/data": "drwx------ 0:9"} {
		info, err := os.Lstat(filepath.Join(img.Layers[2], p))
		if err != nil {
			t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		if got := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid); got != want {
			t.Errorf("%s is %s, want %s", p, got, want)
		}
	}
	for _, p := range []string{"usr", "new", "tmp/x"} {
		if _, err := os.Lstat(filepath.Join(img.Layers[2], p)); err == nil {
			t.Errorf("%s is in the layer of attributes for nothing", p)
		}
	}
	if plain := mustPull(t, s, f.host+"/img:v2"); len(plain.Layers) != 2 {
		t.Errorf("layers = %v, want none on top: the upper layer means it", plain.Layers)
	}
	check(t, s)
}

func TestExplainSaysWhetherAnImageWouldRun(t *testing.T) {
	f := newFixture(t)
	f.hello("good", "latest", "wasi", "wasm")
	f.push("bad", "latest", rootfsImage{config: map[string]any{"Cmd": []string{"/bin/sh"}}, layers: [][]byte{tarOf(t, entry{name: "bin/sh", body: "\x7fELF"})}})
	f.push("none", "latest", rootfsImage{layers: [][]byte{tarOf(t, entry{name: "a"})}})
	s := openService(t, func(c *Config) { c.Code = &stubCodes{} })
	for repo, want := range map[string]string{"good": "true ", "bad": "false entrypoint /bin/sh is no module: build one", "none": "false the image names no entrypoint: give a command"} {
		mustPull(t, s, f.host+"/"+repo)
		e, err := s.Explain(context.Background(), f.host+"/"+repo)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(e.WouldRun, " ", e.Why); got != want {
			t.Errorf("%s: %q, want %q", repo, got, want)
		}
		if (e.Module != nil) != (repo != "none") || (len(e.Code) > 0) != (repo != "none") {
			t.Errorf("%s: module %+v, code %v", repo, e.Module, e.Code)
		}
	}
	if _, err := s.Explain(context.Background(), "nothing"); !errors.Is(err, imgerr.ErrNotFound) {
		t.Errorf("unknown image: %v", err)
	}
}
