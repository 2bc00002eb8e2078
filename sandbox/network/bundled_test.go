package network

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

func TestAFreshNodeConnectsPods(t *testing.T) {
	c := newCNI(t, testConfig(t, realPlugins(t)))
	if st := c.Status(t.Context()); !st.Ready || st.Name != "cri-wasmer0" {
		t.Fatalf("Status = %+v, want ready with the bundled network", st)
	}
	a, b := pod(c, "fresh-a"), pod(c, "fresh-b")
	ipA, ipB := setup(t, c, a).IPs[0], setup(t, c, b).IPs[0]
	if sub := mustPrefix("10.88.0.0/16"); !sub.Contains(ipA) || !sub.Contains(ipB) || ipA == ipB {
		t.Fatalf("pod addresses = %v, %v, want two in %v", ipA, ipB, sub)
	}
	serve(t, a.NetNS, ":8080")
	tests := []struct{ name, from, to, want string }{
		{"the pod itself, by loopback", a.NetNS, "127.0.0.1:8080", "127.0.0.1"},
		{"the pod itself, by its address", a.NetNS, net.JoinHostPort(ipA.String(), "8080"), ipA.String()},
		{"the node", "", net.JoinHostPort(ipA.String(), "8080"), "10.88.0.1"},
		{"another pod", b.NetNS, net.JoinHostPort(ipA.String(), "8080"), ipB.String()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := ask(t, tt.from, tt.to); err != nil || got != tt.want {
				t.Errorf("came from %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestTeardownLeavesNothing(t *testing.T) {
	c := newCNI(t, testConfig(t, realPlugins(t)))
	p := pod(c, "leaves-nothing")
	p.Ports = []sandbox.PortMapping{{Protocol: "tcp", HostPort: 18080, ContainerPort: 80}}
	if _, err := c.Setup(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got := traces(t, c); len(got) != 5 { // veth, mount, namespace file, cache, lease
		t.Errorf("traces of one pod = %q, want 5: the check below would see nothing", got)
	}
	for range 2 {
		if err := c.Teardown(t.Context(), p); err != nil {
			t.Fatalf("Teardown: %v", err)
		}
	}
	wantNoTraces(t, c)
	if _, err := c.Setup(t.Context(), p); err != nil {
		t.Fatalf("Setup of the same pod again: %v", err)
	}
	if err := c.Teardown(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	wantNoTraces(t, c)
}

// TestAPinnedNamespaceKeepsNoAddress: a process that outlives its pod must not
// answer for an address that the next pod gets.
func TestAPinnedNamespaceKeepsNoAddress(t *testing.T) {
	c := newCNI(t, testConfig(t, realPlugins(t)))
	p := pod(c, "pinned")
	r, err := c.Setup(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	stop := serve(t, p.NetNS, ":80")
	defer stop()
	addr := net.JoinHostPort(r.IPs[0].String(), "80")
	if _, err := ask(t, "", addr); err != nil {
		t.Fatalf("before Teardown: %v", err)
	}
	if err := c.Teardown(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, "", addr); err == nil {
		t.Errorf("%s answers after Teardown, want nobody there", addr)
	}
}

func TestTeardownSucceedsOnWhatWasNeverThere(t *testing.T) {
	c := newCNI(t, testConfig(t, realPlugins(t)))
	if err := c.Teardown(t.Context(), pod(c, "never-there")); err != nil {
		t.Errorf("Teardown = %v, want nil", err)
	}
}

func TestManyPodsAtOnce(t *testing.T) {
	c := newCNI(t, testConfig(t, realPlugins(t)))
	const pods = 50
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := make(map[netip.Addr]string)
	for i := range pods {
		wg.Go(func() {
			p := pod(c, fmt.Sprintf("many-%d", i))
			r, err := c.Setup(t.Context(), p)
			if err != nil {
				t.Errorf("Setup(%s): %v", p.ID, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if other := seen[r.IPs[0]]; other != "" {
				t.Errorf("%s and %s both have %v", p.ID, other, r.IPs[0])
			}
			seen[r.IPs[0]] = p.ID
		})
	}
	wg.Wait()
	for i := range pods {
		wg.Go(func() {
			if err := c.Teardown(context.Background(), pod(c, fmt.Sprintf("many-%d", i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	wantNoTraces(t, c)
}

func TestASubnetThatIsFullSaysSoAndLeavesNothing(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	conf.Subnets = []netip.Prefix{mustPrefix("10.79.0.0/29"), mustPrefix("fd00:79::/64")}
	c := newCNI(t, conf)
	const room = 5 // of eight, without the subnet's own, the gateway's and the one for all
	for i := range room {
		setup(t, c, pod(c, fmt.Sprint("full-", i)))
	}
	before := traces(t, c)
	late := pod(c, "full-late")
	if _, err := c.Setup(t.Context(), late); err == nil || !strings.Contains(err.Error(), "no IP addresses available") || errors.Is(err, sandbox.ErrLeftBehind) {
		t.Errorf("Setup = %v, want that no address is left, and nothing behind", err)
	}
	if after := traces(t, c); !slices.Equal(after, before) {
		t.Errorf("before:\n%s\nafter:\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	if err := c.Teardown(t.Context(), pod(c, "full-0")); err != nil {
		t.Fatal(err)
	}
	if ips := setup(t, c, late).IPs; len(ips) != 2 {
		t.Errorf("with an address that is free again the pod has %v, want one of each family", ips)
	}
}

func TestTeardownAfterARestart(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	c := newCNI(t, conf)
	p := pod(c, "restart")
	if _, err := c.Setup(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	// The node gets a configuration while the daemon is down: what connected the
	// pod must disconnect it all the same.
	writeConf(t, conf, "10-other.conflist", `{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"nothing-installed"}]}`)
	again := newCNI(t, conf)
	if err := again.Teardown(t.Context(), p); err != nil {
		t.Fatalf("Teardown by a new daemon: %v", err)
	}
	wantNoTraces(t, again)
}

func TestHostPorts(t *testing.T) {
	c := newCNI(t, testConfig(t, realPlugins(t)))
	a, b := pod(c, "ports-a"), pod(c, "ports-b")
	a.Ports = []sandbox.PortMapping{
		{Protocol: "tcp", HostPort: 12000, ContainerPort: 80},
		{Protocol: "tcp", HostPort: 12001, ContainerPort: 80, HostIP: "127.0.0.2"},
		{Protocol: "tcp", HostPort: 0, ContainerPort: 81},
	}
	setup(t, c, b)
	if _, err := c.Setup(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	serve(t, a.NetNS, ":80")
	tests := []struct {
		name, from, to string
		want           bool
	}{
		{"from localhost", "", "127.0.0.1:12000", true},
		{"from the node by its address", "", "10.88.0.1:12000", true},
		{"from another pod", b.NetNS, "10.88.0.1:12000", true},
		{"from the pod itself", a.NetNS, "10.88.0.1:12000", true},
		{"on the host IP asked for", "", "127.0.0.2:12001", true},
		{"on another host IP", "", "127.0.0.1:12001", false},
		{"a port without a host port", "", "127.0.0.1:81", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ask(t, tt.from, tt.to); (err == nil) != tt.want {
				t.Errorf("connect to %s: %v, want success: %v", tt.to, err, tt.want)
			}
		})
	}
	if err := c.Teardown(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, "", "127.0.0.1:12000"); err == nil {
		t.Error("host port answers after Teardown, want it closed")
	}
	rules, err := ruleCount()
	if err != nil || rules != 0 {
		t.Errorf("host port rules after Teardown = %d, %v, want 0", rules, err)
	}
}

func TestHostPortsOfAFamilyThatThePodLacksAreRefused(t *testing.T) {
	c := newCNI(t, testConfig(t, realPlugins(t)))
	p := pod(c, "no-ipv6")
	p.Ports = []sandbox.PortMapping{{Protocol: "tcp", HostPort: 12000, ContainerPort: 80, HostIP: "fd00:87::1"}}
	if _, err := c.Setup(t.Context(), p); !errors.Is(err, sandbox.ErrInvalid) || !strings.Contains(err.Error(), "different IP families") {
		t.Errorf("Setup = %v, want of kind ErrInvalid, with the reason", err)
	}
	wantNoTraces(t, c)
}

// TestHostPortRules reads the rules as the kernel has them: it need not have
// every protocol to have rules for it.
func TestHostPortRules(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	conf.Subnets = []netip.Prefix{mustPrefix("10.87.0.0/24"), mustPrefix("fd00:87::/64")}
	c := newCNI(t, conf)
	p := pod(c, "rules")
	p.Ports = []sandbox.PortMapping{
		{Protocol: "tcp", HostPort: 12020, ContainerPort: 80},
		{Protocol: "udp", HostPort: 12021, ContainerPort: 81, HostIP: "fd00:87::1"},
		{Protocol: "sctp", HostPort: 12022, ContainerPort: 82, HostIP: "10.87.0.1"},
		{Protocol: "tcp", HostPort: 12023, ContainerPort: 83, HostIP: "::ffff:10.87.0.1"},
	}
	ips := setup(t, c, p).IPs
	want := []string{
		fmt.Sprintf("protocol 6 port 12020 to %v port 80", ips[0]),
		fmt.Sprintf("protocol 6 port 12020 to %v port 80", ips[1]),
		fmt.Sprintf("at fd00:87::1 protocol 17 port 12021 to %v port 81", ips[1]),
		fmt.Sprintf("at 10.87.0.1 protocol 132 port 12022 to %v port 82", ips[0]),
		fmt.Sprintf("at 10.87.0.1 protocol 6 port 12023 to %v port 83", ips[0]),
	}
	if got := hostPortRules(t); !slices.Equal(got, want) {
		t.Errorf("rules:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// hostPortRules says what each host port rule of the node does.
func hostPortRules(t *testing.T) []string {
	t.Helper()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := conn.GetRules(newNAT("").table, newNAT("").hostports)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, r := range rules {
		var what, at string
		var last expr.Any // what loaded register 1
		var data [][]byte
		for _, e := range r.Exprs {
			switch e := e.(type) {
			case *expr.Meta, *expr.Payload:
				last = e
			case *expr.Immediate:
				data = append(data, e.Data)
			case *expr.Cmp:
				switch from := last.(type) {
				case *expr.Meta:
					if from.Key == expr.MetaKeyL4PROTO {
						what += fmt.Sprintf("protocol %d", e.Data[0])
					}
				case *expr.Payload:
					if from.Base == expr.PayloadBaseTransportHeader {
						what += fmt.Sprintf(" port %d", binary.BigEndian.Uint16(e.Data))
					} else if addr, ok := netip.AddrFromSlice(e.Data); ok {
						at = fmt.Sprintf("at %v ", addr)
					}
				}
			}
		}
		to, _ := netip.AddrFromSlice(data[0])
		all = append(all, fmt.Sprintf("%s%s to %v port %d", at, what, to, binary.BigEndian.Uint16(data[1])))
	}
	return all
}

func TestUDPHostPortFollowsThePod(t *testing.T) {
	c := newCNI(t, testConfig(t, realPlugins(t)))
	conn, err := net.Dial("udp", "127.0.0.1:12053")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, id := range []string{"udp-first", "udp-second"} {
		p := pod(c, id)
		p.Ports = []sandbox.PortMapping{{Protocol: "udp", HostPort: 12053, ContainerPort: 53}}
		if _, err := c.Setup(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		echoUDP(t, p.NetNS, id)
		if got, err := query(conn); err != nil || got != id {
			t.Errorf("answer on the same flow = %q, %v, want %q", got, err, id)
		}
		if err := c.Teardown(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
}

// query asks until there is an answer: a datagram may meet a closed port first.
func query(conn net.Conn) (string, error) {
	buf := make([]byte, 64)
	var err error
	for range 20 {
		if _, err = conn.Write([]byte("?")); err != nil {
			continue
		}
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		var n int
		if n, err = conn.Read(buf); err == nil {
			return string(buf[:n]), nil
		}
	}
	return "", err
}

func echoUDP(t *testing.T, netns, answer string) {
	t.Helper()
	var pc net.PacketConn
	err := inNetNS(t, netns, func() (err error) {
		pc, err = net.ListenPacket("udp", ":53")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		buf := make([]byte, 64)
		for {
			_, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo([]byte(answer), from)
		}
	}()
}

// TestPodsReachTheOutside needs masquerading: the outside knows no way back to
// the pod's subnet.
func TestPodsReachTheOutside(t *testing.T) {
	c := newCNI(t, testConfig(t, realPlugins(t)))
	outside := outsideWorld(t)
	p := pod(c, "way-out")
	setup(t, c, p)
	serve(t, outside, "192.0.2.2:7000")
	if got, err := ask(t, p.NetNS, "192.0.2.2:7000"); err != nil || got != "192.0.2.1" {
		t.Errorf("the pod came from %q, %v, want the node's address 192.0.2.1", got, err)
	}
}

func TestAFlushedRulesetIsThereAgainWithTheNextPod(t *testing.T) {
	c := newCNI(t, testConfig(t, realPlugins(t)))
	outside := outsideWorld(t)
	setup(t, c, pod(c, "before-flush"))
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	conn.FlushRuleset()
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	p := pod(c, "after-flush")
	setup(t, c, p)
	serve(t, outside, "192.0.2.2:7002")
	if got, err := ask(t, p.NetNS, "192.0.2.2:7002"); err != nil || got != "192.0.2.1" {
		t.Errorf("the pod came from %q, %v, want the node's address 192.0.2.1", got, err)
	}
}

// TestPodsCannotUseTheNodesLoopback: route_localnet, which host ports need,
// would otherwise let a pod route to 127.0.0.1 of the node.
func TestPodsCannotUseTheNodesLoopback(t *testing.T) {
	c := newCNI(t, testConfig(t, realPlugins(t)))
	p := pod(c, "loopback-thief")
	p.Ports = []sandbox.PortMapping{{Protocol: "tcp", HostPort: 12002, ContainerPort: 80}}
	setup(t, c, p)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	steal := func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetDown(lo); err != nil { // takes the route to 127.0.0.0/8
			return err
		}
		if err := os.WriteFile("/proc/thread-self/root/proc/sys/net/ipv4/conf/eth0/route_localnet", []byte("1"), 0); err != nil {
			return err
		}
		_ = netlink.RouteDel(&netlink.Route{Dst: ipNet("127.0.0.0/8"), LinkIndex: lo.Attrs().Index, Table: 255})
		return netlink.RouteAdd(&netlink.Route{Dst: ipNet("127.0.0.0/8"), Gw: net.IPv4(10, 88, 0, 1), LinkIndex: eth0.Attrs().Index})
	}
	if err := inNetNS(t, p.NetNS, steal); err != nil {
		t.Fatalf("prepare the pod: %v", err)
	}
	if _, err := ask(t, p.NetNS, l.Addr().String()); err == nil {
		t.Errorf("pod reached %v of the node, want it dropped", l.Addr())
	}
}

func TestDualStack(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	conf.Subnets = []netip.Prefix{mustPrefix("10.89.0.0/24"), mustPrefix("fd00:89::/64")}
	c := newCNI(t, conf)
	p := pod(c, "dual")
	p.Ports = []sandbox.PortMapping{{Protocol: "tcp", HostPort: 12003, ContainerPort: 80}}
	r := setup(t, c, p)
	if len(r.IPs) != 2 || !r.IPs[0].Is4() || !r.IPs[1].Is6() {
		t.Fatalf("IPs = %v, want one of IPv4, then one of IPv6", r.IPs)
	}
	serve(t, p.NetNS, ":80")
	// IPv6 first: that the bridge is new must not be noticed.
	for _, addr := range []string{net.JoinHostPort(r.IPs[1].String(), "80"), net.JoinHostPort(r.IPs[0].String(), "80"), "[fd00:89::1]:12003"} {
		if _, err := ask(t, "", addr); err != nil {
			t.Errorf("connect to %s: %v", addr, err)
		}
	}
	other := pod(c, "dual-other")
	setup(t, c, other)
	if got, err := ask(t, other.NetNS, net.JoinHostPort(r.IPs[1].String(), "80")); err != nil || !strings.HasPrefix(got, "fd00:89::") {
		t.Errorf("another pod came over IPv6 from %q, %v", got, err)
	}
	if err := c.Teardown(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if err := c.Teardown(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if left := traces(t, c); strings.Contains(strings.Join(left, " "), "file "+conf.StateDir) {
		t.Errorf("left behind: %q, want no lease", left)
	}
}

func TestASecondFamilyJoinsTheFirst(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	before := pod(newCNI(t, conf), "family-before")
	old := setup(t, newCNI(t, conf), before).IPs[0]
	serve(t, before.NetNS, ":80")
	conf.Subnets = []netip.Prefix{defaultSubnet, mustPrefix("fd00:88::/64")}
	c := newCNI(t, conf)
	after := pod(c, "family-after")
	r := setup(t, c, after)
	if len(r.IPs) != 2 || r.IPs[0] == old {
		t.Fatalf("IPs = %v beside %v, want another one and one of IPv6", r.IPs, old)
	}
	serve(t, after.NetNS, ":80")
	for _, ip := range []netip.Addr{old, r.IPs[0]} {
		if _, err := ask(t, "", net.JoinHostPort(ip.String(), "80")); err != nil {
			t.Errorf("node to %v: %v", ip, err)
		}
	}
	if _, err := ask(t, after.NetNS, net.JoinHostPort(old.String(), "80")); err != nil {
		t.Errorf("new pod to old pod: %v", err)
	}
}

func TestUpdatePodCIDRConcernsNewPods(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	c := newCNI(t, conf)
	before := pod(c, "cidr-before")
	ip := setup(t, c, before).IPs[0]
	serve(t, before.NetNS, ":80")
	for range 2 {
		if err := c.UpdatePodCIDR("10.77.1.0/24"); err != nil {
			t.Fatal(err)
		}
	}
	c = newCNI(t, conf) // what the kubelet said is known after a restart
	after := pod(c, "cidr-after")
	if got := setup(t, c, after).IPs[0]; !mustPrefix("10.77.1.0/24").Contains(got) {
		t.Errorf("address after the update = %v, want one of 10.77.1.0/24", got)
	}
	if _, err := ask(t, after.NetNS, net.JoinHostPort(ip.String(), "80")); err != nil {
		t.Errorf("new pod to old pod: %v", err)
	}
	outside := outsideWorld(t)
	serve(t, outside, "192.0.2.2:7001")
	for _, p := range []sandbox.PodNetwork{before, after} {
		if got, err := ask(t, p.NetNS, "192.0.2.2:7001"); err != nil || got != "192.0.2.1" {
			t.Errorf("%s came to the outside from %q, %v, want 192.0.2.1", p.ID, got, err)
		}
	}
}

func TestUpdatePodCIDRRefusesNonsense(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	c := newCNI(t, conf)
	for _, cidr := range []string{"10.0.0.0", "10.0.0.0/24,10.1.0.0/24", "10.0.0.1/32", "x", "10.0.0.0/24,", "::ffff:10.0.0.0/120"} {
		if err := c.UpdatePodCIDR(cidr); !errors.Is(err, sandbox.ErrInvalid) {
			t.Errorf("UpdatePodCIDR(%q) = %v, want an error of kind ErrInvalid", cidr, err)
		}
	}
	if err := c.UpdatePodCIDR(""); err != nil {
		t.Errorf("UpdatePodCIDR of nothing = %v, want nil", err)
	}
}

func TestOrphansGoAndOthersStay(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	c := newCNI(t, conf)
	kept, gone := pod(c, "orphan-kept"), pod(c, "orphan-gone")
	for i, p := range []sandbox.PodNetwork{kept, gone} {
		p.Ports = []sandbox.PortMapping{{Protocol: "tcp", HostPort: int32(12010 + i), ContainerPort: 80}}
		if _, err := c.Setup(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	// What a daemon leaves that was killed amidst an ADD: a namespace, a lease.
	if err := createNetNS(c.netns, "orphan-namespace"); err != nil {
		t.Fatal(err)
	}
	lease := filepath.Join(conf.StateDir, "leases", "cri-wasmer0", "10.88.200.200")
	if err := os.WriteFile(lease, []byte("orphan-lease\r\neth0"), 0o600); err != nil {
		t.Fatal(err)
	}
	c = newCNI(t, conf)
	if err := c.Orphans(t.Context(), map[string]bool{kept.ID: true}); err != nil {
		t.Fatalf("Orphans: %v", err)
	}
	stop := serve(t, kept.NetNS, ":80")
	if _, err := ask(t, "", "127.0.0.1:12010"); err != nil {
		t.Errorf("host port of the pod that stays: %v", err)
	}
	stop()
	if n, err := ruleCount(); err != nil || n != 1 {
		t.Errorf("host port rules = %d, %v, want the one that stays", n, err)
	}
	left := strings.Join(traces(t, c), "\n")
	if strings.Count(left, "\n") != 4 || strings.Contains(left, "gone") {
		t.Errorf("left:\n%s\nwant the five traces of %s", left, kept.ID)
	}
	kept.Ports = []sandbox.PortMapping{{Protocol: "tcp", HostPort: 12010, ContainerPort: 80}}
	if err := c.Teardown(t.Context(), kept); err != nil {
		t.Fatal(err)
	}
	wantNoTraces(t, c)
}

func TestSetupReplacesAStaleNamespace(t *testing.T) {
	c := newCNI(t, testConfig(t, realPlugins(t)))
	p := pod(c, "stale")
	if err := createNetNS(c.netns, p.ID); err != nil {
		t.Fatal(err)
	}
	setup(t, c, p)
}

func TestPodIDsAreFileNames(t *testing.T) {
	c := newCNI(t, testConfig(t, realPlugins(t)))
	for _, id := range []string{"", ".", "..", "../x", "a/b"} {
		p := sandbox.PodNetwork{ID: id}
		if _, err := c.Setup(t.Context(), p); err == nil {
			t.Errorf("Setup with id %q = nil, want an error", id)
		}
		if err := c.Teardown(t.Context(), p); err == nil {
			t.Errorf("Teardown with id %q = nil, want an error", id)
		}
	}
	p := pod(c, "elsewhere")
	p.NetNS = "/proc/self/ns/net"
	if _, err := c.Setup(t.Context(), p); err == nil {
		t.Error("Setup with a namespace elsewhere = nil, want an error")
	}
}

func TestWithoutPluginsAFreshNodeIsNotReady(t *testing.T) {
	c := newCNI(t, testConfig(t, t.TempDir()))
	st := c.Status(t.Context())
	if st.Ready || st.Reason != ReasonNoConfig || !strings.Contains(st.Detail, "CNI plugin bridge is not in") {
		t.Errorf("Status = %+v, want not ready, with the missing plugin", st)
	}
	_, err := c.Setup(t.Context(), pod(c, "not-ready"))
	var nr *NotReadyError
	if !errors.As(err, &nr) {
		t.Errorf("Setup = %v, want a *NotReadyError", err)
	}
}

func TestSubnetsOfTheBundledNetwork(t *testing.T) {
	tests := []struct {
		name    string
		subnets []string
		wantErr string
	}{
		{"one of each family", []string{"10.0.0.0/24", "fd00::/64"}, ""},
		{"host bits are cut off", []string{"10.0.0.7/24"}, ""},
		{"two of one family", []string{"10.0.0.0/24", "10.1.0.0/24"}, "more than one of the same IP family"},
		{"too small", []string{"10.0.0.0/31"}, "no room for pods: use a prefix of /30"},
		{"mapped", []string{"::ffff:10.0.0.0/120"}, "not valid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var subs []netip.Prefix
			for _, s := range tt.subnets {
				subs = append(subs, netip.MustParsePrefix(s))
			}
			_, err := checkSubnets(subs)
			if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("checkSubnets = %v, want error %q", err, tt.wantErr)
			}
		})
	}
}

func TestAPodCIDRThatCannotBeKeptIsNotUsed(t *testing.T) {
	c := newCNI(t, testConfig(t))
	inTheWay := c.bundled.file() + ".tmp/x"
	if err := os.MkdirAll(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 { // as often as the kubelet says it
		if err := c.UpdatePodCIDR("10.93.0.0/24"); err == nil || !strings.Contains(err.Error(), c.bundled.file()) {
			t.Errorf("UpdatePodCIDR = %v, want an error with the file", err)
		}
	}
	if err := os.RemoveAll(filepath.Dir(inTheWay)); err != nil {
		t.Fatal(err)
	}
	if err := c.UpdatePodCIDR("10.93.0.0/24"); err != nil {
		t.Fatal(err)
	}
	if s, err := c.bundled.readFile(); err != nil || fmt.Sprint(s.Current) != "[10.93.0.0/24]" {
		t.Errorf("kept are %+v, %v", s, err)
	}
}
