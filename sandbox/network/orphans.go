package network

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Orphans implements sandbox.Network. Beyond namespaces it disconnects, by the
// cache, every pod that is not in keep, also one of before a reboot; frees what
// an ADD that was cut off left in the bundled network; and tells the plugins
// which attachments are valid (the GC verb of CNI 1.1) where the configuration
// allows it. Last it claims the subnets of the bundled network, as pods that stay
// have addresses there. It must not run beside Setup. All steps run; their errors are
// joined. Plugins that hang get no more than orphansTimeout together, as the daemon
// serves nobody meanwhile; what is left then is there for the next call.
func (c *CNI) Orphans(ctx context.Context, keep map[string]bool) error {
	ctx, cancel := within(ctx, min(orphansTimeout, c.conf.PluginTimeout))
	defer cancel()
	var errs []error
	cached, err := c.lib.GetCachedAttachments("")
	if err != nil {
		errs = append(errs, fmt.Errorf("read CNI cache: %w", err))
	}
	for _, a := range cached {
		if !keep[a.ContainerID] {
			errs = append(errs, c.disconnectOrphan(ctx, a))
		}
	}
	names, err := c.netns.Names()
	errs = append(errs, err)
	for _, name := range names {
		if !keep[name] {
			errs = append(errs, c.netns.Remove(name))
		}
	}
	errs = append(errs, c.nat.withdrawOrphans(keep), c.bundled.releaseOrphans(keep), c.gc(ctx, keep))
	c.claimAtStart()
	return errors.Join(errs...)
}

// orphansTimeout bounds all plugins of one Orphans.
const orphansTimeout = 30 * time.Second

// claimAtStart does not fail: Status tells.
func (c *CNI) claimAtStart() {
	n, err := c.network()
	if err != nil {
		return
	}
	if err := c.claimSubnets(n); err != nil {
		c.log.Warn("pods cannot be connected", "err", err)
	}
}

// disconnectOrphan knows of the pod only what the cache holds: host ports go
// with all others of orphans.
func (c *CNI) disconnectOrphan(ctx context.Context, a *libcni.NetworkAttachment) error {
	pod := sandbox.PodNetwork{ID: a.ContainerID}
	for _, arg := range a.CniArgs {
		switch arg[0] {
		case "K8S_POD_NAMESPACE":
			pod.Namespace = arg[1]
		case "K8S_POD_NAME":
			pod.Name = arg[1]
		}
	}
	c.log.Info("disconnecting orphan", "pod", pod.ID, "network", a.Network)
	return c.disconnect(ctx, pod, a)
}

// gc calls the GC verb. Without Config.GC only the bundled network's plugins,
// which have none, could be meant, so there is nothing to do.
func (c *CNI) gc(ctx context.Context, keep map[string]bool) error {
	n, err := c.network()
	if err != nil || n.bundled || !c.conf.GC {
		return nil // no network is no reason to fail: Status tells
	}
	args := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{}}
	for id := range keep {
		args.ValidAttachments = append(args.ValidAttachments, types.GCAttachment{ContainerID: id, IfName: ifName})
	}
	if err := c.lib.GCNetworkList(ctx, n.list, args); err != nil {
		return fmt.Errorf("collect garbage of CNI network %q: %w", n.list.Name, err)
	}
	return nil
}
