package network

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

const (
	// bundledName begins the names of the bundled networks and their bridges.
	bundledName = "cri-wasmer"
	// bundledKey marks a configuration as ours, in libcni's cache too.
	bundledKey = "io.cri-wasmer.bundled"
	// hostLocalEOL ends a pod id in host-local's files.
	hostLocalEOL = "\r\n"
)

// defaultSubnet is that of the bundled network where nobody chose one.
var defaultSubnet = netip.MustParsePrefix("10.88.0.0/16")

// bundled is the network of a node that has no CNI configuration. It is written
// nowhere; on disk is only which subnets it has, so that a daemon that starts
// again goes on with them: the kubelet tells a node's pod CIDR once. Each IPv4
// subnet has a network and a bridge of its own, so pods that were connected
// before a change keep their gateway. Safe for concurrent use.
type bundled struct {
	dir  string   // of our file and of the addresses in use
	bins []string // where the plugins are

	mu  sync.Mutex
	sub subnets
}

// subnets is the content of the file.
type subnets struct {
	Default []netip.Prefix `json:"default"` // configured when the file was written
	Current []netip.Prefix `json:"current"`
	Past    []netip.Prefix `json:"past,omitempty"` // pods may still have addresses there
}

func newBundled(conf Config) (*bundled, error) {
	subs, err := checkSubnets(conf.Subnets)
	if err != nil {
		return nil, err
	}
	b := &bundled{dir: conf.StateDir, bins: conf.BinDirs}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory for network state: %w", err)
	}
	b.sub, err = b.readFile()
	if err != nil {
		conf.Logger.Warn("subnets of the bundled network forgotten: pods of before may lose their way out", "err", err)
	}
	if slices.Equal(b.sub.Default, subs) {
		return b, nil // nothing to write: the disk may be full
	}
	b.sub.Default = subs // new, or configured anew
	b.use(subs)
	return b, b.writeFile()
}

// checkSubnets wants one subnet of IPv4, one of IPv6, or both, each with room
// for a gateway and a pod.
func checkSubnets(subs []netip.Prefix) ([]netip.Prefix, error) {
	var out []netip.Prefix
	families := map[bool]bool{}
	for _, p := range subs {
		if !p.IsValid() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			return nil, fmt.Errorf("pod subnet %v is not valid", p)
		}
		if p.Addr().BitLen()-p.Bits() < 2 {
			return nil, fmt.Errorf("pod subnet %v has no room for pods: use a prefix of /%d or shorter", p, p.Addr().BitLen()-2)
		}
		if families[p.Addr().Is4()] {
			return nil, fmt.Errorf("pod subnets %v: more than one of the same IP family", subs)
		}
		families[p.Addr().Is4()] = true
		out = append(out, p.Masked())
	}
	if len(out) == 0 {
		return nil, errors.New("the bundled network needs a subnet")
	}
	return out, nil
}

// UpdatePodCIDR gives pods that are made from now on addresses of the node's
// pod CIDR: one prefix, or one of each IP family with a comma between them. It
// concerns the bundled network only. An empty cidr changes nothing.
func (c *CNI) UpdatePodCIDR(cidr string) error {
	if strings.TrimSpace(cidr) == "" {
		return nil
	}
	var subs []netip.Prefix
	for _, s := range strings.Split(cidr, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil {
			return fmt.Errorf("pod CIDR: %w: %w", err, sandbox.ErrInvalid)
		}
		subs = append(subs, p)
	}
	subs, err := checkSubnets(subs)
	if err != nil {
		return fmt.Errorf("pod CIDR: %w: %w", err, sandbox.ErrInvalid)
	}
	changed, err := c.bundled.update(subs)
	if changed {
		c.log.Info("subnets of the bundled network changed", "subnets", subs)
	}
	return err
}

func (b *bundled) update(subs []netip.Prefix) (changed bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Equal(b.sub.Current, subs) {
		return false, nil
	}
	before := b.sub
	b.use(subs)
	if err := b.writeFile(); err != nil {
		b.sub = before
		return false, err
	}
	return true, nil
}

// use makes subs the current ones. The caller holds mu.
func (b *bundled) use(subs []netip.Prefix) {
	past := append(b.sub.Past, b.sub.Current...)
	b.sub.Current = subs
	b.sub.Past = nil
	for _, p := range past {
		if !slices.Contains(b.sub.Past, p) && !slices.Contains(subs, p) {
			b.sub.Past = append(b.sub.Past, p)
		}
	}
}

func (b *bundled) file() string { return filepath.Join(b.dir, "subnets.json") }

func (b *bundled) readFile() (subnets, error) {
	var s subnets
	data, err := os.ReadFile(b.file())
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return subnets{}, fmt.Errorf("%s: %w", b.file(), err)
	}
	return s, nil
}

func (b *bundled) writeFile() error {
	data, err := json.Marshal(b.sub)
	if err != nil {
		return err
	}
	tmp := b.file() + ".tmp"
	err = os.WriteFile(tmp, data, 0o600)
	if err == nil {
		err = os.Rename(tmp, b.file())
	}
	if err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("keep subnets: %w", err)
	}
	return nil
}

// allSubnets lists every subnet in which a pod may have an address.
func (b *bundled) allSubnets() []netip.Prefix {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Concat(b.sub.Current, b.sub.Past)
}

func (b *bundled) hasIPv6() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.sub.Current, func(p netip.Prefix) bool { return p.Addr().Is6() })
}

// makeBridge makes the bridge where the plugin would, so that its addresses are
// of use from the first moment: nobody else can have them, and while the kernel
// looked for duplicates, for up to two seconds, the node could neither call a
// pod nor be found by one.
func makeBridge(name string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make bridge %s: %w", name, err)
	}
	file := filepath.Join("/proc/sys/net/ipv6/conf", name, "accept_dad")
	if err := os.WriteFile(file, []byte("0"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("use addresses of bridge %s at once: %w", name, err)
	}
	return nil
}

// name is that of the current subnets' network and of its bridge, and the same
// for the same IPv4 subnet always: a bridge keeps its gateway address, and a
// second family comes onto the bridge that has the first, instead of one beside
// it with the same route. It ends in "0" for the subnet that nobody chose, else
// in a hash of four digits, as an interface name has 15 bytes at most. The
// caller holds mu.
func (b *bundled) name() string {
	subnet := b.sub.Current[0]
	for _, p := range b.sub.Current {
		if p.Addr().Is4() {
			subnet = p
		}
	}
	if subnet == defaultSubnet {
		return bundledName + "0"
	}
	h := sha256.Sum256(fmt.Append(nil, subnet))
	return bundledName + "-" + hex.EncodeToString(h[:2])
}

// network builds the configuration, with further plugins at its end for a pod
// that needs them: each costs a start some milliseconds. It returns a
// *NotReadyError when a plugin is not there.
func (b *bundled) network(more ...string) (*network, error) {
	for _, plugin := range append([]string{"bridge", "host-local"}, more...) {
		if _, err := findPlugin(plugin, b.bins); err != nil {
			return nil, &NotReadyError{
				Reason: ReasonNoConfig,
				Detail: fmt.Sprintf("the node has no CNI configuration, and the bundled network cannot be used: %v", err),
				Err:    err,
			}
		}
	}
	data, err := b.config(more)
	if err != nil {
		return nil, err
	}
	list, err := parseList(data)
	if err != nil {
		return nil, fmt.Errorf("bundled network: %w", err)
	}
	return &network{list: list, bundled: true}, nil
}

func (b *bundled) config(more []string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ranges [][]map[string]string
	var routes []map[string]string
	for _, p := range b.sub.Current {
		all := "0.0.0.0/0"
		if p.Addr().Is6() {
			all = "::/0"
		}
		ranges = append(ranges, []map[string]string{{"subnet": p.String()}})
		routes = append(routes, map[string]string{"dst": all})
	}
	plugins := []any{map[string]any{
		"type":        "bridge",
		"bridge":      b.name(),
		"isGateway":   true,
		"hairpinMode": true,
		"ipam": map[string]any{
			"type":    "host-local",
			"dataDir": b.leases(),
			"ranges":  ranges,
			"routes":  routes,
		},
	}}
	for _, name := range more {
		plugins = append(plugins, map[string]any{"type": name, "capabilities": map[string]bool{name: true}})
	}
	return json.Marshal(map[string]any{"cniVersion": "1.0.0", "name": b.name(), bundledKey: true, "plugins": plugins})
}

// isBundled says whether a configuration is one that config made.
func isBundled(data []byte) bool {
	var keys map[string]json.RawMessage
	return json.Unmarshal(data, &keys) == nil && string(keys[bundledKey]) == "true"
}

// leases is where host-local keeps one file for each address in use.
func (b *bundled) leases() string { return filepath.Join(b.dir, "leases") }

// releaseOrphans frees the addresses of pods that are not in keep: a daemon
// that was killed amidst an ADD leaves them.
func (b *bundled) releaseOrphans(keep map[string]bool) error {
	files, err := b.leaseFiles()
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range files {
		errs = append(errs, releaseOrphan(file, keep))
	}
	return errors.Join(errs...)
}

// leaseFiles lists the files of addresses in use; each has the address for a name.
func (b *bundled) leaseFiles() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(b.leases(), "*", "*"))
	return slices.DeleteFunc(files, func(file string) bool {
		_, err := netip.ParseAddr(filepath.Base(file))
		return err != nil // host-local's lock, or the address given last
	}), err
}

// releaseOrphan removes one lease under host-local's own lock.
func releaseOrphan(file string, keep map[string]bool) error {
	lock, err := os.Open(filepath.Join(filepath.Dir(file), "lock"))
	if err != nil {
		return fmt.Errorf("lock addresses: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock addresses: %w", err)
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	id, _, _ := strings.Cut(string(data), hostLocalEOL)
	if keep[id] {
		return nil
	}
	return os.Remove(file)
}
