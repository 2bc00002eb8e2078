package hostsys_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/hostsys"
)

// mounted is a world with a directory of the host as a volume at descriptor 5.
func mounted(t *testing.T, dir string) *world {
	t.Helper()
	return newWorld(t, func(c *hostsys.Config) {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.Preopens = append(c.Preopens, hostsys.Preopen{Name: "/mnt", FD: fd})
	})
}

const mountFD = 5

// all reads a file to its end, in small pieces.
func (w *world) all(fd uint32) string {
	w.t.Helper()
	var text strings.Builder
	buf := make([]byte, 7)
	for {
		n, errno := w.sys.FdRead(fd, [][]byte{buf})
		w.ok(errno)
		if n == 0 {
			return text.String()
		}
		text.Write(buf[:n])
	}
}

func TestFilesOfProcReadToTheirEnd(t *testing.T) {
	w := mounted(t, "/proc")
	for _, name := range []string{"sys/kernel/ostype", "cpuinfo", "self/status"} {
		fd := w.mustOpen(mountFD, name, 0)
		st, errno := w.sys.FdFilestat(fd)
		w.ok(errno)
		if st.Size != 0 || st.Filetype != wasi.FiletypeRegularFile {
			t.Errorf("%s: %+v", name, st)
		}
		text := w.all(fd)
		if len(text) < 5 || !strings.HasSuffix(text, "\n") {
			t.Errorf("%s reads %q", name, text)
		}
		if events := w.poll(wasi.Subscription{Type: wasi.EventFdRead, FD: fd}); len(events) != 1 || events[0].Errno != 0 {
			t.Errorf("%s: events %+v", name, events)
		}
		w.ok(w.sys.FdClose(fd))
	}
}

func TestDevices(t *testing.T) {
	w := mounted(t, "/dev")
	zero := w.mustOpen(mountFD, "zero", 0)
	buf := []byte("not zero")
	if n, errno := w.sys.FdRead(zero, [][]byte{buf}); n != len(buf) || errno != 0 || string(buf) != strings.Repeat("\x00", len(buf)) {
		t.Errorf("/dev/zero: %d bytes, %v, %q", n, errno, buf)
	}
	full := w.mustOpen(mountFD, "full", 0)
	if _, errno := w.sys.FdWrite(full, [][]byte{buf}); errno != wasi.ENOSPC {
		t.Errorf("write to /dev/full: %v, want ENOSPC", errno)
	}
	w.want(w.sys.FdAllocate(full, 0, 1), wasi.ENODEV)
	if st, _ := w.sys.FdFdstat(zero); st.Filetype != wasi.FiletypeCharacterDevice || st.Rights&wasi.RightFdSeek == 0 {
		t.Errorf("/dev/zero looks like a terminal: %+v", st)
	}
}

// TestDevicesWithFewerPermissions: a marked node binds root, too.
func TestDevicesWithFewerPermissions(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]uint32{"read": 0o1444, "write": 0o1222, "none": 0o1000, "plain": 0o444} {
		err := unix.Mknod(dir+"/"+name, unix.S_IFCHR|mode, int(unix.Mkdev(1, 3)))
		if errors.Is(err, unix.EPERM) {
			t.Skip("needs the right to make device nodes")
		}
		if err == nil {
			err = unix.Chmod(dir+"/"+name, mode) // whatever the umask is
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w := mounted(t, dir)
	read, write := wasi.RightFdRead, wasi.RightFdWrite
	for _, tt := range []struct {
		name   string
		rights wasi.Rights
		want   wasi.Errno
	}{
		{"read", read, 0}, {"read", write, wasi.EPERM}, {"read", read | write, wasi.EPERM}, {"read", 0, 0},
		{"write", read, wasi.EPERM}, {"write", write, 0}, {"write", read | write, wasi.EPERM}, {"write", 0, wasi.EPERM},
		{"none", read, wasi.EPERM}, {"none", write, wasi.EPERM},
	} {
		if _, errno := w.sys.PathOpen(mountFD, 0, tt.name, 0, tt.rights, 0, 0); errno != tt.want {
			t.Errorf("%s with rights %#x: got %v, want %v", tt.name, tt.rights, errno, tt.want)
		}
	}
	if _, errno := w.sys.PathOpen(mountFD, 0, "plain", 0, write, 0, 0); os.Geteuid() == 0 && errno != 0 {
		t.Errorf("root cannot write to a node without a mark: %v", errno)
	}
}

func TestFifosAndSocketFiles(t *testing.T) {
	dir := t.TempDir()
	w := mounted(t, dir)
	w.check(unix.Mkfifo(dir+"/fifo", 0o600))
	l, err := net.Listen("unix", dir+"/socket")
	w.check(err)
	defer l.Close()
	_, errno := w.open(mountFD, "socket", 0)
	w.want(errno, wasi.ENXIO)
	if st, errno := w.sys.PathFilestat(mountFD, 0, "socket"); errno != 0 || st.Filetype != wasi.FiletypeSocketStream {
		t.Errorf("a socket's file: %+v, %v", st, errno)
	}
	_, errno = w.sys.PathOpen(mountFD, 0, "fifo", 0, wasi.RightFdWrite, 0, wasi.FdflagsNonblock)
	w.want(errno, wasi.ENXIO) // nobody reads
	r, errno := w.sys.PathOpen(mountFD, 0, "fifo", 0, wasi.RightFdRead, 0, wasi.FdflagsNonblock)
	w.ok(errno)
	if got := w.all(r); got != "" {
		t.Errorf("a fifo without writers reads %q, want its end", got)
	}
	wr, errno := w.sys.PathOpen(mountFD, 0, "fifo", 0, wasi.RightFdWrite, 0, wasi.FdflagsNonblock)
	w.ok(errno)
	_, errno = w.sys.FdRead(r, [][]byte{make([]byte, 1)})
	w.want(errno, wasi.EAGAIN)
	_, errno = w.sys.FdWrite(wr, [][]byte{[]byte("through")})
	w.ok(errno)
	if e := w.poll(wasi.Subscription{Type: wasi.EventFdRead, FD: r}); len(e) != 1 || e[0].NBytes != 7 {
		t.Errorf("events %+v, want 7 bytes to read", e)
	}
	for name, errno := range map[string]wasi.Errno{
		"seek": errnoOf2(w.sys.FdSeek(r, 0, wasi.WhenceCur)), "pread": errnoOf2(w.sys.FdPread(r, [][]byte{{0}}, 0)),
		"pwrite": errnoOf2(w.sys.FdPwrite(wr, [][]byte{{0}}, 0)), "allocate": w.sys.FdAllocate(wr, 0, 1), "advise": w.sys.FdAdvise(r, 0, 0, 0),
	} {
		if errno != wasi.ESPIPE {
			t.Errorf("%s of a fifo: %v, want ESPIPE", name, errno)
		}
	}
	w.want(w.sys.FdFilestatSetSize(wr, 0), wasi.EINVAL)
	w.ok(w.sys.FdClose(wr))
	if e := w.poll(wasi.Subscription{Type: wasi.EventFdRead, FD: r}); len(e) != 1 || e[0].Flags&wasi.EventHangup == 0 || e[0].NBytes != 7 {
		t.Errorf("events %+v, want a hang-up with 7 bytes", e)
	}
	if got := w.all(r); got != "through" {
		t.Errorf("read %q", got)
	}
	w.ok(w.sys.FdClose(r))
}

func errnoOf2[T any](_ T, errno wasi.Errno) wasi.Errno { return errno }

// terminal makes a pseudo terminal.
func terminal(t *testing.T) (master *os.File, slave string) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return master, strconv.Itoa(n)
}

// TestTerminals does what wasi-libc's isatty looks at, for one that is opened
// and for one that is the standard input.
func TestTerminals(t *testing.T) {
	master, name := terminal(t)
	slave, err := unix.Open("/dev/pts/"+name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *hostsys.Config) {
		c.Stdin = hostsys.Stream{FD: slave}
		fd, err := unix.Open("/dev/pts", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.Preopens = append(c.Preopens, hostsys.Preopen{Name: "/dev/pts", FD: fd})
	})
	opened := w.mustOpen(mountFD, name, 0)
	for _, fd := range []uint32{0, opened} {
		st, errno := w.sys.FdFdstat(fd)
		w.ok(errno)
		if st.Filetype != wasi.FiletypeCharacterDevice || st.Rights&(wasi.RightFdSeek|wasi.RightFdTell) != 0 {
			t.Errorf("descriptor %d is no terminal to a guest: %+v", fd, st)
		}
		_, errno = w.sys.FdSeek(fd, 0, wasi.WhenceCur)
		w.want(errno, wasi.ESPIPE)
	}
	fmt.Fprint(master, "line\n")
	events := w.poll(
		wasi.Subscription{Userdata: 1, Type: wasi.EventFdRead}, wasi.Subscription{Userdata: 2, Type: wasi.EventFdWrite},
		wasi.Subscription{Userdata: 3, Type: wasi.EventClock, Clock: wasi.ClockMonotonic, Timeout: 3600e9},
	)
	if len(events) != 2 || events[0].NBytes != 5 || events[1].Userdata != 2 {
		t.Errorf("events %+v, want 5 bytes to read, and that it can be written", events)
	}
	if got := w.read(0); got != "line\n" {
		t.Errorf("read %q", got)
	}
	master.Close()
	events = w.poll(wasi.Subscription{Type: wasi.EventFdRead})
	if len(events) != 1 || events[0].Flags&wasi.EventHangup == 0 {
		t.Errorf("events %+v, want a hang-up", events)
	}
	w.ok(w.sys.FdClose(opened))
}
