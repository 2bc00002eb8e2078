package wasitest

import (
	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

var openTests = []test{
	{name: "open flags", run: func(g *guest) {
		g.mkdir("dir")
		g.file("file", "text")
		g.symlink("file", "link")
		g.symlink("dir", "dirlink")
		g.symlink("missing", "dangling")
		g.symlink("loop2", "loop1")
		g.symlink("loop1", "loop2")
		all := opening{}
		for _, c := range []struct {
			path string
			o    opening
			want wasi.Errno
		}{
			{"file", all, 0},
			{"missing", all, wasi.ENOENT},
			{"file/x", all, wasi.ENOTDIR},
			{"file/", all, wasi.ENOTDIR},
			{"file/.", all, wasi.ENOTDIR},
			{"dir/", all, 0},
			{"dir/.", all, 0},
			{"dir/../file", all, 0},
			{"dir", opening{oflags: wasi.OflagsDirectory}, 0},
			{"file", opening{oflags: wasi.OflagsDirectory}, wasi.ENOTDIR},
			{"dirlink", opening{oflags: wasi.OflagsDirectory}, 0},
			{"dirlink", opening{oflags: wasi.OflagsDirectory, nofollow: true}, wasi.ENOTDIR},
			{"link", all, 0},
			{"link", opening{nofollow: true}, wasi.ELOOP},
			{"link/", all, wasi.ENOTDIR},
			{"dirlink/", opening{nofollow: true}, 0}, // the slash follows it
			{"dangling", all, wasi.ENOENT},
			{"dangling", opening{nofollow: true}, wasi.ELOOP},
			{"loop1", all, wasi.ELOOP},
			{"loop1/x", all, wasi.ELOOP},
			{"file", opening{oflags: wasi.OflagsCreat | wasi.OflagsExcl}, wasi.EEXIST},
			{"link", opening{oflags: wasi.OflagsCreat | wasi.OflagsExcl}, wasi.EEXIST},
			{"dangling", opening{oflags: wasi.OflagsCreat | wasi.OflagsExcl}, wasi.EEXIST},
			{"dir", opening{oflags: wasi.OflagsCreat | wasi.OflagsExcl}, wasi.EEXIST},
			{"new/", opening{oflags: wasi.OflagsCreat}, wasi.EISDIR},
			{"missing/new", opening{oflags: wasi.OflagsCreat}, wasi.ENOENT},
			{"dir", opening{rights: wasi.RightFdWrite}, wasi.EISDIR},
			{"dir", opening{oflags: wasi.OflagsTrunc}, wasi.EISDIR},
			{"dir", opening{oflags: wasi.OflagsCreat | wasi.OflagsDirectory}, wasi.EINVAL},
			{"file", opening{oflags: 1 << 4}, wasi.EINVAL},
			{"file", opening{flags: 1 << 5}, wasi.EINVAL},
			{"", all, wasi.ENOENT},
		} {
			g.wantOpen(c.want, RootFD, c.path, c.o)
		}
		g.wantOpen(0, RootFD, "made", opening{oflags: wasi.OflagsCreat | wasi.OflagsExcl})
		g.wantOpen(0, RootFD, "file", opening{oflags: wasi.OflagsTrunc})
		if s, errno := g.stat("file", 0); errno != 0 || s.size != 0 {
			g.Errorf("a truncated file has %d bytes, %v", s.size, errno)
		}
		g.wantOpen(0, RootFD, "dangling", opening{oflags: wasi.OflagsCreat}) // makes what the link names
		if _, errno := g.stat("missing", 0); errno != 0 {
			g.Errorf("the file behind the link: %v", errno)
		}
		p, n := g.str("file")
		g.want(wasi.EFAULT, "path_open", RootFD, 0, p, n, 0, 0, 0, 0, beyond(4))
		g.want(wasi.EINVAL, "path_open", RootFD, 2, p, n, 0, 0, 0, 0, g.alloc(4))
	}},
	{name: "a read-only directory", run: func(g *guest) {
		fd, errno := g.tryOpen(ReadonlyFD, "file", opening{})
		if errno != 0 {
			g.Fatalf("open: %v", errno)
		}
		if got := g.read(fd, 100); got != ReadonlyText {
			g.Errorf("read %q", got)
		}
		list, n, _ := g.iovs(1)
		if errno := g.call("fd_write", fd, list, n, g.alloc(4)); errno != wasi.EBADF && errno != wasi.ENOTCAPABLE {
			g.Errorf("write: %v, want EBADF", errno)
		}
		if rights := g.fdstat(fd).rights; rights&wasi.RightFdWrite != 0 {
			g.Errorf("it says that it can be written: %#x", rights)
		}
		g.wantOpen(wasi.EROFS, ReadonlyFD, "new", opening{oflags: wasi.OflagsCreat})
		g.wantOpen(wasi.EROFS, ReadonlyFD, "file", opening{oflags: wasi.OflagsTrunc})
		g.want(wasi.EROFS, "fd_filestat_set_times", fd, 0, 0, uint64(wasi.FstflagsMtim))
	}},
	{name: "rights of what is opened", run: func(g *guest) {
		g.mkdir("dir")
		dir, errno := g.tryOpen(RootFD, "dir", opening{rights: wasi.RightPathOpen | wasi.RightPathCreateFile, inheriting: wasi.RightFdRead | wasi.RightFdTell})
		if errno != 0 {
			g.Fatal(errno)
		}
		if s := g.fdstat(dir); s.rights != wasi.RightPathOpen|wasi.RightPathCreateFile || s.inheriting != wasi.RightFdRead|wasi.RightFdTell {
			g.Errorf("the directory has rights %#x, %#x", s.rights, s.inheriting)
		}
		fd, errno := g.tryOpen(dir, "f", opening{oflags: wasi.OflagsCreat})
		if errno != 0 {
			g.Fatal(errno)
		}
		if s := g.fdstat(fd); s.rights != wasi.RightFdRead|wasi.RightFdTell { // 0 asks for all that the directory may give
			g.Errorf("the file has rights %#x", s.rights)
		}
		g.narrow(dir, wasi.RightPathCreateFile)
		g.wantOpen(wasi.ENOTCAPABLE, dir, "g", opening{oflags: wasi.OflagsCreat})
		g.wantOpen(0, dir, "f", opening{})
		g.narrow(dir, wasi.RightPathOpen)
		g.wantOpen(wasi.ENOTCAPABLE, dir, "f", opening{})
	}},
	{name: "what a directory gave up is lost beneath it", run: func(g *guest) {
		g.mkdir("dir")
		g.mkdir("dir/sub")
		g.file("dir/sub/f", "text")
		dir := g.open("dir", opening{})
		s := g.fdstat(dir)
		g.ok("fd_fdstat_set_rights", dir, uint64(s.rights), uint64(s.inheriting&^wasi.RightFdRead))
		sub, errno := g.tryOpen(dir, "sub", opening{})
		if errno != 0 {
			g.Fatal(errno)
		}
		fd, errno := g.tryOpen(sub, "f", opening{})
		if errno != 0 {
			g.Fatal(errno)
		}
		list, n, _ := g.iovs(1)
		g.want(wasi.ENOTCAPABLE, "fd_read", fd, list, n, g.alloc(4))
	}},
}
