package hostsys_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/hostsys"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/wasitest"
)

// TestConformance runs the tests of every System, on the root filesystem of a
// container and on a directory that is none.
func TestConformance(t *testing.T) {
	for name, isRoot := range map[string]bool{"root filesystem": true, "directory": false} {
		t.Run(name, func(t *testing.T) {
			wasitest.Run(t, func(t *testing.T, c wasitest.Config) wasi.System { return newConforming(t, c, isRoot) })
		})
	}
}

func newConforming(t *testing.T, c wasitest.Config, isRoot bool) wasi.System {
	w := &world{t: t, top: t.TempDir()}
	for _, dir := range []string{"root", "ro"} {
		w.check(os.Mkdir(w.path(dir), 0o755))
	}
	w.check(os.WriteFile(filepath.Join(w.path("ro"), "file"), []byte(wasitest.ReadonlyText), 0o644))
	r, stdin, err := os.Pipe()
	w.check(err)
	t.Cleanup(func() { r.Close() })
	_, err = io.WriteString(stdin, c.Stdin)
	w.check(err)
	w.check(stdin.Close())
	sys, err := hostsys.New(hostsys.Config{
		Args: c.Args, Env: c.Env, MaxFiles: c.MaxFiles,
		Stdin: hostsys.Stream{FD: int(r.Fd())}, Stdout: hostsys.Stream{Writer: c.Stdout}, Stderr: hostsys.Stream{Writer: io.Discard},
		Preopens: []hostsys.Preopen{
			{Name: "/", FD: w.dir("root"), IsRoot: isRoot}, {Name: "/ro", FD: w.dir("ro"), IsRoot: isRoot, Readonly: true},
		},
		Listeners: []int{listener(t)},
	})
	w.check(err)
	t.Cleanup(func() {
		for fd := uint32(1); fd < 2048; fd++ { // 0 is the pipe's
			sys.FdClose(fd)
		}
	})
	return sys
}

// listener is what the daemon hands to a worker.
func listener(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = unix.Listen(fd, 16)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}
