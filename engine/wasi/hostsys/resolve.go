package hostsys

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi"
	"github.com/cri-wasmer/cri-wasmer/engine/wasi/dns"
)

// maxResolverFile bounds what is read of a file of the guest's /etc.
const maxResolverFile = 1 << 20

// GetAddrInfo finds the addresses of a node and a service, by the files of the
// guest's root filesystem.
func (s *System) GetAddrInfo(node, service string, hint wasi.AddrInfo) ([]wasi.AddrInfo, wasi.Errno) {
	switch {
	case node == "" && service == "":
		return nil, wasi.EAI_NONAME
	case hint.Flags&^wasi.AIFlags != 0, hint.Flags&wasi.AICanonname != 0 && node == "":
		return nil, wasi.EAI_BADFLAGS
	case hint.Family > wasi.FamilyInet6:
		return nil, wasi.EAI_FAMILY
	}
	types, errno := socketTypes(hint)
	if errno != 0 {
		return nil, errno
	}
	port, errno := s.port(service, hint, types[0])
	if errno != 0 {
		return nil, errno
	}
	addrs, errno := s.inFamily(node, hint)
	if errno != 0 {
		return nil, errno
	}
	var list []wasi.AddrInfo
	for _, ip := range addrs {
		for _, t := range types {
			list = append(list, wasi.AddrInfo{Type: t.kind, Protocol: t.protocol, Addr: wasiAddr(ip, port)})
		}
	}
	return list, 0
}

type socketType struct {
	kind     wasi.SocketType
	protocol uint8
}

// socketTypes gives what the hint allows: one type, or both.
func socketTypes(hint wasi.AddrInfo) (list []socketType, errno wasi.Errno) {
	for _, t := range []socketType{{wasi.SocketStream, wasi.ProtocolTCP}, {wasi.SocketDatagram, wasi.ProtocolUDP}} {
		if hint.Type != wasi.SocketAny && hint.Type != t.kind {
			continue
		}
		if hint.Protocol == wasi.ProtocolIP || hint.Protocol == t.protocol {
			list = append(list, t)
		}
	}
	if len(list) == 0 {
		return nil, wasi.EAI_SOCKTYPE
	}
	return list, 0
}

// inFamily finds addresses of the family that the hint wants. One of IPv4 may
// be given as one of IPv6.
func (s *System) inFamily(node string, hint wasi.AddrInfo) ([]netip.Addr, wasi.Errno) {
	v4, v6 := hint.Family != wasi.FamilyInet6, hint.Family != wasi.FamilyInet4
	addrs, errno := s.addresses(node, hint.Flags, v4, v6)
	if v4 || hint.Flags&wasi.AIV4mapped == 0 || (len(addrs) > 0 && hint.Flags&wasi.AIAll == 0) {
		return addrs, errno
	}
	four, errno4 := s.addresses(node, hint.Flags, true, false)
	for _, a := range four {
		addrs = append(addrs, netip.AddrFrom16(a.As16()))
	}
	if len(addrs) > 0 {
		return addrs, 0
	}
	return nil, errno4
}

func (s *System) addresses(node string, flags uint16, v4, v6 bool) ([]netip.Addr, wasi.Errno) {
	if node == "" {
		return unnamed(flags&wasi.AIPassive != 0, v4, v6), 0
	}
	if _, err := netip.ParseAddr(node); err != nil && flags&wasi.AINumerichost != 0 {
		return nil, wasi.EAI_NONAME
	}
	r := dns.Resolver{ReadFile: s.readSmall}
	addrs, err := r.Lookup(node, v4, v6)
	switch {
	case err == nil && flags&wasi.AIAddrconfig != 0:
		return configured(addrs)
	case err == nil:
		return reachableFirst(addrs), 0
	case errors.Is(err, dns.ErrTemporary):
		return nil, wasi.EAI_AGAIN
	case errors.Is(err, dns.ErrNoAddress):
		return nil, wasi.EAI_NODATA
	}
	return nil, wasi.EAI_NONAME
}

// unnamed gives the addresses of no name: all of this machine to listen, the
// loopback to connect.
func unnamed(passive, v4, v6 bool) (list []netip.Addr) {
	six, four := netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if passive {
		six, four = netip.IPv6Unspecified(), netip.IPv4Unspecified()
	}
	if v4 {
		list = append(list, four)
	}
	if v6 {
		list = append(list, six)
	}
	return list
}

// reachableFirst moves what has no route behind what has one.
func reachableFirst(addrs []netip.Addr) []netip.Addr {
	var first, last []netip.Addr
	for _, a := range addrs {
		if routed(a) {
			first = append(first, a)
		} else {
			last = append(last, a)
		}
	}
	return append(first, last...)
}

// configured leaves out what has no route.
func configured(addrs []netip.Addr) ([]netip.Addr, wasi.Errno) {
	addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !routed(a) })
	if len(addrs) == 0 {
		return nil, wasi.EAI_NODATA
	}
	return addrs, 0
}

// routed asks the kernel for a route; nothing is sent.
func routed(a netip.Addr) bool {
	const anyPort = 9
	addr := wasiAddr(a, anyPort)
	family := unix.AF_INET6
	if a.Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Connect(fd, sockaddr(addr)) == nil
}

func wasiAddr(ip netip.Addr, port uint16) wasi.Addr {
	a := wasi.Addr{Family: wasi.FamilyInet6, Port: port, IP: ip.As16()}
	if ip.Is4() {
		four := ip.As4()
		a.Family, a.IP = wasi.FamilyInet4, [16]byte{}
		copy(a.IP[:], four[:])
	}
	return a
}

// wellKnown are services for images without /etc/services.
var wellKnown = map[string]uint16{
	"domain": 53, "ftp": 21, "http": 80, "https": 443, "imap": 143, "imaps": 993, "ntp": 123, "pop3": 110, "smtp": 25, "ssh": 22, "telnet": 23,
}

// port finds a service by number or name.
func (s *System) port(service string, hint wasi.AddrInfo, t socketType) (uint16, wasi.Errno) {
	if service == "" {
		return 0, 0
	}
	if n, err := strconv.ParseUint(service, 10, 16); err == nil {
		return uint16(n), 0
	}
	if hint.Flags&wasi.AINumericserv != 0 {
		return 0, wasi.EAI_NONAME
	}
	protocol := "/tcp"
	if t.protocol == wasi.ProtocolUDP {
		protocol = "/udp"
	}
	for line := range strings.Lines(s.readSmall("etc/services")) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 || !strings.HasSuffix(f[1], protocol) || !names(f, service) {
			continue
		}
		if n, err := strconv.ParseUint(strings.TrimSuffix(f[1], protocol), 10, 16); err == nil {
			return uint16(n), 0
		}
	}
	if n, ok := wellKnown[service]; ok {
		return n, 0
	}
	return 0, wasi.EAI_SERVICE
}

// names says whether a line of services is for a name or alias.
func names(fields []string, service string) bool {
	for i, f := range fields {
		if i != 1 && f == service {
			return true
		}
	}
	return false
}

// readSmall reads a file of the guest's root filesystem, empty when it is not
// there.
func (s *System) readSmall(path string) string {
	root := s.rootDir()
	if root == nil {
		return ""
	}
	fd, errno := root.openat(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if errno != 0 {
		return ""
	}
	defer unix.Close(fd)
	var b strings.Builder
	buf := make([]byte, 8<<10)
	for b.Len() < maxResolverFile {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			break
		}
		b.Write(buf[:n])
	}
	return b.String()
}
