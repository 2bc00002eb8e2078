package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// server is a name server on the loopback, over UDP and TCP.
type server struct {
	addr  netip.AddrPort
	zone  map[string][]string // by "name. type"; no addresses: the name exists
	rcode dnsmessage.RCode    // for all questions, when not 0
	cut   bool                // over UDP
	mu    sync.Mutex
	asked []string
}

func newServer(t *testing.T, zone map[string][]string, change ...func(*server)) *server {
	t.Helper()
	return newServerAt(t, net.IPv4(127, 0, 0, 1), zone, change...)
}

func newServerAt(t *testing.T, ip net.IP, zone map[string][]string, change ...func(*server)) *server {
	t.Helper()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: udp.LocalAddr().(*net.UDPAddr).AddrPort(), zone: zone}
	for _, f := range change {
		f(s)
	}
	tcp, err := net.Listen("tcp", s.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close(); tcp.Close() })
	go s.serveUDP(udp)
	go s.serveTCP(tcp)
	return s
}

func (s *server) cuts() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut
}

func (s *server) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *server) serveUDP(c *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		c.WriteToUDPAddrPort([]byte("noise"), from)
		c.WriteToUDPAddrPort(s.answer(buf[:n], s.cuts()), from)
	}
}

func (s *server) serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		var size [2]byte
		io.ReadFull(c, size[:])
		buf := make([]byte, binary.BigEndian.Uint16(size[:]))
		io.ReadFull(c, buf)
		a := s.answer(buf, false)
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
		c.Close()
	}
}

func (s *server) answer(query []byte, cut bool) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil
	}
	q := m.Questions[0]
	key := fmt.Sprintf("%s %s", strings.ToLower(q.Name.String()), strings.TrimPrefix(q.Type.String(), "Type"))
	s.mu.Lock()
	s.asked = append(s.asked, key)
	rcode := s.rcode
	s.mu.Unlock()
	list, ok := s.zone[key]
	_, other := s.zone[strings.TrimSuffix(key, "AAAA")+"A"]
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RCode: rcode, Truncated: cut}
	if !ok && !other && rcode == 0 {
		m.RCode = dnsmessage.RCodeNameError
	}
	m.Additionals = nil
	for _, text := range list {
		ip := netip.MustParseAddr(text)
		r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type}}
		if ip.Is4() {
			r.Body = &dnsmessage.AResource{A: ip.As4()}
		} else {
			r.Body = &dnsmessage.AAAAResource{AAAA: ip.As16()}
		}
		if !cut {
			m.Answers = append(m.Answers, r)
		}
	}
	b, _ := m.Pack()
	return b
}

func (s *server) config(search ...string) config {
	return config{servers: []netip.AddrPort{s.addr}, search: search, ndots: 1, timeout: 2 * time.Second, attempts: 1}
}

var zone = map[string][]string{
	"db.ns.svc. A": {"10.0.0.1", "10.0.0.2"}, "db.ns.svc. AAAA": {"fd00::1"}, "only4.example. A": {"192.0.2.1"},
}

func texts(list []netip.Addr) (out []string) {
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

func TestLookupBySearch(t *testing.T) {
	for _, c := range []struct {
		name  string
		ndots int
		want  []string
		asked []string
		err   error
	}{
		{"db", 1, []string{"fd00::1", "10.0.0.1", "10.0.0.2"}, []string{"db.no. AAAA", "db.no. A", "db.ns.svc. AAAA", "db.ns.svc. A"}, nil},
		{"only4.example", 1, []string{"192.0.2.1"}, []string{"only4.example. AAAA", "only4.example. A"}, nil},
		{"only4.example.", 5, []string{"192.0.2.1"}, []string{"only4.example. AAAA", "only4.example. A"}, nil},
		{"only4.example", 5, []string{"192.0.2.1"}, []string{
			"only4.example.no. AAAA", "only4.example.no. A", "only4.example.ns.svc. AAAA", "only4.example.ns.svc. A", "only4.example. AAAA", "only4.example. A",
		}, nil},
		{"nobody.", 1, nil, []string{"nobody. AAAA", "nobody. A"}, ErrNotFound},
	} {
		s := newServer(t, zone)
		cfg := s.config("no", "ns.svc")
		cfg.ndots = c.ndots
		got, err := cfg.lookup(c.name, true, true)
		if !reflect.DeepEqual(texts(got), c.want) || !errors.Is(err, c.err) {
			t.Errorf("%s with ndots %d: %v, %v; want %v, %v", c.name, c.ndots, got, err, c.want, c.err)
		}
		if !reflect.DeepEqual(s.questions(), c.asked) {
			t.Errorf("%s with ndots %d asked %v, want %v", c.name, c.ndots, s.questions(), c.asked)
		}
	}
}

func TestLookupOfOneFamily(t *testing.T) {
	cfg := newServer(t, zone).config()
	if got, err := cfg.lookup("db.ns.svc", true, false); len(got) != 2 || err != nil {
		t.Errorf("IPv4: %v, %v", got, err)
	}
	if got, err := cfg.lookup("only4.example", false, true); !errors.Is(err, ErrNoAddress) {
		t.Errorf("IPv6 of a name without: %v, %v; want ErrNoAddress", got, err)
	}
}

func TestACutAnswerComesByTCP(t *testing.T) {
	s := newServer(t, zone, func(s *server) { s.cut = true })
	cfg := s.config()
	if got, err := cfg.lookup("db.ns.svc.", true, false); len(got) != 2 || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestAServerThatFailsIsPassedOver(t *testing.T) {
	good := newServer(t, zone)
	bad := newServer(t, zone, func(s *server) { s.rcode = dnsmessage.RCodeServerFailure })
	cfg := good.config()
	cfg.servers = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), bad.addr, good.addr}
	if got, err := cfg.lookup("db.ns.svc.", true, false); len(got) != 2 || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	cfg.servers = cfg.servers[:2]
	if _, err := cfg.lookup("db.ns.svc.", true, true); !errors.Is(err, ErrTemporary) {
		t.Errorf("with failing servers alone: %v, want ErrTemporary", err)
	}
}

func TestAServerOfIPv6(t *testing.T) {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil { // no IPv6 here: then such a server fails like any other
		cfg := config{servers: []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Loopback(), serverPort)}, timeout: time.Second, attempts: 1}
		if _, err := cfg.lookup("db.ns.svc.", true, true); !errors.Is(err, ErrTemporary) {
			t.Errorf("got %v, want ErrTemporary", err)
		}
		return
	}
	l.Close()
	for _, cut := range []bool{false, true} {
		s := newServerAt(t, net.IPv6loopback, zone, func(s *server) { s.cut = cut })
		cfg := s.config()
		cfg.servers[0] = netip.AddrPortFrom(cfg.servers[0].Addr().WithZone("lo"), cfg.servers[0].Port())
		if got, err := cfg.lookup("db.ns.svc.", true, true); len(got) != 3 || err != nil {
			t.Errorf("cut %v: got %v, %v", cut, got, err)
		}
	}
}

func TestZoneID(t *testing.T) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	for zone, want := range map[string]uint32{"": 0, "7": 7, "lo": uint32(lo.Index), "no-such-link": 0, "a-name-that-is-far-too-long": 0} {
		if got := zoneID(zone); got != want {
			t.Errorf("zone %q: got %d, want %d", zone, got, want)
		}
	}
}

func TestRotateSharesTheWork(t *testing.T) {
	a, b := newServer(t, zone), newServer(t, zone)
	cfg := a.config()
	cfg.servers = append(cfg.servers, b.addr)
	for range 40 {
		if _, err := cfg.lookup("only4.example.", true, false); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(b.questions()); n != 0 {
		t.Errorf("without rotate the second server was asked %d times", n)
	}
	cfg.rotate = true
	for range 40 { // that one server is never chosen has a probability of 2^-40
		if _, err := cfg.lookup("only4.example.", true, false); err != nil {
			t.Fatal(err)
		}
	}
	if n, m := len(a.questions()), len(b.questions()); n == 40 || m == 0 {
		t.Errorf("with rotate the servers were asked %d and %d times", n-40, m)
	}
}

func TestASilentServerTimesOut(t *testing.T) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg := config{servers: []netip.AddrPort{c.LocalAddr().(*net.UDPAddr).AddrPort()}, timeout: 50 * time.Millisecond, attempts: 2}
	start := time.Now()
	if _, err := cfg.lookup("a.", true, false); !errors.Is(err, ErrTemporary) {
		t.Errorf("got %v, want ErrTemporary", err)
	}
	if took := time.Since(start); took < 100*time.Millisecond || took > 5*time.Second {
		t.Errorf("took %v, want two attempts of 50ms", took)
	}
}

func TestHostsAndLiterals(t *testing.T) {
	r := Resolver{ReadFile: func(path string) string {
		if path == "etc/hosts" {
			return "# comment\n10.0.0.1 a A.local # here\n::2\ta\nbad b\n"
		}
		return ""
	}}
	for name, want := range map[string][]string{
		"a": {"10.0.0.1", "::2"}, "a.LOCAL.": {"10.0.0.1"}, "localhost": {"::1", "127.0.0.1"}, "x.localhost": {"::1", "127.0.0.1"},
		"1.2.3.4": {"1.2.3.4"}, "::1": {"::1"},
	} {
		if got, err := r.Lookup(name, true, true); err != nil || !reflect.DeepEqual(texts(got), want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, want)
		}
	}
	for _, name := range []string{"", ".", "a..b", strings.Repeat("x", 64), strings.Repeat("x.", 127) + "x"} {
		if _, err := r.Lookup(name, true, true); !errors.Is(err, ErrNotFound) {
			t.Errorf("%.20q: %v, want ErrNotFound", name, err)
		}
	}
}

func TestResolvConf(t *testing.T) {
	got := parseConfig("nameserver 10.0.0.10 # first\n; x\nnameserver fd00::a\nnameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver x\n" +
		"domain old\nsearch a.b c\noptions ndots:5 timeout:99 attempts:0 use-vc rotate ndots:x\n")
	want := config{
		servers: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.10:53"), netip.MustParseAddrPort("[fd00::a]:53"), netip.MustParseAddrPort("1.1.1.1:53")},
		search:  []string{"a.b", "c"}, ndots: 5, timeout: maxTimeout, attempts: 1, tcp: true, rotate: true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	got = parseConfig("nameserver ::ffff:9.9.9.9\nnameserver fe80::1%eth0\n")
	if want := []string{"9.9.9.9:53", "[fe80::1%eth0]:53"}; !reflect.DeepEqual([]string{got.servers[0].String(), got.servers[1].String()}, want) {
		t.Errorf("servers %v, want %v", got.servers, want)
	}
	if c := parseConfig(""); len(c.servers) != 1 || c.ndots != 1 {
		t.Errorf("an empty file gives %+v", c)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{}, "nameserver ::1\noptions ndots:3")
	f.Fuzz(func(t *testing.T, packet []byte, text string) {
		name := dnsmessage.MustNewName("a.")
		q := &dnsmessage.Message{Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
		if m, err := parse(packet, q); err == nil {
			addresses(m)
		}
		c := parseConfig(text)
		if len(c.servers) == 0 || len(c.servers) > maxServers || c.attempts < 1 {
			t.Errorf("%q gives %+v", text, c)
		}
		c.candidates(text)
		hosts(text, "a")
	})
}
