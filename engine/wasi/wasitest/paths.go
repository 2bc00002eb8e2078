package wasitest

import (
	"strings"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// pathCall is a function with a path in it, of which the others are harmless.
type pathCall struct {
	name    string
	right   wasi.Rights
	changes bool // the tree: refused where that is read-only
	dir     bool // the path must lead to a directory
	call    func(g *guest, fd, path, n uint64) wasi.Errno
}

// other makes a path that the call under test does not care about.
func (g *guest) other() (ptr, n uint64) { return g.str("other") }

var pathCalls = []pathCall{
	{"path_create_directory", wasi.RightPathCreateDirectory, true, false, func(g *guest, fd, p, n uint64) wasi.Errno {
		return g.call("path_create_directory", fd, p, n)
	}},
	{"path_filestat_get", wasi.RightPathFilestatGet, false, false, func(g *guest, fd, p, n uint64) wasi.Errno {
		return g.call("path_filestat_get", fd, 1, p, n, g.alloc(64))
	}},
	{"path_filestat_set_times", wasi.RightPathFilestatSetTimes, true, false, func(g *guest, fd, p, n uint64) wasi.Errno {
		return g.call("path_filestat_set_times", fd, 1, p, n, 0, 0, uint64(wasi.FstflagsMtim))
	}},
	{"path_link", wasi.RightPathLinkSource, true, false, func(g *guest, fd, p, n uint64) wasi.Errno {
		to, m := g.other()
		return g.call("path_link", fd, 0, p, n, RootFD, to, m)
	}},
	{"path_link", wasi.RightPathLinkTarget, true, false, func(g *guest, fd, p, n uint64) wasi.Errno {
		from, m := g.str("file")
		return g.call("path_link", RootFD, 0, from, m, fd, p, n)
	}},
	{"path_open", wasi.RightPathOpen, false, false, func(g *guest, fd, p, n uint64) wasi.Errno {
		return g.call("path_open", fd, 1, p, n, 0, 0, 0, 0, g.alloc(4))
	}},
	{"path_readlink", wasi.RightPathReadlink, false, false, func(g *guest, fd, p, n uint64) wasi.Errno {
		return g.call("path_readlink", fd, p, n, g.alloc(16), 16, g.alloc(4))
	}},
	{"path_remove_directory", wasi.RightPathRemoveDirectory, true, false, func(g *guest, fd, p, n uint64) wasi.Errno {
		return g.call("path_remove_directory", fd, p, n)
	}},
	{"path_rename", wasi.RightPathRenameSource, true, false, func(g *guest, fd, p, n uint64) wasi.Errno {
		to, m := g.other()
		return g.call("path_rename", fd, p, n, RootFD, to, m)
	}},
	{"path_rename", wasi.RightPathRenameTarget, true, false, func(g *guest, fd, p, n uint64) wasi.Errno {
		from, m := g.str("file")
		return g.call("path_rename", RootFD, from, m, fd, p, n)
	}},
	{"path_symlink", wasi.RightPathSymlink, true, false, func(g *guest, fd, p, n uint64) wasi.Errno {
		target, m := g.other()
		return g.call("path_symlink", target, m, fd, p, n)
	}},
	{"path_unlink_file", wasi.RightPathUnlinkFile, true, false, func(g *guest, fd, p, n uint64) wasi.Errno {
		return g.call("path_unlink_file", fd, p, n)
	}},
}

// existing says whether the path of a call must name something that is there.
func (c *pathCall) existing() bool {
	return c.right&(wasi.RightPathCreateDirectory|wasi.RightPathLinkTarget|wasi.RightPathRenameTarget|wasi.RightPathSymlink) == 0
}

// each runs a check for every path function.
func each(check func(g *guest, c *pathCall)) func(*guest) {
	return func(g *guest) {
		for i := range pathCalls {
			check(g, &pathCalls[i])
		}
	}
}

func (g *guest) wantCall(want wasi.Errno, c *pathCall, fd uint64, path string) {
	g.Helper()
	p, n := g.str(path)
	if got := c.call(g, fd, p, n); got != want {
		g.Errorf("%s (right %#x) of %.40q: got %v, want %v", c.name, c.right, path, got, want)
	}
}

var pathTests = []test{
	{name: "errors that every path can have", run: func(g *guest) {
		g.mkdir("dir")
		g.mkdir("dir/sub")
		g.file("file", "text")
		g.symlink("loop", "loop")
		g.symlink("missing", "dangling")
		dir := g.open("dir", opening{})
		each(func(g *guest, c *pathCall) {
			g.free = 4096
			g.wantCall(wasi.EBADF, c, closed, "file")
			g.wantCall(wasi.ENOTDIR, c, g.open("file", opening{}), "x")
			g.wantCall(wasi.ENOTDIR, c, RootFD, "file/x")
			g.wantCall(wasi.ENOENT, c, RootFD, "missing/x")
			g.wantCall(wasi.ENOENT, c, RootFD, "dangling/x")
			g.wantCall(wasi.ENOENT, c, RootFD, "")
			g.wantCall(wasi.ELOOP, c, RootFD, "loop/x")
			g.wantCall(wasi.ENAMETOOLONG, c, RootFD, strings.Repeat("n", 256))
			g.wantCall(wasi.ENAMETOOLONG, c, RootFD, strings.Repeat("n/", 2500))
			g.wantCall(wasi.EINVAL, c, RootFD, "file\x00")
			g.wantCall(wasi.EPERM, c, dir, "../file")
			g.wantCall(wasi.EPERM, c, dir, "sub/../../file")
			g.wantCall(wasi.EPERM, c, dir, "/file")
			if c.changes {
				g.wantCall(wasi.EROFS, c, ReadonlyFD, "file")
			}
			if c.existing() {
				g.wantCall(wasi.ENOENT, c, RootFD, "missing")
			}
			if got := c.call(g, RootFD, beyond(8), 8); got != wasi.EFAULT {
				g.Errorf("%s beyond the memory: %v", c.name, got)
			}
			poor := g.open("dir", opening{})
			g.narrow(poor, c.right)
			g.wantCall(wasi.ENOTCAPABLE, c, poor, "file")
		})(g)
		if got := g.content("file"); got != "text" {
			g.Errorf("what was refused left %q", got)
		}
	}},
	{name: "directories are made and removed", run: func(g *guest) {
		g.mkdir("d")
		g.mkdir("d/e/") // a slash says what it is to be
		g.wantPath(wasi.EEXIST, "path_create_directory", RootFD, "d")
		g.wantPath(wasi.EEXIST, "path_create_directory", RootFD, "d/")
		g.wantPath(wasi.EEXIST, "path_create_directory", RootFD, ".")
		g.file("f", "")
		g.symlink("f", "link")
		g.symlink("missing", "dangling")
		g.wantPath(wasi.EEXIST, "path_create_directory", RootFD, "f")
		g.wantPath(wasi.EEXIST, "path_create_directory", RootFD, "dangling")
		g.wantPath(wasi.ENOTEMPTY, "path_remove_directory", RootFD, "d")
		g.wantPath(wasi.ENOTDIR, "path_remove_directory", RootFD, "f")
		g.wantPath(wasi.ENOTDIR, "path_remove_directory", RootFD, "link")
		g.wantPath(wasi.EINVAL, "path_remove_directory", RootFD, ".")
		g.wantPath(0, "path_remove_directory", RootFD, "d/e/")
		g.wantPath(0, "path_remove_directory", RootFD, "d")
		if _, errno := g.stat("d", 0); errno != wasi.ENOENT {
			g.Errorf("the removed directory: %v", errno)
		}
	}},
	{name: "files are unlinked", run: func(g *guest) {
		g.mkdir("d")
		g.file("f", "")
		g.symlink("f", "link")
		g.symlink("d", "dirlink")
		g.wantPath(wasi.EISDIR, "path_unlink_file", RootFD, "d")
		g.wantPath(wasi.ENOTDIR, "path_unlink_file", RootFD, "f/")
		g.wantPath(wasi.ENOTDIR, "path_unlink_file", RootFD, "dirlink/") // not what it leads to
		g.wantPath(0, "path_unlink_file", RootFD, "link")
		g.wantPath(0, "path_unlink_file", RootFD, "dirlink")
		if _, errno := g.stat("f", 0); errno != 0 {
			g.Errorf("the file behind the removed link: %v", errno)
		}
		g.wantPath(0, "path_unlink_file", RootFD, "f")
		g.wantPath(wasi.ENOENT, "path_unlink_file", RootFD, "f")
	}},
	{name: "filestat by path", run: func(g *guest) {
		g.file("f", "text")
		g.symlink("f", "link")
		g.symlink("missing", "dangling")
		for _, c := range []struct {
			path   string
			lookup wasi.Lookupflags
			kind   wasi.Filetype
			size   uint64
			want   wasi.Errno
		}{
			{"f", 0, wasi.FiletypeRegularFile, 4, 0}, {"link", 0, wasi.FiletypeSymbolicLink, 1, 0}, {"link", 1, wasi.FiletypeRegularFile, 4, 0},
			{"dangling", 0, wasi.FiletypeSymbolicLink, 7, 0}, {"dangling", 1, 0, 0, wasi.ENOENT}, {"link/", 0, 0, 0, wasi.ENOTDIR}, {".", 0, wasi.FiletypeDirectory, 0, 0},
			{"f", 2, 0, 0, wasi.EINVAL},
		} {
			s, errno := g.stat(c.path, c.lookup)
			if errno != c.want || (errno == 0 && (s.kind != c.kind || (c.kind != wasi.FiletypeDirectory && s.size != c.size))) {
				g.Errorf("%s with flags %d: got %+v, %v, want type %d, size %d, %v", c.path, c.lookup, s, errno, c.kind, c.size, c.want)
			}
		}
	}},
	{name: "hard links", run: func(g *guest) {
		g.mkdir("d")
		fd := g.file("f", "text")
		g.symlink("missing", "dangling")
		link := func(lookup uint64, from, to string) wasi.Errno {
			f, fn := g.str(from)
			t, tn := g.str(to)
			return g.call("path_link", RootFD, lookup, f, fn, RootFD, t, tn)
		}
		for _, c := range []struct {
			lookup   uint64
			from, to string
			want     wasi.Errno
		}{
			{0, "f", "d/g", 0}, {0, "f", "d/g", wasi.EEXIST}, {0, "f", "f", wasi.EEXIST}, {0, "f", "d", wasi.EEXIST}, {0, "f", "dangling", wasi.EEXIST},
			{0, "missing", "h", wasi.ENOENT}, {0, "d", "h", wasi.EPERM}, {0, "f/", "h", wasi.ENOTDIR}, {1, "f", "h", wasi.EINVAL}, {0, "dangling", "h", 0},
		} {
			if got := link(c.lookup, c.from, c.to); got != c.want {
				g.Errorf("link %q to %q with flags %d: got %v, want %v", c.from, c.to, c.lookup, got, c.want)
			}
		}
		if s := g.fdStat(fd); s.nlink != 2 {
			g.Errorf("the file has %d links", s.nlink)
		}
		if got := g.content("d/g"); got != "text" {
			g.Errorf("by its other name: %q", got)
		}
		if s, errno := g.stat("h", 0); errno != 0 || s.kind != wasi.FiletypeSymbolicLink { // the link itself, not where it leads
			g.Errorf("a link to a link: %+v, %v", s, errno)
		}
	}},
	{name: "renaming", run: func(g *guest) {
		rename := func(want wasi.Errno, from, to string) {
			g.Helper()
			f, fn := g.str(from)
			t, tn := g.str(to)
			if got := g.call("path_rename", RootFD, f, fn, RootFD, t, tn); got != want {
				g.Errorf("rename %q to %q: got %v, want %v", from, to, got, want)
			}
		}
		g.mkdir("d")
		g.mkdir("d/sub")
		g.mkdir("empty")
		g.file("f", "text")
		g.file("old", "old")
		rename(wasi.ENOENT, "missing", "x")
		rename(wasi.ENOTDIR, "d", "f")
		rename(wasi.EISDIR, "f", "d")
		rename(wasi.ENOTEMPTY, "empty", "d")
		rename(wasi.EINVAL, "d", "d/sub/d")
		rename(wasi.ENOTDIR, "f/", "g")
		rename(wasi.ENOTDIR, "f", "new/")
		rename(0, "f", "f")
		rename(0, "d", "empty") // over an empty directory
		rename(0, "f", "old")   // over a file
		if got := g.content("old"); got != "text" {
			g.Errorf("renamed over another file: %q", got)
		}
		rename(0, "old", "empty/sub/g")
		if got := g.content("empty/sub/g"); got != "text" {
			g.Errorf("moved: %q", got)
		}
	}},
	{name: "symbolic links", run: func(g *guest) {
		g.mkdir("d")
		g.file("f", "text")
		symlink := func(want wasi.Errno, target, path string) {
			g.Helper()
			t, tn := g.str(target)
			p, pn := g.str(path)
			if got := g.call("path_symlink", t, tn, RootFD, p, pn); got != want {
				g.Errorf("link %q to %q: got %v, want %v", path, target, got, want)
			}
		}
		symlink(0, "../f", "d/link")
		symlink(wasi.EEXIST, "f", "d/link")
		symlink(wasi.EEXIST, "f", "d")
		symlink(wasi.EPERM, "/f", "absolute")
		symlink(wasi.ENOENT, "", "empty")
		symlink(wasi.EINVAL, "a\x00b", "nul")
		if got := g.content("d/link"); got != "text" {
			g.Errorf("through the link: %q", got)
		}
		buf, result := g.alloc(16), g.alloc(4)
		for n, want := range []string{"", ".", "..", "../", "../f", "../f"} { // short buffers cut
			p, pn := g.str("d/link")
			g.ok("path_readlink", RootFD, p, pn, buf, uint64(n), result)
			if got := g.bytes(buf, uint64(g.u32(result))); got != want {
				g.Errorf("a buffer of %d bytes has %q, want %q", n, got, want)
			}
		}
		p, pn := g.str("d/link")
		g.want(wasi.EFAULT, "path_readlink", RootFD, p, pn, beyond(16), 16, result)
		g.want(wasi.EFAULT, "path_readlink", RootFD, p, pn, buf, 16, beyond(4))
		for path, want := range map[string]wasi.Errno{"f": wasi.EINVAL, "d": wasi.EINVAL, "missing": wasi.ENOENT, "d/link/x": wasi.ENOTDIR} {
			g.wantPath(want, "path_readlink", RootFD, path, buf, 16, result)
		}
	}},
}

var timeTests = []test{
	{name: "times to values and to now", run: func(g *guest) {
		fd := g.file("f", "")
		g.symlink("f", "link")
		const a, m = 1_000_000_001, 2_000_000_002
		p, n := g.str("f")
		l, ln := g.str("link")
		set := map[string]func(atim, mtim uint64, flags wasi.Fstflags) wasi.Errno{
			"fd_filestat_set_times": func(atim, mtim uint64, flags wasi.Fstflags) wasi.Errno {
				return g.call("fd_filestat_set_times", fd, atim, mtim, uint64(flags))
			},
			"path_filestat_set_times": func(atim, mtim uint64, flags wasi.Fstflags) wasi.Errno {
				return g.call("path_filestat_set_times", RootFD, 1, p, n, atim, mtim, uint64(flags))
			},
			"through a link": func(atim, mtim uint64, flags wasi.Fstflags) wasi.Errno {
				return g.call("path_filestat_set_times", RootFD, 1, l, ln, atim, mtim, uint64(flags))
			},
		}
		for name, call := range set {
			check := func(flags wasi.Fstflags, want wasi.Errno, ok func(s filestat) bool) {
				g.Helper()
				got := call(a, m, flags)
				if s := g.fdStat(fd); got != want || !ok(s) {
					g.Errorf("%s with flags %#x: got %v, want %v; times are %d and %d", name, flags, got, want, s.atim, s.mtim)
				}
			}
			both := func(s filestat) bool { return s.atim == a && s.mtim == m }
			check(wasi.FstflagsAtim|wasi.FstflagsMtim, 0, both)
			check(0, 0, both)
			check(wasi.FstflagsAtim|wasi.FstflagsAtimNow, wasi.EINVAL, both)
			check(wasi.FstflagsMtim|wasi.FstflagsMtimNow, wasi.EINVAL, both)
			check(1<<4, wasi.EINVAL, both)
			check(wasi.FstflagsAtimNow, 0, func(s filestat) bool { return s.atim > m && s.mtim == m })
			check(wasi.FstflagsAtim, 0, both)
			check(wasi.FstflagsMtimNow, 0, func(s filestat) bool { return s.atim == a && s.mtim > m })
		}
		g.ok("path_filestat_set_times", RootFD, 0, l, ln, a, m, uint64(wasi.FstflagsMtim)) // of the link
		if s, _ := g.stat("link", 0); s.mtim != m {
			g.Errorf("the link's time is %d, want %d", s.mtim, m)
		}
		g.want(wasi.EINVAL, "path_filestat_set_times", RootFD, 2, p, n, 0, 0, 0)
		g.want(wasi.EBADF, "fd_filestat_set_times", closed, 0, 0, 0)
		g.narrow(fd, wasi.RightFdFilestatSetTimes)
		g.want(wasi.ENOTCAPABLE, "fd_filestat_set_times", fd, 0, 0, uint64(wasi.FstflagsMtim))
	}},
}
