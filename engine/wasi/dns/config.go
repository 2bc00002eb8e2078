package dns

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Limits of resolv.conf, those of the C library.
const (
	maxServers  = 3
	maxNdots    = 15
	maxTimeout  = 30 * time.Second
	maxAttempts = 5
	serverPort  = 53
)

// config is what resolv.conf says.
type config struct {
	servers  []netip.AddrPort
	search   []string
	ndots    int
	timeout  time.Duration
	attempts int
	tcp      bool
	rotate   bool // begin with any server, so that all have their share
}

// parseConfig reads resolv.conf. What it does not understand is skipped, as
// everywhere.
func parseConfig(text string) config {
	c := config{ndots: 1, timeout: 5 * time.Second, attempts: 2}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line, _, _ = strings.Cut(line, ";")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if ip, err := netip.ParseAddr(f[1]); err == nil && len(c.servers) < maxServers {
				c.servers = append(c.servers, netip.AddrPortFrom(ip.Unmap(), serverPort))
			}
		case "domain", "search":
			c.search = f[1:]
		case "options":
			for _, o := range f[1:] {
				c.option(o)
			}
		}
	}
	if len(c.servers) == 0 {
		c.servers = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), serverPort)}
	}
	return c
}

func (c *config) option(o string) {
	name, text, _ := strings.Cut(o, ":")
	n, err := strconv.Atoi(text)
	switch name {
	case "use-vc":
		c.tcp = true
	case "rotate":
		c.rotate = true
	}
	if err != nil || n < 0 {
		return
	}
	switch name {
	case "ndots":
		c.ndots = min(n, maxNdots)
	case "timeout":
		c.timeout = min(max(time.Duration(n), 1)*time.Second, maxTimeout)
	case "attempts":
		c.attempts = min(max(n, 1), maxAttempts)
	}
}

// candidates lists the full names to ask for, in order.
func (c *config) candidates(name string) []string {
	if strings.HasSuffix(name, ".") {
		return []string{name}
	}
	var list []string
	enough := strings.Count(name, ".") >= c.ndots
	if enough {
		list = append(list, name+".")
	}
	for _, domain := range c.search {
		list = append(list, name+"."+strings.Trim(domain, ".")+".")
	}
	if !enough {
		list = append(list, name+".")
	}
	return list
}

// hosts finds a name in /etc/hosts.
func hosts(text, name string) (found []netip.Addr) {
	name = strings.TrimSuffix(name, ".")
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		ip, err := netip.ParseAddr(f[0])
		if err != nil {
			continue
		}
		for _, alias := range f[1:] {
			if strings.EqualFold(alias, name) {
				found = append(found, ip.WithZone(""))
				break
			}
		}
	}
	return found
}
