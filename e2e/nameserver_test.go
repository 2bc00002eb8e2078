package e2e

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"
)

// nameServerIP is on the loopback interface of the host of these tests, which
// pods reach by their gateway.
const nameServerIP = "10.90.0.53"

// nameServer answers for some names with one address each until the end of the
// test, and gives its own address.
func nameServer(t *testing.T, names map[string]string) string {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	must(t, err)
	address, err := netlink.ParseAddr(nameServerIP + "/32")
	must(t, err)
	must(t, netlink.AddrReplace(lo, address))
	conn, err := net.ListenPacket("udp", net.JoinHostPort(nameServerIP, "53"))
	must(t, err)
	done := make(chan struct{})
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := answerFor(names, buf[:n]); answer != nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	return nameServerIP
}

// answerFor gives the answer to a question, nil when it is none.
func answerFor(names map[string]string, question []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true, RecursionAvailable: true}
	m.Additionals = nil
	ip, err := netip.ParseAddr(names[q.Name.String()])
	switch {
	case err != nil:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA && ip.Is4():
		m.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
			Body:   &dnsmessage.AResource{A: ip.As4()},
		}}
	}
	answer, err := m.Pack()
	if err != nil {
		return nil
	}
	return answer
}
