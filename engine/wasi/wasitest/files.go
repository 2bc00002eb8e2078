package wasitest

import (
	"bytes"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

var output bytes.Buffer

var fileTests = []test{
	{name: "reads and writes are gathered and scattered", run: func(g *guest) {
		fd := g.file("f", "")
		list, n, bufs := g.iovs(3, 0, 4)
		copy(g.mem[bufs[0]:], "abc")
		copy(g.mem[bufs[2]:], "defg")
		result := g.alloc(8)
		g.ok("fd_write", fd, list, n, result)
		if g.u32(result) != 7 {
			g.Errorf("wrote %d of 7 bytes", g.u32(result))
		}
		g.ok("fd_pread", fd, list, n, 1, result)
		if got := g.bytes(bufs[0], 3) + g.bytes(bufs[2], 3); got != "bcdefg" || g.u32(result) != 6 {
			g.Errorf("read %q, %d bytes", got, g.u32(result))
		}
		g.ok("fd_tell", fd, result)
		if g.u64(result) != 7 {
			g.Errorf("fd_pread moved the position to %d", g.u64(result))
		}
		if got := g.read(fd, 10); got != "" {
			g.Errorf("read %q at the end", got)
		}
		g.ok("fd_read", fd, list, 0, result) // nothing to read into is no error
	}},
	{name: "errors of reads and writes", run: func(g *guest) {
		fd := g.file("f", "text")
		readOnly := g.open("f", opening{rights: wasi.RightFdRead})
		writeOnly := g.open("f", opening{rights: wasi.RightFdWrite})
		mute, deaf := g.file("f", ""), g.file("f", "")
		g.narrow(mute, wasi.RightFdWrite)
		g.narrow(deaf, wasi.RightFdRead)
		list, n, _ := g.iovs(4)
		result := g.alloc(4)
		for _, c := range []struct {
			name        string
			wrong, lost uint64
		}{{"fd_read", writeOnly, deaf}, {"fd_write", readOnly, mute}} {
			g.want(wasi.EBADF, c.name, closed, list, n, result)
			g.want(wasi.EBADF, c.name, RootFD, list, n, result)
			g.want(wasi.EBADF, c.name, c.wrong, list, n, result)
			g.want(wasi.ENOTCAPABLE, c.name, c.lost, list, n, result)
			g.want(wasi.EFAULT, c.name, fd, beyond(8), n, result)
			g.want(wasi.EFAULT, c.name, fd, list, n, beyond(4))
			g.want(wasi.EINVAL, c.name, fd, list, wasi.MaxIovs+1, result)
			at := "fd_p" + strings.TrimPrefix(c.name, "fd_")
			g.want(wasi.EBADF, at, closed, list, n, 0, result)
			g.want(wasi.EBADF, at, RootFD, list, n, 0, result)
			g.want(wasi.ENOTCAPABLE, at, c.lost, list, n, 0, result)
			g.want(wasi.EINVAL, at, fd, list, n, 1<<63, result)
			g.want(wasi.EFAULT, at, fd, list, n, 0, beyond(4))
			g.want(wasi.EFAULT, at, fd, beyond(8), n, 0, result)
		}
		g.want(wasi.ESPIPE, "fd_pread", 0, list, n, 0, result)
		g.want(wasi.ESPIPE, "fd_pwrite", 1, list, n, 0, result)
		wild := g.alloc(8)
		g.putU32(wild, memorySize-2)
		g.putU32(wild+4, 3)
		g.want(wasi.EFAULT, "fd_write", fd, wild, 1, result)
		if got := g.content("f"); got != "text" {
			g.Errorf("what was refused left %q", got)
		}
	}},
	{name: "standard streams", config: Config{Stdin: "line\n", Stdout: &output}, run: func(g *guest) {
		if got := g.read(0, 100); got != "line\n" {
			g.Errorf("read %q", got)
		}
		if got := g.read(0, 100); got != "" {
			g.Errorf("read %q at the end", got)
		}
		output.Reset()
		g.write(1, "out\n")
		g.write(2, "err\n")
		if got := output.String(); got != "out\n" {
			g.Errorf("descriptor 1 went to %q", got)
		}
		result := g.alloc(8)
		g.want(wasi.ESPIPE, "fd_seek", 0, 0, uint64(wasi.WhenceCur), result)
		g.want(wasi.ESPIPE, "fd_tell", 1, result)
		g.want(wasi.ESPIPE, "fd_advise", 0, 0, 0, uint64(wasi.AdviceNormal))
		g.want(wasi.EINVAL, "fd_sync", 0)
		g.want(wasi.EINVAL, "fd_datasync", 0)
		list, n, _ := g.iovs(1)
		g.ok("fd_close", 2)
		g.want(wasi.EBADF, "fd_write", 2, list, n, result)
	}},
	{name: "append writes at the end", run: func(g *guest) {
		g.file("f", "one")
		fd := g.open("f", opening{flags: wasi.FdflagsAppend})
		g.write(fd, "two")
		list, n, bufs := g.iovs(1)
		g.mem[bufs[0]] = 'X'
		g.ok("fd_pwrite", fd, list, n, 0, g.alloc(4)) // as Linux has it, at the end
		if got := g.content("f"); got != "onetwoX" {
			g.Errorf("got %q", got)
		}
		if got := g.fdstat(fd).flags; got != wasi.FdflagsAppend {
			g.Errorf("flags %#x", got)
		}
		g.ok("fd_fdstat_set_flags", fd, 0)
		g.ok("fd_pwrite", fd, list, n, 0, g.alloc(4))
		if got := g.content("f"); got != "XnetwoX" {
			g.Errorf("without append: %q", got)
		}
	}},
	{name: "flags of a descriptor", run: func(g *guest) {
		fd := g.file("f", "")
		g.ok("fd_fdstat_set_flags", fd, uint64(wasi.FdflagsAppend|wasi.FdflagsNonblock))
		if got := g.fdstat(fd).flags; got != wasi.FdflagsAppend|wasi.FdflagsNonblock {
			g.Errorf("flags %#x", got)
		}
		g.want(wasi.EBADF, "fd_fdstat_set_flags", closed, 0)
		g.want(wasi.EINVAL, "fd_fdstat_set_flags", fd, 1<<5)
		g.want(wasi.EINVAL, "fd_fdstat_set_flags", fd, 1<<16)
		g.want(wasi.ENOTSUP, "fd_fdstat_set_flags", fd, uint64(wasi.FdflagsSync))
		g.want(wasi.EBADF, "fd_fdstat_get", closed, 0)
		g.want(wasi.EFAULT, "fd_fdstat_get", fd, beyond(24))
		g.narrow(fd, wasi.RightFdFdstatSetFlags)
		g.want(wasi.ENOTCAPABLE, "fd_fdstat_set_flags", fd, 0)
	}},
	{name: "rights can be given up, not taken", run: func(g *guest) {
		fd := g.open("f", opening{oflags: wasi.OflagsCreat, rights: wasi.RightFdRead | wasi.RightFdSeek | wasi.RightFdTell})
		s := g.fdstat(fd)
		if s.rights != wasi.RightFdRead|wasi.RightFdSeek|wasi.RightFdTell {
			g.Errorf("opened with rights %#x", s.rights)
		}
		g.want(wasi.EBADF, "fd_fdstat_set_rights", closed, 0, 0)
		g.want(wasi.ENOTCAPABLE, "fd_fdstat_set_rights", fd, uint64(s.rights|wasi.RightFdWrite), 0)
		g.want(wasi.ENOTCAPABLE, "fd_fdstat_set_rights", fd, uint64(s.rights), uint64(wasi.RightsAll))
		g.ok("fd_fdstat_set_rights", fd, 0, 0)
		g.want(wasi.ENOTCAPABLE, "fd_fdstat_set_rights", fd, uint64(wasi.RightFdRead), 0)
		list, n, _ := g.iovs(1)
		g.want(wasi.ENOTCAPABLE, "fd_read", fd, list, n, g.alloc(4))
		g.want(wasi.ENOTCAPABLE, "fd_seek", fd, 1, 0, g.alloc(8))
		g.want(wasi.ENOTCAPABLE, "fd_tell", fd, g.alloc(8))
	}},
	{name: "seek and tell", run: func(g *guest) {
		fd, result := g.file("f", "0123456789"), g.alloc(8)
		for _, c := range []struct {
			offset int64
			whence wasi.Whence
			want   uint64
		}{{4, wasi.WhenceSet, 4}, {3, wasi.WhenceCur, 7}, {-2, wasi.WhenceCur, 5}, {-1, wasi.WhenceEnd, 9}, {5, wasi.WhenceEnd, 15}, {0, wasi.WhenceCur, 15}} {
			g.ok("fd_seek", fd, uint64(c.offset), uint64(c.whence), result)
			if got := g.u64(result); got != c.want {
				g.Errorf("seek by %d from %d: got %d, want %d", c.offset, c.whence, got, c.want)
			}
			g.ok("fd_tell", fd, result)
			if got := g.u64(result); got != c.want {
				g.Errorf("tell: got %d, want %d", got, c.want)
			}
		}
		g.want(wasi.EINVAL, "fd_seek", fd, 1<<63, uint64(wasi.WhenceSet), result)
		g.want(wasi.EINVAL, "fd_seek", fd, 0, 3, result)
		g.want(wasi.EBADF, "fd_seek", closed, 0, 0, result)
		g.want(wasi.EBADF, "fd_tell", closed, result)
		g.want(wasi.EFAULT, "fd_seek", fd, 0, 0, beyond(8))
		g.want(wasi.EFAULT, "fd_tell", fd, beyond(8))
	}},
	{name: "advice, allocation, sync and size", run: func(g *guest) {
		fd := g.file("f", "text")
		for advice := range uint64(6) {
			g.ok("fd_advise", fd, 0, 0, advice)
		}
		g.want(wasi.EINVAL, "fd_advise", fd, 0, 0, 6)
		g.want(wasi.EINVAL, "fd_advise", fd, 1<<63, 0, 0)
		g.want(wasi.EBADF, "fd_advise", closed, 0, 0, 0)
		g.want(wasi.EBADF, "fd_advise", RootFD, 0, 0, 0)
		g.ok("fd_allocate", fd, 2, 10)
		if got := g.fdStat(fd).size; got != 12 {
			g.Errorf("allocated to %d bytes, want 12", got)
		}
		g.ok("fd_allocate", fd, 0, 4)
		if got := g.content("f"); got != "text"+strings.Repeat("\x00", 8) {
			g.Errorf("allocation changed the file to %q", got)
		}
		g.want(wasi.EINVAL, "fd_allocate", fd, 0, 0)
		g.want(wasi.EFBIG, "fd_allocate", fd, 1<<63-2, 1<<62)
		g.want(wasi.EBADF, "fd_allocate", closed, 0, 1)
		g.want(wasi.ESPIPE, "fd_allocate", 1, 0, 1)
		for _, name := range []string{"fd_sync", "fd_datasync"} {
			g.ok(name, fd)
			g.want(wasi.EBADF, name, closed)
		}
		for _, size := range []uint64{3, 6} {
			g.ok("fd_filestat_set_size", fd, size)
		}
		if got := g.content("f"); got != "tex\x00\x00\x00" {
			g.Errorf("cut and grown: %q", got)
		}
		g.want(wasi.EINVAL, "fd_filestat_set_size", fd, 1<<63)
		g.want(wasi.EBADF, "fd_filestat_set_size", closed, 0)
		g.narrow(fd, wasi.RightFdAdvise|wasi.RightFdAllocate|wasi.RightFdSync|wasi.RightFdDatasync|wasi.RightFdFilestatSetSize|wasi.RightFdFilestatGet)
		g.want(wasi.ENOTCAPABLE, "fd_advise", fd, 0, 0, 0)
		g.want(wasi.ENOTCAPABLE, "fd_allocate", fd, 0, 1)
		g.want(wasi.ENOTCAPABLE, "fd_sync", fd)
		g.want(wasi.ENOTCAPABLE, "fd_datasync", fd)
		g.want(wasi.ENOTCAPABLE, "fd_filestat_set_size", fd, 0)
		g.want(wasi.ENOTCAPABLE, "fd_filestat_get", fd, g.alloc(64))
	}},
	{name: "filestat of a descriptor", run: func(g *guest) {
		fd := g.file("f", "text")
		s := g.fdStat(fd)
		if s.kind != wasi.FiletypeRegularFile || s.size != 4 || s.nlink != 1 || s.mtim == 0 || s.ino == 0 {
			g.Errorf("filestat %+v", s)
		}
		if byPath, errno := g.stat("f", 0); errno != 0 || byPath.ino != s.ino || byPath.dev != s.dev {
			g.Errorf("by path: %+v, %v; by descriptor: %+v", byPath, errno, s)
		}
		if s := g.fdStat(RootFD); s.kind != wasi.FiletypeDirectory {
			g.Errorf("the root: %+v", s)
		}
		g.want(wasi.EBADF, "fd_filestat_get", closed, 0)
		g.want(wasi.EFAULT, "fd_filestat_get", fd, beyond(64))
	}},
	{name: "close and renumber", run: func(g *guest) {
		a, b := g.file("a", "in a"), g.file("b", "in b")
		g.ok("fd_renumber", a, b)
		if got := g.read(b, 10); got != "in a" {
			g.Errorf("the renumbered descriptor reads %q", got)
		}
		g.want(wasi.EBADF, "fd_close", a)
		g.want(wasi.EBADF, "fd_renumber", a, b)
		g.want(wasi.EBADF, "fd_renumber", b, closed)
		g.ok("fd_renumber", b, b)
		if c := g.open("b", opening{}); c != a {
			g.Errorf("the freed number is %d, the next descriptor %d", a, c)
		}
		g.ok("fd_renumber", b, RootFD) // also onto a preopened directory
		if got := g.fdstat(RootFD).kind; got != wasi.FiletypeRegularFile {
			g.Errorf("descriptor %d is of type %d", RootFD, got)
		}
		g.want(wasi.EBADF, "fd_prestat_get", RootFD, g.alloc(8))
		g.ok("fd_close", RootFD)
		g.want(wasi.EBADF, "fd_close", RootFD)
	}},
	{name: "an unlinked file lives on", run: func(g *guest) {
		fd := g.file("f", "still here")
		g.wantPath(0, "path_unlink_file", RootFD, "f")
		if got := g.read(fd, 20); got != "still here" {
			g.Errorf("got %q", got)
		}
		if got := g.fdStat(fd).nlink; got != 0 {
			g.Errorf("it has %d links", got)
		}
	}},
	{name: "no more descriptors than there may be", config: Config{MaxFiles: ListenerFD + 2}, run: func(g *guest) {
		fd := g.file("f", "")
		g.wantOpen(wasi.EMFILE, RootFD, "f", opening{})
		g.wantOpen(wasi.EMFILE, RootFD, "new", opening{oflags: wasi.OflagsCreat})
		if _, errno := g.stat("new", 0); errno != wasi.ENOENT {
			g.Errorf("the refused open made a file: %v", errno)
		}
		g.want(wasi.EMFILE, "sock_accept", ListenerFD, 0, g.alloc(4))
		g.ok("fd_close", fd)
		g.wantOpen(0, RootFD, "f", opening{})
	}},
}
