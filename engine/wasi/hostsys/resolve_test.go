package hostsys_test

import (
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
)

// found are results as "ADDRESS:PORT/TYPE".
func found(list []wasi.AddrInfo) (out []string) {
	for _, i := range list {
		ip := netip.AddrFrom16(i.Addr.IP)
		if i.Addr.Family == wasi.FamilyInet4 {
			ip = netip.AddrFrom4([4]byte(i.Addr.IP[:4]))
		}
		out = append(out, fmt.Sprintf("%s/%d", netip.AddrPortFrom(ip, i.Addr.Port), i.Type))
	}
	return out
}

func TestGetAddrInfo(t *testing.T) {
	w := newWorld(t)
	for name, text := range map[string]string{
		"hosts":       "127.0.0.7 near\n127.0.0.8 near # a second\n",
		"services":    "# comment\nhttp 8880/tcp www # by another number\nhttp 8881/udp\nbroken\nworse x/tcp\n",
		"resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
	} {
		w.check(os.WriteFile(w.path("root/etc/"+name), []byte(text), 0o644))
	}
	const dgram, stream = wasi.SocketDatagram, wasi.SocketStream
	for _, c := range []struct {
		node, service string
		hint          wasi.AddrInfo
		want          []string
		errno         wasi.Errno
	}{
		{"near", "80", wasi.AddrInfo{Type: stream}, []string{"127.0.0.7:80/2", "127.0.0.8:80/2"}, 0},
		{"near", "", wasi.AddrInfo{Protocol: wasi.ProtocolUDP}, []string{"127.0.0.7:0/1", "127.0.0.8:0/1"}, 0},
		{"127.0.0.1", "80", wasi.AddrInfo{}, []string{"127.0.0.1:80/2", "127.0.0.1:80/1"}, 0},
		{"", "http", wasi.AddrInfo{Type: stream, Family: wasi.FamilyInet4}, []string{"127.0.0.1:8880/2"}, 0},
		{"", "www", wasi.AddrInfo{Type: stream, Family: wasi.FamilyInet6}, []string{"[::1]:8880/2"}, 0},
		{"", "http", wasi.AddrInfo{Type: dgram, Flags: wasi.AIPassive}, []string{"0.0.0.0:8881/1", "[::]:8881/1"}, 0},
		{"", "https", wasi.AddrInfo{Type: stream, Family: wasi.FamilyInet4}, []string{"127.0.0.1:443/2"}, 0},
		{"", "8", wasi.AddrInfo{Type: stream, Family: wasi.FamilyInet4, Flags: wasi.AINumericserv}, []string{"127.0.0.1:8/2"}, 0},
		{"near", "1", wasi.AddrInfo{Type: stream, Flags: wasi.AIAddrconfig}, []string{"127.0.0.7:1/2", "127.0.0.8:1/2"}, 0},
		{"near", "1", wasi.AddrInfo{Type: stream, Flags: wasi.AINumerichost}, nil, wasi.EAI_NONAME},
		{"", "http", wasi.AddrInfo{Flags: wasi.AINumericserv}, nil, wasi.EAI_NONAME},
		{"", "worse", wasi.AddrInfo{}, nil, wasi.EAI_SERVICE},
		{"", "", wasi.AddrInfo{}, nil, wasi.EAI_NONAME},
		{"near", "1", wasi.AddrInfo{Family: wasi.FamilyUnix}, nil, wasi.EAI_FAMILY},
		{"near", "1", wasi.AddrInfo{Type: stream, Protocol: wasi.ProtocolUDP}, nil, wasi.EAI_SOCKTYPE},
		{"near", "1", wasi.AddrInfo{Family: wasi.FamilyInet6}, nil, wasi.EAI_NODATA},
		{"no one", "1", wasi.AddrInfo{}, nil, wasi.EAI_AGAIN}, // nobody serves names here
		{"a..b", "1", wasi.AddrInfo{}, nil, wasi.EAI_NONAME},
	} {
		got, errno := w.sys.GetAddrInfo(c.node, c.service, c.hint)
		if errno != c.errno || !reflect.DeepEqual(found(got), c.want) {
			t.Errorf("%q %q %+v: got %v, %v, want %v, %v", c.node, c.service, c.hint, found(got), errno, c.want, c.errno)
		}
	}
	w.ok(w.sys.FdClose(rootFD)) // without its files a guest finds literals alone
	if got, errno := w.sys.GetAddrInfo("127.0.0.9", "http", wasi.AddrInfo{Type: stream}); errno != 0 || !reflect.DeepEqual(found(got), []string{"127.0.0.9:80/2"}) {
		t.Errorf("without files: %v, %v", found(got), errno)
	}
}

// FuzzGetAddrInfo looks names up in any files; the name server is an address to
// which the kernel sends nothing.
func FuzzGetAddrInfo(f *testing.F) {
	f.Add("near", "http", []byte("10.0.0.1 near\n"), []byte("http 80/tcp www\n"), uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, node, service string, hosts, services []byte, flags uint16, kind byte) {
		w := newWorld(t)
		w.check(os.WriteFile(w.path("root/etc/hosts"), hosts, 0o644))
		w.check(os.WriteFile(w.path("root/etc/services"), services, 0o644))
		w.check(os.WriteFile(w.path("root/etc/resolv.conf"), []byte("nameserver 255.255.255.255\n"), 0o644))
		list, errno := w.sys.GetAddrInfo(node, service, wasi.AddrInfo{Flags: flags, Type: wasi.SocketType(kind & 3), Family: wasi.AddressFamily(kind >> 2 & 3)})
		if (errno == 0) != (len(list) > 0) {
			t.Errorf("%d results with %v", len(list), errno)
		}
	})
}
