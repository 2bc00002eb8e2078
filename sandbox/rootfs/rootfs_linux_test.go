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

	"github.com/cri-wasmer/cri-wasmer/internal/privatetest"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// TestMain runs the tests in a mount namespace of their own, as they count
// mounts.
func TestMain(m *testing.M) {
	foreign()
	privatetest.Main(unix.CLONE_NEWNS, m.Run)
}

func newFS(t testing.TB) *FS {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make mount namespaces")
	}
	f, err := New(Config{Dir: filepath.Join(t.TempDir(), "rw")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	// The first use of files makes Go open some of its own.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return f
}

func mustBuild(t testing.TB, f *FS, spec sandbox.RootSpec) *sandbox.Root {
	t.Helper()
	r, err := f.Build(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// inside runs fn on a thread that has joined the namespace of r.
func inside(t testing.TB, r *sandbox.Root, fn func() error) {
	t.Helper()
	errs := make(chan error)
	onOwnThread(func() {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			errs <- err
			return
		}
		if err := unix.Setns(int(r.NS.Fd()), unix.CLONE_NEWNS); err != nil {
			errs <- err
			return
		}
		errs <- fn()
	})
	if err := <-errs; err != nil {
		t.Error(err)
	}
}

// tree makes files and directories below a new directory: a name that ends in
// "/" is a directory, "a -> b" a link.
func tree(t testing.TB, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	for _, n := range names {
		link, target, isLink := strings.Cut(n, " -> ")
		path := filepath.Join(dir, link)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case isLink:
			err = os.Symlink(target, path)
		case strings.HasSuffix(n, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte(n), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func read(path, want string) error {
	got, err := os.ReadFile(path)
	if err == nil && string(got) != want {
		err = fmt.Errorf("%s: got %q, want %q", path, got, want)
	}
	return err
}

func TestBuildEmptyImage(t *testing.T) {
	f := newFS(t)
	r := mustBuild(t, f, sandbox.RootSpec{ID: "c1"})
	inside(t, r, func() error {
		names, err := os.ReadDir("/")
		if err != nil {
			return err
		}
		var got []string
		for _, n := range names {
			got = append(got, n.Name())
		}
		if want := "[dev proc sys]"; fmt.Sprint(got) != want {
			t.Errorf("root: got %v, want %v", got, want)
		}
		devs, err := os.ReadDir("/dev")
		if err != nil {
			return err
		}
		got = nil
		for _, n := range devs {
			got = append(got, n.Name())
		}
		want := "[fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero]"
		if fmt.Sprint(got) != want {
			t.Errorf("/dev: got %v, want %v", got, want)
		}
		return errors.Join(
			os.WriteFile("/dev/null", []byte("x"), 0),
			os.WriteFile("/hello", []byte("x"), 0o600),
			os.WriteFile("/dev/shm/x", []byte("x"), 0o600),
		)
	})
	if _, err := os.Stat(filepath.Join(f.dir, "c1", "fs", "hello")); err != nil {
		t.Error(err)
	}
}

func TestBuildMounts(t *testing.T) {
	f := newFS(t)
	low := tree(t, "etc/passwd", "bin/x", "var/run -> /run", "etc/resolv.conf -> ../run/systemd/resolv.conf", "esc -> ../../../../../../..")
	top := tree(t, "bin/y")
	host := tree(t, "data/file", "data/sub/", "single", "link -> data", "resolv", "nested/inner")
	r := mustBuild(t, f, sandbox.RootSpec{
		ID:     "c1",
		Layers: []string{low, top},
		Mounts: []sandbox.Mount{
			{HostPath: host + "/nested", ContainerPath: "/vol/sub/deep"},
			{HostPath: host + "/data", ContainerPath: "/vol", Readonly: false},
			{HostPath: host + "/link", ContainerPath: "/linked", Readonly: true},
			{HostPath: host + "/single", ContainerPath: "/opt/a/b/single"},
			{HostPath: host + "/nested", ContainerPath: "/var/run/secrets"},
			{HostPath: host + "/nested", ContainerPath: "/esc/escaped"},
		},
		Files:      []sandbox.BindFile{{HostPath: host + "/resolv", ContainerPath: "/etc/resolv.conf", Readonly: true}},
		WorkingDir: "/srv/dir",
	})
	inside(t, r, func() error {
		return errors.Join(
			read("/bin/x", "bin/x"), read("/bin/y", "bin/y"),
			read("/vol/file", "data/file"), read("/vol/sub/deep/inner", "nested/inner"),
			read("/linked/file", "data/file"), read("/opt/a/b/single", "single"),
			read("/run/secrets/inner", "nested/inner"), read("/escaped/inner", "nested/inner"),
			read("/etc/resolv.conf", "resolv"),
			wantErrno(os.WriteFile("/linked/file", nil, 0), unix.EROFS),
			wantErrno(os.WriteFile("/etc/resolv.conf", nil, 0), unix.EROFS),
			os.WriteFile("/vol/new", nil, 0o644),
			os.Chdir("/srv/dir"),
		)
	})
	if _, err := os.Stat(host + "/data/new"); err != nil {
		t.Error(err)
	}
}

func wantErrno(err, want error) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("got error %v, want %v", err, want)
	}
	return nil
}

func TestMissingHostPathIsNamed(t *testing.T) {
	f := newFS(t)
	before := snapshot(t, f)
	_, err := f.Build(context.Background(), sandbox.RootSpec{ID: "c1", Mounts: []sandbox.Mount{{HostPath: "/no/such", ContainerPath: "/x"}}})
	var e *Error
	if !errors.As(err, &e) || e.Step != StepSource || e.Path != "/no/such" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want a missing /no/such", err)
	}
	settle(t, "missing host path", f, before)
}
