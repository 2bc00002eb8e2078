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

// root is the root filesystem of a plan: a detached mount, or for kernels
// whose overlay takes no list of layers, what mount(2) needs to make it.
type root struct {
	fd     int
	legacy *legacyOverlay
	attr   int
}

// legacyOverlay is an overlay for mount(2). Its paths are relative to base,
// which a builder thread can reach by its descriptor only.
type legacyOverlay struct {
	base int
	data string
}

// overlay lists the directories of one overlay mount.
type overlay struct {
	lower []string // lowest first
	upper string   // "" for a read-only one
	work  string
	attr  int
}

// addRoot makes the writable layer and the overlay on top of the image.
func (b *build) addRoot(p *plan) error {
	o := overlay{attr: unix.MOUNT_ATTR_NODEV}
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
	return b.do(StepOverlay, "", func() (err error) {
		p.root, err = b.openOverlay(o)
		return err
	})
}

// openOverlay mounts o without attaching it, or prepares that.
func (b *build) openOverlay(o overlay) (root, error) {
	if err := o.check(); err != nil {
		return root{}, err
	}
	if !b.fs.kern.layerList {
		l, err := b.legacy(o)
		return root{fd: -1, legacy: l, attr: o.attr}, err
	}
	fd, err := b.mountOverlay(o)
	if err != nil {
		return root{}, err
	}
	return root{fd: b.own(fd), attr: o.attr}, nil
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

func (b *build) mountOverlay(o overlay) (int, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	for _, dir := range slices.Backward(o.lower) { // the first is on top
		if err := setDir(fs, "lowerdir+", dir); err != nil {
			return -1, err
		}
	}
	if err := b.setWritable(fs, o); err != nil {
		return -1, err
	}
	return createMount(fs, "overlay", o.attr)
}

func (b *build) setWritable(fs int, o overlay) error {
	if o.upper == "" {
		return nil
	}
	if err := setDir(fs, "upperdir", o.upper); err != nil {
		return err
	}
	if err := setDir(fs, "workdir", o.work); err != nil {
		return err
	}
	if err := unix.FsconfigSetFlag(fs, "volatile"); err != nil {
		return fsError(fs, "overlay option volatile", err)
	}
	if b.fs.kern.indexOff {
		if err := unix.FsconfigSetString(fs, "index", "off"); err != nil {
			return fsError(fs, "overlay option index", err)
		}
	}
	return nil
}

// setDir gives the kernel a directory. A string parameter is limited to 255
// bytes and some characters mean something in it, so other paths go through
// their descriptor.
func setDir(fs int, key, dir string) error {
	name := dir
	if len(dir) > 255 || strings.ContainsAny(dir, `\,:`) {
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

// legacy prepares o for mount(2), whose options must fit in a page: paths are
// relative to the deepest directory that they share.
func (b *build) legacy(o overlay) (*legacyOverlay, error) {
	dirs := slices.Clone(o.lower)
	if o.upper != "" {
		dirs = append(dirs, o.upper, o.work)
	}
	base := commonDir(dirs)
	rel := func(dir string) string {
		r, _ := filepath.Rel(base, dir) // both absolute and clean
		return strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(r)
	}
	lower := make([]string, 0, len(o.lower))
	for _, dir := range slices.Backward(o.lower) {
		lower = append(lower, rel(dir))
	}
	data := "lowerdir=" + strings.Join(lower, ":")
	if o.upper != "" {
		data += ",upperdir=" + rel(o.upper) + ",workdir=" + rel(o.work) + ",volatile"
		if b.fs.kern.indexOff {
			data += ",index=off"
		}
	}
	if len(data) >= os.Getpagesize() {
		return nil, fmt.Errorf("%w: %d image layers need Linux 6.7 or shorter paths (%d bytes of mount options)",
			ErrUnsupported, len(o.lower), len(data))
	}
	f, err := unix.Open(base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: base, Err: err}
	}
	return &legacyOverlay{base: b.own(f), data: data}, nil
}

// commonDir gives the deepest directory that holds all of dirs.
func commonDir(dirs []string) string {
	common := filepath.Dir(dirs[0])
	for _, d := range dirs[1:] {
		for !below(d, common) || d == common {
			common = filepath.Dir(common)
		}
	}
	return common
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
