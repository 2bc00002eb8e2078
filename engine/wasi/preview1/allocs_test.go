package preview1_test

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// hotCall is a call that guests make often.
type hotCall struct {
	name string
	args func(g *guest) []uint64
}

var hotCalls = []hotCall{
	{"fd_read", func(g *guest) []uint64 { return []uint64{vectors(g, file(g)), 0, 2, 500} }},
	{"fd_write", func(g *guest) []uint64 { return []uint64{vectors(g, file(g)), 0, 2, 500} }},
	{"fd_pread", func(g *guest) []uint64 { return []uint64{vectors(g, file(g)), 0, 2, 0, 500} }},
	{"fd_pwrite", func(g *guest) []uint64 { return []uint64{vectors(g, file(g)), 0, 2, 0, 500} }},
	{"fd_tell", func(g *guest) []uint64 { return []uint64{file(g), 500} }},
	{"fd_fdstat_get", func(g *guest) []uint64 { return []uint64{file(g), 1024} }},
	{"fd_readdir", func(g *guest) []uint64 { return []uint64{3, 1024, 512, 0, 500} }},
	{"sched_yield", func(*guest) []uint64 { return []uint64{} }},
	{"fd_seek", func(g *guest) []uint64 { return []uint64{file(g), 0, 0, 500} }},
	{"fd_filestat_get", func(g *guest) []uint64 { return []uint64{file(g), 1024} }},
	{"clock_time_get", func(g *guest) []uint64 { return []uint64{1, 0, 500} }},
	{"random_get", func(g *guest) []uint64 { return []uint64{512, 64} }},
	{"poll_oneoff", func(g *guest) []uint64 { return subscriptions(g) }},
}

func file(g *guest) uint64 { return uint64(g.open("file", wasi.OflagsCreat)) }

func vectors(g *guest, fd uint64) uint64 {
	g.iovec(0, 2000, 100)
	g.iovec(8, 3000, 100)
	return fd
}

// subscriptions waits for a clock that is due and for a pipe that is not.
func subscriptions(g *guest) []uint64 {
	unix.Mkfifo(g.dir+"/fifo", 0o600)
	fd := g.open("fifo", 0)
	clear(g.mem[:4096])
	binary.LittleEndian.PutUint32(g.mem[16:], uint32(wasi.ClockMonotonic))
	g.mem[48+8] = byte(wasi.EventFdRead)
	binary.LittleEndian.PutUint32(g.mem[48+16:], fd)
	return []uint64{0, 2048, 2, 500}
}

func TestHotCallsDoNotAllocate(t *testing.T) {
	for _, c := range hotCalls {
		t.Run(c.name, func(t *testing.T) {
			g := newGuest(t)
			args := c.args(g)
			f, _ := find(t, module, c.name, len(args))
			errno := wasi.Errno(0)
			allocs := testing.AllocsPerRun(200, func() { errno = f(g.host, g.mem, args) })
			if errno != 0 {
				t.Fatal(errno)
			}
			if allocs != 0 {
				t.Errorf("%v allocations for each call, want none", allocs)
			}
		})
	}
}

func BenchmarkHotCalls(b *testing.B) {
	for _, c := range hotCalls {
		b.Run(c.name, func(b *testing.B) {
			g := newGuest(b)
			args := c.args(g)
			f, _ := find(b, module, c.name, len(args))
			b.ReportAllocs()
			for b.Loop() {
				f(g.host, g.mem, args)
			}
		})
	}
}
