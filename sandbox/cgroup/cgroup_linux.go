package cgroup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Config says where and how groups are made.
type Config struct {
	Driver        sandbox.CgroupDriver // "": systemd where it runs the host, else cgroupfs
	Mount         string               // "": /sys/fs/cgroup
	DefaultParent string               // "": /cri-wasmer, or cri-wasmer.slice with systemd
	Suffix        string               // of the parent's name where DefaultParent is "", without a dash
	Logger        *slog.Logger         // nil: none
}

// tree is what differs between cgroup v1 and v2. Paths are clean, absolute and
// relative to the root of each hierarchy.
type tree interface {
	// make makes the group, which must not have processes if it exists.
	make(path string) error
	// adopt makes the group where systemd did not.
	adopt(path string) error
	apply(path string, r *sandbox.Resources) error
	// noted is the same tree, with what it writes noted in j.
	noted(j *journal) tree
	joinFiles(path string) ([]*os.File, error)
	join(path string, pid int) error
	usage(path string) (sandbox.CgroupUsage, error)
	stats(path string) (sandbox.CgroupStats, error)
	processes(path string) ([]int, error)
	oomKills(path string) (uint64, error)
	// kill sends SIGKILL once; left says that somebody may still be there.
	kill(path string) (left bool, err error)
	// remove removes the group, and parents that were made for it.
	remove(path string) error
	// children lists the groups directly below path in any hierarchy.
	children(path string) []string
}

// Manager implements sandbox.Cgroups. It is safe for concurrent use.
type Manager struct {
	driver sandbox.CgroupDriver
	parent string // path of the default parent
	tree   tree
	bus    bus // systemd driver only
	log    *slog.Logger

	kernelLog func() ([]byte, error)
}

var _ sandbox.Cgroups = (*Manager)(nil)

// New looks at the host. It returns an error when no control groups are
// mounted, the driver is not known, or systemd does not answer.
func New(cfg Config) (*Manager, error) {
	if cfg.Mount == "" {
		cfg.Mount = "/sys/fs/cgroup"
	}
	l, err := readLayout(cfg.Mount)
	if err != nil {
		return nil, fmt.Errorf("cgroups: %w", err)
	}
	if cfg.Driver == "" {
		cfg.Driver = detectDriver()
	}
	var b bus
	if cfg.Driver == sandbox.DriverSystemd {
		if b, err = dialSystemd(); err != nil {
			return nil, fmt.Errorf("cgroups: %w", err)
		}
	}
	return newManager(cfg, newTree(l, kernelFiles{}), b)
}

func newTree(l layout, f files) tree {
	if l.unified {
		return &v2{files: f, root: l.trees[0].root}
	}
	return &v1{files: f, layout: l}
}

func newManager(cfg Config, t tree, b bus) (*Manager, error) {
	m := &Manager{driver: cfg.Driver, tree: t, bus: b, log: cfg.Logger, kernelLog: readKernelLog}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	parent := cfg.DefaultParent
	switch {
	case m.driver != sandbox.DriverCgroupfs && m.driver != sandbox.DriverSystemd:
		return nil, fmt.Errorf("cgroups: driver %q: only %q and %q", m.driver, sandbox.DriverCgroupfs, sandbox.DriverSystemd)
	case parent == "" && m.driver == sandbox.DriverSystemd:
		parent = "cri-wasmer" + cfg.Suffix + ".slice" // beside that of another daemon: a dash would be a step down
	case parent == "":
		parent = "/cri-wasmer" + cfg.Suffix
	}
	var err error
	m.parent, err = m.parentPath(parent)
	if err != nil {
		return nil, fmt.Errorf("cgroups: default parent: %w", err)
	}
	return m, nil
}

// detectDriver asks what sd_booted(3) asks.
func detectDriver() sandbox.CgroupDriver {
	if st, err := os.Lstat("/run/systemd/system"); err == nil && st.IsDir() {
		return sandbox.DriverSystemd
	}
	return sandbox.DriverCgroupfs
}

// Close ends the connection to systemd.
func (m *Manager) Close() error {
	if m.bus != nil {
		m.bus.Close()
	}
	return nil
}

// Parent is the path of the default parent, below which Orphans looks.
func (m *Manager) Parent() string { return m.parent }

// Driver says who makes the groups.
func (m *Manager) Driver() sandbox.CgroupDriver { return m.driver }

// parentPath gives the path of a parent as the driver names it.
func (m *Manager) parentPath(parent string) (string, error) {
	if parent == "" {
		return m.parent, nil
	}
	if strings.ContainsFunc(parent, unicode.IsControl) { // the kernel takes no line breaks either
		return "", invalid("parent %q has control characters", parent)
	}
	slice := strings.HasSuffix(parent, ".slice")
	if m.driver == sandbox.DriverSystemd {
		if !slice {
			return "", invalid("parent %q is not a slice, as the systemd driver needs (is the kubelet's cgroupDriver cgroupfs?)", parent)
		}
		return expandSlice(path.Base(parent))
	}
	if slice && !strings.Contains(strings.Trim(parent, "/"), "/") && strings.Contains(parent, "-") {
		return "", invalid("parent %q is a slice of systemd, but the driver is cgroupfs (set the same driver here and in the kubelet)", parent)
	}
	clean := path.Clean("/" + parent)
	if clean == "/" {
		return "", invalid("parent %q is the root group", parent)
	}
	return clean, nil
}

func checkID(id string) error {
	if id == "" || len(id) > 200 || strings.HasPrefix(id, ".") || strings.ContainsAny(id, "/\x00\n") {
		return invalid("id %q", id)
	}
	return nil
}

// Create makes a group with its limits; nothing is left when it fails. With the
// systemd driver the group is only prepared: Join makes it. Errors are *Error;
// their cause is a *MissingError when a limit has no controller here, wraps
// ErrInvalid for a wrong request and sandbox.ErrPrecondition where more is in use
// than the limit allows, and is an errno otherwise.
func (m *Manager) Create(_ context.Context, parent, id string, res sandbox.Resources) (sandbox.Cgroup, error) {
	if err := checkID(id); err != nil {
		return nil, &Error{Op: "create", Path: parent, Err: err}
	}
	dir, err := m.parentPath(parent)
	if err != nil {
		return nil, &Error{Op: "create", Path: id, Err: err}
	}
	if m.driver == sandbox.DriverSystemd {
		return m.prepareScope(dir, id, res)
	}
	g := &group{m: m, path: path.Join(dir, id)}
	if err := m.tree.make(g.path); err != nil {
		return nil, err
	}
	if err := m.tree.apply(g.path, &res); err != nil {
		return nil, errors.Join(err, m.tree.remove(g.path))
	}
	return g, nil
}

// Find gives the group that Create would make, whether it exists or not.
func (m *Manager) Find(parent, id string) (sandbox.Cgroup, error) {
	if err := checkID(id); err != nil {
		return nil, &Error{Op: "find", Path: parent, Err: err}
	}
	dir, err := m.parentPath(parent)
	if err != nil {
		return nil, &Error{Op: "find", Path: id, Err: err}
	}
	if m.driver == sandbox.DriverSystemd {
		return m.prepareScope(dir, id, sandbox.Resources{})
	}
	return m.open(path.Join(dir, id)), nil
}

// OfParent gives the group of a pod by the name of the parent that Create takes.
func (m *Manager) OfParent(parent string) (sandbox.Cgroup, error) {
	p, err := m.parentPath(parent)
	if err != nil {
		return nil, &Error{Op: "find", Path: parent, Err: err}
	}
	return m.open(p), nil
}

// Open gives a group by its path, whether it exists or not.
func (m *Manager) Open(p string) (sandbox.Cgroup, error) {
	if p == "" || p != path.Clean("/"+p) || p == "/" {
		return nil, &Error{Op: "open", Path: p, Err: invalid("path")}
	}
	return m.open(p), nil
}

func (m *Manager) open(p string) sandbox.Cgroup {
	g := group{m: m, path: p}
	if m.driver == sandbox.DriverSystemd && strings.HasSuffix(p, ".scope") {
		return &scope{group: g, unit: path.Base(p)}
	}
	return &g
}

// Orphans removes the groups below the default parent that keep does not name,
// and those that keep names with false. Their processes are killed. It goes on
// after an error and returns all of them.
func (m *Manager) Orphans(ctx context.Context, keep map[string]bool) error {
	var errs []error
	for p, kept := range keep {
		if !kept {
			errs = append(errs, m.removeOrphan(ctx, p))
		}
	}
	for _, name := range m.tree.children(m.parent) {
		errs = append(errs, m.removeUnkept(ctx, path.Join(m.parent, name), keep))
	}
	return errors.Join(errs...)
}

// removeUnkept removes what is not in keep among p and the groups below it. A
// group that leads to one in keep stays.
func (m *Manager) removeUnkept(ctx context.Context, p string, keep map[string]bool) error {
	if !keep[p] && !leadsToKept(p, keep) {
		return m.removeOrphan(ctx, p)
	}
	var errs []error
	for _, name := range m.tree.children(p) {
		errs = append(errs, m.removeUnkept(ctx, path.Join(p, name), keep))
	}
	return errors.Join(errs...)
}

func leadsToKept(p string, keep map[string]bool) bool {
	for k, kept := range keep {
		if kept && strings.HasPrefix(k, p+"/") {
			return true
		}
	}
	return false
}

func (m *Manager) removeOrphan(ctx context.Context, p string) error {
	g, err := m.Open(p)
	if err != nil {
		return err
	}
	m.log.Info("removing orphaned cgroup", "path", p)
	if err := g.Kill(ctx); err != nil {
		return err
	}
	return g.Delete(ctx)
}

// group is a group that the cgroupfs driver made. It is safe for concurrent
// use.
type group struct {
	m    *Manager
	path string
}

// Path is the group's place in each hierarchy.
func (g *group) Path() string { return g.path }

// JoinFiles opens the files through which a process joins by writing "0".
// Errors are *Error.
func (g *group) JoinFiles() ([]*os.File, error) { return g.m.tree.joinFiles(g.path) }

// Join moves a process into the group. Errors are *Error.
func (g *group) Join(_ context.Context, pid int) error { return g.m.tree.join(g.path, pid) }

// Update changes limits; when it fails, they are as before. Errors are as those
// of Create.
func (g *group) Update(_ context.Context, res sandbox.Resources) error {
	return g.m.change(g.path, &res)
}

// Usage reads the counters that are asked for often; those of missing
// controllers are zero. The error wraps fs.ErrNotExist when the group is gone.
func (g *group) Usage() (sandbox.CgroupUsage, error) { return g.m.tree.usage(g.path) }

// Processes lists the processes of the group. The error wraps fs.ErrNotExist
// when the group is gone.
func (g *group) Processes() ([]int, error) { return g.m.tree.processes(g.path) }

// Stats reads the counters; those of missing controllers are zero. The error
// wraps fs.ErrNotExist when the group is gone.
func (g *group) Stats() (sandbox.CgroupStats, error) { return g.m.tree.stats(g.path) }

// OOMKills counts kills for memory; it is zero without a memory controller. The
// error wraps fs.ErrNotExist when the group is gone.
func (g *group) OOMKills() (uint64, error) { return g.m.tree.oomKills(g.path) }

// Waits between two looks at a group that must become empty.
const (
	firstWait = 200 * time.Microsecond
	lastWait  = 20 * time.Millisecond
)

// Kill kills all processes in the group and below it, and waits until they have
// left it. The error wraps that of ctx when it ended before.
func (g *group) Kill(ctx context.Context) error {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		left, err := g.m.tree.kill(g.path)
		if err != nil || !left {
			return err
		}
		if err := pause(ctx, wait); err != nil {
			return &Error{Op: "kill", Path: g.path, Err: err}
		}
	}
}

// busyTime is how long Delete tries to remove a group with processes: a killed
// one stays in it for a moment.
const busyTime = 2 * time.Second

// Delete removes the group and those below it; nil when it is gone. The error
// is an *Error with EBUSY when processes stay in it.
func (g *group) Delete(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, busyTime)
	defer cancel()
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		err := g.m.tree.remove(g.path)
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		if e := pause(ctx, wait); e != nil {
			return err
		}
	}
}

// pause waits, or gives the error of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func isNoDevice(err error) bool { return errors.Is(err, unix.ENODEV) }
