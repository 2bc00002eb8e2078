package trace

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/hostsys"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/preview1"
)

// guest calls functions as a module would, and keeps the trace.
type guest struct {
	t      *testing.T
	host   *preview1.Host
	tracer *Tracer
	trace  bytes.Buffer
	mem    []byte
	free   uint64
}

// newGuest makes a guest with a directory of its own as root and output that
// is discarded.
func newGuest(t *testing.T) (g *guest, dir string) {
	t.Helper()
	dir = t.TempDir()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	sys, err := hostsys.New(hostsys.Config{
		Args: [][]byte{[]byte("guest")}, Env: [][]byte{[]byte("A=1")},
		Stdin: hostsys.Null, Stdout: hostsys.Null, Stderr: hostsys.Null,
		Preopens: []hostsys.Preopen{{Name: "/", FD: fd, IsRoot: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	g = &guest{t: t, host: preview1.NewHost(sys), mem: make([]byte, 1<<16), free: 1024}
	g.tracer = New(&g.trace)
	g.tracer.now = func() time.Time { return time.Time{} }
	return g, dir
}

// put writes data to memory and gives its place.
func (g *guest) put(data string) uint64 {
	at := g.free
	copy(g.mem[at:], data)
	g.free += uint64(len(data)+7) &^ 7
	return at
}

func (g *guest) room(n int) uint64 { return g.put(strings.Repeat("\x00", n)) }

func (g *guest) vectors(bufs ...uint64) uint64 {
	raw := make([]byte, 4*len(bufs))
	for i, v := range bufs {
		binary.LittleEndian.PutUint32(raw[4*i:], uint32(v))
	}
	return g.put(string(raw))
}

// call calls a function of the type that types spells: i or I for each value.
func (g *guest) call(module, name, types string, args ...uint64) uint16 {
	g.t.Helper()
	params := bytes.NewBufferString(strings.NewReplacer("i", "\x7f", "I", "\x7e").Replace(types)).Bytes()
	results := []byte{0x7f}
	if name == "proc_exit" {
		results = nil
	}
	f, ok := preview1.Lookup(module, name, params, results)
	if !ok {
		g.t.Fatalf("no %s.%s of type %s", module, name, types)
	}
	return uint16(g.tracer.Wrap(module, name, params, f)(g.host, g.mem, args))
}

const p1 = "wasi_snapshot_preview1"

func TestLinesOfAFilesLife(t *testing.T) {
	g, dir := newGuest(t)
	name, result, stat := g.put("notes.txt"), g.room(8), g.room(64)
	hello, buf := g.put("hello, trace"), g.room(32)
	g.call(p1, "path_open", "iiiiiIIii", 3, 1, name, 9, 1, 0x42, 0, 0, result)
	g.call(p1, "fd_write", "iiii", 4, g.vectors(hello, 5, hello+5, 7), 2, result)
	g.call(p1, "fd_seek", "iIii", 4, 0, 0, result)
	g.call(p1, "fd_read", "iiii", 4, g.vectors(buf, 32), 1, result)
	g.call(p1, "path_filestat_get", "iiiii", 3, 0, name, 9, stat)
	g.call(p1, "fd_fdstat_set_flags", "ii", 4, 5)
	g.call(p1, "fd_close", "i", 4)
	g.call(p1, "fd_close", "i", 4)
	g.call(p1, "path_unlink_file", "iii", 3, g.put("absent"), 6)
	g.call(p1, "fd_prestat_get", "ii", 3, result)
	g.call(p1, "fd_prestat_dir_name", "iii", 3, buf, 1)
	g.call(p1, "path_rename", "iiiiii", 3, name, 9, 3, g.put("b"), 1)
	g.call(p1, "proc_exit", "i", 3)
	want := `path_open(fd=3, flags=follow, path="notes.txt", oflags=creat, base=0x42, inheriting=0x0, fdflags=0) = success opened=4 <0µs>
fd_write(fd=4, iovs=["hello"/5 ", trace"/7]) = success nwritten=12 <0µs>
fd_seek(fd=4, offset=0, whence=set) = success position=0 <0µs>
fd_read(fd=4, iovs=[32]) = success nread=12/"hello, trace" <0µs>
path_filestat_get(fd=3, flags=0, path="notes.txt") = success stat=regular_file/nlink:1/size:12 <0µs>
fd_fdstat_set_flags(fd=4, flags=append|nonblock) = success <0µs>
fd_close(fd=4) = success <0µs>
fd_close(fd=4) = bad file descriptor <0µs>
path_unlink_file(fd=3, path="absent") = no such file or directory <0µs>
fd_prestat_get(fd=3) = success stat=dir/1 <0µs>
fd_prestat_dir_name(fd=3) = success name="/" <0µs>
path_rename(fd=3, path="notes.txt", new_fd=3, new_path="b") = success <0µs>
proc_exit(code=3) = success <0µs>
`
	compare(t, g.trace.String(), want)
	if b, err := os.ReadFile(filepath.Join(dir, "b")); err != nil || string(b) != "hello, trace" {
		t.Errorf("file is %q, %v", b, err)
	}
}

func TestLinesOfUnstable(t *testing.T) {
	g, dir := newGuest(t)
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("1234567"), 0o644); err != nil {
		t.Fatal(err)
	}
	name, result, stat := g.put("f"), g.room(8), g.room(64)
	g.call("wasi_unstable", "path_open", "iiiiiIIii", 3, 0, name, 1, 0, 2, 0, 0, result)
	g.call("wasi_unstable", "fd_seek", "iIii", 4, 0, 1, result) // 1 is the end here
	g.call("wasi_unstable", "fd_filestat_get", "ii", 4, stat)
	want := `path_open(fd=3, flags=0, path="f", oflags=0, base=0x2, inheriting=0x0, fdflags=0) = success opened=4 <0µs>
fd_seek(fd=4, offset=0, whence=end) = success position=7 <0µs>
fd_filestat_get(fd=4) = success stat=regular_file/nlink:1/size:7 <0µs>
`
	compare(t, g.trace.String(), want)
}

func TestPointersOutsideMemoryAreToldAsSuch(t *testing.T) {
	g, _ := newGuest(t)
	const far = 1<<32 - 2
	g.call(p1, "path_create_directory", "iii", 3, far, 9)
	g.call(p1, "fd_write", "iiii", 1, far, 1<<28, 0)
	g.call(p1, "fd_write", "iiii", 1, g.vectors(far, 9), 1, far)
	g.call(p1, "clock_time_get", "iIi", 1, 0, far)
	want := `path_create_directory(fd=3, path=(outside memory)) = bad address <0µs>
fd_write(fd=1, iovs=(outside memory)) = invalid argument <0µs>
fd_write(fd=1, iovs=[9]) = bad address <0µs>
clock_time_get(id=monotonic, precision=0) = bad address <0µs>
`
	compare(t, g.trace.String(), want)
}

func TestLongDataIsCut(t *testing.T) {
	g, _ := newGuest(t)
	data := g.put(strings.Repeat("x", 100))
	g.call(p1, "fd_write", "iiii", 1, g.vectors(data, 100), 1, g.room(4))
	want := `fd_write(fd=1, iovs=["` + strings.Repeat("x", 32) + `".../100]) = success nwritten=100 <0µs>` + "\n"
	compare(t, g.trace.String(), want)
}

func TestEveryImportHasASpec(t *testing.T) {
	for _, im := range preview1.Imports() {
		list := paramsOf(im.Module, im.Name, im.Params)
		if len(im.Params) > 0 && (len(list) == 0 || list[0].name == "arg") {
			t.Errorf("%s.%s with %d values has no spec", im.Module, im.Name, len(im.Params))
		}
	}
}

func TestUnknownFunctionsShowTheirValues(t *testing.T) {
	list := paramsOf("other", "mystery", []byte{0x7f, 0x7e})
	tr := New(nil)
	tr.arguments(list, nil, []uint64{1<<40 + 7, 1 << 40})
	if got, want := string(tr.line), "arg=7, arg=1099511627776"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func compare(t *testing.T, got, want string) {
	t.Helper()
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(w)) {
		var a, b string
		if i < len(g) {
			a = g[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			t.Errorf("line %d\n got %s\nwant %s", i+1, a, b)
		}
	}
}

func TestDatedLines(t *testing.T) {
	g, _ := newGuest(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	g.tracer = NewDated(&g.trace, "exec 12ab")
	g.tracer.now = func() time.Time { return at }
	g.tracer.Note("begins")
	g.call("wasi_snapshot_preview1", "fd_close", "i", 3)
	const want = "2026-01-02T03:04:05.000000006Z [exec 12ab] # begins\n" +
		"2026-01-02T03:04:05.000000006Z [exec 12ab] fd_close(fd=3) = success <0µs>\n"
	if got := g.trace.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A call under way when the process ends has its line, and none after it.
func TestEndWritesTheCallUnderWay(t *testing.T) {
	g, _ := newGuest(t)
	wrapped := g.tracer.Wrap("wasi_snapshot_preview1", "fd_sync", []byte{0x7f}, func(*preview1.Host, []byte, []uint64) wasi.Errno {
		g.tracer.End()
		return 0
	})
	for range 2 {
		wrapped(g.host, g.mem, []uint64{7})
	}
	g.tracer.Note("exit code 143")
	if got, want := g.trace.String(), "fd_sync(fd=7) = ?\n# exit code 143\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func BenchmarkCall(b *testing.B) {
	call, _ := preview1.Lookup("wasi_snapshot_preview1", "fd_seek", []byte{0x7f, 0x7e, 0x7f, 0x7f}, []byte{0x7f})
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	for _, c := range []struct {
		name string
		call preview1.Func
	}{{"off", call}, {"on", NewDated(null, "").Wrap("wasi_snapshot_preview1", "fd_seek", []byte{0x7f, 0x7e, 0x7f, 0x7f}, call)}} {
		b.Run(c.name, func(b *testing.B) {
			fd, err := unix.Open(b.TempDir(), unix.O_TMPFILE|unix.O_RDWR, 0o600)
			if err != nil {
				b.Fatal(err)
			}
			sys, err := hostsys.New(hostsys.Config{Stdin: hostsys.Stream{FD: fd}, Stdout: hostsys.Null, Stderr: hostsys.Null})
			if err != nil {
				b.Fatal(err)
			}
			host, mem, args := preview1.NewHost(sys), make([]byte, 1<<16), []uint64{0, 1, 0, 64}
			b.ReportAllocs()
			for b.Loop() {
				if errno := c.call(host, mem, args); errno != 0 {
					b.Fatal(errno)
				}
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	g, _ := newGuest(t)
	fd := g.room(4)
	g.call("wasi_snapshot_preview1", "sock_open", "iii", 1, 2, fd)
	ip := g.put("\x7f\x00\x00\x01")
	g.call("wasi_snapshot_preview1", "sock_connect", "iii", uint64(binary.LittleEndian.Uint32(g.mem[fd:])), g.vectors(ip, 4), 1)
	g.call("wasi_snapshot_preview1", "sock_bind", "iii", 3, 1<<16-4, 1)
	for _, want := range []string{
		"sock_open(family=1, type=2) = success opened=4 <0µs>\n",
		"sock_connect(fd=4, addr=127.0.0.1, port=1) = connection refused <0µs>\n",
		"sock_bind(fd=3, addr=(outside memory), port=1) = bad address <0µs>\n",
	} {
		if !strings.Contains(g.trace.String(), want) {
			t.Errorf("the trace has no %s%s", want, g.trace.String())
		}
	}
}

func TestLinesOfLists(t *testing.T) {
	g, dir := newGuest(t)
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	buf, result := g.room(4096), g.room(8)
	g.call(p1, "path_readlink", "iiiiii", 3, g.put("link"), 4, buf, 16, result)
	g.call(p1, "fd_readdir", "iiiIi", 3, buf, 4096, 0, result)
	subs := g.room(48 * 10)
	le := binary.LittleEndian
	for i, s := range []struct {
		kind, fd byte
		timeout  uint64
		flags    byte
	}{{kind: 0, fd: 1, timeout: 3600e9}, {kind: 0, fd: 0, timeout: 5, flags: 1}, {kind: 1, fd: 0}, {kind: 2, fd: 77}} {
		at := subs + uint64(48*i)
		g.mem[at+8], g.mem[at+16], g.mem[at+40] = s.kind, s.fd, s.flags
		if s.kind == 0 {
			le.PutUint64(g.mem[at+24:], s.timeout)
		}
	}
	g.call(p1, "poll_oneoff", "iiii", subs, subs, 4, result)
	g.call(p1, "poll_oneoff", "iiii", 1<<16-1, buf, 1, result)
	clear(g.mem[subs:])
	g.call(p1, "poll_oneoff", "iiii", subs, buf, 10, result)
	g.call(p1, "proc_raise", "i", 28)
	trace := g.trace.String()
	if !regexp.MustCompile(`fd_readdir\(.*\) = success used=129\["[a.blink]+" "[a.blink]+" "[a.blink]+" "[a.blink]+" "[a.blink]+"\] <`).MatchString(trace) {
		t.Errorf("the trace has no names of the directory\n%s", trace)
	}
	for _, want := range []string{
		`used=1/"a" <`,
		`poll_oneoff(subs=[monotonic+3600000000000 realtime@5 read:0 write:77], out=`, `ready=3[read/0 write/0/"bad file descriptor" clock] <`,
		`poll_oneoff(subs=(outside memory), `,
		`poll_oneoff(subs=[realtime+0 realtime+0 realtime+0 realtime+0 realtime+0 realtime+0 realtime+0 realtime+0 ...], `,
		"proc_raise(signal=poll) = success",
	} {
		if !strings.Contains(trace, want) {
			t.Errorf("the trace has no %s\n%s", want, trace)
		}
	}
}
