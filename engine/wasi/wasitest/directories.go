package wasitest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// dirent is an entry as it lies in a guest's buffer.
type dirent struct {
	next, ino uint64
	kind      wasi.Filetype
	name      string
}

const direntSize = 24

// page reads entries from a cookie on into a buffer of a size. whole is false
// when the last was cut or there was no room for more.
func (g *guest) page(fd, cookie uint64, size int) (list []dirent, whole bool) {
	g.Helper()
	start := g.free
	defer func() { g.free = start }()
	buf, result := g.alloc(size), g.alloc(4)
	g.ok("fd_readdir", fd, buf, uint64(size), cookie, result)
	used := uint64(g.u32(result))
	for at := uint64(0); used-at >= direntSize; {
		d := dirent{next: g.u64(buf + at), ino: g.u64(buf + at + 8), kind: wasi.Filetype(g.mem[buf+at+20])}
		n := uint64(g.u32(buf + at + 16))
		if used-at-direntSize < n {
			break
		}
		d.name = g.bytes(buf+at+direntSize, n)
		list = append(list, d)
		at += direntSize + n
	}
	return list, used < uint64(size)
}

// names lists a directory, page by page.
func (g *guest) names(fd uint64, size int) (names []string) {
	g.Helper()
	for cookie, whole := uint64(0), false; !whole; {
		var list []dirent
		list, whole = g.page(fd, cookie, size)
		if len(list) == 0 && !whole {
			g.Fatalf("a buffer of %d bytes holds no entry", size)
		}
		for _, d := range list {
			names, cookie = append(names, d.name), d.next
		}
	}
	return names
}

var directoryTests = []test{
	{name: "entries have their types", run: func(g *guest) {
		g.mkdir("dir")
		g.file("file", "")
		g.symlink("file", "link")
		got := map[string]wasi.Filetype{}
		list, _ := g.page(RootFD, 0, 4096)
		for _, d := range list {
			got[d.name] = d.kind
			if s, errno := g.stat(d.name, 0); d.name != ".." && (errno != 0 || s.ino != d.ino) {
				g.Errorf("%s: entry has inode %d, the file %d (%v)", d.name, d.ino, s.ino, errno)
			}
		}
		for name, want := range map[string]wasi.Filetype{
			".": wasi.FiletypeDirectory, "..": wasi.FiletypeDirectory, "dir": wasi.FiletypeDirectory, "file": wasi.FiletypeRegularFile, "link": wasi.FiletypeSymbolicLink,
		} {
			if got[name] != want {
				g.Errorf("%s is of type %d, want %d", name, got[name], want)
			}
		}
	}},
	{name: "pages of any size give every entry once", run: func(g *guest) {
		want := []string{".", ".."}
		for i := range 40 {
			name := fmt.Sprintf("%s%02d", strings.Repeat("n", i), i)
			g.file(name, "")
			want = append(want, name)
		}
		slices.Sort(want)
		for _, size := range []int{direntSize + 42, 100, 333, 4096} {
			got := g.names(RootFD, size)
			slices.Sort(got)
			equal(g, fmt.Sprintf("pages of %d bytes", size), got, want)
		}
	}},
	{name: "cookies outlive changes", run: func(g *guest) {
		dir := "d"
		g.mkdir(dir)
		const count = 300
		for i := range count {
			g.ok("fd_close", g.file(fmt.Sprintf("d/keep%03d", i), ""))
			g.ok("fd_close", g.file(fmt.Sprintf("d/drop%03d", i), ""))
			g.free = 4096
		}
		fd := g.open(dir, opening{})
		seen := map[string]int{}
		for cookie, whole, n := uint64(0), false, 0; !whole; n++ {
			var list []dirent
			list, whole = g.page(fd, cookie, 300)
			for _, d := range list {
				seen[d.name]++
				cookie = d.next
			}
			if n < count { // others go and come meanwhile
				g.wantPath(0, "path_unlink_file", RootFD, fmt.Sprintf("d/drop%03d", n))
				g.ok("fd_close", g.file(fmt.Sprintf("d/late%03d", n), ""))
			}
			g.free = 4096
		}
		for i := range count {
			if name := fmt.Sprintf("keep%03d", i); seen[name] != 1 {
				g.Fatalf("%s, which was there all along, was seen %d times", name, seen[name])
			}
		}
		for name, n := range seen {
			if n > 1 {
				g.Errorf("%s was seen %d times", name, n)
			}
		}
	}},
	{name: "a cookie leads back", run: func(g *guest) {
		for i := range 20 {
			g.file(fmt.Sprint(i), "")
		}
		all, _ := g.page(RootFD, 0, 4096)
		for i := len(all) - 2; i >= 0; i-- { // backwards
			rest, _ := g.page(RootFD, all[i].next, 4096)
			equal(g, fmt.Sprintf("behind entry %d", i), rest, all[i+1:])
		}
	}},
	{name: "errors of fd_readdir", run: func(g *guest) {
		g.mkdir("d")
		fd, buf, result := g.open("d", opening{}), g.alloc(100), g.alloc(4)
		g.want(wasi.EBADF, "fd_readdir", closed, buf, 100, 0, result)
		g.want(wasi.ENOTDIR, "fd_readdir", g.file("f", ""), buf, 100, 0, result)
		g.want(wasi.EFAULT, "fd_readdir", fd, beyond(100), 100, 0, result)
		g.want(wasi.EFAULT, "fd_readdir", fd, buf, 100, 0, beyond(4))
		g.ok("fd_readdir", fd, buf, 0, 0, result)
		if g.u32(result) != 0 {
			g.Errorf("%d bytes in an empty buffer", g.u32(result))
		}
		g.ok("fd_readdir", fd, buf, 100, 1<<64-1, result)
		if g.u32(result) != 0 {
			g.Errorf("%d bytes behind a cookie that leads nowhere", g.u32(result))
		}
		g.narrow(fd, wasi.RightFdReaddir)
		g.want(wasi.ENOTCAPABLE, "fd_readdir", fd, buf, 100, 0, result)
	}},
	{name: "preopened directories have names", run: func(g *guest) {
		for fd, want := range map[uint64]string{RootFD: "/", ReadonlyFD: "/ro"} {
			stat := g.alloc(8)
			g.ok("fd_prestat_get", fd, stat)
			if tag, n := g.mem[stat], g.u32(stat+4); tag != 0 || n != uint32(len(want)) {
				g.Errorf("descriptor %d: tag %d, name of %d bytes", fd, tag, n)
			}
			name := g.alloc(8)
			g.ok("fd_prestat_dir_name", fd, name, uint64(len(want)))
			if got := g.bytes(name, uint64(len(want))); got != want {
				g.Errorf("descriptor %d: got %q, want %q", fd, got, want)
			}
			g.want(wasi.ENAMETOOLONG, "fd_prestat_dir_name", fd, name, uint64(len(want)-1))
			g.want(wasi.EFAULT, "fd_prestat_dir_name", fd, memorySize, uint64(len(want)))
			g.want(wasi.EFAULT, "fd_prestat_get", fd, beyond(8))
		}
		for _, fd := range []uint64{0, ListenerFD, closed} {
			g.want(wasi.EBADF, "fd_prestat_get", fd, g.alloc(8))
			g.want(wasi.EBADF, "fd_prestat_dir_name", fd, g.alloc(8), 8)
		}
	}},
}
