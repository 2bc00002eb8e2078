package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

func TestBuildAgainKeepsWhatWasWritten(t *testing.T) {
	f := newFS(t)
	layer := tree(t, "a")
	spec := sandbox.RootSpec{ID: "c", Layers: []string{layer}}
	r, err := f.Build(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	inside(t, r, func() error { return errors.Join(os.WriteFile("/new", []byte("x"), 0o644), os.Remove("/a")) })
	r.Close()
	if err := f.Close(); err != nil { // the daemon starts anew
		t.Fatal(err)
	}
	g, err := New(Config{Dir: f.dir})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	r = mustBuild(t, g, spec)
	inside(t, r, func() error {
		_, err := os.Stat("/a")
		return errors.Join(read("/new", "x"), wantErrno(err, unix.ENOENT))
	})
	spec.Mounts = []sandbox.Mount{{HostPath: "/no/such", ContainerPath: "/x"}}
	if _, err := g.Build(t.Context(), spec); err == nil {
		t.Fatal("got no error for a missing host path")
	}
	if _, err := os.Stat(filepath.Join(f.dir, "c/fs/new")); err != nil {
		t.Errorf("a failed second build removed the layer: %v", err)
	}
}

func TestLayersAreNeverWritten(t *testing.T) {
	f := newFS(t)
	layer := tree(t, "etc/x")
	host := tree(t, "f")
	r := mustBuild(t, f, sandbox.RootSpec{ID: "c", Layers: []string{layer}, Mounts: []sandbox.Mount{{HostPath: host, ContainerPath: "/mnt/a"}}})
	inside(t, r, func() error {
		return errors.Join(os.WriteFile("/etc/x", []byte("changed"), 0o644), os.WriteFile("/etc/y", nil, 0o644))
	})
	var got []string
	filepath.WalkDir(layer, func(path string, _ fs.DirEntry, _ error) error {
		got = append(got, strings.TrimPrefix(path, layer))
		return nil
	})
	if want := "[ /etc /etc/x]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if err := read(layer+"/etc/x", "etc/x"); err != nil {
		t.Error(err)
	}
}

func TestRootDirectoryIsTheImages(t *testing.T) {
	f := newFS(t)
	layer := tree(t, "a")
	if err := errors.Join(os.Chmod(layer, 0o711), os.Chown(layer, 12, 34)); err != nil {
		t.Fatal(err)
	}
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	for name, want := range map[string]string{"image": "40711 12 34", "empty": "40755 0 0"} {
		spec := sandbox.RootSpec{ID: name, WorkingDir: "/w"}
		if name == "image" {
			spec.Layers = []string{layer}
		}
		r := mustBuild(t, f, spec)
		var st, wd, dev unix.Stat_t
		inside(t, r, func() error {
			return errors.Join(unix.Stat("/", &st), unix.Stat("/w", &wd), unix.Stat("/dev", &dev))
		})
		if got := fmt.Sprintf("%o %d %d", st.Mode, st.Uid, st.Gid); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
		if wd.Mode&0o777 != 0o755 || dev.Mode&0o777 != 0o755 {
			t.Errorf("%s: modes under a strict umask: got %o, %o, want 755", name, wd.Mode&0o777, dev.Mode&0o777)
		}
	}
}

func TestNothingOfTheHostIsLeftInTheNamespace(t *testing.T) {
	f := newFS(t)
	r := mustBuild(t, f, sandbox.RootSpec{ID: "c"})
	if err := os.Mkdir(filepath.Join(f.dir, "c/fs/p"), 0o755); err != nil {
		t.Fatal(err)
	}
	inside(t, r, func() error {
		if err := unix.Mount("proc", "/p", "proc", 0, ""); err != nil {
			return err
		}
		defer unix.Unmount("/p", unix.MNT_DETACH)
		text, err := os.ReadFile("/p/thread-self/mountinfo")
		if err != nil {
			return err
		}
		var got []string
		for line := range strings.Lines(string(text)) {
			got = append(got, strings.Fields(line)[4])
		}
		if want := "[/ /dev /dev/pts /dev/shm /p]"; fmt.Sprint(got) != want {
			t.Errorf("got mounts %v, want %v", got, want)
		}
		for _, up := range []string{"..", "../../..", "/.."} {
			if _, err := os.Stat(up + "/etc/passwd"); err == nil {
				t.Errorf("%s leads to the host", up)
			}
		}
		return nil
	})
}

func TestHostileImages(t *testing.T) {
	host := tree(t, "victim/")
	up := strings.Repeat("../", 20)
	mount := func(path string) []sandbox.Mount {
		return []sandbox.Mount{{HostPath: "/usr", ContainerPath: path}}
	}
	tests := []struct {
		name   string
		layer  []string
		spec   sandbox.RootSpec
		want   error  // nil: builds
		inside string // exists in the container then
	}{
		{"absolute link to a directory of the host", []string{"a -> " + host + "/victim"}, sandbox.RootSpec{Mounts: mount("/a/b")}, nil, host + "/victim/b/bin"},
		{"relative link upwards", []string{"a -> " + up + host + "/victim"}, sandbox.RootSpec{Mounts: mount("/a/b")}, nil, host + "/victim/b/bin"},
		{"link in the middle of a chain", []string{"a -> b/c", "b -> " + host}, sandbox.RootSpec{Mounts: mount("/a/x")}, nil, host + "/c/x/bin"},
		{"dangling link at the end", []string{"etc/f -> ../run/" + up + "new/place"}, sandbox.RootSpec{Mounts: mount("/etc/f")}, nil, "/new/place/bin"},
		{"link to itself", []string{"a -> a"}, sandbox.RootSpec{Mounts: mount("/a/b")}, unix.ELOOP, ""},
		{"two dangling links that chase each other", []string{"a -> b/x", "b -> a/x"}, sandbox.RootSpec{Mounts: mount("/a")}, unix.ELOOP, ""},
		{"working directory through a link", []string{"w -> " + host + "/victim/w"}, sandbox.RootSpec{WorkingDir: "/w"}, nil, host + "/victim/w"},
		{"working directory is a file", []string{"w"}, sandbox.RootSpec{WorkingDir: "/w"}, unix.ENOTDIR, ""},
		{"file in the way", []string{"a"}, sandbox.RootSpec{Mounts: mount("/a/b")}, unix.ENOTDIR, ""},
		{"directory on a file", []string{"a"}, sandbox.RootSpec{Mounts: mount("/a")}, unix.ENOTDIR, ""},
		{"proc is a link", []string{"proc -> /tmp"}, sandbox.RootSpec{}, ErrInvalid, ""},
		{"dev is a link", []string{"dev -> /tmp"}, sandbox.RootSpec{}, ErrInvalid, ""},
		{"sys is a file", []string{"sys"}, sandbox.RootSpec{}, ErrInvalid, ""},
		{"masked path through a link", []string{"m -> " + host}, sandbox.RootSpec{MaskedPaths: []string{"/m/victim"}, ReadonlyPaths: []string{"/m"}}, nil, "/m"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFS(t)
			tt.spec.ID, tt.spec.Layers = "c", []string{tree(t, tt.layer...)}
			before := snapshot(t, f)
			r, err := f.Build(t.Context(), tt.spec)
			if err != nil || tt.want != nil {
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				settle(t, "failed build", f, before)
				return
			}
			defer r.Close()
			inside(t, r, func() error { _, err := os.Lstat(tt.inside); return err })
			left, err := os.ReadDir(host + "/victim")
			if err != nil || len(left) != 0 {
				t.Errorf("the host's directory: got %v, %v, want it untouched", left, err)
			}
		})
	}
}

func TestLayersWithOddPathsAndMany(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		f := newFS(t)
		f.kern.layerList = f.kern.layerList && !legacy
		odd := filepath.Join(t.TempDir(), `a:b,c\d e`)
		long := filepath.Join(t.TempDir(), strings.Repeat("x", 200), strings.Repeat("y", 200))
		var layers []string
		for i := range 40 {
			layers = append(layers, tree(t, fmt.Sprint("layer", i)))
		}
		for _, dir := range []string{odd, long} {
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(dir+"/odd"+fmt.Sprint(len(dir)), nil, 0o644)); err != nil {
				t.Fatal(err)
			}
			layers = append(layers, dir)
		}
		r := mustBuild(t, f, sandbox.RootSpec{ID: "c", Layers: layers})
		inside(t, r, func() error {
			entries, err := os.ReadDir("/")
			if got, want := len(entries), 42+3; got != want {
				t.Errorf("legacy %v: got %d entries, want %d: %v", legacy, got, want, entries)
			}
			return err
		})
	}
}

func TestMissingLayerIsNamed(t *testing.T) {
	f := newFS(t)
	_, err := f.Build(t.Context(), sandbox.RootSpec{ID: "c", Layers: []string{"/no/such/layer"}})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/no/such/layer") {
		t.Errorf("got %v, want an error that names the layer", err)
	}
}

// Without SELinux no filesystem knows the option, and with it no policy the label.
func TestLabelThatTheKernelDoesNotKnow(t *testing.T) {
	f := newFS(t)
	_, err := f.Build(t.Context(), sandbox.RootSpec{ID: "c", Layers: []string{tree(t, "a")}, Label: "no:such:label:s0:c1,c2"})
	if err == nil || !strings.Contains(err.Error(), labelOption) {
		t.Errorf("got %v, want an error about %s", err, labelOption)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "c")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the writable layer is left: %v", err)
	}
}

func TestRemoveUsageOrphans(t *testing.T) {
	f := newFS(t)
	for _, id := range []string{"a", "b", "c"} {
		r := mustBuild(t, f, sandbox.RootSpec{ID: id})
		inside(t, r, func() error {
			return errors.Join(os.WriteFile("/data", make([]byte, 1<<20), 0o644), os.Link("/data", "/link"), os.Mkdir("/d", 0o755))
		})
	}
	bytes, inodes, err := f.Usage("a")
	if err != nil || inodes != 3 || bytes < 1<<20 || bytes > 1<<20+64<<10 {
		t.Errorf("got %d bytes, %d inodes, %v, want about 1 MiB in 3 inodes", bytes, inodes, err)
	}
	if _, _, err := f.Usage("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("usage of nothing: got %v, want not exist", err)
	}
	ctx := context.Background()
	if err := errors.Join(f.Remove(ctx, "a"), f.Remove(ctx, "a"), f.Remove(ctx, "never")); err != nil {
		t.Error(err)
	}
	if err := f.Remove(ctx, "../x"); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v, want an invalid id", err)
	}
	if err := f.Orphans(ctx, map[string]bool{"c": true}); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	left, _ := filepath.Glob(f.dir + "/[^.]*")
	trash, _ := filepath.Glob(f.dir + "/.trash/*")
	if got, want := fmt.Sprint(left, trash), fmt.Sprint([]string{f.dir + "/c"}, []string(nil)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFreshLayerUsesNothing(t *testing.T) {
	f := newFS(t)
	host := tree(t, "hosts", "resolv")
	mustBuild(t, f, sandbox.RootSpec{ID: "c", Layers: []string{tree(t, "bin/x")}, Files: []sandbox.BindFile{
		{HostPath: host + "/hosts", ContainerPath: "/etc/hosts"}, {HostPath: host + "/resolv", ContainerPath: "/etc/resolv.conf"},
	}})
	if _, inodes, err := f.Usage("c"); err != nil || inodes != 1 {
		t.Errorf("got %d inodes, %v, want the root directory only", inodes, err)
	}
}

func TestTrashOfAnEarlierDaemonIsRemoved(t *testing.T) {
	f := newFS(t)
	old := filepath.Join(f.dir, ".trash", "7", "deep")
	if err := errors.Join(f.Close(), os.MkdirAll(old, 0o755)); err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{Dir: f.dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if exists(old) {
		t.Error("the trash is still there")
	}
}
