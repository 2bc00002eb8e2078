package imageservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
	"github.com/cri-wasmer/cri-wasmer/imageservice/unpack"
)

// steps are the places where a crash can leave something behind.
var steps = []string{"blob-create", "blob-rename", "layer-create", "layer-seal", "layer-rename", "commit", "synced"}

var errCrash = errors.New("crashed here")

// pushBoth pushes an ordinary image and an artifact: together they pass every
// step.
func pushBoth(f *fixture) []string {
	f.push("rootfs", "v1", rootfsImage{config: map[string]any{"Cmd": []string{"/hello.wasm"}}, layers: [][]byte{
		tarOf(f.t, entry{name: "etc/"}, entry{name: "etc/x", body: strings.Repeat("x", 9000)}),
		tarOf(f.t, entry{name: "hello.wasm", body: wasmModule("r")}),
	}})
	f.artifact("artifact", dockerManifest, dockerConfig, "{}", wasmContent, "", wasmModule("a"))
	return []string{f.host + "/rootfs:v1", f.host + "/artifact:v1"}
}

// check finds everything that a record needs, and nothing else.
func check(t *testing.T, s *Service) {
	t.Helper()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, r := range s.records {
		for _, b := range r.Blobs {
			data, err := os.ReadFile(s.store.blobPath(b.Digest))
			if err != nil || digestOf(data) != b.Digest {
				t.Errorf("blob %s of %s: digest %s, %v", b.Digest, r.ID, digestOf(data), err)
			}
		}
		for _, k := range r.Layers {
			if info, ok := s.store.layer(k); !ok || info.Inodes < 3 {
				t.Errorf("layer %s of %s: %+v", k, r.ID, info)
			}
		}
	}
	for _, path := range strays(t, s) {
		t.Errorf("%s belongs to nothing", path)
	}
}

// strays lists what no record needs. The caller holds s.mu.
func strays(t *testing.T, s *Service) (list []string) {
	t.Helper()
	needed := map[string]bool{}
	for _, r := range s.records {
		for _, b := range r.Blobs {
			needed["blobs/sha256/"+strings.TrimPrefix(b.Digest, "sha256:")] = true
		}
		for _, k := range r.Layers {
			needed["layers/"+k] = true
		}
	}
	for _, dir := range []string{"blobs/sha256", "layers", "tmp"} {
		entries, err := os.ReadDir(filepath.Join(s.cfg.Root, dir))
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			if path := dir + "/" + e.Name(); !needed[path] {
				list = append(list, path)
			}
		}
	}
	return list
}

// collectAll collects garbage until there is none: other layers of a pull that
// failed may be under way still, and end by themselves.
func collectAll(t *testing.T, s *Service) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		s.Collect(context.Background())
		s.mu.RLock()
		left := strays(t, s)
		s.mu.RUnlock()
		if len(left) == 0 {
			return
		}
	}
}

func TestAFailedStepLeavesNothingBehind(t *testing.T) {
	f := newFixture(t)
	refs := pushBoth(f)
	for _, step := range steps {
		t.Run(step, func(t *testing.T) {
			s := openService(t, nil)
			onStep(s, func(name string) error {
				if name == step {
					return errCrash
				}
				return nil
			})
			for _, ref := range refs {
				if _, err := s.Pull(context.Background(), PullRequest{Ref: ref}); err != nil && (!errors.Is(err, errCrash) || !strings.Contains(err.Error(), ref)) {
					t.Errorf("pull: %v, want the injected failure that names the image", err)
				}
			}
			s.store.hook.Store(nil)
			collectAll(t, s)
			check(t, s)
			for _, ref := range refs {
				mustPull(t, s, ref)
			}
			check(t, s)
		})
	}
}

func TestWhatAFailedPullFetchedGoesByItself(t *testing.T) {
	f := newFixture(t)
	refs := pushBoth(f)
	for _, tc := range []struct {
		name    string
		failure error
		kept    time.Duration
		goes    bool
	}{
		{"after a while", errCrash, time.Millisecond, true},
		{"but is kept for the next try", errCrash, time.Hour, false},
		{"at once when the disk is full", fmt.Errorf("write: %w", unix.ENOSPC), time.Hour, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := openService(t, func(c *Config) { c.FailedKept = tc.kept })
			onStep(s, func(name string) error {
				if name == "commit" {
					return tc.failure
				}
				return nil
			})
			if _, err := s.Pull(context.Background(), PullRequest{Ref: refs[0]}); !errors.Is(err, tc.failure) {
				t.Fatalf("pull: %v", err)
			}
			gone := func() bool {
				s.mu.RLock()
				defer s.mu.RUnlock()
				return len(strays(t, s)) == 0
			}
			if !tc.goes {
				if gone() {
					t.Error("nothing is kept")
				}
				return
			}
			for deadline := time.Now().Add(20 * time.Second); !gone(); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("what was fetched stays")
				}
			}
		})
	}
}

// A crash is imitated by a copy of the store at the moment of the step, which
// is opened as after a kill.
func TestACrashAtAnyStepIsSurvived(t *testing.T) {
	f := newFixture(t)
	refs := pushBoth(f)
	for _, step := range steps {
		for nth := range 3 {
			copied := filepath.Join(t.TempDir(), "copy")
			s := openService(t, nil)
			var mu sync.Mutex
			seen := 0
			onStep(s, func(name string) error {
				if name == "synced" { // in the background: nothing may be committed meanwhile
					s.commit.Lock()
					defer s.commit.Unlock()
				}
				mu.Lock()
				defer mu.Unlock()
				if name == step {
					if seen++; seen == nth+1 {
						copyTree(t, s.cfg.Root, copied)
					}
				}
				return nil
			})
			for _, ref := range refs {
				mustPull(t, s, ref)
			}
			if step == "synced" {
				awaitNoMarks(t, s)
			}
			mu.Lock()
			reached := seen > nth
			mu.Unlock()
			if !reached {
				continue
			}
			after := openService(t, func(c *Config) { c.Root = copied })
			check(t, after)
			for _, ref := range refs {
				mustPull(t, after, ref)
			}
			check(t, after)
		}
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, p)
		dst := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(dst, 0o700)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		in, err := os.Open(p)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.Create(dst)
		if err != nil {
			return err
		}
		defer out.Close()
		_, err = io.Copy(out, in)
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) { // temporary files come and go
		t.Error(err)
	}
}

func TestImagesSurviveARestart(t *testing.T) {
	f := newFixture(t)
	refs := pushBoth(f)
	s := openService(t, nil)
	before := map[string]string{}
	for _, ref := range refs {
		before[ref] = fmt.Sprintf("%+v", *mustPull(t, s, ref))
	}
	s.Close()
	if _, err := s.Pull(context.Background(), PullRequest{Ref: refs[0]}); err == nil {
		t.Error("pull after Close succeeded")
	}
	f.server.Close() // everything is here
	s = openService(t, func(c *Config) { c.Root = s.cfg.Root })
	for _, ref := range refs {
		img, err := s.Status(context.Background(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%+v", *img); got != before[ref] {
			t.Errorf("after restart\n got %s\nwant %s", got, before[ref])
		}
	}
	check(t, s)
}

func TestAnImageWhoseContentIsGoneIsDropped(t *testing.T) {
	f := newFixture(t)
	refs := pushBoth(f)
	s := openService(t, nil)
	one, two := mustPull(t, s, refs[0]), mustPull(t, s, refs[1])
	s.Close()
	os.RemoveAll(filepath.Dir(one.Layers[0]))
	os.Truncate(s.store.blobPath(two.Manifest), 5)
	s = openService(t, func(c *Config) { c.Root = s.cfg.Root })
	if list, _ := s.List(context.Background()); len(list) != 0 {
		t.Errorf("list = %v", list)
	}
	for _, ref := range refs {
		mustPull(t, s, ref)
	}
	check(t, s)
}

func TestTwoDaemonsCannotShareARoot(t *testing.T) {
	s := openService(t, nil)
	if other, err := Open(context.Background(), Config{Root: s.cfg.Root}); err == nil || !strings.Contains(err.Error(), "another daemon") {
		t.Errorf("second Open = %v, %v", other, err)
	}
}

func TestHeldContentOutlivesItsImage(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	refs := pushBoth(f)
	codes := &stubCodes{}
	s := openService(t, func(c *Config) { c.Code = codes })
	mustPull(t, s, refs[0])
	img, err := s.Acquire(ctx, refs[0], "container1")
	if err != nil {
		t.Fatal(err)
	}
	s.Acquire(ctx, img.ID, "container1")
	s.Acquire(ctx, img.ID, "container2")
	s.Remove(ctx, refs[0])
	if _, err := s.Acquire(ctx, img.ID, "container3"); !errors.Is(err, imgerr.ErrNotFound) {
		t.Errorf("Acquire of a removed image = %v", err)
	}
	there := func(want bool, when string) {
		t.Helper()
		s.Collect(ctx)
		if _, err := os.Stat(filepath.Join(img.Layers[1], "hello.wasm")); (err == nil) != want {
			t.Errorf("%s: layer there: %v, want %v", when, err == nil, want)
		}
		if codes.owns(img.Program.Digest) != want {
			t.Errorf("%s: code kept: %v, want %v", when, !want, want)
		}
	}
	there(true, "removed while held")
	s.Release("container1")
	s.Release("container1")
	s.Release("nobody")
	there(true, "one of two holders left")
	s.Close()
	s = openService(t, func(c *Config) { c.Root, c.Code = s.cfg.Root, codes })
	there(true, "after a restart, before recovery")
	if list, _ := s.List(ctx); len(list) != 0 {
		t.Errorf("a removed image came back: %v", list)
	}
	if again, err := s.Readopt("container2", img.ID); err != nil || fmt.Sprint(again.Layers) != fmt.Sprint(img.Layers) {
		t.Errorf("Readopt = %v, %v", again, err)
	}
	if _, err := s.Readopt("container2", "sha256:gone"); !errors.Is(err, imgerr.ErrNotFound) {
		t.Errorf("Readopt of what is gone = %v", err)
	}
	s.Reclaim()
	there(true, "after recovery")
	if now := mustPull(t, s, refs[0]); now.ID != img.ID || len(now.RepoTags) != 1 {
		t.Errorf("pulled again: %s", describe(now))
	}
	s.Remove(ctx, img.ID)
	s.Release("container2")
	there(false, "after the last holder")
	check(t, s)
}

func TestReclaimDropsWhatNobodyHoldsAfterACrash(t *testing.T) {
	f := newFixture(t)
	refs := pushBoth(f)
	s := openService(t, nil)
	img := mustPull(t, s, refs[1])
	s.Acquire(context.Background(), img.ID, "c")
	s.Remove(context.Background(), img.ID)
	s.Close()
	s = openService(t, func(c *Config) { c.Root = s.cfg.Root })
	if err := s.Reclaim(); err != nil {
		t.Fatal(err)
	}
	collectAll(t, s)
	wantEmpty(t, s)
}

func TestUsageIsWhatIsOnDisk(t *testing.T) {
	f := newFixture(t)
	refs := pushBoth(f)
	s := openService(t, func(c *Config) { c.Code = &stubCodes{} })
	for _, ref := range refs {
		mustPull(t, s, ref)
	}
	u, err := s.Usage(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	bytes, inodes, err := diskUsage(s.cfg.Root, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The stub says 1000 bytes in 1 inode for its code.
	if int64(u.Bytes) != bytes+1000 || int64(u.Inodes) != inodes+1 {
		t.Errorf("usage = %d bytes, %d inodes, on disk are %d and %d", u.Bytes-1000, u.Inodes-1, bytes, inodes)
	}
	if info, err := os.Stat(u.Mountpoint); err != nil || !info.IsDir() || u.Timestamp.IsZero() {
		t.Errorf("usage = %+v, %v", u, err)
	}
}

func TestPinnedImagesAreMarked(t *testing.T) {
	f := newFixture(t)
	refs := pushBoth(f)
	s := openService(t, func(c *Config) { c.Pinned = []string{refs[0]} })
	if a, b := mustPull(t, s, refs[0]), mustPull(t, s, refs[1]); !a.Pinned || b.Pinned {
		t.Errorf("pinned: %v and %v, want only the first", a.Pinned, b.Pinned)
	}
	if _, err := Open(context.Background(), Config{Root: t.TempDir(), Pinned: []string{"::"}}); !errors.Is(err, imgerr.ErrInvalidReference) {
		t.Errorf("Open with a bad name = %v", err)
	}
}

func TestEqualPullsAreOne(t *testing.T) {
	f := newFixture(t)
	refs := pushBoth(f)
	var manifests, blobs atomic.Int32
	f.front = func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		if strings.Contains(r.URL.Path, "/manifests/") {
			manifests.Add(1)
			time.Sleep(50 * time.Millisecond)
		}
		if strings.Contains(r.URL.Path, "/blobs/") {
			blobs.Add(1)
		}
		real.ServeHTTP(w, r)
	}
	s := openService(t, nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { mustPull(t, s, refs[0]) })
	}
	wg.Wait()
	if manifests.Load() != 1 || blobs.Load() != 3 {
		t.Errorf("%d manifest and %d blob requests, want 1 and 3", manifests.Load(), blobs.Load())
	}
}

// The issue's own figure: 50 pulls of 10 images from a registry that fails one
// request in five.
func TestManyPullsFromAFailingRegistry(t *testing.T) {
	f := newFixture(t)
	shared := tarOf(t, entry{name: "base", body: strings.Repeat("b", 50_000)})
	for i := range 10 {
		f.push(fmt.Sprintf("img%d", i), "v1", rootfsImage{config: map[string]any{"Cmd": []string{"/m.wasm"}},
			layers: [][]byte{shared, tarOf(t, entry{name: "m.wasm", body: wasmModule(fmt.Sprint(i))})}})
	}
	var mu sync.Mutex
	served := map[string]int{}
	rnd := rand.New(rand.NewPCG(1, 2))
	failures := 0
	f.front = func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		mu.Lock()
		fail := rnd.IntN(5) == 0
		if fail {
			failures++
		} else if _, d, ok := strings.Cut(r.URL.Path, "/blobs/"); ok {
			served[d]++
		}
		mu.Unlock()
		if fail {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		real.ServeHTTP(w, r)
	}
	s := openService(t, nil)
	var wg sync.WaitGroup
	var ok, clean atomic.Int32
	for i := range 50 {
		wg.Go(func() {
			_, err := s.Pull(context.Background(), PullRequest{Ref: fmt.Sprintf("%s/img%d:v1", f.host, i%10)})
			switch {
			case err == nil:
				ok.Add(1)
			case errors.Is(err, imgerr.ErrUnavailable):
				clean.Add(1)
			default:
				t.Errorf("pull: %v", err)
			}
		})
	}
	wg.Wait()
	t.Logf("%d succeeded, %d failed cleanly, %d requests failed, %d blobs", ok.Load(), clean.Load(), failures, len(served))
	if ok.Load()+clean.Load() != 50 || ok.Load() < 45 || failures == 0 {
		t.Errorf("%d succeeded, %d failed cleanly", ok.Load(), clean.Load())
	}
	for d, n := range served {
		if n != 1 {
			t.Errorf("blob %s was fetched %d times", d, n)
		}
	}
	collectAll(t, s)
	check(t, s)
}

func TestACancelledPullLeavesNothing(t *testing.T) {
	f := newFixture(t)
	refs := pushBoth(f)
	release := make(chan struct{})
	f.front = func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			select {
			case <-release:
			case <-r.Context().Done():
				return
			}
		}
		real.ServeHTTP(w, r)
	}
	s := openService(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := s.Pull(ctx, PullRequest{Ref: refs[0]})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > time.Second {
		t.Errorf("pull = %v after %s", err, time.Since(begin))
	}
	close(release)
	mustPull(t, s, refs[0])
	collectAll(t, s)
	check(t, s)
}

func TestPullsWithOtherCredentialsAreTheirOwn(t *testing.T) {
	f := newFixture(t)
	refs := pushBoth(f)
	f.front = func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		if _, p, _ := r.BasicAuth(); p != "right-one" {
			w.Header().Set("WWW-Authenticate", "Basic realm=x")
			w.WriteHeader(401)
			return
		}
		real.ServeHTTP(w, r)
	}
	s := openService(t, nil)
	good := PullRequest{Ref: refs[0], Auth: Auth{Username: "u", Password: "right-one"}}
	if _, err := s.Pull(context.Background(), good); err != nil {
		t.Fatal(err)
	}
	for _, auth := range []Auth{{}, {Username: "u", Password: "wrong-one"}} {
		_, err := s.Pull(context.Background(), PullRequest{Ref: refs[0], Auth: auth})
		if !errors.Is(err, imgerr.ErrUnauthorized) || !strings.Contains(err.Error(), refs[0]) || strings.Contains(err.Error(), "wrong-one") {
			t.Errorf("with %v: %v, want ErrUnauthorized although the image is here", auth, err)
		}
	}
}

func TestLyingRegistriesAndLayers(t *testing.T) {
	for name, tc := range map[string]struct {
		push func(f *fixture)
		lie  func(w http.ResponseWriter, r *http.Request) bool
		kind error
		says string
	}{
		"no such tag": {nil, nil, imgerr.ErrNotFound, "check repository and tag"},
		"layer of other content": {func(f *fixture) { f.hello("x", "v1", "", "") }, func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") {
				io.WriteString(w, "something else")
				return true
			}
			return false
		}, imgerr.ErrDigestMismatch, "damaged or forged"},
		"false diff id": {func(f *fixture) {
			l := f.blob("x", gz(f.t, tarOf(f.t, entry{name: "a"})), ociLayerGzip)
			f.manifest("x", "v1", ociManifest, map[string]any{"schemaVersion": 2, "layers": []any{l},
				"config": f.blob("x", []byte(`{"rootfs":{"diff_ids":["`+digestOf(nil)+`"]}}`), ociConfig)})
		}, nil, imgerr.ErrDigestMismatch, "the configuration says"},
		"layers and diff ids differ": {func(f *fixture) {
			l := f.blob("x", gz(f.t, tarOf(f.t, entry{name: "a"})), ociLayerGzip)
			f.manifest("x", "v1", ociManifest, map[string]any{"schemaVersion": 2, "layers": []any{l, l},
				"config": f.blob("x", []byte(`{"rootfs":{"diff_ids":["`+digestOf(nil)+`"]}}`), ociConfig)})
		}, nil, imgerr.ErrMalformed, "2 layers"},
		"traversal": {func(f *fixture) {
			f.push("x", "v1", rootfsImage{layers: [][]byte{tarOf(f.t, entry{name: "good"}, entry{name: "../evil", body: "x"})}})
		}, nil, imgerr.ErrUnsafe, `entry "../evil"`},
		"too big": {func(f *fixture) {
			f.push("x", "v1", rootfsImage{layers: [][]byte{tarOf(f.t, entry{name: "big", body: strings.Repeat("x", 2<<20)})}})
		}, nil, imgerr.ErrLimit, "larger than"},
		"broken manifest": {func(f *fixture) { f.hello("x", "v1", "", "") }, func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				io.WriteString(w, "<html>login</html>")
				return true
			}
			return false
		}, imgerr.ErrMalformed, "not valid JSON"},
		"Helm chart": {func(f *fixture) {
			f.artifact("x", ociManifest, "application/vnd.cncf.helm.config.v1+json", "{}", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "", "x")
		}, nil, imgerr.ErrUnsupported, "a Helm chart"},
		"huge config": {func(f *fixture) {
			c := f.blob("x", []byte("{}"), ociConfig)
			c.Size = 1 << 40
			f.manifest("x", "v1", ociManifest, map[string]any{"schemaVersion": 2, "layers": []any{}, "config": c})
		}, nil, imgerr.ErrLimit, "at most"},
		"false size": {func(f *fixture) {
			c := f.blob("x", []byte("{}"), ociConfig)
			c.Size = 100
			f.manifest("x", "v1", ociManifest, map[string]any{"schemaVersion": 2, "layers": []any{}, "config": c})
		}, nil, imgerr.ErrDigestMismatch, "2 of 100 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if tc.push != nil {
				tc.push(f)
			}
			if tc.lie != nil {
				f.front = func(w http.ResponseWriter, r *http.Request, real http.Handler) {
					if !tc.lie(w, r) {
						real.ServeHTTP(w, r)
					}
				}
			}
			s := openService(t, func(c *Config) { c.Limits = unpack.Limits{MaxBytes: 1 << 20} })
			_, err := s.Pull(context.Background(), PullRequest{Ref: f.host + "/x:v1"})
			if !errors.Is(err, tc.kind) || !strings.Contains(fmt.Sprint(err), "image "+f.host+"/x:v1: ") || !strings.Contains(fmt.Sprint(err), tc.says) {
				t.Errorf("error = %v, want %v that says %q", err, tc.kind, tc.says)
			}
			collectAll(t, s)
			wantEmpty(t, s)
		})
	}
}

func TestARegistryThatIsDownIsSaidSo(t *testing.T) {
	f := newFixture(t)
	f.server.Close()
	s := openService(t, nil)
	_, err := s.Pull(context.Background(), PullRequest{Ref: f.host + "/x"})
	if !errors.Is(err, imgerr.ErrUnavailable) || !strings.HasPrefix(err.Error(), "RegistryUnavailable: image "+f.host+"/x:latest: registry ") {
		t.Errorf("error = %v", err)
	}
}

func TestAMirrorKeepsTheRequestedName(t *testing.T) {
	f := newFixture(t)
	f.hello("e2e/busybox", "1.29", "wasi", "wasm")
	dir := t.TempDir()
	os.MkdirAll(filepath.Join(dir, "registry.k8s.io"), 0o755)
	os.WriteFile(filepath.Join(dir, "registry.k8s.io", "hosts.toml"), []byte(fmt.Sprintf("server = \"https://registry.invalid\"\n[host.%q]\n", f.server.URL)), 0o600)
	s := openService(t, func(c *Config) { c.CertsDirs = []string{dir} })
	img := mustPull(t, s, "registry.k8s.io/e2e/busybox:1.29")
	if img.RepoTags[0] != "registry.k8s.io/e2e/busybox:1.29" || !strings.HasPrefix(img.RepoDigests[0], "registry.k8s.io/e2e/busybox@") {
		t.Errorf("image = %s", describe(img))
	}
}

func TestAFullDiskIsToldAndDoesNoDamage(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small tmpfs")
	}
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(root, unix.MNT_DETACH) })
	f := newFixture(t)
	refs := pushBoth(f)
	noise := make([]byte, 4<<20)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	f.push("big", "v1", rootfsImage{layers: [][]byte{tarOf(t, entry{name: "big", body: string(noise)})}})
	f.artifact("bigart", dockerManifest, dockerConfig, "{}", wasmContent, "", wasmModule("")+string(noise))
	s := openService(t, func(c *Config) { c.Root = root })
	mustPull(t, s, refs[0])
	for _, name := range []string{"big", "bigart"} {
		_, err := s.Pull(context.Background(), PullRequest{Ref: f.host + "/" + name + ":v1"})
		if !errors.Is(err, imgerr.ErrNoSpace) || !strings.Contains(err.Error(), "free space") {
			t.Errorf("%s: %v, want ErrNoSpace with the remedy", name, err)
		}
	}
	collectAll(t, s)
	check(t, s)
	mustPull(t, s, refs[1])
	check(t, s)
}
