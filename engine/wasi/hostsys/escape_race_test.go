package hostsys_test

import (
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// swap exchanges two names in top/root/data over and over, as another container
// of the same volume can, until the test ends or stop is called.
func swap(w *world, a, b string) (stop func()) {
	var stopped atomic.Bool
	var done sync.WaitGroup
	done.Go(func() {
		data := w.dir("root/data")
		defer unix.Close(data)
		for !stopped.Load() {
			unix.Renameat2(data, a, data, b, unix.RENAME_EXCHANGE)
		}
	})
	stop = func() {
		stopped.Store(true)
		done.Wait()
	}
	w.t.Cleanup(stop)
	return stop
}

// TestRenameRaces swaps a directory with a link to outside while the guest
// walks through it.
func TestRenameRaces(t *testing.T) {
	w := newWorld(t)
	w.check(os.Mkdir(w.path("root/data/d"), 0o755))
	w.check(os.WriteFile(w.path("root/data/d/secret"), []byte("mine"), 0o644))
	w.link(w.top, "root/data/evil")
	stop := swap(w, "d", "evil")
	opened := 0
	for range 20000 {
		for _, fd := range []uint32{rootFD, dataFD} {
			n, errno := w.open(fd, map[uint32]string{rootFD: "data/sub/../d/secret", dataFD: "sub/../d/secret"}[fd], 0)
			if errno != 0 {
				continue
			}
			opened++
			if got := w.read(n); got != "mine" {
				t.Fatalf("read %q", got)
			}
			w.ok(w.sys.FdClose(n))
		}
	}
	stop()
	if opened == 0 {
		t.Error("the file was never there: the test saw nothing")
	}
	intact(t, w)
}

// TestChangesUnderRenameRaces changes the tree through a directory that is a
// link to outside half of the time: every change must be made inside, or none.
func TestChangesUnderRenameRaces(t *testing.T) {
	w := newWorld(t)
	w.check(os.Mkdir(w.path("root/data/d"), 0o755))
	w.link("../../outside", "root/data/evil")
	stop := swap(w, "d", "evil")
	changes := map[string]func(fd uint32, dir string) wasi.Errno{
		"create": func(fd uint32, dir string) wasi.Errno {
			n, errno := w.open(fd, dir+"/new", wasi.OflagsCreat)
			if errno == 0 {
				w.sys.FdWrite(n, [][]byte{[]byte("text")})
				w.sys.FdClose(n)
			}
			return errno
		},
		"overwrite": func(fd uint32, dir string) wasi.Errno {
			n, errno := w.open(fd, dir+"/secret", wasi.OflagsTrunc)
			w.sys.FdClose(n)
			return errno
		},
		"unlink":  func(fd uint32, dir string) wasi.Errno { return w.sys.PathUnlinkFile(fd, dir+"/new") },
		"mkdir":   func(fd uint32, dir string) wasi.Errno { return w.sys.PathCreateDirectory(fd, dir+"/made") },
		"rmdir":   func(fd uint32, dir string) wasi.Errno { return w.sys.PathRemoveDirectory(fd, dir+"/made") },
		"symlink": func(fd uint32, dir string) wasi.Errno { return w.sys.PathSymlink("x", fd, dir+"/l") },
		"link": func(fd uint32, dir string) wasi.Errno {
			return w.sys.PathLink(fd, 0, dir+"/secret", dataFD, "sub/stolen")
		},
		"rename": func(fd uint32, dir string) wasi.Errno {
			return w.sys.PathRename(fd, dir+"/secret", dataFD, "sub/stolen")
		},
		"steal": func(fd uint32, dir string) wasi.Errno { return w.sys.PathUnlinkFile(fd, dir+"/secret") },
		"times": func(fd uint32, dir string) wasi.Errno {
			return w.sys.PathFilestatSetTimes(fd, wasi.LookupSymlinkFollow, dir+"/secret", 1e9, 1e9, wasi.FstflagsMtim)
		},
		"stat": func(fd uint32, dir string) wasi.Errno {
			st, errno := w.sys.PathFilestat(fd, wasi.LookupSymlinkFollow, dir+"/secret")
			if errno == 0 && st.Size == uint64(len(secret)) {
				t.Error("the secret was stat'ed")
			}
			return errno
		},
	}
	done := 0
	for range 500 {
		for _, change := range changes {
			for fd, dir := range map[uint32]string{rootFD: "data/d", dataFD: "d"} {
				if change(fd, dir) == 0 {
					done++
				}
			}
		}
		w.sys.PathUnlinkFile(dataFD, "sub/stolen")
	}
	stop()
	if done == 0 {
		t.Error("no change was ever made: the test saw nothing")
	}
	intact(t, w)
}
