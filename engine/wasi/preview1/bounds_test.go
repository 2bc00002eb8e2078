package preview1_test

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/hostsys"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/preview1"
)

// absurd are values that a hostile guest gives for pointers, lengths, counts,
// descriptors and flags of a memory of 64 KiB.
var absurd = []uint64{
	0, 1, 2, 3, 4, 7, 8, 16, 48, 64, 1 << 10, 1<<16 - 48, 1<<16 - 8, 1<<16 - 4, 1<<16 - 1, 1 << 16, 1<<16 + 1, 1 << 20,
	1<<28 - 1, 1 << 28, 1<<31 - 1, 1 << 31, 1<<32 - 4, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1,
}

const i32 = 0x7f

// driven are the functions that a random caller may call: all but sock_open,
// since a socket may be made to wait or to reach the network.
func driven() (funcs []preview1.Func, imports []preview1.Import) {
	for _, im := range preview1.Imports() {
		if im.Name == "sock_open" {
			continue
		}
		f, _ := preview1.Lookup(im.Module, im.Name, im.Params, im.Results)
		funcs, imports = append(funcs, f), append(imports, im)
	}
	return funcs, imports
}

// tame makes a guest that cannot wait or fill the disk. Its name server is an
// address to which the kernel sends nothing; its socket, descriptor 4, is a
// local one whose peer has gone: it is always ready, and reaches nobody.
func tame(t testing.TB) *guest {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(pair[1])
	g := newGuest(t, func(c *hostsys.Config) { c.Listeners = []int{pair[0]} })
	if err := os.MkdirAll(filepath.Join(g.dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(g.dir, "etc/resolv.conf"), []byte("nameserver 255.255.255.255\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	all := wasi.RightsDirectory | wasi.RightsFile
	g.must("fd_fdstat_set_rights", 3, uint64(wasi.RightsDirectory), uint64(all&^wasi.RightFdAllocate))
	return g
}

// clamp makes an argument what the engine would pass for the type.
func clamp(v uint64, kind byte) uint64 {
	if kind == i32 {
		return uint64(uint32(v))
	}
	return v
}

// noClocks keeps subscriptions of poll_oneoff from waiting.
func noClocks(g *guest, im preview1.Import, args []uint64) {
	size := map[string]uint64{module: 48, "wasi_unstable": 56}[im.Module]
	for i := range min(args[2], 2000) {
		if at := args[0] + i*size + 8; at < uint64(len(g.mem)) && g.mem[at] == byte(wasi.EventClock) {
			g.mem[at] = byte(wasi.EventFdRead)
		}
	}
}

// drive makes one call and checks what must hold for any.
func drive(t testing.TB, g *guest, f preview1.Func, im preview1.Import, args []uint64) {
	t.Helper()
	for i := range args {
		args[i] = clamp(args[i], im.Params[i])
	}
	if im.Name == "poll_oneoff" {
		noClocks(g, im, args)
	}
	if errno := f(g.host, g.mem, args); errno > 100 {
		t.Errorf("%s%v gave %d, which is no errno", im.Name, args, errno)
	}
}

func TestAbsurdArgumentsGiveAnErrno(t *testing.T) {
	g := tame(t)
	funcs, imports := driven()
	random := rand.New(rand.NewPCG(1, 2))
	const calls, most = 400, 1 << 20 // bytes of allocation for each, on average
	for i, f := range funcs {
		before := allocated()
		for n := range calls {
			args := make([]uint64, len(imports[i].Params))
			for a := range args {
				args[a] = absurd[random.IntN(len(absurd))]
			}
			for at := 0; n%20 == 0 && at < len(g.mem); at += 8 {
				binary.LittleEndian.PutUint64(g.mem[at:], absurd[random.IntN(len(absurd))])
			}
			drive(t, g, f, imports[i], args)
		}
		if grown := (allocated() - before) / calls; grown > most {
			t.Errorf("%s allocates %d bytes for a call", imports[i].Name, grown)
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// TestPointersBeyondMemoryFault checks each function that takes a pointer with
// all pointers beyond the memory.
func TestPointersBeyondMemoryFault(t *testing.T) {
	g := newGuest(t)
	file := uint64(g.open("file", wasi.OflagsCreat))
	const beyond = 1 << 16
	for _, c := range []struct {
		name string
		args []uint64
	}{
		{"args_get", []uint64{beyond, beyond}}, {"args_sizes_get", []uint64{0, beyond}}, {"args_sizes_get", []uint64{beyond, 0}},
		{"environ_get", []uint64{beyond, 0}}, {"environ_sizes_get", []uint64{0, beyond - 3}},
		{"clock_res_get", []uint64{0, beyond - 7}}, {"clock_time_get", []uint64{0, 0, beyond - 7}},
		{"fd_fdstat_get", []uint64{3, beyond - 23}}, {"fd_filestat_get", []uint64{3, beyond - 63}},
		{"fd_read", []uint64{file, beyond - 7, 1, 0}}, {"fd_read", []uint64{file, 0, 0, beyond - 3}},
		{"fd_write", []uint64{file, 1 << 31, 1, 0}}, {"fd_pread", []uint64{file, beyond, 1, 0, 0}},
		{"fd_pwrite", []uint64{file, 0, 0, 0, beyond}}, {"fd_prestat_get", []uint64{3, beyond - 7}},
		{"fd_prestat_dir_name", []uint64{3, beyond, 1}}, {"fd_readdir", []uint64{3, beyond - 1, 2, 0, 0}},
		{"fd_readdir", []uint64{3, 0, 100, 0, beyond}}, {"fd_seek", []uint64{file, 0, 0, beyond - 7}},
		{"fd_tell", []uint64{file, beyond}}, {"path_create_directory", []uint64{3, beyond, 1}},
		{"path_filestat_get", []uint64{3, 0, beyond, 1, 0}}, {"path_link", []uint64{3, 0, beyond, 1, 3, 0, 1}},
		{"path_open", []uint64{3, 0, beyond, 1, 0, 0, 0, 0, 0}}, {"path_open", []uint64{3, 0, 0, 1, 0, 0, 0, 0, beyond}},
		{"path_readlink", []uint64{3, 0, 1, beyond, 1, 0}}, {"path_remove_directory", []uint64{3, beyond, 1}},
		{"path_rename", []uint64{3, 0, 1, 3, beyond, 1}}, {"path_symlink", []uint64{beyond, 1, 3, 0, 1}},
		{"path_unlink_file", []uint64{3, 1<<32 - 1, 1}}, {"poll_oneoff", []uint64{beyond - 47, 0, 1, 0}},
		{"poll_oneoff", []uint64{0, beyond - 31, 1, 0}}, {"poll_oneoff", []uint64{0, 0, 1, beyond}},
		{"random_get", []uint64{0, beyond + 1}}, {"sock_accept", []uint64{3, 0, beyond}},
		{"sock_recv", []uint64{3, 0, 0, 0, beyond, 0}}, {"sock_send", []uint64{3, 0, 0, 0, beyond}},
	} {
		if errno := g.call(c.name, c.args...); errno != wasi.EFAULT {
			t.Errorf("%s%v = %v, want EFAULT", c.name, c.args, errno)
		}
	}
}

func TestCountsAreBounded(t *testing.T) {
	g := newGuest(t)
	for _, c := range []struct {
		name string
		args []uint64
	}{
		{"fd_read", []uint64{0, 0, 1 << 28, 0}}, {"fd_write", []uint64{1, 0, 1025, 0}}, {"poll_oneoff", []uint64{0, 0, 1 << 28, 0}},
		{"poll_oneoff", []uint64{0, 0, 0, 0}}, {"sock_recv", []uint64{3, 0, 1 << 28, 0, 0, 0}},
	} {
		if errno := g.call(c.name, c.args...); errno != wasi.EINVAL {
			t.Errorf("%s%v = %v, want EINVAL", c.name, c.args, errno)
		}
	}
	if errno := g.call("path_open", 3, 0, 0, 5000, 0, 0, 0, 0, 0); errno != wasi.ENAMETOOLONG {
		t.Errorf("a path of 5000 bytes: %v, want ENAMETOOLONG", errno)
	}
}

// TestAResultThatFaultsLosesNothing opens with a place for the descriptor that
// is beyond the memory: no descriptor may be left.
func TestAResultThatFaultsLosesNothing(t *testing.T) {
	g := newGuest(t)
	p, n := g.put(0, "f")
	if errno := g.call("path_open", 3, 0, p, n, uint64(wasi.OflagsCreat), 0, 0, 0, 1<<16-3); errno != wasi.EFAULT {
		t.Fatalf("path_open = %v, want EFAULT", errno)
	}
	if fd := g.open("f", wasi.OflagsCreat); fd != 4 {
		t.Errorf("the next descriptor is %d, want 4", fd)
	}
}

func FuzzCalls(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03 path_open \x04\x05\x06\x07"))
	for i := range byte(100) {
		f.Add([]byte{i, 3, 1, 8, 4, 0, 2, 16, 9, 7, i, 4, 4, 4, 4, 4, 4, 4})
	}
	funcs, imports := driven()
	f.Fuzz(func(t *testing.T, program []byte) {
		g := tame(t)
		copy(g.mem[256:], program)
		copy(g.mem[1024:], "a/../b\x00link../..//etc/passwd")
		for calls := 0; len(program) > 0 && calls < 32; calls++ {
			i := int(program[0]) % len(funcs)
			program = program[1:]
			args := make([]uint64, len(imports[i].Params))
			for a := range args {
				if len(program) == 0 {
					break
				}
				args[a] = value(program[0])
				program = program[1:]
			}
			drive(t, g, funcs[i], imports[i], args)
		}
	})
}

// value makes an argument of a byte: small numbers, places, and absurd ones.
func value(b byte) uint64 {
	switch {
	case b < 16:
		return uint64(b)
	case b < 200:
		return uint64(b) * 8
	}
	return absurd[int(b)%len(absurd)]
}
