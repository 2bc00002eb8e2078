// Package dns finds the addresses of a name as a pod has them: by its hosts
// file and its resolv.conf. It does not use package net, whose initialisation
// and resolver a worker does without.
package dns

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// Kinds of errors of Lookup.
var (
	ErrNotFound  = errors.New("no such name")
	ErrNoAddress = errors.New("the name has no such address")
	ErrTemporary = errors.New("no name server answers")
)

// Resolver finds names. It keeps nothing between calls, so that a changed file
// counts at once. It is safe for concurrent use when ReadFile is.
type Resolver struct {
	// ReadFile reads a file of the pod; a missing one is empty.
	ReadFile func(path string) string
}

// Lookup gives the addresses of a name, of the kinds that are asked for, IPv6
// first. The error is of one of the kinds above.
func (r *Resolver) Lookup(name string, v4, v6 bool) ([]netip.Addr, error) {
	wanted := func(a netip.Addr) bool { return a.Is4() && v4 || a.Is6() && v6 }
	if ip, err := netip.ParseAddr(name); err == nil {
		return some([]netip.Addr{ip.WithZone("")}, wanted)
	}
	if !valid(name) {
		return nil, ErrNotFound
	}
	if found := hosts(r.ReadFile("etc/hosts"), name); len(found) > 0 {
		return some(found, wanted)
	}
	if n := strings.TrimSuffix(strings.ToLower(name), "."); n == "localhost" || strings.HasSuffix(n, ".localhost") {
		return some([]netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}, wanted)
	}
	c := parseConfig(r.ReadFile("etc/resolv.conf"))
	return c.lookup(name, v4, v6)
}

func some(list []netip.Addr, wanted func(netip.Addr) bool) ([]netip.Addr, error) {
	var kept []netip.Addr
	for _, a := range list {
		if wanted(a) {
			kept = append(kept, a)
		}
	}
	if len(kept) == 0 {
		return nil, ErrNoAddress
	}
	return kept, nil
}

// valid says whether a name can be asked for.
func valid(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return true
}

// lookup asks for each candidate until one has addresses.
func (c *config) lookup(name string, v4, v6 bool) ([]netip.Addr, error) {
	verdict := ErrNotFound
	for _, full := range c.candidates(name) {
		found, err := c.ask(full, v4, v6)
		if len(found) > 0 {
			return found, nil
		}
		if verdict == ErrNotFound || err == ErrTemporary {
			verdict = err
		}
	}
	return nil, verdict
}

// ask gives the addresses of a full name.
func (c *config) ask(full string, v4, v6 bool) (found []netip.Addr, err error) {
	dnsName, err := dnsmessage.NewName(full)
	if err != nil {
		return nil, ErrNotFound
	}
	verdict := ErrNotFound
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeAAAA, dnsmessage.TypeA} {
		if kind == dnsmessage.TypeA && !v4 || kind == dnsmessage.TypeAAAA && !v6 {
			continue
		}
		list, err := c.query(dnsmessage.Question{Name: dnsName, Type: kind, Class: dnsmessage.ClassINET})
		switch {
		case err == nil:
			found = append(found, list...)
		case verdict == ErrNotFound || err == ErrTemporary:
			verdict = err
		}
	}
	return found, verdict
}

// query asks the servers in turn. A server that fails is passed over; one that
// says that the name does not exist is believed.
func (c *config) query(q dnsmessage.Question) ([]netip.Addr, error) {
	first := 0
	if c.rotate {
		first = rand.IntN(len(c.servers))
	}
	for range c.attempts {
		for i := range c.servers {
			answer, err := c.exchange(c.servers[(first+i)%len(c.servers)], q)
			if err != nil {
				continue
			}
			switch answer.RCode {
			case dnsmessage.RCodeSuccess:
				return addresses(answer)
			case dnsmessage.RCodeNameError:
				return nil, ErrNotFound
			}
		}
	}
	return nil, ErrTemporary
}

// maxAddresses bounds what is taken from one answer.
const maxAddresses = 64

// addresses collects the addresses of an answer, whose aliases the server has
// followed.
func addresses(m *dnsmessage.Message) (list []netip.Addr, err error) {
	for _, r := range m.Answers {
		if len(list) == maxAddresses {
			break
		}
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			list = append(list, netip.AddrFrom4(body.A))
		case *dnsmessage.AAAAResource:
			list = append(list, netip.AddrFrom16(body.AAAA))
		}
	}
	if len(list) == 0 {
		return nil, ErrNoAddress
	}
	return list, nil
}
