package images

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/programs"
)

var module = []byte("\x00asm\x01\x00\x00\x00")

func mustBuild(t *testing.T) []Image {
	t.Helper()
	all, err := Build(module)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// only gives the one image of an index.
func only(t *testing.T, index v1.ImageIndex) v1.Image {
	t.Helper()
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 1 || m.Manifests[0].Platform.String() != "wasip1/wasm" {
		t.Fatalf("got %+v, want one manifest for wasip1/wasm", m.Manifests)
	}
	img, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestImagesHaveDifferentIDs(t *testing.T) {
	seen := map[string]string{}
	names := map[string]bool{}
	for _, img := range mustBuild(t) {
		if other, ok := seen[img.ID.String()]; ok {
			t.Errorf("%s and %s have the same id", img.Names[0], other)
		}
		seen[img.ID.String()] = img.Names[0]
		for _, n := range img.Names {
			if names[n] {
				t.Errorf("%s stands for two images", n)
			}
			names[n] = true
		}
	}
}

func TestBuildsAreReproducible(t *testing.T) {
	a, b := mustBuild(t), mustBuild(t)
	for i := range a {
		da, err1 := a[i].Index.Digest()
		db, err2 := b[i].Index.Digest()
		if err := errors.Join(err1, err2); err != nil || da != db {
			t.Errorf("%s: got %s and %s, %v", a[i].Names[0], da, db, err)
		}
	}
}

// rootfs reads all entries of an image, with the layers applied.
func rootfs(t *testing.T, img v1.Image) map[string]*tar.Header {
	t.Helper()
	r := mutate.Extract(img)
	defer r.Close()
	entries := map[string]*tar.Header{}
	for reader := tar.NewReader(r); ; {
		h, err := reader.Next()
		if err == io.EOF {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		entries[strings.TrimSuffix(h.Name, "/")] = h
	}
}

func TestEveryProgramIsAHardLink(t *testing.T) {
	entries := rootfs(t, only(t, mustBuild(t)[0].Index))
	if h := entries["bin/busybox"]; h == nil || h.Typeflag != tar.TypeReg || h.Size != int64(len(module)) {
		t.Fatalf("bin/busybox: got %+v", h)
	}
	for _, program := range programs.Names() {
		h := entries["bin/"+program]
		if program == "nginx" || program == "httpd" {
			h = entries["usr/sbin/"+program]
		}
		if h == nil || h.Typeflag != tar.TypeLink || h.Linkname != "bin/busybox" {
			t.Errorf("%s: got %+v, want a hard link", program, h)
		}
	}
	if h := entries["tmp"]; h == nil || h.Mode != 0o1777 {
		t.Errorf("tmp: got %+v", h)
	}
}

func TestImagesSayWhatTheSuiteWants(t *testing.T) {
	byName := map[string]*v1.ConfigFile{}
	for _, img := range mustBuild(t) {
		config, err := only(t, img.Index).ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.OS != "wasip1" || config.Architecture != "wasm" || len(config.Config.Env) != 1 {
			t.Errorf("%s: got %+v", img.Names[0], config)
		}
		for _, n := range img.Names {
			byName[n] = config
		}
	}
	for _, c := range []struct{ name, entrypoint, cmd, user string }{
		{"toolbox:latest", "", "sh", ""},
		{"e2e-test-images/busybox:1.29-2", "", "sh", ""},
		{"e2e-test-images/nginx:1.14-2", "/usr/sbin/nginx|nginx: master process", "", ""},
		{"e2e-test-images/httpd:2.4.39-4", "/usr/sbin/httpd", "", ""},
		{"e2e-test-images/nonewprivs:1.3", "/nnp", "", ""},
		{"k8s-staging-cri-tools/test-image-user-uid:latest", "", "sh", "1002"},
		{"k8s-staging-cri-tools/test-image-user-username:latest", "", "sh", "www-data"},
		{"k8s-staging-cri-tools/test-image-user-uid-group:latest", "", "sh", "1003:1004"},
		{"k8s-staging-cri-tools/test-image-user-username-group:latest", "", "sh", "www-data:1004"},
		{"k8s-staging-cri-tools/test-image-predefined-group:latest", "", "sh", "1000"},
		{"k8s-staging-cri-tools/test-image-tags:3", "", "sh", ""},
		{"pause:3.9", "/bin/pause", "", ""},
	} {
		config := byName[c.name]
		if config == nil {
			t.Errorf("no image %s", c.name)
			continue
		}
		got := config.Config
		if strings.Join(got.Entrypoint, "|") != c.entrypoint || strings.Join(got.Cmd, "|") != c.cmd || got.User != c.user {
			t.Errorf("%s: got %+v", c.name, got)
		}
	}
}

func TestSetUserIDBitBelongsToOneFile(t *testing.T) {
	for _, img := range mustBuild(t) {
		if img.Names[0] != "e2e-test-images/nonewprivs:1.3" {
			continue
		}
		entries := rootfs(t, only(t, img.Index))
		if h := entries["nnp"]; h.Typeflag != tar.TypeReg || h.Mode != 0o4755 {
			t.Errorf("nnp: got %+v", h)
		}
		if h := entries["bin/busybox"]; h.Mode != 0o755 {
			t.Errorf("bin/busybox: got %+v", h)
		}
	}
}

func TestServedImagesCanBePulled(t *testing.T) {
	all := mustBuild(t)
	r, err := Serve(context.Background(), "127.0.0.1:0", all)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, img := range all {
		want, err := img.Index.Digest()
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range img.Names {
			ref, err := name.NewTag(r.Host()+"/"+n, name.Insecure)
			if err != nil {
				t.Fatal(err)
			}
			got, err := remote.Get(ref)
			if err != nil || got.Digest != want {
				t.Errorf("%s: got %v, %v, want %s", n, got, err, want)
				continue
			}
			index, err := got.ImageIndex()
			if err == nil {
				err = validate.Index(index)
			}
			if err != nil {
				t.Errorf("%s is not valid: %v", n, err)
			}
		}
	}
}

func TestServeReportsATakenAddress(t *testing.T) {
	r, err := Serve(context.Background(), "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if second, err := Serve(context.Background(), r.Host(), nil); err == nil {
		second.Close()
		t.Error("got a second registry on the same address")
	}
}

func TestMirrorsLeadToTheRegistry(t *testing.T) {
	dir := t.TempDir()
	if err := WriteMirrors(dir, "http://127.0.0.1:5055"); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"registry.k8s.io", "gcr.io", "k8s.gcr.io"} {
		text, err := os.ReadFile(filepath.Join(dir, host, "hosts.toml"))
		if err != nil || !strings.Contains(string(text), `[host."http://127.0.0.1:5055"]`) {
			t.Errorf("%s: got %q, %v", host, text, err)
		}
	}
	for _, url := range []string{"127.0.0.1:5055", "http://host/path"} {
		if err := WriteMirrors(dir, url); err == nil {
			t.Errorf("%s: got no error", url)
		}
	}
}

func TestLayoutsAreWritten(t *testing.T) {
	dir := t.TempDir()
	if err := WriteLayouts(dir, mustBuild(t)[:1]); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "toolbox_latest", "index.json")); err != nil {
		t.Error(err)
	}
}

func TestModuleIsBuiltWhenNoneIsGiven(t *testing.T) {
	if testing.Short() {
		t.Skip("building the toolbox needs the go command and some seconds: run without -short")
	}
	got, err := ReadModule(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(got), "\x00asm") || len(got) < 1<<20 {
		t.Errorf("got %d bytes starting with %.8q", len(got), got)
	}
	if _, err := ReadModule(t.Context(), filepath.Join(t.TempDir(), "nosuch")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}
