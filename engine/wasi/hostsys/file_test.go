package hostsys_test

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/hostsys"
)

// page reads at most so many entries from a cookie on.
func (w *world) page(fd uint32, cookie uint64, most int) (names []string, next uint64) {
	w.t.Helper()
	next = cookie
	w.ok(w.sys.FdReaddir(fd, cookie, taker(func(d wasi.Dirent) bool {
		names, next = append(names, string(d.Name)), d.Next
		return len(names) < most
	})))
	return names, next
}

type taker func(wasi.Dirent) bool

func (f taker) Take(d wasi.Dirent) bool { return f(d) }

// TestCookiesStayValidWhileTheDirectoryChanges removes and adds files between
// pages: those that were there all along are seen once each.
func TestCookiesStayValidWhileTheDirectoryChanges(t *testing.T) {
	w := newWorld(t)
	w.check(os.Mkdir(w.path("root/many"), 0o755))
	const files = 2000
	for i := range files {
		w.check(os.WriteFile(w.path(fmt.Sprintf("root/many/keep%04d", i)), nil, 0o644))
		w.check(os.WriteFile(w.path(fmt.Sprintf("root/many/drop%04d", i)), nil, 0o644))
	}
	fd := w.mustOpen(rootFD, "many", wasi.OflagsDirectory)
	seen := map[string]int{}
	cookie, dropped := uint64(0), 0
	for {
		names, next := w.page(fd, cookie, 7)
		if len(names) == 0 {
			break
		}
		for _, name := range names {
			seen[name]++
		}
		for range 6 {
			os.Remove(w.path(fmt.Sprintf("root/many/drop%04d", dropped)))
			os.WriteFile(w.path(fmt.Sprintf("root/many/new%04d", dropped)), nil, 0o644)
			dropped++
		}
		cookie = next
	}
	for i := range files {
		if name := fmt.Sprintf("keep%04d", i); seen[name] != 1 {
			t.Fatalf("%s was seen %d times", name, seen[name])
		}
	}
	if seen["."] != 1 || seen[".."] != 1 {
		t.Errorf("dots seen %d and %d times, want once", seen["."], seen[".."])
	}
}

func TestReaddirFromTheSameCookieAgain(t *testing.T) {
	w := newWorld(t)
	_, cookie := w.page(rootFD, 0, 2)
	first, _ := w.page(rootFD, cookie, 10)
	w.page(rootFD, 0, 10)
	again, end := w.page(rootFD, cookie, 10)
	if fmt.Sprint(first) != fmt.Sprint(again) || len(first) == 0 {
		t.Errorf("got %v, then %v", first, again)
	}
	if rest, _ := w.page(rootFD, end, 10); len(rest) != 0 {
		t.Errorf("behind the end: %v", rest)
	}
	w.want(w.sys.FdReaddir(rootFD, 1<<64-1, taker(func(wasi.Dirent) bool { t.Error("an entry behind the end"); return true })), 0)
	w.want(w.sys.FdReaddir(0, 0, taker(func(wasi.Dirent) bool { return true })), wasi.ENOTDIR)
}

func TestRightsFollowTheOpenModeAndNarrowing(t *testing.T) {
	w := newWorld(t)
	w.check(os.WriteFile(w.path("root/f"), []byte("text"), 0o644))
	fd, errno := w.sys.PathOpen(rootFD, 0, "f", 0, wasi.RightFdRead|wasi.RightFdSeek, 0, 0)
	w.ok(errno)
	if _, errno := w.sys.FdWrite(fd, [][]byte{{1}}); errno != wasi.EBADF {
		t.Errorf("write to what was opened for reading: %v", errno)
	}
	w.want(w.sys.FdFdstatSetRights(fd, wasi.RightFdRead|wasi.RightFdWrite, 0), wasi.ENOTCAPABLE)
	w.want(w.sys.FdFdstatSetRights(fd, wasi.RightFdRead, 0), 0)
	if _, errno := w.sys.FdSeek(fd, 2, wasi.WhenceSet); errno != wasi.ENOTCAPABLE {
		t.Errorf("seek after giving up the right: %v", errno)
	}
	if got := w.read(fd); got != "text" {
		t.Errorf("a refused seek moved: read %q", got)
	}
	all := w.mustOpen(rootFD, "f", 0)
	st, errno := w.sys.FdFdstat(all)
	w.ok(errno)
	if want := wasi.RightsFile; st.Rights != want {
		t.Errorf("rights 0 gave %b, want %b", st.Rights, want)
	}
}

func TestAppendAndPositions(t *testing.T) {
	w := newWorld(t)
	fd, errno := w.sys.PathOpen(rootFD, 0, "log", wasi.OflagsCreat, 0, 0, wasi.FdflagsAppend)
	w.ok(errno)
	for _, s := range []string{"one ", "two "} {
		w.sys.FdSeek(fd, 0, wasi.WhenceSet)
		w.sys.FdWrite(fd, [][]byte{[]byte(s), nil, []byte("and ")})
	}
	if b, _ := os.ReadFile(w.path("root/log")); string(b) != "one and two and " {
		t.Errorf("the file holds %q", b)
	}
	w.ok(w.sys.FdFdstatSetFlags(fd, 0))
	if _, errno := w.sys.FdPwrite(fd, [][]byte{[]byte("ONE")}, 0); errno != 0 {
		t.Error(errno)
	}
	buf := make([]byte, 3)
	if n, errno := w.sys.FdPread(fd, [][]byte{buf}, 0); n != 3 || errno != 0 || string(buf) != "ONE" {
		t.Errorf("pread %q, %v", buf, errno)
	}
	w.want(w.sys.FdFdstatSetFlags(fd, wasi.FdflagsSync), wasi.ENOTSUP)
	_, errno = w.sys.FdPread(fd, [][]byte{buf}, 1<<63)
	w.want(errno, wasi.EINVAL)
	_, errno = w.sys.FdSeek(fd, -1, wasi.WhenceSet)
	w.want(errno, wasi.EINVAL)
}

func TestVectorsBeyondSixteenMoveAPart(t *testing.T) {
	w := newWorld(t)
	fd := w.mustOpen(rootFD, "f", wasi.OflagsCreat)
	bufs := make([][]byte, 1000)
	for i := range bufs {
		bufs[i] = []byte{byte(i)}
	}
	for rest := bufs; len(rest) > 0; {
		n, errno := w.sys.FdWrite(fd, rest)
		w.ok(errno)
		if n < 1 {
			t.Fatal("nothing was written")
		}
		rest = rest[n:]
	}
	b, _ := os.ReadFile(w.path("root/f"))
	for i := range b {
		if b[i] != byte(i) {
			t.Fatalf("byte %d is %d", i, b[i])
		}
	}
	if len(b) != 1000 {
		t.Errorf("%d bytes, want 1000", len(b))
	}
}

func TestTimesAndSizes(t *testing.T) {
	w := newWorld(t)
	fd := w.mustOpen(rootFD, "f", wasi.OflagsCreat)
	w.ok(w.sys.FdFilestatSetTimes(fd, 1_500_000_001, 2_000_000_003, wasi.FstflagsAtim|wasi.FstflagsMtim))
	st, _ := w.sys.FdFilestat(fd)
	if st.Atim != 1_500_000_001 || st.Mtim != 2_000_000_003 {
		t.Errorf("times %d and %d", st.Atim, st.Mtim)
	}
	w.ok(w.sys.PathFilestatSetTimes(rootFD, 0, "f", 0, 0, wasi.FstflagsMtimNow))
	st, _ = w.sys.PathFilestat(rootFD, 0, "f")
	if st.Atim != 1_500_000_001 || st.Mtim < 1e18 {
		t.Errorf("times %d and %d after setting one to now", st.Atim, st.Mtim)
	}
	both := wasi.FstflagsMtim | wasi.FstflagsMtimNow
	w.want(w.sys.FdFilestatSetTimes(fd, 0, 0, both), wasi.EINVAL)
	w.ok(w.sys.FdFilestatSetSize(fd, 1000))
	w.ok(w.sys.FdAllocate(fd, 500, 1000))
	if st, _ := w.sys.FdFilestat(fd); st.Size != 1500 {
		t.Errorf("size %d, want 1500", st.Size)
	}
	w.want(w.sys.FdAllocate(fd, 0, 0), wasi.EINVAL)
	w.want(w.sys.FdFilestatSetSize(fd, 1<<63), wasi.EINVAL)
}

func TestLinksAndSlashes(t *testing.T) {
	w := newWorld(t)
	w.check(os.WriteFile(w.path("root/f"), []byte("text"), 0o644))
	w.ok(w.sys.PathSymlink("data/sub", rootFD, "l"))
	w.ok(w.sys.PathSymlink("nowhere", rootFD, "dangling"))
	w.ok(w.sys.PathSymlink("loop", rootFD, "loop"))
	buf := make([]byte, 4)
	if n, errno := w.sys.PathReadlink(rootFD, "l", buf); n != 4 || errno != 0 || string(buf) != "data" {
		t.Errorf("a short readlink: %d %q %v", n, buf, errno)
	}
	for path, want := range map[string]wasi.Errno{
		"l/": 0, "f/": wasi.ENOTDIR, "dangling": wasi.ENOENT, "loop": wasi.ELOOP, "f/x": wasi.ENOTDIR, "": wasi.ENOENT, "a\x00b": wasi.EINVAL,
	} {
		if _, errno := w.open(rootFD, path, 0); errno != want {
			t.Errorf("open %q: %v, want %v", path, errno, want)
		}
	}
	if _, errno := w.sys.PathOpen(rootFD, 0, "l", 0, 0, 0, 0); errno != wasi.ELOOP {
		t.Errorf("open a link without following: %v, want ELOOP", errno)
	}
	if _, errno := w.open(rootFD, "f", wasi.OflagsDirectory); errno != wasi.ENOTDIR {
		t.Errorf("open a file as directory: %v, want ENOTDIR", errno)
	}
	w.want(w.sys.PathCreateDirectory(rootFD, "new/"), 0)
	w.want(w.sys.PathUnlinkFile(rootFD, "f/"), wasi.ENOTDIR)
	w.want(w.sys.PathRemoveDirectory(rootFD, "new/"), 0)
	w.want(w.sys.PathRemoveDirectory(rootFD, "."), wasi.EINVAL)
	w.want(w.sys.PathRename(rootFD, "data", rootFD, "data/sub/x"), wasi.EINVAL)
	_, errno := w.sys.PathReadlink(rootFD, "f", buf)
	w.want(errno, wasi.EINVAL)
}

func TestSpecialFiles(t *testing.T) {
	w := newWorld(t, func(c *hostsys.Config) {
		fd, _ := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		c.Preopens = append(c.Preopens, hostsys.Preopen{Name: "/host", FD: fd})
	})
	const host = 5
	w.check(unix.Mkfifo(w.path("root/fifo"), 0o600))
	fifo, errno := w.sys.PathOpen(rootFD, 0, "fifo", 0, wasi.RightFdRead, 0, wasi.FdflagsNonblock)
	w.ok(errno)
	if _, errno := w.sys.FdSeek(fifo, 0, wasi.WhenceSet); errno != wasi.ESPIPE && errno != wasi.ENOTCAPABLE {
		t.Errorf("seek in a fifo: %v", errno)
	}
	null := w.mustOpen(host, "dev/null", 0)
	if st, _ := w.sys.FdFdstat(null); st.Filetype != wasi.FiletypeCharacterDevice {
		t.Errorf("/dev/null is a %d", st.Filetype)
	}
	if n, errno := w.sys.FdWrite(null, [][]byte{make([]byte, 10)}); n != 10 || errno != 0 {
		t.Errorf("write to /dev/null: %d %v", n, errno)
	}
	if got := w.read(w.mustOpen(host, "proc/sys/kernel/ostype", 0)); got != "Linux\n" {
		t.Errorf("a file of size 0 in proc reads %q", got)
	}
	if _, errno := w.open(host, "proc/self/root/etc", 0); errno != wasi.ELOOP {
		t.Errorf("a magic link opens: %v, want ELOOP", errno)
	}
	w.want(w.sys.FdClose(null), 0)
	w.want(w.sys.FdClose(null), wasi.EBADF)
}

func TestTimesBeyondTheGuestsRange(t *testing.T) {
	w := newWorld(t)
	w.check(os.WriteFile(w.path("root/f"), nil, 0o644))
	for _, c := range []struct {
		sec  int64
		want uint64
	}{{-1000, 0}, {1 << 33, 1 << 33 * 1e9}} {
		times := []unix.Timespec{{Sec: c.sec}, {Sec: c.sec}}
		w.check(unix.UtimesNanoAt(unix.AT_FDCWD, w.path("root/f"), times, 0))
		if st, errno := w.sys.PathFilestat(rootFD, 0, "f"); errno != 0 || st.Mtim != c.want {
			t.Errorf("second %d is %d, %v; want %d", c.sec, st.Mtim, errno, c.want)
		}
	}
}
