package preview1_test

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/hostsys"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/preview1"
)

const module = "wasi_snapshot_preview1"

// guest drives a Host as a module would: by names, raw values and a memory.
type guest struct {
	t    testing.TB
	host *preview1.Host
	mem  []byte
	dir  string // on the host, preopened as / at 3
}

func newGuest(t testing.TB, change ...func(*hostsys.Config)) *guest {
	t.Helper()
	dir := t.TempDir()
	c := hostsys.Config{
		Args: [][]byte{[]byte("guest"), []byte("-v")}, Env: [][]byte{[]byte("A=1")},
		Stdin: hostsys.Null, Stdout: hostsys.Null, Stderr: hostsys.Null,
		Preopens: []hostsys.Preopen{{Name: "/", FD: openDir(t, dir), IsRoot: true}},
	}
	for _, f := range change {
		f(&c)
	}
	sys, err := hostsys.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for fd := uint32(0); fd < 4096; fd++ {
			sys.FdClose(fd)
		}
	})
	return &guest{t: t, host: preview1.NewHost(sys), mem: make([]byte, 64<<10), dir: dir}
}

func openDir(t testing.TB, dir string) int {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// find gives a function of preview1 by name and number of parameters.
func find(t testing.TB, module, name string, params int) (preview1.Func, preview1.Import) {
	t.Helper()
	for _, im := range preview1.Imports() {
		if im.Module != module || im.Name != name || (params >= 0 && len(im.Params) != params) {
			continue
		}
		f, ok := preview1.Lookup(im.Module, im.Name, im.Params, im.Results)
		if !ok {
			t.Fatalf("%s is listed but not found", name)
		}
		return f, im
	}
	t.Fatalf("no import %s.%s with %d parameters", module, name, params)
	return nil, preview1.Import{}
}

func (g *guest) call(name string, args ...uint64) wasi.Errno {
	g.t.Helper()
	f, _ := find(g.t, module, name, len(args))
	return f(g.host, g.mem, args)
}

func (g *guest) must(name string, args ...uint64) {
	g.t.Helper()
	if errno := g.call(name, args...); errno != 0 {
		g.t.Fatalf("%s%v = %v", name, args, errno)
	}
}

func (g *guest) put(at int, s string) (ptr, n uint64) {
	return uint64(at), uint64(copy(g.mem[at:], s))
}

func (g *guest) u32(at int) uint32       { return binary.LittleEndian.Uint32(g.mem[at:]) }
func (g *guest) u64(at int) uint64       { return binary.LittleEndian.Uint64(g.mem[at:]) }
func (g *guest) setU32(at int, v uint32) { binary.LittleEndian.PutUint32(g.mem[at:], v) }
func (g *guest) setU64(at int, v uint64) { binary.LittleEndian.PutUint64(g.mem[at:], v) }

// open opens a path beneath / with all rights.
func (g *guest) open(path string, oflags wasi.Oflags) uint32 {
	g.t.Helper()
	const pathAt, fdAt = 60000, 65000
	p, n := g.put(pathAt, path)
	g.must("path_open", 3, 1, p, n, uint64(oflags), 0, 0, 0, fdAt)
	return g.u32(fdAt)
}

// iovec writes one vector at a place.
func (g *guest) iovec(at int, ptr, n uint32) {
	g.setU32(at, ptr)
	g.setU32(at+4, n)
}

func TestEveryImportIsFoundWithItsTypesOnly(t *testing.T) {
	count := map[string]int{}
	for _, im := range preview1.Imports() {
		if _, ok := preview1.Lookup(im.Module, im.Name, im.Params, im.Results); !ok {
			t.Errorf("%s.%s is not found", im.Module, im.Name)
		}
		if _, ok := preview1.Lookup(im.Module, im.Name, append([]byte{0x7d}, im.Params...), im.Results); ok {
			t.Errorf("%s.%s is found with one more parameter", im.Module, im.Name)
		}
		if _, ok := preview1.Lookup("env", im.Name, im.Params, im.Results); ok {
			t.Errorf("env.%s is found", im.Name)
		}
		count[im.Module]++
	}
	if count[module] < 46 || count["wasi_unstable"] < 45 {
		t.Errorf("got %v functions, want at least 46 and 45", count)
	}
}

func TestArgsAndEnvironment(t *testing.T) {
	g := newGuest(t)
	g.must("args_sizes_get", 0, 4)
	if got := [2]uint32{g.u32(0), g.u32(4)}; got != [2]uint32{2, 9} {
		t.Errorf("args_sizes_get gave %v, want 2 and 9", got)
	}
	g.must("args_get", 0, 100)
	if got := string(g.mem[g.u32(4):][:3]); got != "-v\x00" {
		t.Errorf("argument 1 is %q", got)
	}
	g.must("environ_sizes_get", 0, 4)
	g.must("environ_get", 0, 100)
	if got := string(g.mem[g.u32(0):][:4]); got != "A=1\x00" {
		t.Errorf("variable 0 is %q", got)
	}
	if errno := g.call("args_get", 0, 64<<10-8); errno != wasi.EFAULT {
		t.Errorf("strings beyond the memory: %v, want EFAULT", errno)
	}
}

func TestProcExitAndRaise(t *testing.T) {
	for _, c := range []struct {
		name string
		arg  uint64
		code uint32
		ok   bool
	}{
		{"proc_exit", 3, 3, true}, {"proc_raise", 15, 128 + 15, true}, {"proc_raise", 6, 134, true},
		{"proc_raise", 0, 0, false}, {"proc_raise", 16, 0, false},
	} {
		g := newGuest(t)
		g.must(c.name, c.arg)
		if code, ok := g.host.Exited(); code != c.code || ok != c.ok {
			t.Errorf("%s(%d): exited %d %v, want %d %v", c.name, c.arg, code, ok, c.code, c.ok)
		}
	}
	if errno := newGuest(t).call("proc_raise", 99); errno != wasi.EINVAL {
		t.Errorf("an unknown signal: %v, want EINVAL", errno)
	}
}

func TestUnstableLayouts(t *testing.T) {
	g := newGuest(t)
	fd := g.open("f", wasi.OflagsCreat)
	g.iovec(0, 100, 10)
	g.must("fd_write", uint64(fd), 0, 1, 16)
	stat, _ := find(t, "wasi_unstable", "fd_filestat_get", 2)
	if errno := stat(g.host, g.mem, []uint64{uint64(fd), 200}); errno != 0 {
		t.Fatal(errno)
	}
	if kind, links, size := g.mem[216], g.u32(220), g.u64(224); kind != byte(wasi.FiletypeRegularFile) || links != 1 || size != 10 {
		t.Errorf("filestat has type %d, links %d, size %d; want 4, 1, 10", kind, links, size)
	}
	seek, _ := find(t, "wasi_unstable", "fd_seek", 4)
	if errno := seek(g.host, g.mem, []uint64{uint64(fd), ^uint64(0), 1, 300}); errno != 0 || g.u64(300) != 9 {
		t.Errorf("seek from the end (1): %v, at %d; want 9", errno, g.u64(300))
	}
}

// TestUnstablePolls has subscriptions of 56 bytes, in which the clock has a
// number of the guest's own in front.
func TestUnstablePolls(t *testing.T) {
	g := newGuest(t)
	fd := g.open("f", wasi.OflagsCreat)
	const in, out, result, size = 1024, 2048, 3000, 56
	g.setU64(in, 7)                              // user data
	g.setU64(in+16, 99)                          // the guest's number for the clock
	g.setU32(in+24, uint32(wasi.ClockMonotonic)) // the clock
	g.setU64(in+32, 1000)                        // nanoseconds
	g.setU64(in+size, 8)                         // user data
	g.mem[in+size+8] = byte(wasi.EventFdWrite)   // type
	g.setU32(in+size+16, fd)                     // descriptor
	poll, _ := find(t, "wasi_unstable", "poll_oneoff", 4)
	if errno := poll(g.host, g.mem, []uint64{in, out, 1, result}); errno != 0 || g.u32(result) != 1 || g.u64(out) != 7 {
		t.Errorf("the clock: %v, %d events, the first of %d", errno, g.u32(result), g.u64(out))
	}
	if errno := poll(g.host, g.mem, []uint64{in + size, out, 1, result}); errno != 0 || g.u64(out) != 8 || g.mem[out+10] != byte(wasi.EventFdWrite) {
		t.Errorf("the file: %v, event of %d, type %d", errno, g.u64(out), g.mem[out+10])
	}
	g.mem[in+48] = 2 // a flag that there is not
	if errno := poll(g.host, g.mem, []uint64{in, out, 1, result}); errno != wasi.EINVAL {
		t.Errorf("an unknown flag: %v, want EINVAL", errno)
	}
	stat, _ := find(t, "wasi_unstable", "path_filestat_get", 5)
	p, n := g.put(4000, "f")
	if errno := stat(g.host, g.mem, []uint64{3, 0, p, n, out}); errno != 0 || g.mem[out+16] != byte(wasi.FiletypeRegularFile) || g.u32(out+20) != 1 {
		t.Errorf("filestat by path: %v, type %d, links %d", errno, g.mem[out+16], g.u32(out+20))
	}
	for _, im := range preview1.Imports() {
		if im.Module == "wasi_unstable" && im.Name == "sock_accept" {
			t.Error("wasi_unstable has a sock_accept, which came later")
		}
	}
}
