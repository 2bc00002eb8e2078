package rootfs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// overlay lists the directories of one overlay mount.
type overlay struct {
	lower []string // lowest first
	upper string   // "" for a read-only one
	work  string
	attr  int
	label string // SELinux label of all files; "" as they are
}

// addRoot makes the writable layer and the overlay on top of the image.
func (b *build) addRoot(p *plan) error {
	o := overlay{attr: unix.MOUNT_ATTR_NODEV, label: b.spec.Label}
	if b.spec.Privileged {
		o.attr = 0
	}
	err := b.do(StepWritableLayer, b.fs.layerDir(b.spec.ID), func() (err error) {
		o.upper, o.work, err = b.makeWritable()
		return err
	})
	if err != nil {
		return err
	}
	var base string
	err = b.do(StepBase, "", func() (err error) {
		base, err = b.fs.baseFor(b.filePaths())
		return err
	})
	if err != nil {
		return err
	}
	o.lower = append([]string{base}, b.spec.Layers...)
	if b.spec.UserNS != nil {
		return b.do(StepIDMap, "", func() (err error) {
			p.mapped, err = b.mapOverlay(o)
			return err
		})
	}
	return b.do(StepOverlay, "", func() (err error) {
		p.root, err = b.openOverlay(o)
		return err
	})
}

// openOverlay mounts o without attaching it.
func (b *build) openOverlay(o overlay) (int, error) {
	if err := o.check(); err != nil {
		return -1, err
	}
	fd, err := b.fs.mountOverlay(o)
	if err != nil {
		return -1, err
	}
	return b.own(fd), nil
}

// check names a missing layer, for which the kernel has only an errno.
func (o *overlay) check() error {
	for _, dir := range o.lower {
		st, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("image layer: %w", err)
		}
		if !st.IsDir() {
			return fmt.Errorf("image layer %q: %w", dir, unix.ENOTDIR)
		}
	}
	return nil
}

func (f *FS) mountOverlay(o overlay) (int, error) {
	if !f.kern.layerList {
		return f.kern.mountShort(o)
	}
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := setDirs(fs, o); err != nil {
		return -1, err
	}
	return f.kern.createOverlay(fs, o)
}

// createOverlay mounts an overlay whose directories are set.
func (k *kernel) createOverlay(fs int, o overlay) (int, error) {
	if o.upper != "" {
		if err := k.setWritable(fs); err != nil {
			return -1, err
		}
	}
	return createLabelled(fs, o.label, o.attr)
}

// createLabelled makes an overlay whose files have the label, if it is one.
func createLabelled(fs int, label string, attr int) (int, error) {
	if label != "" {
		if err := unix.FsconfigSetString(fs, labelOption, label); err != nil {
			return -1, fsError(fs, "overlay option "+labelOption, err)
		}
	}
	return createMount(fs, "overlay", attr)
}

// setWritable sets the options of an overlay that has an upper directory.
func (k *kernel) setWritable(fs int) error {
	if err := unix.FsconfigSetFlag(fs, "volatile"); err != nil {
		return fsError(fs, "overlay option volatile", err)
	}
	if !k.indexOff {
		return nil
	}
	if err := unix.FsconfigSetString(fs, "index", "off"); err != nil {
		return fsError(fs, "overlay option index", err)
	}
	return nil
}

// setDirs names the directories of o one by one, the uppermost layer first.
func setDirs(fs int, o overlay) error {
	for _, dir := range slices.Backward(o.lower) {
		if err := setDir(fs, "lowerdir+", dir); err != nil {
			return err
		}
	}
	if o.upper == "" {
		return nil
	}
	if err := setDir(fs, "upperdir", o.upper); err != nil {
		return err
	}
	return setDir(fs, "workdir", o.work)
}

// maxString is the longest value of a filesystem option.
const maxString = 255

// setDir gives the kernel a directory. A path that is too long for an option,
// or has characters that mean something in it, goes through its descriptor.
func setDir(fs int, key, dir string) error {
	name := dir
	if len(dir) > maxString || strings.ContainsAny(dir, `\,:`) {
		f, err := openPath(dir)
		if err != nil {
			return err
		}
		defer f.Close()
		name = fmt.Sprintf("/proc/thread-self/fd/%d", f.Fd())
	}
	if err := unix.FsconfigSetString(fs, key, name); err != nil {
		return fsError(fs, fmt.Sprintf("overlay %s %q", key, dir), err)
	}
	return nil
}

// mountShort is for kernels before 6.7, which take all layers in one option of
// 255 bytes. It names each directory by the number of its descriptor, in the
// directory of /proc that lists them: room for sixty layers and more. Before 6.5
// the kernel looks for the directories only when it makes the filesystem, so that
// one thread does it all.
func (k *kernel) mountShort(o overlay) (int, error) {
	files, err := openAll(o)
	defer closeAll(files)
	if err != nil {
		return -1, err
	}
	var lower []string
	for i := range slices.Backward(o.lower) {
		lower = append(lower, fmt.Sprint(files[i].Fd()))
	}
	layers := strings.Join(lower, ":")
	if len(layers) > maxString {
		return -1, fmt.Errorf("%w: %d image layers are too many before Linux 6.7", ErrUnsupported, len(o.lower))
	}
	fd, done := -1, make(chan error)
	onOwnThread(func() {
		var err error
		fd, err = k.mountInDescriptors(o, layers, files[len(o.lower):])
		done <- err
	})
	err = <-done
	return fd, err
}

// mountInDescriptors mounts with the directory of the descriptors as the current
// one of the calling thread, which must not be used afterwards.
func (k *kernel) mountInDescriptors(o overlay, layers string, writable []*os.File) (int, error) {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return -1, err
	}
	if err := unix.Chdir("/proc/thread-self/fd"); err != nil {
		return -1, err
	}
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "lowerdir", layers); err != nil {
		return -1, fsError(fs, "overlay lowerdir", err)
	}
	for i, f := range writable {
		key := []string{"upperdir", "workdir"}[i]
		if err := unix.FsconfigSetString(fs, key, fmt.Sprint(f.Fd())); err != nil {
			return -1, fsError(fs, "overlay "+key, err)
		}
	}
	return k.createOverlay(fs, o)
}

// openAll opens the directories of o: lower ones, upper, work.
func openAll(o overlay) ([]*os.File, error) {
	dirs := slices.Clone(o.lower)
	if o.upper != "" {
		dirs = append(dirs, o.upper, o.work)
	}
	var files []*os.File
	for _, dir := range dirs {
		f, err := openPath(dir)
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// baseFor gives a directory with the mountpoints that nearly every container
// needs. As the lowest layer it saves making them in each writable layer, and
// it is the whole image of a container that has none. It is made once for each
// set of files and never changes afterwards, as it may be mounted.
func (f *FS) baseFor(files []string) (string, error) {
	key := strings.Join(files, "\x00")
	f.mu.Lock()
	defer f.mu.Unlock()
	if dir, ok := f.bases[key]; ok {
		return dir, nil
	}
	sum := sha256.Sum256([]byte(key))
	dir := filepath.Join(f.dir, ".base-"+hex.EncodeToString(sum[:8]))
	if err := makeBase(dir, files); err != nil {
		return "", err
	}
	f.bases[key] = dir
	return dir, nil
}

// emptyLayer gives a directory without anything in it.
func (f *FS) emptyLayer() (string, error) {
	dir := filepath.Join(f.dir, ".empty")
	return dir, mkdirMode(dir, 0o755)
}

func makeBase(dir string, files []string) error {
	for _, d := range []string{"", "dev", "proc", "sys"} {
		if err := mkdirMode(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	for _, path := range files {
		if err := makeBaseFile(dir, path); err != nil {
			return err
		}
	}
	return nil
}

func makeBaseFile(dir, path string) error {
	parent := dir
	names := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for _, name := range names[:len(names)-1] {
		parent = filepath.Join(parent, name)
		if err := mkdirMode(parent, 0o755); err != nil {
			return err
		}
	}
	name := filepath.Join(parent, names[len(names)-1])
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o644), f.Close())
}

// mkdirMode makes a directory with this mode whatever the umask is; one that
// exists is left alone.
func mkdirMode(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// filePaths gives the clean container paths of the runtime's files, sorted.
func (b *build) filePaths() []string {
	paths := make([]string, 0, len(b.spec.Files))
	for _, f := range b.spec.Files {
		paths = append(paths, inRoot(f.ContainerPath))
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}
