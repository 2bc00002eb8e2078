package imageservice

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func mustCheck(t *testing.T, cfg CheckConfig) *CheckResult {
	t.Helper()
	r, err := Check(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantProblems compares the kinds and names of problems, in any order.
func wantProblems(t *testing.T, r *CheckResult, want ...string) {
	t.Helper()
	left := map[string]bool{}
	for _, p := range r.Problems {
		left[p.String()] = true
	}
	for _, w := range want {
		found := false
		for p := range left {
			if strings.HasPrefix(p, w) {
				delete(left, p)
				found = true
				break
			}
		}
		if !found {
			t.Errorf("no problem %q", w)
		}
	}
	for p := range left {
		t.Errorf("problem that nobody made: %s", p)
	}
}

func TestASoundStoreHasNoProblems(t *testing.T) {
	f := newFixture(t)
	refs := pushBoth(f)
	s := openService(t, nil)
	for _, ref := range refs {
		mustPull(t, s, ref)
	}
	cfg := CheckConfig{Root: s.cfg.Root, Deep: true}
	live := mustCheck(t, cfg)
	if !live.Live || !live.Clean() || live.Images != 2 || live.Layers != 3 || live.Blobs != 5 || live.Bytes == 0 {
		t.Errorf("beside the daemon: %+v", live)
	}
	s.Close()
	after := mustCheck(t, cfg)
	if after.Live || !after.Clean() || after.Images != 2 || after.Bytes != live.Bytes {
		t.Errorf("without the daemon: %+v", after)
	}
}

func TestCheckFindsAndRepairsDamage(t *testing.T) {
	f := newFixture(t)
	refs := pushBoth(f)
	s := openService(t, nil)
	one, two := mustPull(t, s, refs[0]), mustPull(t, s, refs[1])
	f.hello("kept", "v1", "wasi", "wasm")
	kept := mustPull(t, s, f.host+"/kept:v1")
	root := s.cfg.Root
	s.Close()
	key := filepath.Base(filepath.Dir(one.Layers[0]))
	damage(t, filepath.Join(one.Layers[0], "etc/x"), "y") // same size, other content
	damage(t, s.store.blobPath(two.Manifest), "")
	for _, p := range []string{"blobs/sha256/" + strings.Repeat("0", 64), "tmp/left", "layers/orphan"} {
		if err := os.WriteFile(filepath.Join(root, p), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"damaged content: layer " + key, "damaged content: blob " + two.Manifest, "orphan: blob sha256:" + strings.Repeat("0", 64),
		"orphan: layer orphan", "leftover: " + filepath.Join(root, "tmp/left"),
	}
	cheap := mustCheck(t, CheckConfig{Root: root})
	wantProblems(t, cheap, want[1:]...)
	deep := mustCheck(t, CheckConfig{Root: root, Deep: true})
	wantProblems(t, deep, want...)
	if deep.Clean() {
		t.Error("a damaged store is said to be clean")
	}
	repaired := mustCheck(t, CheckConfig{Root: root, Deep: true, Repair: true})
	wantProblems(t, repaired, want...)
	if !repaired.Clean() {
		t.Errorf("not all was repaired: %v", repaired.Problems)
	}
	// What the dropped images had is of no use now, and goes too.
	mustCheck(t, CheckConfig{Root: root, Deep: true, Repair: true})
	again := mustCheck(t, CheckConfig{Root: root, Deep: true})
	wantProblems(t, again)
	s = openService(t, func(c *Config) { c.Root = root })
	if list, _ := s.List(context.Background()); len(list) != 1 || list[0].ID != kept.ID {
		t.Errorf("images after the repair: %v", list)
	}
	for _, ref := range refs {
		mustPull(t, s, ref)
	}
	check(t, s)
}

// damage overwrites the beginning of a file, or cuts it when there is nothing
// to write.
func damage(t *testing.T, path, with string) {
	t.Helper()
	if with == "" {
		if err := os.Truncate(path, 3); err != nil {
			t.Fatal(err)
		}
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(with), 0); err != nil {
		t.Fatal(err)
	}
}

func TestCheckBesideADaemonPassesOverItsWork(t *testing.T) {
	f := newFixture(t)
	s := openService(t, nil)
	img := mustPull(t, s, pushBoth(f)[0])
	fresh, old := filepath.Join(s.cfg.Root, "tmp/fresh"), filepath.Join(s.cfg.Root, "tmp/old")
	for _, p := range []string{fresh, old} {
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * settling)
	os.Chtimes(old, long, long)
	r := mustCheck(t, CheckConfig{Root: s.cfg.Root, Repair: true})
	wantProblems(t, r, "leftover: "+old)
	if _, err := os.Stat(old); err != nil {
		t.Errorf("a check beside the daemon deleted something: %v", err)
	}
	os.Remove(old)
	os.RemoveAll(filepath.Dir(img.Layers[0]))
	wantProblems(t, mustCheck(t, CheckConfig{Root: s.cfg.Root}), "missing content: layer ")
}

func TestCheckOfNoStoreFails(t *testing.T) {
	if r, err := Check(context.Background(), CheckConfig{Root: t.TempDir()}); err == nil {
		t.Errorf("Check = %+v, want an error", r)
	}
}
