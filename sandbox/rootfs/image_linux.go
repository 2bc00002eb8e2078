package rootfs

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// openImage makes the source of a read-only mount of an image. An image of one
// layer is a bind mount of it, one of several layers an overlay without a
// writable one. So is one with a label, which files of a bind mount cannot have
// beside that of other containers.
func (b *build) openImage(m *sandbox.Mount, opt options) (attachment, error) {
	opt.top.Attr_set |= unix.MOUNT_ATTR_RDONLY
	opt.top.Attr_clr &^= unix.MOUNT_ATTR_RDONLY
	if !b.spec.Privileged {
		opt.top.Attr_set |= unix.MOUNT_ATTR_NODEV
	}
	a := attachment{target: inRoot(m.ContainerPath), dir: true, attr: opt}
	layers := m.Layers
	if len(layers) == 1 && b.spec.Label == "" {
		return a, b.do(StepImage, m.SubPath, func() error { return b.openLayer(&a, m) })
	}
	if len(layers) == 1 { // fewer than two are no overlay
		empty, err := b.fs.emptyLayer()
		if err != nil {
			return a, &Error{Step: StepImage, Path: m.ContainerPath, Err: err}
		}
		layers = []string{empty, layers[0]}
	}
	if a.subPath = inRoot(m.SubPath); a.subPath == "/" {
		a.subPath = ""
	}
	o := overlay{lower: layers, attr: int(opt.top.Attr_set), label: b.spec.Label}
	if b.spec.UserNS != nil {
		return a, b.do(StepIDMap, m.ContainerPath, func() (err error) {
			a.mapped, err = b.mapOverlay(o)
			return err
		})
	}
	return a, b.do(StepImage, m.SubPath, func() (err error) {
		a.fd, err = b.openOverlay(o)
		if err != nil {
			return err
		}
		return opt.apply(a.fd)
	})
}

// openLayer clones the only layer of an image, or a path inside it.
func (b *build) openLayer(a *attachment, m *sandbox.Mount) error {
	layer, err := openPath(filepath.Clean(m.Layers[0]))
	if err != nil {
		return fmt.Errorf("image layer: %w", err)
	}
	defer layer.Close()
	sub, err := openIn(int(layer.Fd()), inRoot(m.SubPath), unix.O_PATH, 0)
	if err != nil {
		return err
	}
	defer unix.Close(sub)
	fd, err := cloneAt(sub, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return err
	}
	a.fd = b.own(fd)
	if a.dir, err = isDir(fd); err != nil {
		return err
	}
	if err := propagate(fd, 0, unix.MS_PRIVATE); err != nil {
		return err
	}
	if b.users != nil {
		if err := idMap(fd, b.users, 0); err != nil {
			return err
		}
	}
	return a.attr.apply(fd)
}
