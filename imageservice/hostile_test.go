package imageservice

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/imageservice/format"
	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
	"github.com/cri-wasmer/cri-wasmer/imageservice/unpack"
)

// image pushes a manifest with the parts as they are.
func (f *fixture) image(config string, layers ...format.Descriptor) {
	f.t.Helper()
	f.manifest("x", "v1", ociManifest, map[string]any{"schemaVersion": 2, "layers": layers, "config": f.blob("x", []byte(config), ociConfig)})
}

func diffs(ids ...string) string {
	data, err := json.Marshal(map[string]any{"rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
	if err != nil {
		panic(err)
	}
	return string(data)
}

// tarLayer pushes a layer and gives a configuration that fits it.
func (f *fixture) tarLayer(pack func(testing.TB, []byte) []byte, entries ...entry) (string, format.Descriptor) {
	f.t.Helper()
	plain := tarOf(f.t, entries...)
	return diffs(digestOf(plain)), f.blob("x", pack(f.t, plain), ociLayerGzip)
}

// serve answers manifests of the fixture with this text.
func serve(text string) func(f *fixture) {
	return func(f *fixture) {
		f.front = func(w http.ResponseWriter, r *http.Request, real http.Handler) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.Header().Set("Content-Type", ociManifest)
				io.WriteString(w, text)
				return
			}
			real.ServeHTTP(w, r)
		}
	}
}

func repeat(d format.Descriptor, n int) []format.Descriptor {
	list := make([]format.Descriptor, n)
	for i := range list {
		list[i] = d
	}
	return list
}

const gibi = 1 << 30

// TestHostileImages: whatever a registry serves, it ends in an error that says
// what is wrong, the store holds nothing of it, and nothing beside the store is
// touched.
func TestHostileImages(t *testing.T) {
	one := entry{name: "a", body: "x"}
	for name, tc := range map[string]struct {
		push func(f *fixture)
		kind error
	}{
		"ten thousand layers": {func(f *fixture) {
			config, l := f.tarLayer(gz, one)
			f.image(config, repeat(l, 10_000)...)
		}, imgerr.ErrLimit},
		"ten thousand diff ids": {func(f *fixture) {
			_, l := f.tarLayer(gz, one)
			f.image(diffs(make([]string, 10_000)...), l)
		}, imgerr.ErrMalformed},
		"a huge manifest":    {serve(`{"schemaVersion":2,"x":"` + strings.Repeat("x", 5<<20) + `"}`), imgerr.ErrLimit},
		"a deep manifest":    {serve(`{"schemaVersion":2,"x":` + strings.Repeat("[", 100_000)), imgerr.ErrMalformed},
		"no JSON":            {serve(`<html>`), imgerr.ErrMalformed},
		"an empty manifest":  {serve(``), imgerr.ErrMalformed},
		"a list as manifest": {serve(`[]`), imgerr.ErrMalformed},
		"half a manifest":    {serve(`{"schemaVersion":2,"config":{`), imgerr.ErrMalformed},
		"docker's schema 1":  {serve(`{"schemaVersion":1,"fsLayers":[]}`), imgerr.ErrUnsupported},
		"an index of itself": {func(f *fixture) {
			// Nobody knows a digest that holds itself: the index that is served
			// for it is another one.
			serve(`{"schemaVersion":2,"manifests":[{"mediaType":"` + ociIndex + `","digest":"` + digestOf(nil) + `","size":1}]}`)(f)
		}, imgerr.ErrDigestMismatch},
		"index within index within index": {func(f *fixture) {
			d := f.hello("x", "inner", "wasi", "wasm")
			for range 6 {
				d = f.manifest("x", "v1", ociIndex, map[string]any{"schemaVersion": 2, "manifests": []any{d}})
			}
		}, imgerr.ErrLimit},
		"an index of five thousand": {func(f *fixture) {
			d := f.hello("x", "inner", "wasi", "wasm")
			f.manifest("x", "v1", ociIndex, map[string]any{"schemaVersion": 2, "manifests": repeat(d, 5000)})
		}, imgerr.ErrLimit},
		"an empty index":           {serve(`{"schemaVersion":2,"manifests":[]}`), imgerr.ErrUnsupported},
		"a digest of another kind": {serve(`{"schemaVersion":2,"config":{"digest":"sha512:00","size":1},"layers":[]}`), imgerr.ErrMalformed},
		"a digest with a path":     {serve(`{"schemaVersion":2,"config":{"digest":"sha256:../../../outside/kept","size":1},"layers":[]}`), imgerr.ErrMalformed},
		"a negative size":          {serve(`{"schemaVersion":2,"config":{"digest":"` + digestOf(nil) + `","size":-1},"layers":[]}`), imgerr.ErrMalformed},
		"a size beyond numbers":    {serve(`{"schemaVersion":2,"config":{"digest":"` + digestOf(nil) + `","size":1e30},"layers":[]}`), imgerr.ErrMalformed},
		"a diff id with a path": {func(f *fixture) {
			_, l := f.tarLayer(gz, one)
			f.image(diffs("sha256:../../../outside"), l)
		}, imgerr.ErrMalformed},
		"a diff id of dots": {func(f *fixture) {
			_, l := f.tarLayer(gz, one)
			f.image(diffs(".."), l)
		}, imgerr.ErrMalformed},
		"a configuration that is none": {func(f *fixture) {
			_, l := f.tarLayer(gz, one)
			f.image(`{"rootfs":7}`, l)
		}, imgerr.ErrMalformed},
		"a layer longer than said": {func(f *fixture) {
			config, l := f.tarLayer(gz, one)
			l.Size--
			f.image(config, l)
		}, imgerr.ErrDigestMismatch},
		"a layer shorter than said": {func(f *fixture) {
			config, l := f.tarLayer(gz, one)
			l.Size += gibi
			f.image(config, l)
		}, imgerr.ErrDigestMismatch},
		"a layer that is cut": {func(f *fixture) {
			plain := tarOf(t, one, entry{name: "b", body: strings.Repeat("y", 100_000)})
			packed := gz(t, plain)
			f.image(diffs(digestOf(plain)), f.blob("x", packed[:len(packed)-20], ociLayerGzip))
		}, imgerr.ErrMalformed},
		"garbage for a layer": {func(f *fixture) {
			f.image(diffs(digestOf(nil)), f.blob("x", bytes.Repeat([]byte("garbage"), 1000), ociLayerGzip))
		}, imgerr.ErrMalformed},
		"a bomb of gzip": {func(f *fixture) {
			config, l := f.tarLayer(gz, entry{name: "zeros", body: strings.Repeat("\x00", 40<<20)})
			f.image(config, l)
		}, imgerr.ErrLimit},
		"a bomb of zstd": {func(f *fixture) {
			config, l := f.tarLayer(zst, entry{name: "zeros", body: strings.Repeat("\x00", 40<<20)})
			f.image(config, l)
		}, imgerr.ErrLimit},
		"a bomb of names": {func(f *fixture) {
			var many []entry
			for i := range 3000 {
				many = append(many, entry{name: fmt.Sprint(i)})
			}
			config, l := f.tarLayer(gz, many...)
			f.image(config, l)
		}, imgerr.ErrLimit},
		"a bomb of directories": {func(f *fixture) {
			config, l := f.tarLayer(gz, entry{name: strings.Repeat("d/", 2040) + "f"}, entry{name: strings.Repeat("e/", 2040) + "f"})
			f.image(config, l)
		}, imgerr.ErrLimit},
		"a path out of the layer": {func(f *fixture) {
			config, l := f.tarLayer(gz, one, entry{name: strings.Repeat("../", 20) + "outside/kept", body: "evil"})
			f.image(config, l)
		}, imgerr.ErrUnsafe},
		"a path through a link": {func(f *fixture) {
			config, l := f.tarLayer(gz, entry{name: "l", typ: tar.TypeSymlink, link: "../../../../outside"}, entry{name: "l/kept", body: "evil"})
			f.image(config, l)
		}, imgerr.ErrUnsafe},
		"a directory that becomes a link": {func(f *fixture) {
			config, l := f.tarLayer(gz, entry{name: "l/"}, entry{name: "l", typ: tar.TypeSymlink, link: "/"}, entry{name: "l/etc/evil", body: "evil"})
			f.image(config, l)
		}, imgerr.ErrUnsafe},
		"a hard link out of the layer": {func(f *fixture) {
			config, l := f.tarLayer(gz, entry{name: "h", typ: tar.TypeLink, link: "../../../../outside/kept"})
			f.image(config, l)
		}, imgerr.ErrUnsafe},
		"a whiteout out of the layer": {func(f *fixture) {
			config, l := f.tarLayer(gz, entry{name: "l", typ: tar.TypeSymlink, link: "../../../../outside"}, entry{name: "l/.wh.kept"})
			f.image(config, l)
		}, imgerr.ErrUnsafe},
		"a device": {func(f *fixture) {
			config, l := f.tarLayer(gz, entry{name: "sda", typ: tar.TypeBlock})
			f.image(config, l)
		}, imgerr.ErrUnsafe},
		"a path that is too long": {func(f *fixture) {
			half := strings.Repeat(strings.Repeat("n", 250)+"/", 15)
			config, l := f.tarLayer(gz, entry{name: half}, entry{name: "l", typ: tar.TypeSymlink, link: half}, entry{name: "l/" + half + "f"})
			f.image(config, l)
		}, imgerr.ErrLimit},
		"directories that are too deep": {func(f *fixture) {
			half := strings.Repeat("d/", 400)
			config, l := f.tarLayer(gz, entry{name: half}, entry{name: "l", typ: tar.TypeSymlink, link: half}, entry{name: "l/" + half + "f"})
			f.image(config, l)
		}, imgerr.ErrLimit},
		"a blob of a terabyte": {func(f *fixture) {
			l := f.blob("x", []byte("\x00asm\x01\x00\x00\x00"), "application/wasm")
			l.Size = 1 << 40
			f.image(`{}`, l)
		}, imgerr.ErrLimit},
		"a name that is too long": {func(f *fixture) {
			config, l := f.tarLayer(gz, entry{name: strings.Repeat("n", 256), body: "x"})
			f.image(config, l)
		}, imgerr.ErrLimit},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			tc.push(f)
			above := t.TempDir()
			kept := filepath.Join(above, "outside", "kept")
			if err := errors.Join(os.Mkdir(filepath.Dir(kept), 0o755), os.WriteFile(kept, []byte("kept"), 0o644)); err != nil {
				t.Fatal(err)
			}
			s := openService(t, func(c *Config) {
				c.Root = filepath.Join(above, "store")
				c.Limits = unpack.Limits{MaxBytes: 64 << 20, MaxEntries: 2500, RatioFloor: 1 << 20, MaxRatio: 100}
			})
			_, err := s.Pull(context.Background(), PullRequest{Ref: f.host + "/x:v1"})
			if text := fmt.Sprint(err); !errors.Is(err, tc.kind) || !strings.Contains(text, "image "+f.host+"/x:v1: ") || len(text) > 2000 {
				t.Errorf("error = %.300v, want %v that names the image", err, tc.kind)
			}
			collectAll(t, s)
			wantEmpty(t, s)
			if data, err := os.ReadFile(kept); err != nil || string(data) != "kept" {
				t.Errorf("the file beside the store holds %q, %v", data, err)
			}
			for dir, want := range map[string]int{above: 2, filepath.Dir(kept): 1} {
				if entries, err := os.ReadDir(dir); err != nil || len(entries) != want {
					t.Errorf("%s holds %v, %v", dir, entries, err)
				}
			}
		})
	}
}
