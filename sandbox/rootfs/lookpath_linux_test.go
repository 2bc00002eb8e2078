package rootfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

func openDir(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := openPath(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestLookPath(t *testing.T) {
	root := tree(t, "bin/tool", "usr/bin/tool", "usr/bin/other", "app/main.wasm", "bin/link -> ../../../app/main.wasm",
		"abs -> /app/main.wasm", "deep/er/x", "jump -> deep/er", "bin/dir/")
	dir := openDir(t, root)
	if err := unix.Mkfifo(filepath.Join(root, "bin/pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, file, cwd, path string
		want                  string // resolved; "" for not found
		content               string
	}{
		{"first directory of the path", "tool", "/", "/bin:/usr/bin", "/bin/tool", "bin/tool"},
		{"second directory of the path", "other", "/", "/bin:/usr/bin", "/usr/bin/other", "usr/bin/other"},
		{"default path", "other", "/", "", "/usr/bin/other", "usr/bin/other"},
		{"absolute", "/app/main.wasm", "/x", "/bin", "/app/main.wasm", "app/main.wasm"},
		{"relative to the working directory", "./main.wasm", "/app", "/bin", "/app/main.wasm", "app/main.wasm"},
		{"link within the root", "link", "/", "/bin", "/bin/link", "app/main.wasm"},
		{"absolute link within the root", "/abs", "/", "", "/abs", "app/main.wasm"},
		{"dots after a link are physical", "/jump/../er/x", "/", "", "/jump/../er/x", "deep/er/x"},
		{"empty element is the working directory", "main.wasm", "/app", "/bin:", "/app/main.wasm", "app/main.wasm"},
		{"relative element", "main.wasm", "/", "app", "/app/main.wasm", "app/main.wasm"},
		{"no such file", "nothing", "/", "/bin:/usr/bin", "", ""},
		{"nor with a slash", "/bin/nothing", "/", "", "", ""},
		{"directories are passed over", "dir", "/", "/bin", "", ""},
		{"pipes are passed over", "pipe", "/", "/bin", "", ""},
		{"empty name", "", "/", "/bin", "", ""},
		{"element that is a file", "x", "/", "/app/main.wasm:/deep/er", "/deep/er/x", "deep/er/x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, f, err := LookPath(dir, tt.file, tt.cwd, tt.path)
			if tt.want == "" {
				var e *ErrNotFound
				if !errors.As(err, &e) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), `"`+tt.file+`"`) {
					t.Errorf("got %q, %v, want not found", got, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			content, err := io.ReadAll(f)
			if err != nil || got != tt.want || string(content) != tt.content {
				t.Errorf("got %q with %q, %v, want %q with %q", got, content, err, tt.want, tt.content)
			}
		})
	}
	if _, _, err := LookPath(dir, "gone", "/", "/bin"); err == nil || err.Error() != `executable file "gone" not found in $PATH` {
		t.Errorf("got %v", err)
	}
	if _, _, err := LookPath(dir, "/bin/dir", "/", ""); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory by name: got %v, want that it is not a regular file", err)
	}
}

// TestLookPathMindsNoExec: a mount with that option has no programs.
func TestLookPathMindsNoExec(t *testing.T) {
	f := newFS(t)
	host := tree(t, "tool")
	r := mustBuild(t, f, sandbox.RootSpec{ID: "c", Layers: []string{tree(t, "bin/tool")}, Mounts: []sandbox.Mount{
		{HostPath: host, ContainerPath: "/data", Options: []string{"noexec"}},
		{HostPath: host, ContainerPath: "/programs"},
	}})
	_, _, err := LookPath(r.Dir, "/data/tool", "/", "")
	if !errors.Is(err, sandbox.ErrProgram) || !strings.Contains(err.Error(), "noexec") {
		t.Errorf("got %v, want that it is on a mount with noexec", err)
	}
	for path, want := range map[string]string{"/data:/bin": "/bin/tool", "/programs": "/programs/tool"} {
		got, program, err := LookPath(r.Dir, "tool", "/", path)
		if err != nil || got != want {
			t.Errorf("in %s: got %q, %v, want %s", path, got, err, want)
		}
		program.Close()
	}
}

func TestResolveStaysInside(t *testing.T) {
	root := tree(t, "etc/own", "up -> ../../../../../../etc", "abs -> /etc", "magic -> /proc/self/root")
	dir := openDir(t, root)
	for _, path := range []string{"/up/own", "/abs/own", "abs/own", "../../../etc/own", "/abs/../abs/own"} {
		f, err := Resolve(dir, path, unix.O_RDONLY)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		f.Close()
	}
	for _, path := range []string{"/up/passwd", "/abs/passwd", "/../../../../etc/passwd", "/magic/etc/passwd"} {
		f, err := Resolve(dir, path, unix.O_RDONLY)
		if err == nil {
			t.Errorf("%s leads out", path)
			f.Close()
		}
	}
	host := openDir(t, "/")
	if f, err := Resolve(host, "/proc/self/root/etc/passwd", unix.O_RDONLY); !errors.Is(err, unix.ELOOP) {
		t.Errorf("link of proc: got %v, want it refused", err)
		f.Close()
	}
}
