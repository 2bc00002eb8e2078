package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"
)

// Config holds everything that a Manager needs.
type Config struct {
	StateDir   string // on tmpfs: sockets, exit records, small files of pods
	Launcher   Launcher
	Network    Network
	Namespaces NamespaceKeeper
	// NoUserNS is why pods cannot have user namespaces here; nil: they can.
	NoUserNS         error
	Dialer           Dialer
	Listeners        Listeners
	Cgroups          Cgroups
	RootFS           RootFS
	Images           Images
	Programs         Programs
	Inspector        Inspector
	Filters          Filters
	PodRecords       Records
	ContainerRecords Records
	HeldCaps         uint64 // capabilities that this daemon holds and can pass on
	Labels           Labels
	// CheckAppArmor says why a profile cannot confine here.
	CheckAppArmor func(profile string) error
	Rlimits       []Rlimit // of containers and their commands; those of others are this daemon's
	Handlers      []string // runtime handlers that are served, beside ""
	// Trace traces the WASI calls of containers that do not say otherwise.
	// TraceSize bounds what is kept of one container's, in bytes.
	Trace     bool
	TraceSize int64
	Observer  Observer // nil: none
	Logger    *slog.Logger
}

// Observer is told what happens, to count it. Its methods do not block. Safe
// for concurrent use.
type Observer interface {
	// ContainerStarted tells how long a start took, or why there was none.
	ContainerStarted(took time.Duration, err error)
	ContainerExited(reason string)
	// ExecEnded tells how long a command ran, and why it did not to its end.
	ExecEnded(took time.Duration, err error)
}

type noObserver struct{}

func (noObserver) ContainerStarted(time.Duration, error) {}
func (noObserver) ContainerExited(string)                {}
func (noObserver) ExecEnded(time.Duration, error)        {}

// Inspector looks into the root filesystem of a container.
type Inspector interface {
	// LookupUser finds whom a container runs as. image is the user of the
	// image's configuration.
	LookupUser(root *os.File, image string, spec UserSpec) (User, error)
	// LookPath finds a program as execvp does, but for the x bit. The caller
	// closes the file.
	LookPath(root *os.File, name, cwd, path string) (resolved string, program *os.File, err error)
	// OpenFiles counts what a process has open. The error wraps
	// fs.ErrNotExist when the process is gone.
	OpenFiles(pid int) (OpenFiles, error)
}

// Filters builds system call filters: struct sock_filter[].
type Filters interface {
	Default() ([]byte, error)
	Localhost(path string) ([]byte, error)
}

// Manager holds the pods and containers of a node. Safe for concurrent use.
//
// Locks, in the order in which they are taken: pod.op, container.op, then any
// mu. An op is the right to change a phase; it may span I/O but never waits
// for a guest. A mu guards fields and spans nothing.
type Manager struct {
	Config
	closing chan struct{}
	watches sync.WaitGroup
	events  hub
	walk    sync.Mutex // held by the one that measures writable layers unasked

	mu         sync.Mutex
	pods       map[string]*Pod
	containers map[string]*Container
	names      map[string]string // reserved name to id
}

// Open takes over what is on disk from an earlier daemon, and then answers.
func Open(ctx context.Context, c Config) (*Manager, error) {
	m := &Manager{
		Config: c, closing: make(chan struct{}),
		pods: map[string]*Pod{}, containers: map[string]*Container{}, names: map[string]string{},
	}
	if m.Observer == nil {
		m.Observer = noObserver{}
	}
	for _, dir := range []string{m.podDir(""), m.containerDir("")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("make state directory: %w", err)
		}
	}
	if err := m.recover(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("recover: %w", err), m.Close())
	}
	return m, nil
}

// Close stops watching. Pods and containers go on.
func (m *Manager) Close() error {
	close(m.closing)
	m.watches.Wait()
	var errs []error
	for _, c := range m.Containers() {
		errs = append(errs, c.letGo())
	}
	for _, p := range m.Pods() {
		errs = append(errs, p.letGo())
	}
	return errors.Join(errs...)
}

func (m *Manager) podDir(id string) string       { return filepath.Join(m.StateDir, "pods", id) }
func (m *Manager) containerDir(id string) string { return filepath.Join(m.StateDir, "containers", id) }

// newID is 256 random bits in hex, as everywhere in this field.
func newID() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// reserve takes a name for an id. The error is of kind ErrExists.
func (m *Manager) reserve(name, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if holder, taken := m.names[name]; taken {
		return fmt.Errorf("name %q is taken by %s: %w", name, holder, ErrExists)
	}
	m.names[name] = id
	return nil
}

func (m *Manager) unreserve(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.names, name)
}

// Pods lists all visible pods, the oldest first.
func (m *Manager) Pods() []*Pod {
	m.mu.Lock()
	list := values(m.pods)
	m.mu.Unlock()
	sort.Slice(list, func(i, j int) bool { return list[i].created.Before(list[j].created) })
	return list
}

// Containers lists all visible containers, the oldest first.
func (m *Manager) Containers() []*Container {
	m.mu.Lock()
	list := values(m.containers)
	m.mu.Unlock()
	sort.Slice(list, func(i, j int) bool { return list[i].created.Before(list[j].created) })
	return list
}

func values[T any](m map[string]T) []T {
	list := make([]T, 0, len(m))
	for _, v := range m {
		list = append(list, v)
	}
	return list
}

// Pod finds a pod by its id or an unambiguous prefix. The error is of kind
// ErrNotFound, or an *AmbiguousError.
func (m *Manager) Pod(id string) (*Pod, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return find(m.pods, id, "pod sandbox")
}

// Container finds a container by its id or an unambiguous prefix. The error is
// of kind ErrNotFound, or an *AmbiguousError.
func (m *Manager) Container(id string) (*Container, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return find(m.containers, id, "container")
}

func find[T any](objects map[string]T, id, what string) (v T, err error) {
	if v, ok := objects[id]; ok {
		return v, nil
	}
	count := 0
	if id != "" {
		for full, candidate := range objects {
			if strings.HasPrefix(full, id) {
				v = candidate
				count++
			}
		}
	}
	switch count {
	case 0:
		return v, fmt.Errorf("%s %q: %w", what, id, ErrNotFound)
	case 1:
		return v, nil
	}
	return v, &AmbiguousError{Prefix: id, Count: count}
}

// containersOf lists the containers of a pod.
func (m *Manager) containersOf(podID string) []*Container {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []*Container
	for _, c := range m.containers {
		if c.podID == podID {
			list = append(list, c)
		}
	}
	return list
}

func (m *Manager) handlerServed(name string) bool {
	if name == "" {
		return true
	}
	for _, h := range m.Handlers {
		if h == name {
			return true
		}
	}
	return false
}
