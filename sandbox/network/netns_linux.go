package network

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
	"github.com/cri-wasmer/cri-wasmer/sandbox/namespace"
)

// makeNetNS makes the pod's namespace. One that was made together with the pod's
// user namespace is only set up.
func (c *CNI) makeNetNS(pod sandbox.PodNetwork) error {
	if pod.Made {
		return namespace.OnThread(func() error { return enterAndSetUp(c.netns.File(pod.ID)) })
	}
	return createNetNS(c.netns, pod.ID)
}

// createNetNS makes a namespace with its loopback interface up. One that is left
// of an earlier attempt is replaced.
func createNetNS(d *namespace.Dir, name string) error {
	return namespace.OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("set loopback up: %w", err)
		}
		return d.Bind(name, "/proc/thread-self/ns/net")
	})
}

func enterAndSetUp(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("enter: %w", err)
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("set loopback up: %w", err)
	}
	return nil
}

// loopbackUp sets lo up in the namespace of the calling thread; the kernel adds
// its addresses. In every new namespace lo has index 1.
func loopbackUp() error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	return h.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "lo", Index: 1}})
}
