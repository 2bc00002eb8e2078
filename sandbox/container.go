package sandbox

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"
)

// Container is one program in a pod. Safe for concurrent use.
type Container struct {
	id, podID string
	created   time.Time
	op        sync.Mutex // the right to change the phase

	mu     sync.Mutex
	rec    containerRecord
	root   *Root // until the first start
	code   *Code // likewise
	cgroup Cgroup
	proc   Process
	killed bool          // by this daemon
	exited chan struct{} // closed when the phase is PhaseExited

	layer     LayerUsage // the last measurement
	measuring bool       // the next one is on its way

	cpu cpuWindow
}

// containerRecord is what is on disk about a container.
type containerRecord struct {
	ID         string          `json:"id"`
	PodID      string          `json:"podID"`
	Config     ContainerConfig `json:"config"`
	Phase      Phase           `json:"phase"`
	CreatedAt  time.Time       `json:"createdAt"`
	StartedAt  time.Time       `json:"startedAt,omitzero"`
	ImageID    string          `json:"imageID"`
	ImageRef   string          `json:"imageRef"`
	Artifact   bool            `json:"artifact,omitempty"` // the image is one module
	Program    string          `json:"program"`            // path of the module in the root filesystem
	Function   string          `json:"function,omitempty"` // exported function to call; empty: _start
	Args       []string        `json:"args"`
	Env        []EnvVar        `json:"env"`
	Cwd        string          `json:"cwd"`
	User       User            `json:"user"`
	StopSignal string          `json:"stopSignal"`
	LogPath    string          `json:"logPath,omitempty"` // absolute; empty: none
	Trace      string          `json:"trace,omitempty"`   // file for the WASI calls; empty: none
	Listen     []ListenSocket  `json:"listen,omitempty"`
	Root       RootSpec        `json:"root"`
	Cgroup     string          `json:"cgroup"`
	Label      Label           `json:"label,omitzero"`
	Filter     []byte          `json:"filter,omitempty"` // of system calls, from a profile of the node
	// ParentOOMKills counts the kills for memory in and below the parent of
	// the cgroup before the start; nil where the cgroup itself can be asked.
	ParentOOMKills *uint64     `json:"parentOOMKills,omitempty"`
	Process        *ProcessRef `json:"process,omitempty"`
	Exit           *Exit       `json:"exit,omitempty"`
}

// ContainerStatus is a snapshot of a container.
type ContainerStatus struct {
	ID         string
	PodID      string
	Config     ContainerConfig
	Phase      Phase
	CreatedAt  time.Time
	StartedAt  time.Time
	Exit       *Exit
	ImageID    string
	ImageRef   string
	Program    string
	Args       []string
	User       User
	StopSignal string
	LogPath    string
	Trace      string // file with the WASI calls; empty: they are not traced
	Cgroup     string
	Label      Label
	PID        int
}

// ID is the container id.
func (c *Container) ID() string { return c.id }

// PodID is the id of its pod.
func (c *Container) PodID() string { return c.podID }

// Status is a snapshot; what it points to must not be changed.
func (c *Container) Status() ContainerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &c.rec
	s := ContainerStatus{
		ID: r.ID, PodID: r.PodID, Config: r.Config, Phase: r.Phase, CreatedAt: r.CreatedAt, StartedAt: r.StartedAt,
		Exit: r.Exit, ImageID: r.ImageID, ImageRef: r.ImageRef, Program: r.Program, Args: r.Args, User: r.User,
		StopSignal: r.StopSignal, LogPath: r.LogPath, Trace: r.Trace, Cgroup: r.Cgroup, Label: r.Label,
	}
	if r.Phase == PhaseRunning && r.Process != nil {
		s.PID = r.Process.PID
	}
	return s
}

func (c *Container) phase() Phase {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.Phase
}

func (c *Container) started() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.StartedAt
}

func (c *Container) cgroupPath() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.Cgroup
}

func (c *Container) name() string { return "container " + c.id }

// listen are the sockets that it finds open.
func (c *Container) listen() []ListenSocket {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.Listen
}

// process gives the running process, or an error of kind ErrPrecondition.
func (c *Container) process() (Process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rec.Phase != PhaseRunning || c.proc == nil {
		return nil, fmt.Errorf("%s is %s, not running: %w", c.name(), c.rec.Phase, ErrPrecondition)
	}
	return c.proc, nil
}

// letGo closes what the container holds open; what it is on disk and as a
// process stays.
func (c *Container) letGo() error {
	c.mu.Lock()
	proc := c.proc
	c.mu.Unlock()
	err := c.releaseStart()
	if proc != nil {
		err = errors.Join(err, proc.Close())
	}
	return err
}

// releaseStart closes what only a start needs.
func (c *Container) releaseStart() error {
	c.mu.Lock()
	root, code := c.root, c.code
	c.root, c.code = nil, nil
	c.mu.Unlock()
	var err error
	if code != nil {
		err = code.File.Close()
	}
	return errors.Join(err, root.Close())
}

func containerKey(podID string, c *ContainerConfig) string {
	return fmt.Sprintf("container %s_%s_%d", c.Name, podID, c.Attempt)
}

func logPath(pod *PodConfig, c *ContainerConfig) string {
	if pod.LogDirectory == "" || c.LogPath == "" {
		return ""
	}
	return filepath.Join(pod.LogDirectory, c.LogPath)
}

// update changes the record on disk, then in memory. The caller holds op.
func (m *Manager) update(c *Container, change func(*containerRecord) error) error {
	c.mu.Lock()
	rec := c.rec
	c.mu.Unlock()
	if err := change(&rec); err != nil {
		return err
	}
	if err := m.ContainerRecords.Save(rec.ID, &rec); err != nil {
		return err
	}
	c.mu.Lock()
	c.rec = rec
	c.mu.Unlock()
	return nil
}
