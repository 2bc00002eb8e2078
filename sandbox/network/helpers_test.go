package network

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/cri-wasmer/cri-wasmer/sandbox/namespace"
)

// writeConf adds a file to the node's CNI configuration.
func writeConf(t *testing.T, conf Config, name, content string) {
	t.Helper()
	if err := os.MkdirAll(conf.ConfDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(conf.ConfDir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// waitFor fails the test when cond does not come true in time.
func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("waited too long for %s", what)
}

func ipNet(s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return n
}

// addAddress gives a link of the test's node an address.
func addAddress(t *testing.T, link, addr string) {
	t.Helper()
	l, err := netlink.LinkByName(link)
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrReplace(l, a); err != nil {
		t.Fatal(err)
	}
}

// outsideWorld makes a machine beyond the node: the namespace that it returns
// has 192.0.2.2, the node 192.0.2.1, and neither knows pods.
func outsideWorld(t *testing.T) string {
	t.Helper()
	d, err := namespace.OpenDir(filepath.Join(t.TempDir(), "outside"))
	if err != nil {
		t.Fatal(err)
	}
	if err := createNetNS(d, "world"); err != nil {
		t.Fatal(err)
	}
	netns := d.File("world")
	f, err := os.Open(netns)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "uplink"}, PeerName: "uplink-peer", PeerNamespace: netlink.NsFd(f.Fd())}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = netlink.LinkDel(veth)
		if err := d.Remove("world"); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	addAddress(t, "uplink", "192.0.2.1/24")
	if err := netlink.LinkSetUp(veth); err != nil {
		t.Fatal(err)
	}
	err = inNetNS(t, netns, func() error {
		addAddress(t, "uplink-peer", "192.0.2.2/24")
		l, err := netlink.LinkByName("uplink-peer")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
	if err != nil {
		t.Fatal(err)
	}
	return netns
}

// ruleCount counts the host port rules of the node.
func ruleCount() (int, error) {
	conn, err := nftables.New()
	if err != nil {
		return 0, err
	}
	rules, err := conn.GetRules(newNAT("").table, newNAT("").hostports)
	return len(rules), err
}
