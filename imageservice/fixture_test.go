package imageservice

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/klauspost/compress/zstd"

	"github.com/cri-wasmer/cri-wasmer/imageservice/format"
)

// fixture is a registry on loopback that speaks the real protocol, with a
// handler before it that tests replace.
type fixture struct {
	t      testing.TB
	server *httptest.Server
	host   string
	real   http.Handler
	front  func(w http.ResponseWriter, r *http.Request, real http.Handler)
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, real: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))}
	f.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.front != nil {
			f.front(w, r, f.real)
			return
		}
		f.real.ServeHTTP(w, r)
	}))
	t.Cleanup(f.server.Close)
	f.host = strings.TrimPrefix(f.server.URL, "http://")
	return f
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (f *fixture) do(method, path, contentType string, body []byte) {
	f.t.Helper()
	req := httptest.NewRequest(method, path, bytes.NewReader(body))
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	rec := httptest.NewRecorder()
	f.real.ServeHTTP(rec, req)
	if rec.Code >= 300 {
		f.t.Fatalf("%s %s: %d %s", method, path, rec.Code, rec.Body)
	}
}

func (f *fixture) blob(repo string, b []byte, mediaType string) format.Descriptor {
	f.t.Helper()
	f.do("POST", "/v2/"+repo+"/blobs/uploads/?digest="+digestOf(b), "", b)
	return format.Descriptor{MediaType: mediaType, Digest: digestOf(b), Size: int64(len(b))}
}

const (
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	ociConfig      = "application/vnd.oci.image.config.v1+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	ociLayer       = "application/vnd.oci.image.layer.v1.tar"
	ociLayerGzip   = ociLayer + "+gzip"
	ociLayerZstd   = ociLayer + "+zstd"
)

// manifest pushes a manifest or index and gives its descriptor.
func (f *fixture) manifest(repo, tag, mediaType string, m map[string]any) format.Descriptor {
	f.t.Helper()
	data, err := json.Marshal(m)
	if err != nil {
		f.t.Fatal(err)
	}
	if tag == "" {
		tag = digestOf(data)
	}
	f.do("PUT", "/v2/"+repo+"/manifests/"+tag, mediaType, data)
	return format.Descriptor{MediaType: mediaType, Digest: digestOf(data), Size: int64(len(data))}
}

// entry is one entry of a test layer.
type entry struct {
	name, body, link string
	mode             int64
	typ              byte
	uid, gid         int
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		if e.typ == 0 {
			e.typ = tar.TypeReg
			if strings.HasSuffix(e.name, "/") {
				e.typ = tar.TypeDir
			}
		}
		if e.mode == 0 {
			e.mode = 0o755
		}
		h := &tar.Header{Name: e.name, Typeflag: e.typ, Mode: e.mode, Linkname: e.link, Uid: e.uid, Gid: e.gid, ModTime: time.Unix(1700000000, 0)}
		if e.typ == tar.TypeReg {
			h.Size = int64(len(e.body))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if e.typ == tar.TypeReg {
			if _, err := io.WriteString(w, e.body); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gz(t testing.TB, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	w.Close()
	return buf.Bytes()
}

func zst(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(b, nil)
}

// rootfsImage says how to build an ordinary image.
type rootfsImage struct {
	os, arch    string
	layers      [][]byte // plain tars
	pack        func(testing.TB, []byte) []byte
	config      map[string]any
	annotations map[string]string
	docker      bool
	history     string // makes the configuration another one
}

// push builds the image and gives the descriptor of its manifest.
func (f *fixture) push(repo, tag string, img rootfsImage) format.Descriptor {
	f.t.Helper()
	mt, ct, lt := ociManifest, ociConfig, ociLayerGzip
	if img.docker {
		mt, ct, lt = dockerManifest, dockerConfig, "application/vnd.docker.image.rootfs.diff.tar.gzip"
	}
	if img.pack == nil {
		img.pack = gz
	}
	var diffs []string
	layers := []format.Descriptor{}
	for _, l := range img.layers {
		diffs = append(diffs, digestOf(l))
		layers = append(layers, f.blob(repo, img.pack(f.t, l), lt))
	}
	cfg := map[string]any{
		"architecture": img.arch, "os": img.os, "config": img.config, "author": img.history,
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	}
	data, err := json.Marshal(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	m := map[string]any{"schemaVersion": 2, "mediaType": mt, "config": f.blob(repo, data, ct), "layers": layers}
	if img.annotations != nil {
		m["annotations"] = img.annotations
	}
	return f.manifest(repo, tag, mt, m)
}

// wasmModule is a valid module that exports an empty _start; the tail makes
// it another one.
func wasmModule(tail string) string {
	m := "\x00asm\x01\x00\x00\x00" +
		"\x01\x04\x01\x60\x00\x00" + // type: () -> ()
		"\x03\x02\x01\x00" + // function
		"\x07\x0a\x01\x06_start\x00\x00" + // export
		"\x0a\x04\x01\x02\x00\x0b" // code
	if tail != "" {
		m += "\x00" + string(rune(len(tail)+2)) + "\x01t" + tail
	}
	return m
}

func helloImage(os, arch string) rootfsImage {
	return rootfsImage{os: os, arch: arch, config: map[string]any{"Entrypoint": []string{"/hello.wasm"}, "Env": []string{"A=b"}}}
}

func (f *fixture) hello(repo, tag, os, arch string) format.Descriptor {
	f.t.Helper()
	img := helloImage(os, arch)
	img.layers = [][]byte{tarOf(f.t, entry{name: "hello.wasm", body: wasmModule(repo + tag)})}
	return f.push(repo, tag, img)
}

func openService(t *testing.T, change func(*Config)) *Service {
	t.Helper()
	cfg := Config{Root: t.TempDir(), RetryBackoff: time.Millisecond, StallTimeout: 2 * time.Second, SyncDelay: time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	s, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mustPull(t *testing.T, s *Service, ref string) *Image {
	t.Helper()
	img, err := s.Pull(context.Background(), PullRequest{Ref: ref})
	if err != nil {
		t.Fatalf("pull %s: %v", ref, err)
	}
	return img
}

func describe(img *Image) string {
	return fmt.Sprintf("%s %s %v %v", img.ID[:14], img.Format, img.RepoTags, img.RepoDigests)
}

// onStep makes the store call f before each of its steps.
func onStep(s *Service, f func(name string) error) { s.store.hook.Store(&f) }
