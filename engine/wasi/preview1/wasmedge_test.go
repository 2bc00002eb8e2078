package preview1_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/preview1"
)

// Places in a guest's memory.
const (
	addrPair = 0   // pointer and size of an address
	addrAt   = 128 // the address
	fdAt     = 300
	iovAt    = 320
	outAt    = 340 // count, then flags, then port
	dataAt   = 1000
	bufAt    = 2000
)

// address writes an address of so many bytes.
func (g *guest) address(size uint32, bytes ...byte) {
	g.setU32(addrPair, addrAt)
	g.setU32(addrPair+4, size)
	clear(g.mem[addrAt : addrAt+128])
	copy(g.mem[addrAt:], bytes)
}

func (g *guest) socket(family wasi.AddressFamily, kind wasi.SocketType) uint64 {
	g.t.Helper()
	g.must("sock_open", uint64(family), uint64(kind), fdAt)
	return uint64(g.u32(fdAt))
}

// TestFirstVersionOverTCP talks to itself as a guest of v1 does.
func TestFirstVersionOverTCP(t *testing.T) {
	g := newGuest(t)
	server := g.socket(wasi.FamilyInet4, wasi.SocketStream)
	g.setU32(bufAt, 1)
	g.must("sock_setsockopt", server, 0, uint64(wasi.SoReuseaddr), bufAt, 4)
	g.address(4, 127, 0, 0, 1)
	g.must("sock_bind", server, addrPair, 0)
	g.must("sock_listen", server, 8)
	g.address(16)
	g.must("sock_getlocaladdr", server, addrPair, outAt, outAt+4)
	port := uint64(g.u32(outAt + 4))
	if g.u32(outAt) != 4 || port == 0 || string(g.mem[addrAt:addrAt+4]) != "\x7f\x00\x00\x01" {
		t.Fatalf("local address: type %d, port %d, %v", g.u32(outAt), port, g.mem[addrAt:addrAt+4])
	}
	client := g.socket(wasi.FamilyInet4, wasi.SocketStream)
	g.address(4, 127, 0, 0, 1)
	g.must("sock_connect", client, addrPair, port)
	g.must("sock_accept", server, fdAt)
	conn := uint64(g.u32(fdAt))

	copy(g.mem[dataAt:], "hello")
	g.iovec(iovAt, dataAt, 5)
	g.must("sock_send", client, iovAt, 1, 0, outAt)
	g.iovec(iovAt, bufAt, 100)
	g.address(16)
	g.must("sock_recv_from", conn, iovAt, 1, addrPair, 0, outAt, outAt+4)
	if n := g.u32(outAt); n != 5 || string(g.mem[bufAt:bufAt+5]) != "hello" || g.mem[addrAt] != 127 {
		t.Errorf("received %d bytes %q from %v", n, g.mem[bufAt:bufAt+5], g.mem[addrAt:addrAt+4])
	}
	g.must("sock_getpeeraddr", client, addrPair, outAt, outAt+4)
	if uint64(g.u32(outAt+4)) != port {
		t.Errorf("the peer's port is %d, want %d", g.u32(outAt+4), port)
	}
	g.must("sock_shutdown", client, uint64(wasi.SdflagsWr))
	g.must("sock_recv", conn, iovAt, 1, 0, outAt, outAt+4)
	if n := g.u32(outAt); n != 0 {
		t.Errorf("%d bytes after the end", n)
	}
}

// TestSecondVersionOverUDP sends datagrams as a guest of v2 does.
func TestSecondVersionOverUDP(t *testing.T) {
	for _, c := range []struct {
		family   wasi.AddressFamily
		loopback []byte
	}{
		{wasi.FamilyInet4, []byte{127, 0, 0, 1}},
		{wasi.FamilyInet6, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
	} {
		g := newGuest(t)
		a, b := g.socket(c.family, wasi.SocketDatagram), g.socket(c.family, wasi.SocketDatagram)
		loopback := append([]byte{byte(c.family), 0}, c.loopback...)
		var ports [2]uint64
		for i, fd := range []uint64{a, b} {
			g.address(128, loopback...)
			if errno := g.call("sock_bind", fd, addrPair, 0); errno == wasi.EADDRNOTAVAIL {
				t.Skip("this machine has no IPv6 loopback")
			} else if errno != 0 {
				t.Fatal(errno)
			}
			g.must("sock_getlocaladdr", fd, addrPair, outAt)
			ports[i] = uint64(g.u32(outAt))
		}
		copy(g.mem[dataAt:], "a datagram")
		g.iovec(iovAt, dataAt, 10)
		g.address(128, loopback...)
		g.must("sock_send_to", a, iovAt, 1, addrPair, ports[1], 0, outAt)
		g.iovec(iovAt, bufAt, 4)
		g.address(128)
		g.setU32(outAt+8, 0)
		g.must("sock_recv_from", b, iovAt, 1, addrPair, 0, outAt+8, outAt, outAt+4)
		if n, port := g.u32(outAt), uint64(g.u32(outAt+8)); n != 4 || port != ports[0] {
			t.Errorf("received %d bytes from port %d, want 4 from %d", n, port, ports[0])
		}
		if binary.LittleEndian.Uint16(g.mem[outAt+4:]) != wasi.RoflagsTrunc {
			t.Error("a datagram that was cut is not told")
		}
		if string(g.mem[addrAt:addrAt+len(loopback)]) != string(loopback) {
			t.Errorf("from %v, want %v", g.mem[addrAt:addrAt+len(loopback)], loopback)
		}
	}
}

func TestUnixSocketsStayInTheRoot(t *testing.T) {
	g := newGuest(t)
	unixAddr := func(path string) { g.address(128, append([]byte{byte(wasi.FamilyUnix), 0}, path...)...) }
	server := g.socket(wasi.FamilyUnix, wasi.SocketStream)
	unixAddr("/s")
	g.must("sock_bind", server, addrPair, 0)
	g.must("sock_listen", server, 8)
	if _, err := os.Stat(filepath.Join(g.dir, "s")); err != nil {
		t.Error(err)
	}
	if err := os.Symlink("/nowhere/../s", filepath.Join(g.dir, "link")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]wasi.Errno{
		"/s": 0, "s": 0, "/../../s": 0, "/link": wasi.ENOENT, "": wasi.EINVAL, filepath.Join(g.dir, "s"): wasi.ENOENT,
	} {
		unixAddr(path)
		if errno := g.call("sock_connect", g.socket(wasi.FamilyUnix, wasi.SocketStream), addrPair, 0); errno != want {
			t.Errorf("connect to %q: %v, want %v", path, errno, want)
		}
	}
	g.must("sock_getlocaladdr", server, addrPair, outAt)
	if got := string(g.mem[addrAt+2 : addrAt+5]); got != "/s\x00" {
		t.Errorf("the local address is %q", got)
	}
}

func TestConnectWithoutBlocking(t *testing.T) {
	g := newGuest(t)
	fd := g.socket(wasi.FamilyInet4, wasi.SocketStream)
	g.must("fd_fdstat_set_flags", fd, uint64(wasi.FdflagsNonblock))
	g.address(4, 127, 0, 0, 1)
	if errno := g.call("sock_connect", fd, addrPair, 1); errno != wasi.EINPROGRESS && errno != wasi.ECONNREFUSED {
		t.Fatalf("connect: %v", errno)
	}
	clear(g.mem[3000:3200])
	g.mem[3008] = byte(wasi.EventFdWrite)
	g.setU32(3016, uint32(fd))
	g.must("poll_oneoff", 3000, 3100, 1, outAt)
	g.setU32(outAt, 4)
	g.must("sock_getsockopt", fd, 0, uint64(wasi.SoError), bufAt, outAt) // a pointer to the size
	if got := wasi.Errno(g.u32(bufAt)); got != wasi.ECONNREFUSED || g.u32(outAt) != 4 {
		t.Errorf("the socket's error is %v (%d bytes), want ECONNREFUSED", got, g.u32(outAt))
	}
}

func TestSocketOptions(t *testing.T) {
	g := newGuest(t)
	fd := g.socket(wasi.FamilyInet4, wasi.SocketStream)
	g.must("sock_getsockopt", fd, 0, uint64(wasi.SoType), bufAt, 4) // a size
	if got := g.u32(bufAt); got != uint32(wasi.SocketStream) {
		t.Errorf("the type is %d", got)
	}
	for _, c := range []struct {
		level, name uint32
		size        uint64
		value       uint64
	}{
		{wasi.SolSocket, wasi.SoReuseaddr, 4, 1}, {wasi.SolSocket, wasi.SoKeepalive, 4, 1}, {wasi.SolSocket, wasi.SoBroadcast, 4, 1},
		{wasi.SolSocket, wasi.SoLinger, 8, 1 | 5<<32}, {wasi.SolSocket, wasi.SoRcvlowat, 4, 7}, {wasi.SolTCP, wasi.TCPNodelay, 4, 1},
		{wasi.SolSocket, wasi.SoRcvtimeo, 16, 2}, {wasi.SolSocket, wasi.SoSndtimeo, 16, 3},
	} {
		clear(g.mem[bufAt : bufAt+64])
		g.setU64(bufAt, c.value)
		g.must("sock_setsockopt", fd, uint64(c.level), uint64(c.name), bufAt, c.size)
		clear(g.mem[bufAt : bufAt+64])
		g.setU32(outAt, 16)
		g.must("sock_getsockopt", fd, uint64(c.level), uint64(c.name), bufAt, outAt)
		if got := g.u64(bufAt); got != c.value || uint64(g.u32(outAt)) != c.size {
			t.Errorf("option %d of level %d is %d (%d bytes), want %d (%d)", c.name, c.level, got, g.u32(outAt), c.value, c.size)
		}
	}
	for _, c := range []struct {
		args []uint64
		want wasi.Errno
	}{
		{[]uint64{fd, 0, 99, bufAt, 4}, wasi.ENOPROTOOPT}, {[]uint64{fd, 77, 0, bufAt, 4}, wasi.EINVAL},
		{[]uint64{fd, 0, 0, bufAt, 3}, wasi.EINVAL}, {[]uint64{fd, 0, 0, 1 << 16, 4}, wasi.EFAULT}, {[]uint64{3, 0, 0, bufAt, 4}, wasi.ENOTSOCK},
	} {
		if errno := g.call("sock_setsockopt", c.args...); errno != c.want {
			t.Errorf("sock_setsockopt%v = %v, want %v", c.args, errno, c.want)
		}
	}
}

func TestOpenOfUnknownSockets(t *testing.T) {
	g := newGuest(t)
	for _, c := range []struct{ family, kind, want uint64 }{
		{0, 2, uint64(wasi.EAFNOSUPPORT)}, {9, 2, uint64(wasi.EAFNOSUPPORT)}, {1, 0, uint64(wasi.EINVAL)}, {1, 9, uint64(wasi.EINVAL)},
		{1 << 20, 1, uint64(wasi.EINVAL)},
	} {
		if errno := g.call("sock_open", c.family, c.kind, fdAt); uint64(errno) != c.want {
			t.Errorf("sock_open(%d, %d) = %v, want %v", c.family, c.kind, errno, wasi.Errno(c.want))
		}
	}
}

func TestAddressInfo(t *testing.T) {
	g := newGuest(t)
	if err := os.MkdirAll(filepath.Join(g.dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	hosts := "10.1.2.3 db db.local\n10.1.2.4 db\nfd00::1 six\n"
	if err := os.WriteFile(filepath.Join(g.dir, "etc/hosts"), []byte(hosts), 0o644); err != nil {
		t.Fatal(err)
	}
	const hintAt, listAt, item, room = 4000, 4100, 5000, 100
	ask := func(node, service string, said uint32) (uint32, wasi.Errno) {
		for i := range 4 { // each item with its address and data behind it
			at := item + i*room
			clear(g.mem[at : at+room])
			g.setU32(at+12, uint32(at+28))
			g.setU32(at+28+4, said)
			g.setU32(at+28+8, uint32(at+40))
			if i < 3 {
				g.setU32(at+24, uint32(at+room))
			}
		}
		g.setU32(listAt, item)
		g.mem[hintAt+3] = byte(wasi.SocketStream)
		copy(g.mem[dataAt:], node+"\x00")
		copy(g.mem[bufAt:], service+"\x00")
		errno := g.call("sock_getaddrinfo", dataAt, uint64(len(node)+1), bufAt, uint64(len(service)+1), hintAt, listAt, 4, outAt)
		return g.u32(outAt), errno
	}
	n, errno := ask("DB", "https", 14)
	if errno != 0 || n != 2 {
		t.Fatalf("db: %d results, %v; want 2", n, errno)
	}
	if got := g.mem[item+40 : item+46]; string(got) != "\x01\xbb\x0a\x01\x02\x03" || g.mem[item+28] != 1 {
		t.Errorf("the first is % x", got)
	}
	n, errno = ask("six", "80", 26)
	if got := g.mem[item+42]; errno != 0 || n != 1 || got != 0xfd || g.mem[item+2] != byte(wasi.FamilyInet6) {
		t.Errorf("six: %d results, %v, %x", n, errno, got)
	}
	n, errno = ask("six", "80", 14)
	if got := g.mem[item+46]; errno != 0 || n != 1 || got != 0xfd {
		t.Errorf("six, behind the flow: %d results, %v, %x", n, errno, got)
	}
	if _, errno = ask("db", "no-such-service", 14); errno != wasi.EAI_SERVICE {
		t.Errorf("an unknown service: %v", errno)
	}
	if _, errno = ask("", "", 14); errno != wasi.EAI_NONAME {
		t.Errorf("nothing: %v", errno)
	}
	flags, family := hintAt, hintAt+2
	g.mem[family] = byte(wasi.FamilyInet6)
	if _, errno = ask("db", "80", 26); errno != wasi.EAI_NODATA && errno != wasi.EAI_NONAME {
		t.Errorf("an IPv6 address of db: %v", errno)
	}
	binary.LittleEndian.PutUint16(g.mem[flags:], wasi.AIV4mapped)
	n, errno = ask("db", "80", 26)
	if got := g.mem[item+42 : item+58]; errno != 0 || n != 2 || string(got) != "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x01\x02\x03" {
		t.Errorf("db, mapped: %d results, %v, % x", n, errno, got)
	}
	for bad, node := range map[uint16]string{1 << 7: "db", wasi.AICanonname: ""} {
		binary.LittleEndian.PutUint16(g.mem[flags:], bad)
		if _, errno = ask(node, "80", 26); errno != wasi.EAI_BADFLAGS {
			t.Errorf("flags %#x of %q: %v", bad, node, errno)
		}
	}
	binary.LittleEndian.PutUint16(g.mem[flags:], 0)
	if errno := g.call("sock_getaddrinfo", dataAt, 2, bufAt, 2, hintAt, listAt, 0, outAt); errno != wasi.EAI_MEMORY {
		t.Errorf("no room: %v", errno)
	}
}

// TestSecondNamesOfTheSecondVersion calls v2 by the names that WasmEdge gives
// it.
func TestSecondNamesOfTheSecondVersion(t *testing.T) {
	g := newGuest(t)
	g.must("sock_open_v2", uint64(wasi.FamilyInet4), uint64(wasi.SocketStream), fdAt)
	l := uint64(g.u32(fdAt))
	g.address(128, byte(wasi.FamilyInet4), 0, 127, 0, 0, 1)
	g.must("sock_bind_v2", l, addrPair, 0)
	g.must("sock_listen_v2", l, 1)
	g.must("sock_getlocaladdr_v2", l, addrPair, outAt)
	port := uint64(g.u32(outAt))
	g.must("sock_open_v2", uint64(wasi.FamilyInet4), uint64(wasi.SocketStream), fdAt)
	c := uint64(g.u32(fdAt))
	g.must("sock_connect_v2", c, addrPair, port)
	g.must("sock_accept_v2", l, 0, fdAt)
	s := uint64(g.u32(fdAt))
	g.iovec(iovAt, dataAt, 5)
	copy(g.mem[dataAt:], "hello")
	g.must("sock_send_v2", c, iovAt, 1, 0, outAt)
	g.iovec(iovAt, bufAt, 5)
	g.must("sock_recv_v2", s, iovAt, 1, 0, outAt, outAt+4)
	if got := string(g.mem[bufAt : bufAt+5]); got != "hello" {
		t.Errorf("received %q", got)
	}
	g.must("sock_getpeeraddr_v2", c, addrPair, outAt)
	if uint64(g.u32(outAt)) != port {
		t.Errorf("the peer has port %d, want %d", g.u32(outAt), port)
	}
	for _, im := range preview1.Imports() {
		if strings.HasSuffix(im.Name, "_v2") && im.Module != module {
			t.Errorf("%s.%s is served", im.Module, im.Name)
		}
		if im.Name == "sock_accept_v2" && len(im.Params) != 3 {
			t.Errorf("sock_accept_v2 has %d parameters", len(im.Params))
		}
	}
}
