package network

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containernetworking/cni/libcni"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

const (
	// statusFresh is how long a plugin's own "ready" is believed: the kubelet
	// asks every few seconds, and each answer costs processes.
	statusFresh = 10 * time.Second
	// statusTimeout bounds the STATUS calls of one network.
	statusTimeout = 10 * time.Second
)

// statusCache remembers that the plugins of one network said that they were
// ready. Safe for concurrent use.
type statusCache struct {
	mu    sync.Mutex
	list  *libcni.NetworkConfigList
	until time.Time
}

// Status implements sandbox.Network. It is true only when a configuration is
// there, its plugins can be executed, and they do not say that they are not
// ready (the STATUS verb of CNI 1.1).
func (c *CNI) Status(ctx context.Context) sandbox.NetworkStatus {
	n, err := c.network()
	if err != nil {
		return notReady(err, "")
	}
	if err := c.claimSubnets(n); err != nil {
		return notReady(err, n.list.Name)
	}
	if err := c.canRun(ctx, n); err != nil {
		return notReady(err, n.list.Name)
	}
	if err := c.askPlugins(ctx, n); err != nil {
		return notReady(err, n.list.Name)
	}
	detail := fmt.Sprintf("CNI network %q of %s", n.list.Name, n.file)
	if n.bundled {
		detail = fmt.Sprintf("bundled network %q, as %s has no configuration", n.list.Name, c.conf.ConfDir)
	}
	return sandbox.NetworkStatus{Ready: true, Detail: detail, Name: n.list.Name}
}

func notReady(err error, name string) sandbox.NetworkStatus {
	st := sandbox.NetworkStatus{Reason: ReasonInvalidConfig, Detail: err.Error(), Name: name}
	var nr *NotReadyError
	if errors.As(err, &nr) {
		st.Reason, st.Detail = nr.Reason, nr.Detail
	}
	return st
}

// askPlugins calls STATUS, which libcni does only where the configuration's
// version has it.
func (c *CNI) askPlugins(ctx context.Context, n *network) error {
	if n.bundled {
		return nil
	}
	s := &c.status
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list == n.list && time.Now().Before(s.until) {
		return nil
	}
	ctx, cancel := within(ctx, statusTimeout)
	defer cancel()
	if err := c.lib.GetStatusNetworkList(ctx, n.list); err != nil {
		s.list = nil
		return &NotReadyError{
			Reason: ReasonPluginStatus,
			Detail: fmt.Sprintf("CNI network %q says that it is not ready: %v", n.list.Name, err),
			Err:    err,
		}
	}
	s.list, s.until = n.list, time.Now().Add(statusFresh)
	return nil
}
