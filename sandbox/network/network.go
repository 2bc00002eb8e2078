package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/containernetworking/cni/libcni"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
	"github.com/cri-wasmer/cri-wasmer/sandbox/namespace"
)

// ifName is the interface that the network gives a pod.
const ifName = "eth0"

const (
	// defaultPluginTimeout bounds all plugins of one Setup or one Teardown.
	defaultPluginTimeout = time.Minute
	// undoTimeout bounds what a failed Setup does to leave nothing behind.
	undoTimeout = 10 * time.Second
)

// Config says where things are. The zero value of a field is its default.
type Config struct {
	ConfDir  string   // CNI configuration; default /etc/cni/net.d
	BinDirs  []string // CNI plugins, in order of search; default /opt/cni/bin
	CacheDir string   // what connected pods got; survives a reboot; default /var/lib/cri-wasmer/cni
	StateDir string   // what a reboot ends; default /run/cri-wasmer/network
	NetNSDir string   // bound namespaces; default /run/cri-wasmer/netns
	LocksDir string   // subnets of all daemons of the machine; default /run/cri-wasmer.locks/subnets

	// Suffix ends the name of the nftables table: a daemon that is not the only
	// one of its machine has one of its own.
	Suffix string

	// NoBundled leaves the node without network until ConfDir has a
	// configuration.
	NoBundled bool
	// Subnets of the bundled network: one of IPv4, one of IPv6, or both;
	// default 10.88.0.0/16. UpdatePodCIDR overrides them.
	Subnets []netip.Prefix

	// GC lets Orphans call the GC verb of a network that is not the bundled
	// one. It tells the plugins that every attachment but ours is stale, so no
	// other runtime may use the same network.
	GC bool

	PluginTimeout time.Duration // default one minute
	// Observe is told how long a Setup or Teardown took; nil: nobody.
	Observe func(operation string, took time.Duration, err error)
	Logger  *slog.Logger // default: discard
}

func (c Config) withDefaults() Config {
	c.ConfDir = cmp.Or(c.ConfDir, "/etc/cni/net.d")
	c.CacheDir = cmp.Or(c.CacheDir, "/var/lib/cri-wasmer/cni")
	c.StateDir = cmp.Or(c.StateDir, "/run/cri-wasmer/network")
	c.NetNSDir = cmp.Or(c.NetNSDir, "/run/cri-wasmer/netns")
	c.LocksDir = cmp.Or(c.LocksDir, "/run/cri-wasmer.locks/subnets")
	c.PluginTimeout = cmp.Or(c.PluginTimeout, defaultPluginTimeout)
	if len(c.BinDirs) == 0 {
		c.BinDirs = []string{"/opt/cni/bin"}
	}
	if len(c.Subnets) == 0 {
		c.Subnets = []netip.Prefix{defaultSubnet}
	}
	if c.Observe == nil {
		c.Observe = func(string, time.Duration, error) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// CNI implements sandbox.Network. Safe for concurrent use; calls for one pod
// must not overlap.
type CNI struct {
	conf    Config
	log     *slog.Logger
	lib     *libcni.CNIConfig
	bundled *bundled
	claim   *claim
	confs   *loader
	netns   *namespace.Dir
	nat     *nat
	plugins plugins
	status  statusCache

	natWarning sync.Once
}

var _ sandbox.Network = (*CNI)(nil)

// New makes the directories that conf names. It fails when it cannot, and when
// the subnets make no sense; a node without a usable network is no failure, see
// Status.
func New(conf Config) (*CNI, error) {
	conf = conf.withDefaults()
	b, err := newBundled(conf)
	if err != nil {
		return nil, err
	}
	ns, err := namespace.OpenDir(conf.NetNSDir)
	if err != nil {
		return nil, err
	}
	return &CNI{
		conf:    conf,
		log:     conf.Logger,
		lib:     libcni.NewCNIConfigWithCacheDir(conf.BinDirs, conf.CacheDir, &executor{log: conf.Logger}),
		bundled: b,
		claim:   &claim{dir: conf.LocksDir, state: conf.StateDir},
		confs:   &loader{dir: conf.ConfDir, log: conf.Logger},
		netns:   ns,
		nat:     newNAT(conf.Suffix),
	}, nil
}

// Close leaves the namespaces of pods as they are, and nothing else.
func (c *CNI) Close() error { return errors.Join(c.claim.release(), c.netns.Close()) }

// NetNSPath is where the namespace of the pod is bound.
func (c *CNI) NetNSPath(podID string) string {
	return filepath.Join(c.conf.NetNSDir, podID)
}

// Setup implements sandbox.Network. It returns a *NotReadyError when the node
// has no usable network; what a plugin said is part of any other error, and so is
// sandbox.ErrLeftBehind when what was done could not be taken back.
func (c *CNI) Setup(ctx context.Context, pod sandbox.PodNetwork) (_ *sandbox.NetworkResult, err error) {
	defer c.observe("setup", &err)()
	if err := c.validate(pod); err != nil {
		return nil, err
	}
	n, args, err := c.forPod(pod)
	if err != nil {
		return nil, err
	}
	if err := c.claimSubnets(n); err != nil {
		return nil, err
	}
	ctx, cancel := within(ctx, c.conf.PluginTimeout)
	defer cancel()
	if err := c.canRun(ctx, n); err != nil {
		return nil, err
	}
	if err := c.makeNetNS(pod); err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	result, err := c.connect(ctx, n, pod, args)
	if err != nil {
		return nil, errors.Join(err, c.undo(ctx, n, pod, args))
	}
	c.log.Debug("pod connected", "pod", pod.ID, "network", n.list.Name, "ips", result.IPs)
	return result, nil
}

// forPod gives the network to use now, and what its plugins are told of the pod.
func (c *CNI) forPod(pod sandbox.PodNetwork) (*network, *libcni.RuntimeConf, error) {
	n, err := c.network()
	if err != nil {
		return nil, nil, err
	}
	args, err := runtimeConf(pod)
	if err != nil {
		return nil, nil, err
	}
	if _, limited := args.CapabilityArgs["bandwidth"]; limited && n.bundled {
		n, err = c.bundled.network("bandwidth")
	}
	return n, args, err
}

// within is ctx for plugins that may take so long. Its cause tells whose patience
// ended: ours, or that of who called.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("gave up after %v: %w", d, context.DeadlineExceeded))
}

// observe begins to time; what it gives ends that.
func (c *CNI) observe(operation string, err *error) func() {
	begin := time.Now()
	return func() { c.conf.Observe(operation, time.Since(begin), *err) }
}

// connect fills the pod's namespace.
func (c *CNI) connect(ctx context.Context, n *network, pod sandbox.PodNetwork, args *libcni.RuntimeConf) (*sandbox.NetworkResult, error) {
	if n.bundled && c.bundled.hasIPv6() {
		if err := makeBridge(n.list.Name); err != nil {
			return nil, describe("add", n, pod, err)
		}
	}
	added, err := c.lib.AddNetworkList(ctx, n.list, args)
	if err != nil {
		return nil, describe("add", n, pod, err)
	}
	result, err := podResult(added, args.NetNS)
	if err != nil {
		return nil, describe("add", n, pod, err)
	}
	if !n.bundled {
		return result, nil
	}
	forgetNeighbors(n.list.Name, result.IPs)
	if err := c.publish(n, pod, result.IPs); err != nil {
		return nil, describe("add", n, pod, err)
	}
	return result, nil
}

// publish programs the bundled network's way out and the pod's host ports. A
// kernel that cannot do the first still has a network among pods.
func (c *CNI) publish(n *network, pod sandbox.PodNetwork, ips []netip.Addr) error {
	err := c.nat.publish(pod, ips, n.list.Name, c.bundled.allSubnets())
	if err == nil {
		return nil
	}
	if len(pod.Ports) > 0 {
		return fmt.Errorf("publish host ports: %w", err)
	}
	c.natWarning.Do(func() {
		c.log.Warn("pods have no way out of the node: masquerading failed", "err", err)
	})
	return nil
}

// undo leaves nothing of a Setup that failed.
func (c *CNI) undo(ctx context.Context, n *network, pod sandbox.PodNetwork, args *libcni.RuntimeConf) error {
	ctx, cancel := within(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	var errs []error
	if n.bundled && len(pod.Ports) > 0 {
		errs = append(errs, c.nat.withdraw(pod))
	}
	if err := c.lib.DelNetworkList(ctx, n.list, args); err != nil {
		errs = append(errs, describe("delete", n, pod, err))
	}
	if err := errors.Join(append(errs, c.netns.Remove(pod.ID))...); err != nil {
		return fmt.Errorf("%w: %w", sandbox.ErrLeftBehind, err)
	}
	return nil
}

// Teardown implements sandbox.Network. The namespace goes only when all plugins
// have agreed, so that a later call can give it to them again.
func (c *CNI) Teardown(ctx context.Context, pod sandbox.PodNetwork) (err error) {
	defer c.observe("teardown", &err)()
	if err := c.validate(pod); err != nil {
		return err
	}
	ctx, cancel := within(ctx, c.conf.PluginTimeout)
	defer cancel()
	cached, err := c.lib.GetCachedAttachments(pod.ID)
	if err != nil {
		return fmt.Errorf("read CNI cache: %w", err)
	}
	if len(cached) == 0 {
		err = c.disconnectUnknown(ctx, pod)
	}
	for _, a := range cached {
		if err = c.disconnect(ctx, pod, a); err != nil {
			break
		}
	}
	if err != nil {
		return err
	}
	if err := c.netns.Remove(pod.ID); err != nil {
		return fmt.Errorf("remove network namespace: %w", err)
	}
	return nil
}

// disconnect undoes the ADD that the cache remembers.
func (c *CNI) disconnect(ctx context.Context, pod sandbox.PodNetwork, a *libcni.NetworkAttachment) error {
	list, err := parseList(a.Config)
	if err != nil {
		return fmt.Errorf("cached configuration of CNI network %q: %w", a.Network, err)
	}
	return c.delete(ctx, pod, &network{list: list, bundled: isBundled(a.Config)}, &libcni.RuntimeConf{
		ContainerID:    a.ContainerID,
		NetNS:          a.NetNS,
		IfName:         a.IfName,
		Args:           a.CniArgs,
		CapabilityArgs: a.CapabilityArgs,
	})
}

// disconnectUnknown calls DEL for a pod of which the cache knows nothing: the
// daemon ended before its ADD, or amidst it. Without a usable network there is
// nothing to call, nor for a pod that Setup refuses.
func (c *CNI) disconnectUnknown(ctx context.Context, pod sandbox.PodNetwork) error {
	n, args, err := c.forPod(pod)
	if errors.Is(err, sandbox.ErrUnavailable) || errors.Is(err, sandbox.ErrInvalid) {
		c.log.Debug("no network to disconnect from", "pod", pod.ID, "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	return c.delete(ctx, pod, n, args)
}

// delete calls DEL. Plugins must accept a namespace that is gone; the
// specification gives them an empty one then.
func (c *CNI) delete(ctx context.Context, pod sandbox.PodNetwork, n *network, args *libcni.RuntimeConf) error {
	if n.bundled {
		if err := c.nat.withdraw(pod); err != nil {
			return fmt.Errorf("withdraw host ports: %w", err)
		}
	}
	if !c.netns.Exists(pod.ID) {
		args.NetNS = ""
	}
	if err := c.lib.DelNetworkList(ctx, n.list, args); err != nil {
		return describe("delete", n, pod, err)
	}
	return nil
}

// describe says which pod and network an error is about.
func describe(verb string, n *network, pod sandbox.PodNetwork, err error) error {
	return fmt.Errorf("%s pod %s/%s: CNI network %q: %w", verb, pod.Namespace, pod.Name, n.list.Name, err)
}

// validate refuses ids that are no file names.
func (c *CNI) validate(pod sandbox.PodNetwork) error {
	if pod.ID == "" || pod.ID != filepath.Base(pod.ID) || pod.ID == "." || pod.ID == ".." {
		return fmt.Errorf("pod id %q cannot name a network namespace", pod.ID)
	}
	if want := c.NetNSPath(pod.ID); pod.NetNS != "" && pod.NetNS != want {
		return fmt.Errorf("network namespace of pod %s is %s, want %s", pod.ID, pod.NetNS, want)
	}
	return nil
}
