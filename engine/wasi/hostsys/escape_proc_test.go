package hostsys_test

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/hostsys"
)

// procWorld gives a guest /proc at dataFD, whose links lead to what a process
// has open, by no path. One of them, which is returned, is to the secret.
func procWorld(t *testing.T, isRoot bool) (w *world, fd int) {
	t.Helper()
	w = newWorld(t, func(c *hostsys.Config) {
		proc, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(c.Preopens[1].FD)
		c.Preopens[1] = hostsys.Preopen{Name: "/proc", FD: proc, IsRoot: isRoot}
	})
	open, err := os.Open(w.path("secret"))
	w.check(err)
	t.Cleanup(func() { open.Close() })
	return w, int(open.Fd())
}

func TestMagicLinksOfProcLeadNowhere(t *testing.T) {
	for _, isRoot := range []bool{false, true} {
		w, open := procWorld(t, isRoot)
		pid := os.Getpid()
		for _, path := range []string{
			"self/root" + w.top + "/secret", "self/root/" + w.top, "self/cwd/hostsys_test.go", "self/exe", fmt.Sprintf("self/fd/%d", open),
			fmt.Sprintf("%d/fd/%d", pid, open), fmt.Sprintf("%d/root%s/secret", pid, w.top), "1/root" + w.top + "/secret",
			"thread-self/root" + w.top + "/secret", fmt.Sprintf("self/task/%d/root%s/secret", pid, w.top),
			fmt.Sprintf("self/fd/%d/../secret", w.dir("outside")), "self/map_files/0-0", "self/../self/root" + w.top + "/secret",
		} {
			for _, flags := range []wasi.Oflags{0, wasi.OflagsCreat, wasi.OflagsTrunc, wasi.OflagsDirectory} {
				if n, errno := w.open(dataFD, path, flags); errno == 0 {
					t.Errorf("%s opens, and reads %q", path, w.read(n))
					w.sys.FdClose(n)
				}
			}
			if _, errno := w.sys.PathFilestat(dataFD, wasi.LookupSymlinkFollow, path); errno == 0 {
				t.Errorf("%s is stat'ed through", path)
			}
			for name, errno := range map[string]wasi.Errno{
				"link":    w.sys.PathLink(dataFD, 0, path, rootFD, "data/hard"),
				"rename":  w.sys.PathRename(dataFD, path, rootFD, "data/stolen"),
				"unlink":  w.sys.PathUnlinkFile(dataFD, path),
				"mkdir":   w.sys.PathCreateDirectory(dataFD, path+"/new"),
				"symlink": w.sys.PathSymlink("x", dataFD, path+"/new"),
				"times":   w.sys.PathFilestatSetTimes(dataFD, wasi.LookupSymlinkFollow, path, 1e9, 1e9, wasi.FstflagsMtim),
			} {
				if errno == 0 {
					t.Errorf("%s of %s succeeds", name, path)
				}
			}
		}
		if _, err := os.Stat(w.path("root/data/hard")); err == nil {
			t.Error("a hard link to the outside was made")
		}
		intact(t, w)
	}
}

// TestRenumberCannotWidenADirectory moves descriptors over each other: what a
// number may reach goes with the file, not with the number.
func TestRenumberCannotWidenADirectory(t *testing.T) {
	w := newWorld(t)
	sub := w.mustOpen(dataFD, "sub", wasi.OflagsDirectory)
	w.ok(w.sys.FdRenumber(sub, rootFD)) // the root of the filesystem is a mere directory now
	for _, path := range []string{"/etc", "..", "../..", "/", "../../secret", "/../../../secret"} {
		if _, errno := w.open(rootFD, path, 0); errno != wasi.EPERM {
			t.Errorf("%s: %v, want EPERM", path, errno)
		}
	}
	w.want(w.sys.PathSymlink("../../../secret", rootFD, "l"), 0)
	if _, errno := w.open(rootFD, "l", 0); errno == 0 {
		t.Error("a link that the guest made leads out")
	}
	for _, fd := range []uint32{0, 1, 2} { // streams that are no files
		w.ok(w.sys.FdRenumber(fd, dataFD))
		if _, errno := w.open(dataFD, "sub", 0); errno != wasi.ENOTDIR && errno != wasi.EBADF {
			t.Errorf("a stream opens paths: %v", errno)
		}
	}
	if _, errno := w.sys.SockOpen(wasi.FamilyUnix, wasi.SocketStream); errno != 0 {
		t.Fatal(errno)
	}
	w.want(w.sys.FdRenumber(1<<32-1, rootFD), wasi.EBADF)
	w.want(w.sys.FdRenumber(rootFD, 1<<31), wasi.EBADF)
	intact(t, w)
}

// TestUnixSocketsStayInside tries to reach a socket of the host, and to make
// one there.
func TestUnixSocketsStayInside(t *testing.T) {
	w := newWorld(t)
	host := listenUnix(w, "outside/host.sock")
	w.link(w.top+"/outside/host.sock", "root/data/abs.sock")
	w.link("../../outside/host.sock", "root/data/rel.sock")
	w.link(w.top+"/outside", "root/data/absdir")
	w.link("../../outside", "root/data/reldir")
	ways := []string{
		"data/abs.sock", "/data/abs.sock", "data/rel.sock", "/data/absdir/host.sock", "/data/reldir/host.sock", "../outside/host.sock",
		w.top + "/outside/host.sock", "/../outside/host.sock", "/proc/self/root" + w.top + "/outside/host.sock", "\x00abstract",
	}
	for _, path := range ways {
		fd, errno := w.sys.SockOpen(wasi.FamilyUnix, wasi.SocketStream)
		w.ok(errno)
		if errno := w.sys.SockConnect(fd, wasi.Addr{Family: wasi.FamilyUnix, Path: path}); errno == 0 {
			t.Errorf("%q reaches a socket of the host", path)
		}
		w.sys.SockBind(fd, wasi.Addr{Family: wasi.FamilyUnix, Path: path})
		w.sys.SockBind(fd, wasi.Addr{Family: wasi.FamilyUnix, Path: path + ".new"})
		w.ok(w.sys.FdClose(fd))
		datagram, errno := w.sys.SockOpen(wasi.FamilyUnix, wasi.SocketDatagram)
		w.ok(errno)
		if _, errno := w.sys.SockSendTo(datagram, [][]byte{{1}}, wasi.Addr{Family: wasi.FamilyUnix, Path: path}); errno == 0 {
			t.Errorf("%q takes a datagram", path)
		}
		w.ok(w.sys.FdClose(datagram))
	}
	if _, _, err := unix.Accept(host); err != unix.EAGAIN {
		t.Errorf("somebody has connected: %v", err)
	}
	w.check(os.Remove(w.path("outside/host.sock")))
	intact(t, w)
}

// listenUnix makes a socket of the host that does not block.
func listenUnix(w *world, name string) int {
	w.t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	w.check(err)
	w.t.Cleanup(func() { unix.Close(fd) })
	dir := w.dir("outside") // its path may be too long for an address
	defer unix.Close(dir)
	w.check(unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/host.sock", dir)}))
	w.check(unix.Listen(fd, 8))
	return fd
}
