package preview1_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/preview1"
)

var took = regexp.MustCompile(` <\d+\.\d{6}>\n`)

// traced makes a call and gives its line without the time.
func (g *guest) traced(name string, args ...uint64) string {
	g.t.Helper()
	f, im := find(g.t, module, name, len(args))
	var out bytes.Buffer
	preview1.Traced(name, len(im.Params), f, &out)(g.host, g.mem, args)
	if !took.MatchString(out.String()) || strings.Count(out.String(), "\n") != 1 {
		g.t.Errorf("the line %q does not end with a time", out.String())
	}
	return took.ReplaceAllString(out.String(), "")
}

func TestTraceLines(t *testing.T) {
	g := newGuest(t)
	g.put(1000, "new\n/x")
	g.iovec(0, 2000, 5)
	g.iovec(8, 3000, 0)
	for _, c := range []struct {
		name string
		args []uint64
		want string
	}{
		{"path_open", []uint64{3, 1, 1000, 3, uint64(wasi.OflagsCreat), 0, 0, 0, 100},
			`path_open(fd=3, dirflags=follow, path="new", oflags=0x1, rights=0x0, inheriting=0x0, fdflags=0x0) = success fd=4`},
		{"fd_write", []uint64{4, 0, 2, 100}, `fd_write(fd=4, iovs=[5 0]) = success nwritten=5`},
		{"fd_seek", []uint64{4, ^uint64(1), 1, 100}, `fd_seek(fd=4, offset=-2, whence=1) = success position=3`},
		{"fd_close", []uint64{99}, `fd_close(fd=99) = bad file descriptor`},
		{"path_unlink_file", []uint64{3, 1000, 6}, `path_unlink_file(fd=3, path="new\n/x") = no such file or directory`},
		{"fd_read", []uint64{4, 1 << 20, 1, 100}, `fd_read(fd=4, iovs=fault) = bad address`},
		{"sched_yield", nil, `sched_yield() = success`},
		{"args_sizes_get", []uint64{100, 104}, `args_sizes_get() = success count=2 size=9`},
		{"sock_accept", []uint64{0, 100}, `sock_accept(fd=0) = socket operation on non-socket`},
		{"sock_accept", []uint64{0, 4, 100}, `sock_accept(fd=0, flags=0x4) = socket operation on non-socket`},
		{"proc_exit", []uint64{7}, `proc_exit(code=7) = success`},
	} {
		if got := g.traced(c.name, c.args...); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// TestEveryFunctionHasASignature traces each import with zeroes: none may fall
// back to raw values.
func TestEveryFunctionHasASignature(t *testing.T) {
	raw := regexp.MustCompile(`\(0x0[,)]`)
	for _, im := range preview1.Imports() {
		if im.Name == "sock_getaddrinfo" || im.Name == "poll_oneoff" {
			continue
		}
		g := newGuest(t)
		f, _ := preview1.Lookup(im.Module, im.Name, im.Params, im.Results)
		var out bytes.Buffer
		preview1.Traced(im.Name, len(im.Params), f, &out)(g.host, g.mem, make([]uint64, len(im.Params)))
		if raw.Match(out.Bytes()) {
			t.Errorf("%s with %d parameters has no signature: %s", im.Name, len(im.Params), &out)
		}
	}
}
