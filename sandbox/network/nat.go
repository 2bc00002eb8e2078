package network

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// nat programs nftables for the bundled network, over netlink: the node needs
// neither nft nor iptables.
//
//	table inet cri-wasmer {
//	  chain guard       raw, prerouting: nothing from a pod claims to come from
//	                    or goes to 127.0.0.0/8, which route_localnet would allow
//	  chain prerouting  dstnat: what is for a local address -> hostports
//	  chain output      the same for connections of the node itself
//	  chain hostports   one rule for each host port; its comment is the pod's id
//	  chain postrouting srcnat: masquerade what leaves a pod subnet, what comes
//	                    back into it by a host port, and what comes from localhost
//	}
//
// Each daemon has a table of its own: the rules of another one are of other subnets,
// and of pods that it does not know.
//
// Each pod looks whether the table is there: a comment in guard tells for which
// subnets the rest was written. So a ruleset that somebody flushed is there again
// with the next pod, and a pod without host ports costs no transaction: to delete
// rules, as writing them anew does, makes the next transaction wait for the
// kernel, some 14 ms. Safe for concurrent use.
type nat struct {
	mu sync.Mutex // one transaction at a time

	table *nftables.Table

	hostports, guard, prerouting, output, postrouting *nftables.Chain
}

// natTable is the name of the table, but for the suffix of a daemon that is not the
// machine's only one.
const natTable = "cri-wasmer"

func newNAT(suffix string) *nat {
	table := &nftables.Table{Name: natTable + suffix, Family: nftables.TableFamilyINet}
	base := func(name string, typ nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) *nftables.Chain {
		return &nftables.Chain{Name: name, Table: table, Type: typ, Hooknum: hook, Priority: prio}
	}
	return &nat{
		table:       table,
		hostports:   &nftables.Chain{Name: "hostports", Table: table},
		guard:       base("guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw),
		prerouting:  base("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest),
		output:      base("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest),
		postrouting: base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource),
	}
}

// publish makes sure that pods in the subnets have a way out, and publishes the
// pod's host ports.
func (n *nat) publish(pod sandbox.PodNetwork, ips []netip.Addr, bridge string, subnets []netip.Prefix) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	mark := baseMark(subnets)
	written, err := n.hasBase(conn, mark)
	if err != nil {
		return err
	}
	if !written {
		n.writeBase(conn, subnets, mark)
	}
	for _, p := range portMappings(pod.Ports) {
		if err := n.addHostPort(conn, pod.ID, p, ips); err != nil {
			return err
		}
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("program nftables: %w", err)
	}
	if len(pod.Ports) == 0 {
		return nil
	}
	forgetFlows(pod.Ports)
	return routeLocalnet(bridge)
}

// withdraw removes the pod's host ports; nil when they are gone.
func (n *nat) withdraw(pod sandbox.PodNetwork) error {
	if len(pod.Ports) == 0 {
		return nil
	}
	err := n.remove(func(id string) bool { return id == pod.ID })
	forgetFlows(pod.Ports)
	return err
}

// withdrawOrphans removes the host ports of pods that are not in keep.
func (n *nat) withdrawOrphans(keep map[string]bool) error {
	return n.remove(func(id string) bool { return !keep[id] })
}

func (n *nat) remove(match func(podID string) bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	rules, err := listRules(conn, n.hostports)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil // a kernel without nftables has no rules of ours
	}
	if err != nil {
		return err
	}
	found := false
	for _, r := range rules {
		if match(comment(r)) {
			found = true
			if err := conn.DelRule(r); err != nil {
				return err
			}
		}
	}
	if !found {
		return nil
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("delete nftables rules: %w", err)
	}
	return nil
}

// listRules is empty when the chain is not there.
func listRules(conn *nftables.Conn, c *nftables.Chain) ([]*nftables.Rule, error) {
	rules, err := conn.GetRules(c.Table, c)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list nftables rules: %w", err)
	}
	return rules, nil
}

func comment(r *nftables.Rule) string {
	s, _ := userdata.GetString(r.UserData, userdata.TypeComment)
	return s
}

// baseMark is the comment of the guard that stands for everything but host
// ports. Its number changes with the rules that writeBase writes.
func baseMark(subnets []netip.Prefix) string {
	const version = 1
	h := sha256.Sum256(fmt.Append(nil, subnets))
	return fmt.Sprintf("v%d %x", version, h[:8])
}

func (n *nat) hasBase(conn *nftables.Conn, mark string) (bool, error) {
	rules, err := listRules(conn, n.guard)
	return len(rules) > 0 && comment(rules[0]) == mark, err
}

// writeBase adds the table to the transaction, with everything but host ports.
func (n *nat) writeBase(conn *nftables.Conn, subnets []netip.Prefix, mark string) {
	conn.AddTable(n.table)
	for _, c := range []*nftables.Chain{n.hostports, n.guard, n.prerouting, n.output, n.postrouting} {
		conn.AddChain(c)
		if c != n.hostports {
			conn.FlushChain(c)
		}
	}
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	first := rule(n.guard, fromBridge(), address(source, expr.CmpOpEq, loopback), verdict(expr.VerdictDrop, ""))
	first.UserData = userdata.AppendString(nil, userdata.TypeComment, mark)
	conn.AddRule(first)
	addRule(conn, n.guard, fromBridge(), address(destination, expr.CmpOpEq, loopback), verdict(expr.VerdictDrop, ""))
	addRule(conn, n.prerouting, toLocal(), verdict(expr.VerdictJump, n.hostports.Name))
	addRule(conn, n.output, toLocal(), verdict(expr.VerdictJump, n.hostports.Name))
	for _, s := range subnets {
		multicast := netip.MustParsePrefix("224.0.0.0/4")
		if s.Addr().Is6() {
			multicast = netip.MustParsePrefix("ff00::/8")
		}
		addRule(conn, n.postrouting, address(source, expr.CmpOpEq, s), address(destination, expr.CmpOpNeq, s),
			address(destination, expr.CmpOpNeq, multicast), masquerade())
		addRule(conn, n.postrouting, address(source, expr.CmpOpEq, s), address(destination, expr.CmpOpEq, s),
			redirected(), masquerade())
		if s.Addr().Is4() {
			addRule(conn, n.postrouting, address(source, expr.CmpOpEq, loopback), address(destination, expr.CmpOpEq, s), masquerade())
		}
	}
}

// addHostPort adds one rule for each address of the pod that the mapping's host
// address can reach.
func (n *nat) addHostPort(conn *nftables.Conn, podID string, p portMapping, ips []netip.Addr) error {
	var host netip.Addr
	if p.HostIP != "" {
		var err error
		if host, err = netip.ParseAddr(p.HostIP); err != nil {
			return fmt.Errorf("host IP of port %d: %w", p.HostPort, err)
		}
		host = host.Unmap()
	}
	proto, err := protocol(p.Protocol)
	if err != nil {
		return err
	}
	used := map[bool]bool{} // by family: the first address of each
	for _, ip := range ips {
		if used[ip.Is4()] || host.IsValid() && host.Is4() != ip.Is4() {
			continue
		}
		used[ip.Is4()] = true
		exprs := [][]expr.Any{nfproto(ip), l4proto(proto), destinationPort(uint16(p.HostPort))}
		if host.IsValid() && !host.IsUnspecified() {
			exprs = append(exprs, address(destination, expr.CmpOpEq, netip.PrefixFrom(host, host.BitLen())))
		}
		r := rule(n.hostports, append(exprs, dnat(ip, uint16(p.ContainerPort)))...)
		r.UserData = userdata.AppendString(nil, userdata.TypeComment, podID)
		conn.AddRule(r)
	}
	if len(used) == 0 {
		return fmt.Errorf("host port %d: host IP %s and the pod's addresses %v are of different IP families: %w", p.HostPort, p.HostIP, ips, sandbox.ErrInvalid)
	}
	return nil
}

func protocol(name string) (byte, error) {
	switch name {
	case "tcp", "":
		return unix.IPPROTO_TCP, nil
	case "udp":
		return unix.IPPROTO_UDP, nil
	case "sctp":
		return unix.IPPROTO_SCTP, nil
	}
	return 0, fmt.Errorf("port protocol %q: want tcp, udp or sctp", name)
}

// routeLocalnet lets connections from 127.0.0.1 reach a pod by its host port.
func routeLocalnet(bridge string) error {
	file := filepath.Join("/proc/sys/net/ipv4/conf", bridge, "route_localnet")
	if err := os.WriteFile(file, []byte("1"), 0); err != nil {
		return fmt.Errorf("make host ports reachable from localhost: %w", err)
	}
	return nil
}

// forgetFlows makes the kernel judge datagrams to the ports anew: those of a
// flow that it has seen would go on to where they went before. It does its
// best; a flow also ends by itself.
func forgetFlows(ports []sandbox.PortMapping) {
	for _, p := range portMappings(ports) {
		if p.Protocol != "udp" {
			continue
		}
		f := &netlink.ConntrackFilter{}
		if f.AddProtocol(unix.IPPROTO_UDP) != nil || f.AddPort(netlink.ConntrackOrigDstPort, uint16(p.HostPort)) != nil {
			continue
		}
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			_, _ = netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, f)
		}
	}
}

// forgetNeighbors makes the node ask anew which interface has the addresses: for
// up to half a minute it would send to a pod that had one before. It does its
// best; the kernel finds out in the end.
func forgetNeighbors(bridge string, ips []netip.Addr) {
	link, err := netlink.LinkByName(bridge)
	if err != nil {
		return
	}
	for _, ip := range ips {
		_ = netlink.NeighDel(&netlink.Neigh{LinkIndex: link.Attrs().Index, IP: ip.AsSlice()})
	}
}

// What follows are the words of which rules are made. Each leaves its operand in
// register 1.

func rule(c *nftables.Chain, words ...[]expr.Any) *nftables.Rule {
	r := &nftables.Rule{Table: c.Table, Chain: c}
	for _, w := range words {
		r.Exprs = append(r.Exprs, w...)
	}
	return r
}

func addRule(conn *nftables.Conn, c *nftables.Chain, words ...[]expr.Any) {
	conn.AddRule(rule(c, words...))
}

func equal(data []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }

// fromBridge matches every bridge of ours: comparing fewer bytes than a name
// has is nft's "name*".
func fromBridge() []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, equal([]byte(bundledName))}
}

func nfproto(ip netip.Addr) []expr.Any {
	family := byte(unix.NFPROTO_IPV4)
	if ip.Is6() {
		family = unix.NFPROTO_IPV6
	}
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, equal([]byte{family})}
}

func l4proto(proto byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal([]byte{proto})}
}

func destinationPort(port uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		equal(binary.BigEndian.AppendUint16(nil, port)),
	}
}

// side is one end of a packet, by the offsets of its address in IPv4 and IPv6.
type side struct{ v4, v6 uint32 }

var source, destination = side{12, 8}, side{16, 24}

func address(end side, op expr.CmpOp, p netip.Prefix) []expr.Any {
	offset, size := end.v4, 4
	if p.Addr().Is6() {
		offset, size = end.v6, 16
	}
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return append(nfproto(p.Addr()),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(size)},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(size), Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: op, Register: 1, Data: p.Masked().Addr().AsSlice()})
}

// toLocal matches what is for an address of the node: fib daddr type local.
func toLocal() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		equal(binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)),
	}
}

// redirected matches what went through hostports: ct status dnat.
func redirected() []expr.Any {
	const ipsDstNAT = 1 << 5
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(ipsDstNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{}} }

func verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}

func dnat(ip netip.Addr, port uint16) []expr.Any {
	family := uint32(unix.NFPROTO_IPV4)
	if ip.Is6() {
		family = unix.NFPROTO_IPV6
	}
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: ip.AsSlice()},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, port)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: 1, RegProtoMin: 2},
	}
}
