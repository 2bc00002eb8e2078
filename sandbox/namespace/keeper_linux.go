package namespace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Config says where a Keeper keeps things.
type Config struct {
	Dir      string // of what only a Keeper makes
	NetNSDir string // of network namespaces, which is the Network's too
	Worker   string // path of the worker binary
	Logger   *slog.Logger
}

// Keeper implements sandbox.NamespaceKeeper. Safe for concurrent use; calls for one
// pod must not overlap.
type Keeper struct {
	own    *Dir
	net    *Dir
	worker string
	log    *slog.Logger
}

var _ sandbox.NamespaceKeeper = (*Keeper)(nil)

// Open makes the directories, or finds them with what an earlier Keeper left.
func Open(c Config) (*Keeper, error) {
	own, err := OpenDir(c.Dir)
	if err != nil {
		return nil, err
	}
	net, err := OpenDir(c.NetNSDir)
	if err != nil {
		return nil, errors.Join(err, own.Close())
	}
	return &Keeper{own: own, net: net, worker: c.Worker, log: c.Logger}, nil
}

// Close leaves the namespaces of pods as they are, and nothing else.
func (k *Keeper) Close() error { return errors.Join(k.own.Close(), k.net.Close()) }

// What a Keeper makes for a pod: the id of the pod with one of these.
const (
	suffixUser = ".user"
	suffixIPC  = ".ipc"
	suffixUTS  = ".uts"
	suffixShm  = ".shm"
)

var suffixes = []string{suffixShm, suffixUTS, suffixIPC, suffixUser}

// Make implements sandbox.NamespaceKeeper.
func (k *Keeper) Make(ctx context.Context, spec sandbox.NamespaceSpec) (sandbox.PodNamespaces, error) {
	ns, err := k.make(ctx, &spec)
	if err != nil {
		return sandbox.PodNamespaces{}, errors.Join(fmt.Errorf("make namespaces of the pod: %w", err), k.Remove(spec.ID))
	}
	return ns, nil
}

func (k *Keeper) make(ctx context.Context, spec *sandbox.NamespaceSpec) (ns sandbox.PodNamespaces, err error) {
	kinds := kindsOf(spec)
	switch {
	case spec.User != nil:
		err = k.makeOwned(ctx, spec, kinds)
	case len(kinds) > 0:
		err = k.makePlain(spec, kinds)
	}
	if err != nil {
		return ns, err
	}
	for _, kind := range kinds {
		switch kind {
		case kindUser:
			ns.User = k.own.File(spec.ID + suffixUser)
		case kindIPC:
			ns.IPC = k.own.File(spec.ID + suffixIPC)
		case kindUTS:
			ns.UTS = k.own.File(spec.ID + suffixUTS)
		}
	}
	if !spec.IPC {
		return ns, nil
	}
	ns.Shm = k.own.File(spec.ID + suffixShm)
	return ns, mountShm(ns.Shm, spec)
}

func kindsOf(spec *sandbox.NamespaceSpec) (kinds []kind) {
	for _, k := range []struct {
		kind
		wanted bool
	}{{kindUser, spec.User != nil}, {kindNet, spec.User != nil && spec.Net}, {kindIPC, spec.IPC}, {kindUTS, spec.UTS}} {
		if k.wanted {
			kinds = append(kinds, k.kind)
		}
	}
	return kinds
}

// makePlain makes namespaces of the host's user namespace.
func (k *Keeper) makePlain(spec *sandbox.NamespaceSpec, kinds []kind) error {
	return OnThread(func() error {
		for _, kind := range kinds {
			if err := unix.Unshare(kind.flag); err != nil {
				return fmt.Errorf("unshare %s: %w", kind.name, err)
			}
		}
		if err := setHostname(spec); err != nil {
			return err
		}
		return k.bind(spec.ID, "/proc/thread-self/ns", kinds)
	})
}

// makeOwned makes namespaces that belong to a new user namespace.
func (k *Keeper) makeOwned(ctx context.Context, spec *sandbox.NamespaceSpec, kinds []kind) error {
	h, err := k.hold(ctx, spec.User, kinds)
	if err != nil {
		return err
	}
	defer h.end()
	if err := k.bind(spec.ID, h.path(), kinds); err != nil || !spec.UTS {
		return err
	}
	return OnThread(func() error {
		if err := enter(k.own.File(spec.ID+suffixUTS), kindUTS); err != nil {
			return err
		}
		return setHostname(spec)
	})
}

func setHostname(spec *sandbox.NamespaceSpec) error {
	if !spec.UTS {
		return nil
	}
	if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
		return fmt.Errorf("set hostname %q: %w", spec.Hostname, err)
	}
	return nil
}

// bind keeps namespaces that source, a directory of /proc, shows.
func (k *Keeper) bind(id, source string, kinds []kind) error {
	for _, kind := range kinds {
		dir, name := k.own, id+"."+kind.name
		if kind == kindNet {
			dir, name = k.net, id
		}
		if err := dir.Bind(name, filepath.Join(source, kind.name)); err != nil {
			return fmt.Errorf("keep %s namespace: %w", kind.name, err)
		}
	}
	return nil
}

// defaultShmSize is the size of /dev/shm that pods are used to.
const defaultShmSize = 64 << 20

// mountShm makes what the containers of a pod see at /dev/shm.
func mountShm(path string, spec *sandbox.NamespaceSpec) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	size := spec.ShmSize
	if size == 0 {
		size = defaultShmSize
	}
	uid, gid := spec.User.HostRoot()
	options := sandbox.LabelledMount(fmt.Sprintf("mode=1777,size=%d,uid=%d,gid=%d", size, uid, gid), spec.Label)
	if err := unix.Mount("shm", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		return fmt.Errorf("mount tmpfs for /dev/shm: %w", err)
	}
	return nil
}

// Alive implements sandbox.NamespaceKeeper.
func (k *Keeper) Alive(ns sandbox.PodNamespaces) bool {
	for _, path := range []string{ns.User, ns.IPC, ns.UTS} {
		if path != "" && !k.own.Exists(filepath.Base(path)) {
			return false
		}
	}
	var st unix.Statfs_t
	return ns.Shm == "" || unix.Statfs(ns.Shm, &st) == nil && st.Type == unix.TMPFS_MAGIC
}

// Remove implements sandbox.NamespaceKeeper. All parts are tried.
func (k *Keeper) Remove(id string) error {
	var errs []error
	for _, s := range suffixes {
		errs = append(errs, k.own.Remove(id+s))
	}
	return errors.Join(append(errs, k.net.Remove(id))...)
}

// Orphans implements sandbox.NamespaceKeeper. Network namespaces of orphans are the
// Network's, which disconnects them first.
func (k *Keeper) Orphans(keep map[string]bool) error {
	names, err := k.own.Names()
	errs := []error{err}
	for _, name := range names {
		id, _, _ := strings.Cut(name, ".")
		if keep[id] {
			continue
		}
		k.log.Info("removing orphaned namespace", "pod", id, "name", name)
		errs = append(errs, k.own.Remove(name))
	}
	return errors.Join(errs...)
}

// UserNS makes a user namespace that lives as long as the file.
func (k *Keeper) UserNS(u *sandbox.UserNS) (*os.File, error) {
	h, err := k.hold(context.Background(), u, []kind{kindUser})
	if err != nil {
		return nil, err
	}
	defer h.end()
	return os.Open(filepath.Join(h.path(), kindUser.name))
}

func mappingLines(m []sandbox.IDMapping) string {
	var b strings.Builder
	for _, x := range m {
		b.WriteString(strconv.FormatUint(uint64(x.ContainerID), 10) + ":" + strconv.FormatUint(uint64(x.HostID), 10) + ":" + strconv.FormatUint(uint64(x.Size), 10) + " ")
	}
	return strings.TrimSpace(b.String())
}
