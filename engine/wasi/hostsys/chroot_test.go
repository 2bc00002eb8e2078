package hostsys_test

import (
	"os"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/hostsys"
)

// follow opens a path and reads it, following links.
func (w *world) follow(dir uint32, path string) (string, wasi.Errno) {
	fd, errno := w.sys.PathOpen(dir, wasi.LookupSymlinkFollow, path, 0, wasi.RightFdRead, 0, 0)
	if errno != 0 {
		return "", errno
	}
	defer w.sys.FdClose(fd)
	return w.read(fd), 0
}

func TestLinksInDirectoriesMeanWhatTheyMeanInTheRoot(t *testing.T) {
	w := newWorld(t)
	w.check(os.WriteFile(w.path("root/etc/name"), []byte("guest"), 0o644))
	for link, target := range map[string]string{
		"absolute": "/etc/name", "relative": "../../etc/name", "host": w.path("secret"), "above": "../../../../secret", "loop": "/data/sub/loop",
	} {
		w.check(os.Symlink(target, w.path("root/data/sub/"+link)))
	}
	data := w.mustOpen(rootFD, "data", wasi.OflagsDirectory)
	sub := w.mustOpen(data, "sub", wasi.OflagsDirectory)
	for _, c := range []struct {
		path, want string
		errno      wasi.Errno
	}{
		{"absolute", "guest", 0},
		{"relative", "guest", 0},
		{"host", "", wasi.ENOENT},
		{"above", "", wasi.ENOENT},
		{"loop", "", wasi.ELOOP},
		{"../../etc/name", "", wasi.EPERM}, // the guest's own way out
		{"absolute/../../../../secret", "", wasi.EPERM},
	} {
		got, errno := w.follow(sub, c.path)
		if errno != c.errno || got != c.want {
			t.Errorf("%s: %q, %v, want %q, %v", c.path, got, errno, c.want, c.errno)
		}
	}
	preopened := w.mustOpen(dataFD, "sub", wasi.OflagsDirectory)
	if _, errno := w.follow(preopened, "absolute"); errno != wasi.EPERM {
		t.Errorf("a link out of a preopen that is no root: %v, want EPERM", errno)
	}
	w.check(os.Rename(w.path("root/data/sub"), w.path("root/data/elsewhere")))
	if _, errno := w.follow(sub, "absolute"); errno != wasi.EPERM {
		t.Errorf("after the directory moved: %v, want EPERM", errno)
	}
	w.check(os.Rename(w.path("root/data/elsewhere"), w.path("root/data/sub")))
	w.ok(w.sys.FdClose(rootFD))
	if _, errno := w.follow(sub, "absolute"); errno != wasi.EPERM {
		t.Errorf("after the root was closed: %v, want EPERM", errno)
	}
}

func TestTimesOfFilesInReadonlyPreopens(t *testing.T) {
	w := newWorld(t, func(c *hostsys.Config) { c.Preopens[1].Readonly = true })
	w.check(os.WriteFile(w.path("root/data/f"), nil, 0o644))
	w.want(w.sys.FdFilestatSetTimes(w.mustOpen(dataFD, "f", 0), 1, 1, wasi.FstflagsMtim), wasi.EROFS)
}

func TestStatOfNamesInTheDirectory(t *testing.T) {
	w := newWorld(t)
	w.check(os.WriteFile(w.path("root/f"), []byte("12345"), 0o644))
	w.check(os.Symlink("f", w.path("root/to")))
	w.check(os.Symlink(w.path("secret"), w.path("root/out")))
	for _, c := range []struct {
		path   string
		lookup wasi.Lookupflags
		kind   wasi.Filetype
		errno  wasi.Errno
	}{
		{"f", 0, wasi.FiletypeRegularFile, 0},
		{"to", 0, wasi.FiletypeSymbolicLink, 0},
		{"to", wasi.LookupSymlinkFollow, wasi.FiletypeRegularFile, 0},
		{"out", 0, wasi.FiletypeSymbolicLink, 0},
		{"out", wasi.LookupSymlinkFollow, 0, wasi.ENOENT},
		{"absent", 0, 0, wasi.ENOENT},
		{".", 0, wasi.FiletypeDirectory, 0},
	} {
		st, errno := w.sys.PathFilestat(rootFD, c.lookup, c.path)
		if errno != c.errno || errno == 0 && st.Filetype != c.kind {
			t.Errorf("%s with lookup %d: type %d, %v, want %d, %v", c.path, c.lookup, st.Filetype, errno, c.kind, c.errno)
		}
	}
	up, errno := w.sys.PathFilestat(rootFD, 0, "..")
	here, _ := w.sys.PathFilestat(rootFD, 0, ".")
	if errno != 0 || up.Ino != here.Ino {
		t.Errorf(".. of the root is inode %d, %v, want the root's own %d", up.Ino, errno, here.Ino)
	}
}
