package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// netnsDir holds network namespaces, each kept alive by a bind mount on a file.
// The directory is a shared mount of its own, as that of `ip netns` is: when a
// namespace is unmounted here, copies of the mount in other mount namespaces go
// too. Safe for concurrent use; calls for one name must not overlap.
type netnsDir struct{ path string }

// openNetNSDir makes the directory and its mount, or finds them.
func openNetNSDir(path string) (*netnsDir, error) {
	if err := os.MkdirAll(path, 0o711); err != nil {
		return nil, fmt.Errorf("make directory for network namespaces: %w", err)
	}
	err := unix.Mount("", path, "none", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // not a mount point yet
		if err := unix.Mount(path, path, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return nil, fmt.Errorf("mount %s on itself: %w", path, err)
		}
		err = unix.Mount("", path, "none", unix.MS_SHARED|unix.MS_REC, "")
	}
	if err != nil {
		return nil, fmt.Errorf("share mount %s: %w", path, err)
	}
	return &netnsDir{path: path}, nil
}

// close takes the mount away when no namespace is bound in it.
func (d *netnsDir) close() error {
	entries, err := os.ReadDir(d.path)
	if err != nil || len(entries) > 0 {
		return err
	}
	if err := unix.Unmount(d.path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", d.path, err)
	}
	return nil
}

func (d *netnsDir) file(name string) string { return filepath.Join(d.path, name) }

// create makes a namespace with its loopback interface up. One that is left of
// an earlier attempt is replaced.
func (d *netnsDir) create(name string) error {
	if err := d.remove(name); err != nil {
		return err
	}
	f, err := os.OpenFile(d.file(name), os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	if err := bindNewNetNS(d.file(name)); err != nil {
		return errors.Join(err, d.remove(name))
	}
	return nil
}

// bindNewNetNS makes a namespace, sets it up and binds it to path.
func bindNewNetNS(path string) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		return fillNewNetNS(path)
	})
}

// onThread runs f, which may enter another network namespace, on a locked
// thread that returns to the daemon's namespace. A thread that cannot return
// stays locked and ends with its goroutine.
func onThread(f func() error) error {
	done := make(chan error)
	go func() { done <- lockedThread(f) }()
	return <-done
}

func lockedThread(f func() error) error {
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open own network namespace: %w", err)
	}
	defer unix.Close(home)
	err = f()
	if e := unix.Setns(home, unix.CLONE_NEWNET); e != nil {
		return errors.Join(err, fmt.Errorf("return to own network namespace: %w", e))
	}
	runtime.UnlockOSThread()
	return err
}

func fillNewNetNS(path string) error {
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("set loopback up: %w", err)
	}
	if err := unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind to %s: %w", path, err)
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

// remove unbinds the namespace; nil when it is gone. The kernel ends it, and
// the interfaces in it, once no process is left in it.
func (d *netnsDir) remove(name string) error {
	path := d.file(name)
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // not, or no longer, mounted
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// exists says whether a namespace is bound to name: the file without its mount,
// as a reboot may leave it, is none.
func (d *netnsDir) exists(name string) bool {
	var st unix.Statfs_t
	return unix.Statfs(d.file(name), &st) == nil && st.Type == unix.NSFS_MAGIC
}

// names lists the namespaces.
func (d *netnsDir) names() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}
