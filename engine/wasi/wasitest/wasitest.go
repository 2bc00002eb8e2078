// Package wasitest holds the tests that every wasi.System must pass. They call
// the functions of preview1 as a guest does, over a memory of its own, so that
// the binary interface is tested with what is behind it.
//
// Run also keeps book of the errnos that each function gave: at the end all 46
// must have been called, and each must have given every errno that Documented
// lists for it.
package wasitest

import (
	"encoding/binary"
	"io"
	"runtime"
	"slices"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/preview1"
)

// Config is what a System is made for.
type Config struct {
	Args, Env [][]byte
	Stdin     string    // what is read from descriptor 0, a pipe, until its end
	Stdout    io.Writer // what descriptor 1 goes to
	MaxFiles  int       // how many descriptors can be open; 0: many
}

// Descriptors that a System must have at its start, beside the three streams.
// Everything in them is the test's.
const (
	RootFD     = 3 // preopened as /: a directory, writable and empty
	ReadonlyFD = 4 // preopened as /ro, read-only: has the file "file" with ReadonlyText
	ListenerFD = 5 // a stream socket that listens at 127.0.0.1 and does not block
)

// ReadonlyText is the content of the file in the read-only directory.
const ReadonlyText = "read only\n"

// Maker makes a System for one test, which cleans up after it.
type Maker func(t *testing.T, c Config) wasi.System

// Run runs all tests.
func Run(t *testing.T, make Maker) {
	s := &suite{make: make, seen: map[string]map[wasi.Errno]bool{}}
	for _, group := range [][]test{processTests, clockTests, fileTests, directoryTests, openTests, pathTests, timeTests, pollTests, socketTests} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				runtime.LockOSThread() // as a guest is: one of its clocks is the thread's
				defer runtime.UnlockOSThread()
				c.run(s.guest(t, c.config))
			})
		}
	}
	t.Run("every documented errno was given", s.check)
}

type test struct {
	name   string
	run    func(*guest)
	config Config
}

type suite struct {
	make Maker
	seen map[string]map[wasi.Errno]bool // by function
}

// check compares the book with Documented.
func (s *suite) check(t *testing.T) {
	if len(Documented) != 46 {
		t.Errorf("%d functions are documented, want 46", len(Documented))
	}
	for name, list := range Documented {
		for _, errno := range list {
			if !s.seen[name][errno] {
				t.Errorf("%s never gave %v", name, errno)
			}
		}
	}
}

const module = "wasi_snapshot_preview1"

// guest calls functions by name, as a module does.
type guest struct {
	*testing.T
	suite *suite
	sys   wasi.System
	host  *preview1.Host
	mem   []byte
	free  uint32
}

const memorySize = 1 << 20

func (s *suite) guest(t *testing.T, c Config) *guest {
	if c.Args == nil {
		c.Args, c.Env = [][]byte{[]byte("guest"), []byte("-v")}, [][]byte{[]byte("A=1"), []byte("B=\xff")}
	}
	if c.Stdout == nil {
		c.Stdout = io.Discard
	}
	sys := s.make(t, c)
	return &guest{T: t, suite: s, sys: sys, host: preview1.NewHost(sys), mem: make([]byte, memorySize), free: 64}
}

// call calls a function of preview1 with values as they are on the stack.
func (g *guest) call(name string, args ...uint64) wasi.Errno {
	g.Helper()
	for _, im := range preview1.Imports() {
		if im.Module != module || im.Name != name || len(im.Params) != len(args) {
			continue
		}
		f, _ := preview1.Lookup(module, name, im.Params, im.Results)
		for i := range args {
			if im.Params[i] == 0x7f {
				args[i] &= 1<<32 - 1
			}
		}
		errno := f(g.host, g.mem, args)
		if g.suite.seen[name] == nil {
			g.suite.seen[name] = map[wasi.Errno]bool{}
		}
		g.suite.seen[name][errno] = true
		return errno
	}
	g.Fatalf("no function %s with %d parameters", name, len(args))
	return 0
}

// want calls a function that must give an errno.
func (g *guest) want(want wasi.Errno, name string, args ...uint64) {
	g.Helper()
	if got := g.call(name, args...); got != want {
		g.Errorf("%s%v: got %v, want %v", name, args, got, want)
	}
}

func (g *guest) ok(name string, args ...uint64) {
	g.Helper()
	if errno := g.call(name, args...); errno != 0 {
		g.Fatalf("%s%v: %v", name, args, errno)
	}
}

// alloc gives n bytes of memory, aligned.
func (g *guest) alloc(n int) uint64 {
	g.Helper()
	at := g.free
	g.free += uint32(n+15) &^ 15
	if int(g.free) > len(g.mem)/2 { // tests put what must be near the end there
		g.Fatal("the test uses too much memory")
	}
	clear(g.mem[at:g.free])
	return uint64(at)
}

// str puts a string into memory and gives its place and length.
func (g *guest) str(s string) (ptr, n uint64) {
	g.Helper()
	ptr = g.alloc(len(s))
	copy(g.mem[ptr:], s)
	return ptr, uint64(len(s))
}

func (g *guest) bytes(ptr, n uint64) string { return string(g.mem[ptr : ptr+n]) }
func (g *guest) u16(ptr uint64) uint16      { return binary.LittleEndian.Uint16(g.mem[ptr:]) }
func (g *guest) u32(ptr uint64) uint32      { return binary.LittleEndian.Uint32(g.mem[ptr:]) }
func (g *guest) u64(ptr uint64) uint64      { return binary.LittleEndian.Uint64(g.mem[ptr:]) }
func (g *guest) putU32(ptr uint64, v uint32) {
	binary.LittleEndian.PutUint32(g.mem[ptr:], v)
}

// iovs lays out vectors of the given lengths and gives the list, its length,
// and the places of the vectors.
func (g *guest) iovs(sizes ...int) (list, n uint64, bufs []uint64) {
	g.Helper()
	list = g.alloc(8 * len(sizes))
	for i, size := range sizes {
		buf := g.alloc(size)
		g.putU32(list+uint64(8*i), uint32(buf))
		g.putU32(list+uint64(8*i)+4, uint32(size))
		bufs = append(bufs, buf)
	}
	return list, uint64(len(sizes)), bufs
}

// path calls a function that takes a directory and a path, and perhaps more.
func (g *guest) path(name string, fd uint64, path string, more ...uint64) wasi.Errno {
	g.Helper()
	p, n := g.str(path)
	return g.call(name, append([]uint64{fd, p, n}, more...)...)
}

func (g *guest) wantPath(want wasi.Errno, name string, fd uint64, path string, more ...uint64) {
	g.Helper()
	if got := g.path(name, fd, path, more...); got != want {
		g.Errorf("%s of %q: got %v, want %v", name, path, got, want)
	}
}

// opening is how open opens; the zero value: an existing file, links followed,
// with all rights.
type opening struct {
	oflags             wasi.Oflags
	rights, inheriting wasi.Rights
	flags              wasi.Fdflags
	nofollow           bool
}

func (g *guest) tryOpen(dir uint64, path string, o opening) (uint64, wasi.Errno) {
	g.Helper()
	lookup := uint64(wasi.LookupSymlinkFollow)
	if o.nofollow {
		lookup = 0
	}
	p, n := g.str(path)
	result := g.alloc(4)
	errno := g.call("path_open", dir, lookup, p, n, uint64(o.oflags), uint64(o.rights), uint64(o.inheriting), uint64(o.flags), result)
	return uint64(g.u32(result)), errno
}

func (g *guest) wantOpen(want wasi.Errno, dir uint64, path string, o opening) {
	g.Helper()
	fd, got := g.tryOpen(dir, path, o)
	if got != want {
		g.Errorf("open %q %+v: got %v, want %v", path, o, got, want)
	}
	if got == 0 {
		g.ok("fd_close", fd)
	}
}

func (g *guest) open(path string, o opening) uint64 {
	g.Helper()
	fd, errno := g.tryOpen(RootFD, path, o)
	if errno != 0 {
		g.Fatalf("open %q: %v", path, errno)
	}
	return fd
}

// file makes a file with content and gives it open at its beginning.
func (g *guest) file(path, content string) uint64 {
	g.Helper()
	fd := g.open(path, opening{oflags: wasi.OflagsCreat})
	if content != "" {
		g.write(fd, content)
		g.ok("fd_seek", fd, 0, uint64(wasi.WhenceSet), g.alloc(8))
	}
	return fd
}

func (g *guest) mkdir(path string) {
	g.Helper()
	g.wantPath(0, "path_create_directory", RootFD, path)
}

func (g *guest) symlink(target, path string) {
	g.Helper()
	t, tn := g.str(target)
	p, pn := g.str(path)
	g.ok("path_symlink", t, tn, RootFD, p, pn)
}

// write writes all of a text.
func (g *guest) write(fd uint64, text string) {
	g.Helper()
	list, n, bufs := g.iovs(len(text))
	copy(g.mem[bufs[0]:], text)
	written := g.alloc(4)
	g.ok("fd_write", fd, list, n, written)
	if got := g.u32(written); int(got) != len(text) {
		g.Fatalf("wrote %d of %d bytes", got, len(text))
	}
}

// read reads once, at most n bytes.
func (g *guest) read(fd uint64, n int) string {
	g.Helper()
	list, count, bufs := g.iovs(n)
	read := g.alloc(4)
	g.ok("fd_read", fd, list, count, read)
	return g.bytes(bufs[0], uint64(g.u32(read)))
}

// content is the whole of a file.
func (g *guest) content(path string) string {
	g.Helper()
	fd := g.open(path, opening{rights: wasi.RightFdRead})
	text := g.read(fd, 4096)
	g.ok("fd_close", fd)
	return text
}

type filestat struct {
	kind                          wasi.Filetype
	nlink, size, atim, mtim, ctim uint64
	dev, ino                      uint64
}

func (g *guest) statAt(ptr uint64) filestat {
	return filestat{
		dev: g.u64(ptr), ino: g.u64(ptr + 8), kind: wasi.Filetype(g.mem[ptr+16]), nlink: g.u64(ptr + 24), size: g.u64(ptr + 32),
		atim: g.u64(ptr + 40), mtim: g.u64(ptr + 48), ctim: g.u64(ptr + 56),
	}
}

func (g *guest) fdStat(fd uint64) filestat {
	g.Helper()
	ptr := g.alloc(64)
	g.ok("fd_filestat_get", fd, ptr)
	return g.statAt(ptr)
}

func (g *guest) stat(path string, lookup wasi.Lookupflags) (filestat, wasi.Errno) {
	g.Helper()
	p, n := g.str(path)
	ptr := g.alloc(64)
	errno := g.call("path_filestat_get", RootFD, uint64(lookup), p, n, ptr)
	return g.statAt(ptr), errno
}

type fdstat struct {
	kind               wasi.Filetype
	flags              wasi.Fdflags
	rights, inheriting wasi.Rights
}

func (g *guest) fdstat(fd uint64) fdstat {
	g.Helper()
	ptr := g.alloc(24)
	g.ok("fd_fdstat_get", fd, ptr)
	return fdstat{wasi.Filetype(g.mem[ptr]), wasi.Fdflags(g.u16(ptr + 2)), wasi.Rights(g.u64(ptr + 8)), wasi.Rights(g.u64(ptr + 16))}
}

// narrow takes rights from a descriptor.
func (g *guest) narrow(fd uint64, rights wasi.Rights) {
	g.Helper()
	s := g.fdstat(fd)
	g.ok("fd_fdstat_set_rights", fd, uint64(s.rights&^rights), uint64(s.inheriting))
}

// beyond is an address at which n bytes do not fit.
func beyond(n int) uint64 { return memorySize - uint64(n) + 1 }

// closed is a descriptor that is not open.
const closed = 4000

func equal[E comparable](t *guest, what string, got, want []E) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
