package hostsys_test

import (
	"os"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/hostsys"
)

// ways are paths that lead out of top/root or top/root/data where nothing
// holds them, with the links that prepare makes.
func ways(w *world) []string {
	up := strings.Repeat("../", 40)
	w.link("../../../../../../../../../../"+w.top, "root/data/updir")
	w.link(w.top+"/secret", "root/data/abs")
	w.link(w.top, "root/data/absdir")
	w.link("../../secret", "root/data/rel")
	w.link("..", "root/data/dots")
	w.link("dots/dots/secret", "root/data/chain")
	w.link("/proc/self/root", "root/data/magic")
	w.link("/proc/self/cwd", "root/data/cwd")
	w.link("loop", "root/data/loop")
	return []string{
		"../secret", "../../secret", up + w.top + "/secret", "sub/../../../secret", "./sub/.././../../secret", "/../secret",
		"abs", "abs/", "absdir/secret", "rel", "rel/", "chain", "dots/../secret", "dots/dots/secret", "updir/secret",
		"magic" + w.top + "/secret", "magic/" + w.top + "/secret", "cwd/secret", "absdir/outside/secret", "sub/../../../outside/secret",
		w.top + "/secret", "//" + w.top + "/secret", "../../outside/../secret", "loop", "sub//../..//../secret",
	}
}

func TestNoWayLeadsToTheSecret(t *testing.T) {
	w := newWorld(t)
	for _, path := range ways(w) {
		for _, fd := range []uint32{rootFD, dataFD, w.mustOpen(dataFD, "sub", wasi.OflagsDirectory), w.mustOpen(rootFD, "data", wasi.OflagsDirectory)} {
			for _, flags := range []wasi.Oflags{0, wasi.OflagsCreat, wasi.OflagsTrunc} {
				if n, errno := w.open(fd, path, flags); errno == 0 {
					if got := w.read(n); got != "" {
						t.Errorf("%s from %d: read %q", path, fd, got)
					}
					w.sys.FdWrite(n, [][]byte{[]byte("overwritten")})
					w.sys.FdClose(n)
				}
			}
			if st, errno := w.sys.PathFilestat(fd, wasi.LookupSymlinkFollow, path); errno == 0 && st.Size == uint64(len(secret)) {
				t.Errorf("%s from %d: stat'ed the secret", path, fd)
			}
			w.sys.PathFilestatSetTimes(fd, wasi.LookupSymlinkFollow, path, 1e9, 1e9, wasi.FstflagsAtim|wasi.FstflagsMtim)
			w.sys.PathLink(fd, 0, path, dataFD, "hard")
			w.sys.PathRename(fd, path, dataFD, "stolen")
			w.sys.PathUnlinkFile(fd, path)
			w.sys.PathCreateDirectory(fd, path+".d")
			w.sys.PathSymlink("x", fd, path+".l")
		}
	}
	intact(t, w)
}

// intact checks that nothing outside of the root has been made or changed.
func intact(t *testing.T, w *world) {
	t.Helper()
	for _, name := range []string{"secret", "outside/secret"} {
		b, err := os.ReadFile(w.path(name))
		if err != nil || string(b) != secret {
			t.Errorf("%s holds %q, %v", name, b, err)
		}
		st, err := os.Stat(w.path(name))
		if err == nil && (st.ModTime().Unix() == 1 || st.Sys() == nil) {
			t.Errorf("the times of %s were set", name)
		}
	}
	for dir, want := range map[string]int{"": 3, "outside": 1} {
		if entries, _ := os.ReadDir(w.path(dir)); len(entries) != want {
			t.Errorf("%q holds %v, want %d entries", dir, entries, want)
		}
	}
}

// TestExistenceOutsideIsNotTold compares the answers for a file outside that is
// there with those for one that is not.
func TestExistenceOutsideIsNotTold(t *testing.T) {
	w := newWorld(t)
	w.link(w.top+"/secret", "root/data/there")
	w.link(w.top+"/nothing", "root/data/gone.")
	calls := map[string]func(path string) wasi.Errno{
		"open":     func(p string) wasi.Errno { _, e := w.open(rootFD, p, 0); return e },
		"stat":     func(p string) wasi.Errno { _, e := w.sys.PathFilestat(rootFD, wasi.LookupSymlinkFollow, p); return e },
		"readlink": func(p string) wasi.Errno { _, e := w.sys.PathReadlink(rootFD, p, make([]byte, 8)); return e },
		"link":     func(p string) wasi.Errno { return w.sys.PathLink(rootFD, 0, p, dataFD, "x/y") },
		"unlink":   func(p string) wasi.Errno { return w.sys.PathUnlinkFile(rootFD, p+"/") },
		"rmdir":    func(p string) wasi.Errno { return w.sys.PathRemoveDirectory(rootFD, p) },
		"mkdir":    func(p string) wasi.Errno { return w.sys.PathCreateDirectory(rootFD, p) },
		"times": func(p string) wasi.Errno {
			return w.sys.PathFilestatSetTimes(rootFD, wasi.LookupSymlinkFollow, p, 1, 1, wasi.FstflagsMtim)
		},
	}
	for name, call := range calls {
		for _, end := range []string{"", "/", "/.", "/x"} {
			if there, gone := call("data/there"+end), call("data/gone."+end); there != gone {
				t.Errorf("%s of a link%s: %v when the file outside exists, %v when not", name, end, there, gone)
			}
		}
	}
}

func TestLinksMadeByTheGuestStayInside(t *testing.T) {
	w := newWorld(t)
	w.want(w.sys.PathSymlink("/etc/passwd", dataFD, "l"), wasi.EPERM)
	w.want(w.sys.PathSymlink("../../secret", dataFD, "l"), 0)
	if _, errno := w.open(dataFD, "l", 0); errno != wasi.EPERM {
		t.Errorf("open through the link: %v, want EPERM", errno)
	}
	if _, errno := w.open(rootFD, "data/l", 0); errno != wasi.ENOENT { // as in a chroot: /secret
		t.Errorf("open through the link from the root: %v, want ENOENT", errno)
	}
	w.want(w.sys.PathLink(dataFD, 0, "l", dataFD, "hard"), 0)
	w.want(w.sys.PathLink(dataFD, wasi.LookupSymlinkFollow, "l", dataFD, "hard2"), wasi.EINVAL)
	if st, errno := w.sys.PathFilestat(dataFD, 0, "hard"); errno != 0 || st.Filetype != wasi.FiletypeSymbolicLink {
		t.Errorf("a hard link of the link is a %d, %v", st.Filetype, errno)
	}
	intact(t, w)
}

func TestOpenedDirectoriesHoldTheirOwnGround(t *testing.T) {
	w := newWorld(t)
	sub := w.mustOpen(dataFD, "sub", wasi.OflagsDirectory)
	for _, path := range []string{"..", "../..", "../sub", "/", "/etc"} {
		if _, errno := w.open(sub, path, 0); errno != wasi.EPERM {
			t.Errorf("%s from a subdirectory: %v, want EPERM", path, errno)
		}
	}
	w.ok(w.sys.FdRenumber(sub, dataFD)) // a preopen is overwritten
	if _, errno := w.open(dataFD, "../..", 0); errno != wasi.EPERM {
		t.Errorf("after renumber: %v, want EPERM", errno)
	}
	if _, errno := w.sys.FdPrestat(dataFD); errno != wasi.EBADF {
		t.Errorf("prestat of the renumbered directory: %v, want EBADF", errno)
	}
	w.want(w.sys.FdRenumber(dataFD, 99), wasi.EBADF)
	w.want(w.sys.FdRenumber(sub, dataFD), wasi.EBADF)
	w.ok(w.sys.FdClose(rootFD))
	if _, errno := w.open(rootFD, "etc", 0); errno != wasi.EBADF {
		t.Errorf("a closed preopen opens: %v", errno)
	}
}

func TestAMovedDirectoryDoesNotWidenItsWorld(t *testing.T) {
	w := newWorld(t)
	w.check(os.MkdirAll(w.path("root/data/a/b/c"), 0o755))
	c := w.mustOpen(dataFD, "a/b/c", wasi.OflagsDirectory)
	w.check(os.Rename(w.path("root/data/a/b/c"), w.path("outside/c")))
	for _, path := range []string{"..", "../secret", "../../secret"} {
		if _, errno := w.open(c, path, 0); errno == 0 {
			t.Errorf("%s opens from a directory that was moved out", path)
		}
	}
	w.check(os.Rename(w.path("outside/c"), w.path("root/data/c")))
}

func TestReadonlyPreopensAnswerEROFS(t *testing.T) {
	w := newWorld(t, func(c *hostsys.Config) { c.Preopens[1].Readonly = true })
	w.check(os.WriteFile(w.path("root/data/f"), []byte("text"), 0o644))
	for name, errno := range map[string]wasi.Errno{
		"mkdir":   w.sys.PathCreateDirectory(dataFD, "d"),
		"rmdir":   w.sys.PathRemoveDirectory(dataFD, "sub"),
		"unlink":  w.sys.PathUnlinkFile(dataFD, "f"),
		"symlink": w.sys.PathSymlink("x", dataFD, "l"),
		"rename":  w.sys.PathRename(dataFD, "f", rootFD, "f"),
		"link":    w.sys.PathLink(dataFD, 0, "f", rootFD, "f"),
		"times":   w.sys.PathFilestatSetTimes(dataFD, 0, "f", 1, 1, wasi.FstflagsMtim),
	} {
		if errno != wasi.EROFS {
			t.Errorf("%s: %v, want EROFS", name, errno)
		}
	}
	if _, errno := w.open(dataFD, "g", wasi.OflagsCreat); errno != wasi.EROFS {
		t.Errorf("create: %v, want EROFS", errno)
	}
	fd := w.mustOpen(dataFD, "f", 0)
	if _, errno := w.sys.FdWrite(fd, [][]byte{[]byte("x")}); errno != wasi.EBADF {
		t.Errorf("write: %v, want EBADF", errno)
	}
	if got := w.read(fd); got != "text" {
		t.Errorf("read %q", got)
	}
}

func TestFilesAreBounded(t *testing.T) {
	w := newWorld(t, func(c *hostsys.Config) { c.MaxFiles = 50 })
	for range 45 {
		w.mustOpen(rootFD, "etc", wasi.OflagsDirectory)
	}
	if _, errno := w.open(rootFD, "etc", 0); errno != wasi.EMFILE {
		t.Errorf("file 51: %v, want EMFILE", errno)
	}
	w.ok(w.sys.FdClose(17))
	w.ok(w.sys.FdClose(9))
	for _, want := range []uint32{9, 17} {
		if got := w.mustOpen(rootFD, "etc", 0); got != want {
			t.Errorf("opened %d, want the lowest free number %d", got, want)
		}
	}
}
