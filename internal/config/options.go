package config

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// DefaultFile is read when no other file is asked for, and may be missing.
const DefaultFile = "/etc/cri-wasmer/config.toml"

// Options are the effective values. A plain value: copy it freely.
type Options struct {
	Socket     string
	SocketMode fs.FileMode
	SocketGID  int
	Root       string // survives a reboot
	State      string // a reboot ends it
	Worker     string // empty: see WorkerPath

	CNI       CNI
	Cgroup    Cgroup
	SELinux   SELinux
	Container Container
	Image     Image
	Compile   Compile
	Stream    Stream
	WASI      WASI
	Log       Log
	Metrics   Metrics
	Tracing   Tracing
}

// CNI connects pods.
type CNI struct {
	ConfDir string
	BinDirs []string // without the bundled plugins: see PluginDirs
	Bundled bool
	Subnets []netip.Prefix
	GC      bool
	Timeout time.Duration
}

// SELinux confines pods.
type SELinux struct {
	Labels string // auto, on or off
}

// Cgroup limits pods.
type Cgroup struct {
	Driver string // auto, cgroupfs or systemd
	Parent string // empty: the driver's default
}

// Container is what containers get of which the CRI says nothing.
type Container struct {
	Rlimits []Rlimit
}

// Image fetches and stores images.
type Image struct {
	CertsDirs    []string // hosts.toml directories, the first that has a host wins
	MaxDownloads int      // layers at a time

	DockerConfig    string   // the node's own credentials; empty: none
	Pinned          []string // that a kubelet must keep
	SignaturePolicy string   // file; empty: no image needs a signature
	Verifier        string   // empty: see VerifierPath

	MaxLayerSize    int64 // bytes, unpacked
	MaxLayerEntries int
	MaxLayerRatio   int // unpacked to packed
}

// Compile turns modules into machine code.
type Compile struct {
	Parallel int   // compilers at a time; 0: half of the CPUs
	Memory   int64 // bytes for each compiler
	Timeout  time.Duration
}

// Stream serves exec, attach and port-forward.
type Stream struct {
	Address         string
	IdleTimeout     time.Duration
	CreationTimeout time.Duration
	TLSCert, TLSKey string // files; empty: plain http
}

// WASI is what containers get that do not say otherwise by annotations.
type WASI struct {
	Trace     bool
	TraceSize int64 // bytes of one container's trace
}

// Log is the daemon's own log, never that of guests.
type Log struct {
	Level  slog.Level
	Format string // text or json
}

// Metrics serves Prometheus.
type Metrics struct {
	Address string // host:port or unix:// and a path; empty: off
	Pprof   bool
}

// Tracing sends spans to an OpenTelemetry collector.
type Tracing struct {
	Endpoint   string // URL; empty: off
	PerMillion int    // of requests that come without a trace
}

// WorkerPath is the worker binary: the configured one, else the one beside the
// daemon, else the one of an installation (../libexec/cri-wasmer/bin). Its error
// says where it looked.
func (o Options) WorkerPath() (string, error) {
	if o.Worker != "" {
		return o.Worker, executable(o.Worker)
	}
	path, looked, err := companion("cri-wasmer-worker")
	if err == nil && path == "" {
		err = fmt.Errorf("no worker binary at %q: build it with `make worker`, or set the option worker", looked)
	}
	return path, err
}

// VerifierPath is the program that judges signatures, found as the worker is.
func (o Options) VerifierPath() (string, error) {
	if o.Image.Verifier != "" {
		return o.Image.Verifier, executable(o.Image.Verifier)
	}
	path, looked, err := companion("cri-wasmer-verify")
	if err == nil && path == "" {
		err = fmt.Errorf("a signature policy is set, and cri-wasmer-verify is not at %q: build it with `make verifier`, or set the option image.verifier", looked)
	}
	return path, err
}

// companion finds a program that belongs to this one; empty when it is at none
// of the places.
func companion(name string) (path string, looked []string, err error) {
	dirs, err := companionDirs()
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if executable(path) == nil {
			return path, nil, nil
		}
		looked = append(looked, path)
	}
	return "", looked, err
}

const defaultState = "/run/cri-wasmer"

// Suffix tells a daemon with directories of its own from the machine's first one,
// whose is empty, in names that both would have. It is the same at every start.
func (o Options) Suffix() string {
	if o.State == defaultState {
		return ""
	}
	sum := sha256.Sum256([]byte(o.State))
	return fmt.Sprintf("_%x", sum[:4])
}

// PluginDirs lists where CNI plugins are: the configured directories, then those
// where the bundled plugins can be.
func (o Options) PluginDirs() []string {
	dirs := append([]string(nil), o.CNI.BinDirs...)
	companions, err := companionDirs()
	if err != nil {
		return dirs
	}
	for _, dir := range companions {
		dirs = append(dirs, filepath.Join(dir, "cni"))
	}
	return dirs
}

// companionDirs lists where what belongs to this binary can be.
func companionDirs() ([]string, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own binary: %w", err)
	}
	if real, err := filepath.EvalSymlinks(exe); err == nil {
		exe = real
	}
	dir := filepath.Dir(exe)
	return []string{dir, filepath.Join(dir, "../libexec/cri-wasmer/bin")}, nil
}

func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
		return fmt.Errorf("%s is no executable file", path)
	}
	return nil
}

// CompileParallel is how many compilers run at a time on a machine with so many
// CPUs.
func (o Options) CompileParallel(cpus int) int {
	return cmp.Or(o.Compile.Parallel, max(1, cpus/2))
}
