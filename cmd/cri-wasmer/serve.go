package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/cri-wasmer/cri-wasmer/cri"
	"github.com/cri-wasmer/cri-wasmer/imageservice"
	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
	"github.com/cri-wasmer/cri-wasmer/imageservice/signature"
	"github.com/cri-wasmer/cri-wasmer/imageservice/unpack"
	"github.com/cri-wasmer/cri-wasmer/internal/config"
	"github.com/cri-wasmer/cri-wasmer/internal/sdnotify"
	"github.com/cri-wasmer/cri-wasmer/internal/version"
	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
	"github.com/cri-wasmer/cri-wasmer/sandbox/apparmor"
	"github.com/cri-wasmer/cri-wasmer/sandbox/cgroup"
	"github.com/cri-wasmer/cri-wasmer/sandbox/dial"
	"github.com/cri-wasmer/cri-wasmer/sandbox/namespace"
	"github.com/cri-wasmer/cri-wasmer/sandbox/network"
	"github.com/cri-wasmer/cri-wasmer/sandbox/process"
	"github.com/cri-wasmer/cri-wasmer/sandbox/record"
	"github.com/cri-wasmer/cri-wasmer/sandbox/rootfs"
	"github.com/cri-wasmer/cri-wasmer/sandbox/seccomp"
	"github.com/cri-wasmer/cri-wasmer/sandbox/selinux"
	"github.com/cri-wasmer/cri-wasmer/telemetry"
)

// handlers are the runtime handlers that are served beside the default one.
var handlers = []string{"wasmer"}

// maxZygotes is how many modules stay loaded for quick starts.
const maxZygotes = 32

// umask is that of other runtimes. Guests inherit it, and must be able to read
// what the daemon makes for them, such as resolv.conf, whatever shell or unit has
// started it.
const umask = 0o022

// stopGrace is how long requests under way may go on after the first signal.
const stopGrace = 5 * time.Second

// serve runs the daemon until ctx ends. Containers outlive it.
func serve(ctx context.Context, o config.Options, log *slog.Logger) (err error) {
	syscall.Umask(umask)
	d := &daemon{options: o, log: log}
	defer func() { err = errors.Join(err, d.close()) }()
	for _, part := range []func(context.Context) error{
		d.openTelemetry, d.openCgroups, d.openImages, d.openNetwork, d.openNamespaces, d.openLabels, d.openRootFS, d.openProcesses, d.openManager, d.openStreams,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return d.answer(ctx)
}

// daemon is the whole of the parts. Each part that opens pushes its close.
type daemon struct {
	options config.Options
	log     *slog.Logger
	closers []func() error

	metrics *telemetry.Metrics
	health  *telemetry.Server // nil: metrics are not served
	traces  *telemetry.Traces // nil: nothing is traced

	worker   string
	code     *codecache.Cache
	images   *imageservice.Service
	network  *network.CNI
	kept     *namespace.Keeper
	cgroups  *cgroup.Manager
	rootfs   *rootfs.FS
	launcher *process.Launcher
	manager  *sandbox.Manager
	streams  *cri.Streams

	labels   *selinux.Labels
	noUserNS error // why pods cannot have user namespaces; nil: they can
}

func (d *daemon) onClose(f func() error) { d.closers = append(d.closers, f) }

func (d *daemon) close() error {
	var errs []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		errs = append(errs, d.closers[i]())
	}
	return errors.Join(errs...)
}

func (d *daemon) path(name string) string { return filepath.Join(d.options.Root, name) }

func (d *daemon) openImages(ctx context.Context) (err error) {
	if d.worker, err = d.options.WorkerPath(); err != nil {
		return err
	}
	filter, err := seccomp.Compiler()
	if err != nil {
		return err
	}
	d.code, err = codecache.Open(ctx, codecache.Config{
		Jail: jail{d.cgroups, d.log}, Filter: filter,
		Dir: d.path("code"), Worker: d.worker, MaxParallel: d.options.Compile.Parallel,
		Timeout: d.options.Compile.Timeout, MemoryLimit: d.options.Compile.Memory, Observer: d.metrics, Logger: d.log,
	})
	if err != nil {
		return err
	}
	d.onClose(d.code.Close)
	o := d.options.Image
	policy := signature.Config{Policy: o.SignaturePolicy}
	if policy.Policy != "" {
		if policy.Program, err = d.options.VerifierPath(); err != nil {
			return err
		}
	}
	d.images, err = imageservice.Open(ctx, imageservice.Config{
		Root: d.path("images"), CertsDirs: o.CertsDirs, DockerConfig: o.DockerConfig, MaxDownloads: o.MaxDownloads, Pinned: o.Pinned,
		Limits:     unpack.Limits{MaxBytes: o.MaxLayerSize, MaxEntries: o.MaxLayerEntries, MaxRatio: int64(o.MaxLayerRatio)},
		Signatures: policy, Code: d.code, UserAgent: "cri-wasmer/" + version.Version(), Pulled: d.imagePulled, Logger: d.log,
	})
	if err != nil {
		return err
	}
	d.onClose(d.images.Close)
	return nil
}

func (d *daemon) openNetwork(context.Context) (err error) {
	c := d.options.CNI
	d.network, err = network.New(network.Config{
		ConfDir: c.ConfDir, BinDirs: d.options.PluginDirs(), CacheDir: d.path("cni"),
		StateDir: filepath.Join(d.options.State, "network"), NetNSDir: filepath.Join(d.options.State, "netns"),
		LocksDir: filepath.Join(locks, "subnets"), Suffix: d.options.Suffix(), NoBundled: !c.Bundled, Subnets: c.Subnets, GC: c.GC, PluginTimeout: c.Timeout, Observe: d.metrics.NetworkOperation, Logger: d.log,
	})
	if err != nil {
		return err
	}
	d.onClose(d.network.Close)
	return nil
}

func (d *daemon) openNamespaces(context.Context) (err error) {
	d.kept, err = namespace.Open(namespace.Config{
		Dir: filepath.Join(d.options.State, "namespaces"), NetNSDir: filepath.Join(d.options.State, "netns"), Worker: d.worker, Logger: d.log,
	})
	if err != nil {
		return err
	}
	d.onClose(d.kept.Close)
	return nil
}

func (d *daemon) openCgroups(context.Context) (err error) {
	c := cgroup.Config{DefaultParent: d.options.Cgroup.Parent, Suffix: d.options.Suffix(), Logger: d.log}
	if driver := d.options.Cgroup.Driver; driver != "auto" {
		c.Driver = sandbox.CgroupDriver(driver)
	}
	if d.cgroups, err = cgroup.New(c); err != nil {
		return err
	}
	d.onClose(d.cgroups.Close)
	unlock, err := lockParent(locks, d.cgroups.Parent())
	if err != nil {
		return err
	}
	d.onClose(unlock)
	return nil
}

func (d *daemon) openLabels(context.Context) (err error) {
	d.labels, err = selinux.New(selinux.Mode(d.options.SELinux.Labels), d.log)
	return err
}

func (d *daemon) openRootFS(ctx context.Context) (err error) {
	d.rootfs, err = rootfs.New(rootfs.Config{Dir: d.path("rootfs"), UserNS: d.kept.UserNS, Logger: d.log})
	if err != nil {
		return err
	}
	d.onClose(d.rootfs.Close)
	if d.noUserNS = d.probeUserNS(ctx); d.noUserNS != nil {
		d.log.Info("pods cannot have user namespaces on this node", "why", d.noUserNS)
	}
	return nil
}

// probeUserNS makes a user namespace and a root filesystem of its ids.
func (d *daemon) probeUserNS(ctx context.Context) error {
	ids := []sandbox.IDMapping{{HostID: 1 << 16, Size: 1 << 16}}
	u := &sandbox.UserNS{UIDs: ids, GIDs: ids}
	ns, err := d.kept.UserNS(u)
	if err != nil {
		return err
	}
	defer ns.Close()
	return d.rootfs.ProbeUserNS(ctx, u, fmt.Sprintf("/proc/self/fd/%d", ns.Fd()))
}

func (d *daemon) openProcesses(context.Context) (err error) {
	d.launcher, err = process.New(process.Config{Worker: d.worker, Zygotes: maxZygotes, Observe: d.metrics.WorkerStarted, Labels: d.labels, Logger: d.log})
	if err != nil {
		return err
	}
	d.onClose(d.launcher.Close)
	return nil
}

func (d *daemon) openManager(ctx context.Context) error {
	pods, err := record.Open(d.path("pods"), d.log)
	if err != nil {
		return err
	}
	containers, err := record.Open(d.path("containers"), d.log)
	if err != nil {
		return err
	}
	held, err := heldCaps()
	if err != nil {
		return err
	}
	limits, err := rlimits(d.options.Container.Rlimits, held)
	if err != nil {
		return err
	}
	d.manager, err = sandbox.Open(ctx, sandbox.Config{
		StateDir: d.options.State, Launcher: d.launcher, Network: d.network, Namespaces: d.kept, NoUserNS: d.noUserNS, Dialer: dial.Dialer{}, Listeners: dial.Listeners{}, Cgroups: d.cgroups, RootFS: d.rootfs,
		Images: images{d.images, d.log}, Programs: programs{d.code}, Inspector: inspector{}, Filters: filters{}, Labels: d.labels, CheckAppArmor: apparmor.Check,
		PodRecords: pods, ContainerRecords: containers, HeldCaps: held, Handlers: handlers, Observer: observer{d.metrics}, Logger: d.log,
		Rlimits: limits, Trace: d.options.WASI.Trace, TraceSize: d.options.WASI.TraceSize,
	})
	if err != nil {
		return err
	}
	d.onClose(d.manager.Close)
	return nil
}

func (d *daemon) openStreams(context.Context) (err error) {
	o := d.options.Stream
	c := cri.StreamConfig{Address: o.Address, Manager: d.manager, IdleTimeout: o.IdleTimeout, CreationTimeout: o.CreationTimeout, Logger: d.log}
	if o.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey)
		if err != nil {
			return fmt.Errorf("load certificate for streams (options stream.tls_cert, stream.tls_key): %w", err)
		}
		c.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	if d.streams, err = cri.OpenStreams(c); err != nil {
		return err
	}
	d.onClose(d.streams.Close)
	return nil
}

// heldCaps are the capabilities that this process can pass on.
// rlimits refuses what no container could get.
func rlimits(asked []config.Rlimit, held uint64) ([]sandbox.Rlimit, error) {
	var list []sandbox.Rlimit
	for _, r := range asked {
		var own unix.Rlimit
		if err := unix.Getrlimit(int(r.Resource), &own); err != nil {
			return nil, fmt.Errorf("option container.rlimits: %s: %w", r, err)
		}
		if r.Hard > own.Max && held>>unix.CAP_SYS_RESOURCE&1 == 0 {
			return nil, fmt.Errorf("option container.rlimits: %s: the daemon's own limit is %d, and without CAP_SYS_RESOURCE it gives no more", r, own.Max)
		}
		list = append(list, sandbox.Rlimit{Resource: r.Resource, Soft: r.Soft, Hard: r.Hard})
	}
	return list, nil
}

func heldCaps() (uint64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read own capabilities: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "CapPrm:"); ok {
			return strconv.ParseUint(strings.TrimSpace(text), 16, 64)
		}
	}
	return 0, errors.New("read own capabilities: /proc/self/status has no CapPrm")
}

// answer serves the socket until ctx ends, and then lets requests under way
// come to their end.
func (d *daemon) answer(ctx context.Context) error {
	listener, err := d.listen()
	if err != nil {
		return err
	}
	server := cri.NewServer(cri.Config{
		Manager: d.manager, Images: d.images, Streams: d.streams, Network: d.network, Driver: d.cgroups.Driver(), Version: version.Version(),
		Handlers: handlers, Verbose: d.verbose, ContainerFS: d.path("rootfs"), RecursiveRO: true, UserNS: d.noUserNS == nil, Stopping: ctx.Done(), Options: d.serverOptions(), Logger: d.log,
	})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	d.log.Info("serving", "socket", d.options.Socket)
	d.ready("")
	notify(d.log, sdnotify.Ready)
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", d.options.Socket, err)
	case <-ctx.Done():
	}
	d.ready("stopping")
	end(server)
	return nil
}

func end(server *grpc.Server) {
	timer := time.AfterFunc(stopGrace, server.Stop)
	defer timer.Stop()
	server.GracefulStop()
}

// listen makes the socket. What is in its place is of a daemon that has gone: it
// was looked whether one answers.
func (d *daemon) listen() (net.Listener, error) {
	o := d.options
	if err := os.MkdirAll(filepath.Dir(o.Socket), 0o755); err != nil {
		return nil, fmt.Errorf("make directory of the socket: %w", err)
	}
	if err := os.Remove(o.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	l, err := net.Listen("unix", o.Socket)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Chown(o.Socket, 0, o.SocketGID), os.Chmod(o.Socket, o.SocketMode)); err != nil {
		return nil, errors.Join(fmt.Errorf("set owner and mode of the socket: %w", err), l.Close())
	}
	return l, nil
}

// verbose is what `crictl info` shows.
func (d *daemon) verbose() map[string]any {
	labels := "on"
	if why := d.labels.Why(); why != nil {
		labels = why.Error()
	}
	return map[string]any{
		"seLinuxLabels": labels,
		"config": map[string]any{
			"stateDir": d.options.State, "rootDir": d.options.Root, "cgroupDriver": d.cgroups.Driver(), "handlers": handlers,
			"cniConfDir": d.options.CNI.ConfDir, "cniBinDirs": d.options.PluginDirs(),
		},
		"engine": engineInfo(d.code.Engine()),
	}
}

// engineInfo names what a guest can import by its modules alone.
func engineInfo(i workerv1.Info) map[string]any {
	var modules []string
	for _, m := range i.Imports {
		modules = append(modules, m.Module)
	}
	slices.Sort(modules)
	return map[string]any{"engine": i.Engine, "version": i.Version, "cpu": i.CPU, "compilers": i.Compilers, "interfaces": slices.Compact(modules)}
}
