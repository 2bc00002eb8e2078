package hostsys_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/hostsys"
)

const secret = "the host's secret"

// world is a host directory with a root filesystem for a guest beside a file
// that the guest must not reach.
//
//	top/secret, top/outside/     of the host
//	top/root/                    preopen 3, as /
//	top/root/data/               preopen 4, as /data, not a root
type world struct {
	t   testing.TB
	sys *hostsys.System
	top string
}

const (
	rootFD = 3
	dataFD = 4
)

func newWorld(t testing.TB, change ...func(*hostsys.Config)) *world {
	t.Helper()
	top := t.TempDir()
	w := &world{t: t, top: top}
	for _, dir := range []string{"outside", "root/data/sub", "root/etc"} {
		w.check(os.MkdirAll(filepath.Join(top, dir), 0o755))
	}
	for _, file := range []string{"secret", "outside/secret"} {
		w.check(os.WriteFile(filepath.Join(top, file), []byte(secret), 0o644))
	}
	c := hostsys.Config{
		Stdin: hostsys.Null, Stdout: hostsys.Null, Stderr: hostsys.Null,
		Preopens: []hostsys.Preopen{
			{Name: "/", FD: w.dir("root"), IsRoot: true}, {Name: "/data", FD: w.dir("root/data")},
		},
	}
	for _, f := range change {
		f(&c)
	}
	sys, err := hostsys.New(c)
	w.check(err)
	w.sys = sys
	t.Cleanup(func() {
		for fd := uint32(0); fd < 128; fd++ {
			sys.FdClose(fd)
		}
	})
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// path is a place on the host.
func (w *world) path(name string) string { return filepath.Join(w.top, name) }

func (w *world) dir(name string) int {
	w.t.Helper()
	fd, err := unix.Open(w.path(name), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	w.check(err)
	return fd
}

// link makes a symbolic link as the host can, to anywhere.
func (w *world) link(target, name string) {
	w.t.Helper()
	w.check(os.Symlink(target, w.path(name)))
}

func (w *world) ok(errno wasi.Errno) {
	w.t.Helper()
	if errno != 0 {
		w.t.Fatal(errno)
	}
}

func (w *world) want(got, want wasi.Errno) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("got %v, want %v", got, want)
	}
}

// open opens with all rights.
func (w *world) open(fd uint32, path string, oflags wasi.Oflags) (uint32, wasi.Errno) {
	return w.sys.PathOpen(fd, wasi.LookupSymlinkFollow, path, oflags, 0, 0, 0)
}

func (w *world) mustOpen(fd uint32, path string, oflags wasi.Oflags) uint32 {
	w.t.Helper()
	n, errno := w.open(fd, path, oflags)
	if errno != 0 {
		w.t.Fatalf("open %s: %v", path, errno)
	}
	return n
}

func (w *world) read(fd uint32) string {
	buf := make([]byte, 100)
	n, _ := w.sys.FdRead(fd, [][]byte{buf})
	return string(buf[:n])
}
