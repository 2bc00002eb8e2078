package imageservice

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/imageservice/format"
	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

func TestPullThenStatusUnderEveryName(t *testing.T) {
	f := newFixture(t)
	d := f.hello("team/hello", "latest", "wasi", "wasm")
	s := openService(t, nil)
	img := mustPull(t, s, f.host+"/team/hello")
	if want := []string{f.host + "/team/hello:latest"}; !reflect.DeepEqual(img.RepoTags, want) {
		t.Errorf("RepoTags = %v, want %v", img.RepoTags, want)
	}
	if want := []string{f.host + "/team/hello@" + d.Digest}; !reflect.DeepEqual(img.RepoDigests, want) {
		t.Errorf("RepoDigests = %v, want %v", img.RepoDigests, want)
	}
	hex := strings.TrimPrefix(img.ID, "sha256:")
	for _, ref := range []string{
		img.ID, hex, hex[:12], "sha256:" + hex[:12], f.host + "/team/hello", f.host + "/team/hello:latest", f.host + "/team/hello@" + d.Digest,
		f.host + "/team/hello:whatever@" + d.Digest,
	} {
		got, err := s.Status(context.Background(), ref)
		if err != nil || got.ID != img.ID {
			t.Errorf("Status(%q) = %v, %v, want the pulled image", ref, got, err)
		}
	}
	for _, ref := range []string{"nothere", f.host + "/team/hello:v2", strings.Repeat("0", 64), "UPPER//x", "", "sha256:"} {
		if _, err := s.Status(context.Background(), ref); !errors.Is(err, imgerr.ErrNotFound) {
			t.Errorf("Status(%q) = %v, want ErrNotFound", ref, err)
		}
	}
	data, err := os.ReadFile(filepath.Join(img.Layers[0], "hello.wasm"))
	if err != nil || string(data) != wasmModule("team/hellolatest") {
		t.Errorf("unpacked module = %q, %v", data, err)
	}
	if img.Size <= 0 || img.Format != format.Rootfs || img.Config.Entrypoint[0] != "/hello.wasm" {
		t.Errorf("image = %+v", img)
	}
}

func TestRemoveTakesAllTagsAndSpace(t *testing.T) {
	f := newFixture(t)
	img := helloImage("wasi", "wasm")
	img.layers = [][]byte{tarOf(t, entry{name: "hello.wasm", body: wasmModule("")})}
	for _, tag := range []string{"1", "2", "3"} {
		f.push("tags", tag, img)
	}
	s := openService(t, nil)
	for _, tag := range []string{"1", "2", "3"} {
		mustPull(t, s, f.host+"/tags:"+tag)
	}
	list, _ := s.List(context.Background())
	if len(list) != 1 || len(list[0].RepoTags) != 3 {
		t.Fatalf("list = %v, want one image with three tags", list)
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if err := s.Remove(context.Background(), list[0].ID); err != nil {
				t.Errorf("Remove: %v", err)
			}
			if _, err := s.Status(context.Background(), list[0].ID); !errors.Is(err, imgerr.ErrNotFound) {
				t.Errorf("Status after Remove = %v, want ErrNotFound", err)
			}
		})
	}
	wg.Wait()
	for _, ref := range []string{"never/was", strings.Repeat("0", 64), "::", ""} {
		if err := s.Remove(context.Background(), ref); err != nil {
			t.Errorf("Remove(%q) = %v, want nil", ref, err)
		}
	}
	if err := s.Collect(context.Background()); err != nil {
		t.Fatal(err)
	}
	wantEmpty(t, s)
}

// wantEmpty checks that no content is left.
func wantEmpty(t *testing.T, s *Service) {
	t.Helper()
	for _, d := range []string{"blobs/sha256", "layers", "tmp"} {
		entries, err := os.ReadDir(filepath.Join(s.cfg.Root, d))
		if err != nil || len(entries) > 0 {
			t.Errorf("%s holds %v, %v, want nothing", d, entries, err)
		}
	}
}
