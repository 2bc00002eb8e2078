package wasitest

import (
	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// pair connects to the listener, through the extension, and gives both ends.
func (g *guest) pair() (accepted, connected uint64) {
	g.Helper()
	addr, errno := g.sys.SockLocalAddr(ListenerFD)
	if errno != 0 {
		g.Fatalf("address of the listener: %v", errno)
	}
	fd, errno := g.sys.SockOpen(addr.Family, wasi.SocketStream)
	if errno == 0 {
		errno = g.sys.SockConnect(fd, addr)
	}
	if errno != 0 {
		g.Fatalf("connect to the listener: %v", errno)
	}
	g.waitReadable(ListenerFD)
	result := g.alloc(4)
	g.ok("sock_accept", ListenerFD, 0, result)
	return uint64(g.u32(result)), uint64(fd)
}

func (g *guest) waitReadable(fd uint64) {
	g.Helper()
	g.poll(wasi.Subscription{Type: wasi.EventFdRead, FD: uint32(fd)})
}

func (g *guest) nonblock(fd uint64) {
	g.Helper()
	g.ok("fd_fdstat_set_flags", fd, uint64(wasi.FdflagsNonblock))
}

var socketTests = []test{
	{name: "a connection", run: func(g *guest) {
		if s := g.fdstat(ListenerFD); s.kind != wasi.FiletypeSocketStream || s.flags != wasi.FdflagsNonblock {
			g.Errorf("the listener: %+v", s)
		}
		a, b := g.pair()
		if s := g.fdstat(a); s.kind != wasi.FiletypeSocketStream || s.flags != 0 {
			g.Errorf("an accepted socket: %+v", s)
		}
		list, n, bufs := g.iovs(2, 3)
		copy(g.mem[bufs[0]:], "he")
		copy(g.mem[bufs[1]:], "llo")
		result, flags := g.alloc(4), g.alloc(2)
		g.ok("sock_send", a, list, n, 0, result)
		if g.u32(result) != 5 {
			g.Errorf("sent %d bytes", g.u32(result))
		}
		g.waitReadable(b)
		clear(g.mem[bufs[0] : bufs[0]+2])
		g.ok("sock_recv", b, list, 1, uint64(wasi.RiflagsPeek), result, flags)
		if got := g.bytes(bufs[0], 2); got != "he" || g.u32(result) != 2 || g.u16(flags) != 0 {
			g.Errorf("peeked %q, %d bytes, flags %d", got, g.u32(result), g.u16(flags))
		}
		g.ok("sock_recv", b, list, n, uint64(wasi.RiflagsWaitall), result, flags)
		if got := g.bytes(bufs[0], 2) + g.bytes(bufs[1], 3); got != "hello" {
			g.Errorf("received %q", got)
		}
		g.write(b, "by fd_write")
		g.waitReadable(a)
		if got := g.read(a, 20); got != "by fd_write" {
			g.Errorf("fd_read gave %q", got)
		}
		g.ok("sock_shutdown", a, uint64(wasi.SdflagsWr))
		g.waitReadable(b)
		g.ok("sock_recv", b, list, n, 0, result, flags)
		if g.u32(result) != 0 {
			g.Errorf("%d bytes behind the end", g.u32(result))
		}
		g.write(b, "half closed") // the other half is open
		g.waitReadable(a)
		if got := g.read(a, 20); got != "half closed" {
			g.Errorf("read %q", got)
		}
		g.want(wasi.EPIPE, "sock_send", a, list, n, 0, result)
		g.want(wasi.EPIPE, "fd_write", a, list, n, result)
	}},
	{name: "what does not block gives EAGAIN", run: func(g *guest) {
		list, n, _ := g.iovs(60000)
		result, flags := g.alloc(4), g.alloc(2)
		g.want(wasi.EAGAIN, "sock_accept", ListenerFD, 0, result)
		a, _ := g.pair()
		g.nonblock(a)
		g.want(wasi.EAGAIN, "fd_read", a, list, n, result)
		g.want(wasi.EAGAIN, "sock_recv", a, list, n, 0, result, flags)
		for range 1000 {
			if g.call("fd_write", a, list, n, result) == wasi.EAGAIN {
				break
			}
		}
		g.want(wasi.EAGAIN, "fd_write", a, list, n, result)
		g.want(wasi.EAGAIN, "sock_send", a, list, n, 0, result)
	}},
	{name: "an accepted socket that does not block", run: func(g *guest) {
		addr, _ := g.sys.SockLocalAddr(ListenerFD)
		fd, _ := g.sys.SockOpen(addr.Family, wasi.SocketStream)
		if errno := g.sys.SockConnect(fd, addr); errno != 0 {
			g.Fatal(errno)
		}
		g.waitReadable(ListenerFD)
		result := g.alloc(4)
		g.ok("sock_accept", ListenerFD, uint64(wasi.FdflagsNonblock), result)
		accepted := uint64(g.u32(result))
		if s := g.fdstat(accepted); s.flags != wasi.FdflagsNonblock {
			g.Errorf("flags %#x", s.flags)
		}
		list, n, _ := g.iovs(1)
		g.want(wasi.EAGAIN, "fd_read", accepted, list, n, result)
	}},
	{name: "errors of sockets", run: func(g *guest) {
		list, n, _ := g.iovs(4)
		result, flags := g.alloc(4), g.alloc(2)
		file := g.file("f", "")
		lone, errno := g.sys.SockOpen(wasi.FamilyInet4, wasi.SocketStream)
		if errno != 0 {
			g.Fatal(errno)
		}
		a, _ := g.pair()
		unconnected := uint64(lone)
		for fd, want := range map[uint64]wasi.Errno{closed: wasi.EBADF, file: wasi.ENOTSOCK, RootFD: wasi.ENOTSOCK} {
			g.want(want, "sock_accept", fd, 0, result)
			g.want(want, "sock_recv", fd, list, n, 0, result, flags)
			g.want(want, "sock_send", fd, list, n, 0, result)
			g.want(want, "sock_shutdown", fd, uint64(wasi.SdflagsWr))
		}
		g.want(wasi.EINVAL, "sock_accept", unconnected, 0, result)
		g.want(wasi.EINVAL, "sock_accept", ListenerFD, uint64(wasi.FdflagsAppend), result)
		g.want(wasi.EFAULT, "sock_accept", ListenerFD, 0, beyond(4))
		g.want(wasi.ENOTCONN, "sock_recv", unconnected, list, n, 0, result, flags)
		g.want(wasi.EINVAL, "sock_recv", a, list, n, 1<<16, result, flags)
		g.want(wasi.ENOTSUP, "sock_recv", a, list, n, 1<<5, result, flags)
		g.want(wasi.EFAULT, "sock_recv", a, list, n, 0, beyond(4), flags)
		g.want(wasi.EFAULT, "sock_recv", a, list, n, 0, result, beyond(2))
		g.want(wasi.EFAULT, "sock_recv", a, beyond(8), n, 0, result, flags)
		local, errno := g.sys.SockOpen(wasi.FamilyUnix, wasi.SocketStream) // Linux has EPIPE for TCP
		if errno != 0 {
			g.Fatal(errno)
		}
		g.want(wasi.ENOTCONN, "sock_send", uint64(local), list, n, 0, result)
		g.want(wasi.EINVAL, "sock_send", a, list, wasi.MaxIovs+1, 0, result)
		g.want(wasi.ENOTSUP, "sock_send", a, list, n, 1, result)
		g.want(wasi.EFAULT, "sock_send", a, list, n, 0, beyond(4))
		g.want(wasi.ENOTCONN, "sock_shutdown", unconnected, uint64(wasi.SdflagsRd|wasi.SdflagsWr))
		for _, how := range []uint64{0, 4, 1 << 8} {
			g.want(wasi.EINVAL, "sock_shutdown", a, how)
		}
		g.narrow(a, wasi.RightFdRead|wasi.RightFdWrite|wasi.RightSockShutdown)
		g.want(wasi.ENOTCAPABLE, "sock_recv", a, list, n, 0, result, flags)
		g.want(wasi.ENOTCAPABLE, "sock_send", a, list, n, 0, result)
		g.want(wasi.ENOTCAPABLE, "sock_shutdown", a, uint64(wasi.SdflagsWr))
		g.narrow(ListenerFD, wasi.RightSockAccept)
		g.want(wasi.ENOTCAPABLE, "sock_accept", ListenerFD, 0, result)
	}},
}
