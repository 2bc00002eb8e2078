package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/internal/lockfile"
)

// claim keeps daemons in one network namespace from giving their pods the same
// addresses. Each has a file in a directory of the machine, which it holds locked
// while it lives; there stands in which subnets its pods have addresses. A file
// that is not locked is of a daemon that has gone. Who looks at others or writes
// has the directory locked. Safe for concurrent use.
type claim struct {
	dir   string
	state string // the network's state directory, which belongs to one daemon

	mu   sync.Mutex
	file *os.File // nil: nothing is claimed
	held claimed
}

// claimed is the content of a file.
type claimed struct {
	PID     int            `json:"pid"`
	State   string         `json:"state"`
	NetNS   string         `json:"netns"`
	Subnets []netip.Prefix `json:"subnets"`
}

// claimSubnets makes sure that no other daemon gives pods addresses in the
// subnets of the bundled network. It returns a *NotReadyError when one does, or when
// that cannot be known. Each call tries again, as the other one may have gone.
func (c *CNI) claimSubnets(n *network) error {
	if !n.bundled {
		return nil
	}
	current, past, err := c.bundled.usedSubnets()
	if err == nil {
		err = c.claim.take(current, past)
	}
	var nr *NotReadyError
	if err != nil && !errors.As(err, &nr) {
		return &NotReadyError{
			Reason: ReasonSubnetsUnknown,
			Detail: fmt.Sprintf("the bundled network cannot be used, as it cannot be seen whether another cri-wasmer has its subnets: %v", err),
			Err:    err,
		}
	}
	return err
}

// usedSubnets gives the subnets in which pods get addresses, and those in which
// some that got one before may still have it.
func (b *bundled) usedSubnets() (current, past []netip.Prefix, err error) {
	b.mu.Lock()
	current, past = slices.Clone(b.sub.Current), slices.Clone(b.sub.Past)
	b.mu.Unlock()
	if len(past) == 0 {
		return current, nil, nil
	}
	leases, err := b.leaseFiles()
	past = slices.DeleteFunc(past, func(p netip.Prefix) bool {
		return !slices.ContainsFunc(leases, func(file string) bool {
			addr, err := netip.ParseAddr(filepath.Base(file))
			return err == nil && p.Contains(addr)
		})
	})
	return current, past, err
}

// take claims the subnets anew. Only the current ones must be free: what pods of
// before have cannot be changed any more. While others have them, what was claimed
// before is claimed still.
func (c *claim) take(current, past []netip.Prefix) error {
	netns, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	want := claimed{PID: os.Getpid(), State: c.state, NetNS: netns, Subnets: slices.Concat(current, past)}
	if c.file != nil && slices.Equal(c.held.Subnets, want.Subnets) {
		return nil
	}
	unlock, err := lockClaims(c.dir)
	if err != nil {
		return err
	}
	defer unlock()
	others, err := c.others()
	if err != nil {
		return err
	}
	for _, other := range others {
		if err := other.conflict(want, current); err != nil {
			return err
		}
	}
	return c.write(want)
}

// conflict is a *NotReadyError when the other daemon has one of the subnets.
func (c claimed) conflict(own claimed, subnets []netip.Prefix) error {
	if c.NetNS != own.NetNS || c.State == own.State {
		return nil
	}
	for _, p := range subnets {
		for _, q := range c.Subnets {
			if p.Overlaps(q) {
				return &NotReadyError{
					Reason: ReasonSubnetTaken,
					Detail: fmt.Sprintf("the bundled network's subnet %v overlaps %v, where pods of another cri-wasmer have their addresses (pid %d, state in %s): give each its own subnets (option cni.subnets, or the pod CIDR that the kubelet announces), or stop one",
						p, q, c.PID, c.State),
				}
			}
		}
	}
	return nil
}

// lockClaims waits until nobody else looks at claims or writes one.
func lockClaims(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { d.Close() }, nil
}

// others reads what daemons claim that live, and removes what others have left.
// The directory is locked.
func (c *claim) others() ([]claimed, error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, err
	}
	var out []claimed
	for _, e := range entries {
		name := filepath.Join(c.dir, e.Name())
		if c.file != nil && name == c.file.Name() {
			continue
		}
		f, err := lockfile.Take(name)
		if err == nil {
			if err := errors.Join(os.Remove(name), f.Close()); err != nil {
				return nil, err
			}
			continue
		}
		var held *lockfile.HeldError
		if !errors.As(err, &held) {
			return nil, err
		}
		other, err := readClaim(name)
		if err != nil {
			return nil, err
		}
		out = append(out, other)
	}
	return out, nil
}

func readClaim(name string) (claimed, error) {
	var c claimed
	data, err := os.ReadFile(name)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("subnets of another cri-wasmer, in %s: %w", name, err)
	}
	return c, nil
}

// write notes what is claimed. When it cannot, nothing is. The directory is
// locked.
func (c *claim) write(want claimed) error {
	data, err := json.Marshal(want)
	if err != nil {
		return err
	}
	if c.file == nil {
		made, err := os.CreateTemp(c.dir, "daemon-")
		if err != nil {
			return err
		}
		name := made.Name()
		made.Close()
		if c.file, err = lockfile.Take(name); err != nil {
			return errors.Join(err, os.Remove(name))
		}
	}
	_, err = c.file.WriteAt(data, 0)
	if err = errors.Join(err, c.file.Truncate(int64(len(data)))); err != nil {
		return errors.Join(fmt.Errorf("claim subnets: %w", err), c.drop())
	}
	c.held = want
	return nil
}

func (c *claim) drop() error {
	err := errors.Join(os.Remove(c.file.Name()), c.file.Close())
	c.file, c.held = nil, claimed{}
	return err
}

// release gives up what is claimed.
func (c *claim) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == nil {
		return nil
	}
	unlock, err := lockClaims(c.dir)
	if err != nil {
		return err
	}
	defer unlock()
	return c.drop()
}
