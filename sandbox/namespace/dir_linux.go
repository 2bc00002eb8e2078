package namespace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Dir holds namespaces, each kept alive by a bind mount on a file. The directory
// is a shared mount of its own, as that of `ip netns` is: when a namespace is
// unmounted here, copies of the mount in other mount namespaces go too. Safe for
// concurrent use; calls for one name must not overlap.
type Dir struct{ path string }

// OpenDir makes the directory and its mount, or finds them.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o711); err != nil {
		return nil, fmt.Errorf("make directory for namespaces: %w", err)
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
	return &Dir{path: path}, nil
}

// Close takes the mount away when nothing is bound in it.
func (d *Dir) Close() error {
	entries, err := os.ReadDir(d.path)
	if err != nil || len(entries) > 0 {
		return err
	}
	if err := unix.Unmount(d.path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", d.path, err)
	}
	return nil
}

// File is where the namespace of this name is bound.
func (d *Dir) File(name string) string { return filepath.Join(d.path, name) }

// Bind keeps the namespace at source, such as /proc/PID/ns/net, under name. One
// that is left of an earlier attempt is replaced.
func (d *Dir) Bind(name, source string) error {
	if err := d.Remove(name); err != nil {
		return err
	}
	f, err := os.OpenFile(d.File(name), os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(source, d.File(name), "none", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("bind to %s: %w", d.File(name), err), d.Remove(name))
	}
	return nil
}

// Remove unbinds the namespace, or what else is mounted under the name; nil when
// it is gone. The kernel ends it once no process is left in it.
func (d *Dir) Remove(name string) error {
	path := d.File(name)
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

// Exists says whether a namespace is bound to name: the file without its mount,
// as a reboot may leave it, is none.
func (d *Dir) Exists(name string) bool {
	var st unix.Statfs_t
	return unix.Statfs(d.File(name), &st) == nil && st.Type == unix.NSFS_MAGIC
}

// Names lists what is bound.
func (d *Dir) Names() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("list namespaces: %w", err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}
