package rootfs

import (
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// plan is what a builder does in one new namespace. It is plain data: the file
// descriptors belong to the build that made it.
type plan struct {
	root         int          // a mount, unless it is mapped
	mapped       *mapped      // the root when its ids are mapped
	owner        *owner       // of what is made in the root; nil: root
	mounts       []attachment // in this order
	onDev        []attachment // go on what the request mounts at /dev
	late         []attachment // devices that go over the mounts
	masks        []mask
	readonly     []string // paths
	workingDir   string
	readonlyRoot bool
	sharedRoot   bool
	fault        func(Step) error
}

// attachment is a source and its place.
type attachment struct {
	fd      int
	target  string // clean path of the container
	dir     bool
	fixed   bool    // target must not be, or be reached through, a link of the image
	ifThere bool    // a target that is no directory, or a link, is left alone
	subPath string  // of an image, which a builder attaches to find it; "" is all
	mapped  *mapped // an image of several layers whose ids are mapped: fd is not set yet
	attr    options
}

// mask hides a path: null over a file, an empty directory over a directory.
type mask struct {
	path  string
	null  int
	empty int
}

// build collects what one Build made so that it can be given up.
type build struct {
	fs    *FS
	spec  *sandbox.RootSpec
	fds   []int
	undos []func()
	users *os.File // the user namespace of spec.UserNS, once it is opened
}

// own makes the build close fd at its end, when a builder has attached it.
func (b *build) own(fd int) int {
	b.fds = append(b.fds, fd)
	return fd
}

func (b *build) release() {
	for _, fd := range b.fds {
		unix.Close(fd)
	}
	b.fds = nil
	if b.users != nil {
		b.users.Close()
		b.users = nil
	}
}

// undo runs the inverses of what was made, last first. An overlay must be gone
// before its directories are.
func (b *build) undo() {
	b.release()
	for i := len(b.undos) - 1; i >= 0; i-- {
		b.undos[i]()
	}
	b.undos = nil
}

// do runs one step and names it in the error.
func (b *build) do(step Step, path string, fn func() error) error {
	return runStep(b.fs.fault, step, path, fn)
}

func runStep(fault func(Step) error, step Step, path string, fn func() error) error {
	if fault != nil {
		if err := fault(step); err != nil {
			return &Error{Step: step, Path: path, Err: err}
		}
	}
	if err := fn(); err != nil {
		return &Error{Step: step, Path: path, Err: err}
	}
	return nil
}

// plan makes all sources and says where they go.
func (b *build) plan() (*plan, error) {
	if err := b.do(StepCheck, b.spec.ID, func() error { return check(b.spec) }); err != nil {
		return nil, err
	}
	p := &plan{
		workingDir:   b.spec.WorkingDir,
		readonlyRoot: b.spec.Readonly,
		fault:        b.fs.fault,
		owner:        ownerOf(b.spec.UserNS),
	}
	for _, fill := range []func(*plan) error{b.openUsers, b.addRoot, b.addDev, b.addMounts, b.addMasks} {
		if err := fill(p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// check refuses what no later step could name well.
func check(spec *sandbox.RootSpec) error {
	if err := checkID(spec.ID); err != nil {
		return err
	}
	for _, l := range spec.Layers {
		if !filepath.IsAbs(l) {
			return invalid("image layer %q is not an absolute path", l)
		}
	}
	for i := range spec.Mounts {
		if err := checkMount(&spec.Mounts[i]); err != nil {
			return err
		}
	}
	for _, file := range spec.Files {
		if !filepath.IsAbs(file.HostPath) || !filepath.IsAbs(file.ContainerPath) {
			return invalid("file %q at %q: both paths must be absolute", file.HostPath, file.ContainerPath)
		}
	}
	for _, d := range spec.Devices {
		if !filepath.IsAbs(d.HostPath) {
			return invalid("device %q is not an absolute path", d.HostPath)
		}
	}
	if spec.ShmSize < 0 {
		return invalid("size %d of /dev/shm", spec.ShmSize)
	}
	return nil
}

func checkMount(m *sandbox.Mount) error {
	switch {
	case m.ContainerPath == "":
		return invalid("mount of %q has no container path", m.HostPath)
	case inRoot(m.ContainerPath) == "/":
		return invalid("mount of %q on the container's root", m.HostPath)
	case len(m.Layers) > 0:
		return nil
	case m.SubPath != "":
		return invalid("mount at %q has a sub path but no image", m.ContainerPath)
	case !filepath.IsAbs(m.HostPath):
		return invalid("host path %q of the mount at %q is not absolute", m.HostPath, m.ContainerPath)
	case m.RecursiveReadonly && !m.Readonly:
		return invalid("mount at %q is recursively read-only but not read-only", m.ContainerPath)
	case m.RecursiveReadonly && m.Propagation != "" && m.Propagation != sandbox.PropagationPrivate:
		return invalid("recursively read-only mount at %q with propagation %q", m.ContainerPath, m.Propagation)
	}
	return nil
}

// addMounts opens the runtime's files and the requested mounts. Parents come
// before children, otherwise the request's order stands.
func (b *build) addMounts(p *plan) error {
	mounts := b.requested()
	sort.SliceStable(mounts, func(i, j int) bool {
		return depth(mounts[i].ContainerPath) < depth(mounts[j].ContainerPath)
	})
	for i := range mounts {
		a, err := b.open(&mounts[i])
		if err != nil {
			return err
		}
		p.mounts = append(p.mounts, a)
		if mounts[i].Propagation == sandbox.PropagationShared {
			p.sharedRoot = true
		}
	}
	if len(p.onDev) > 0 { // which depth says where
		at := slices.IndexFunc(p.mounts, func(a attachment) bool { return depth(a.target) > depth("/dev") })
		if at < 0 {
			at = len(p.mounts)
		}
		p.mounts = slices.Insert(p.mounts, at, p.onDev...)
	}
	return nil
}

// requested gives the mounts of the request after those files that the request
// does not replace.
func (b *build) requested() []sandbox.Mount {
	taken := map[string]bool{}
	for _, m := range b.spec.Mounts {
		taken[inRoot(m.ContainerPath)] = true
	}
	var all []sandbox.Mount
	for _, f := range b.spec.Files {
		if taken[inRoot(f.ContainerPath)] {
			continue
		}
		all = append(all, sandbox.Mount{HostPath: f.HostPath, ContainerPath: f.ContainerPath, Readonly: f.Readonly || b.spec.Readonly})
	}
	return append(all, b.spec.Mounts...)
}

func depth(path string) int { return strings.Count(inRoot(path), "/") }

// overridden says whether the request mounts something at path.
func (b *build) overridden(path string) bool {
	for _, m := range b.spec.Mounts {
		if inRoot(m.ContainerPath) == path {
			return true
		}
	}
	return false
}

// addMasks prepares what hides paths of the container. Those below /proc
// belong to the process, which mounts it.
func (b *build) addMasks(p *plan) error {
	for _, path := range b.spec.MaskedPaths {
		if path = inRoot(path); below(path, "/proc") {
			continue
		}
		m := mask{path: path}
		err := b.do(StepMask, path, func() (err error) {
			if m.null, err = cloneTree("/dev/null", 0); err != nil {
				return err
			}
			b.own(m.null)
			if m.empty, err = newTmpfs(unix.MOUNT_ATTR_RDONLY, b.labelled("size", "0", "nr_inodes", "1")...); err == nil {
				b.own(m.empty)
			}
			return err
		})
		if err != nil {
			return err
		}
		p.masks = append(p.masks, m)
	}
	for _, path := range b.spec.ReadonlyPaths {
		if path = inRoot(path); !below(path, "/proc") {
			p.readonly = append(p.readonly, path)
		}
	}
	return nil
}

// labelled adds the label of the container to the options of a filesystem.
func (b *build) labelled(options ...string) []string {
	if b.spec.Label == "" {
		return options
	}
	return append(options, labelOption, b.spec.Label)
}

// below says whether path is dir or inside it.
func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

func isDir(fd int) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
