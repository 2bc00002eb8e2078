package sandbox

import (
	"context"
	"os"
	"time"
)

// Launcher starts workers in sandboxes. Safe for concurrent use.
type Launcher interface {
	// Launch starts a guest and returns when it runs. When it fails, no
	// process is left.
	Launch(ctx context.Context, spec ProcessSpec) (Process, error)
	// LaunchInit starts pid 1 of a pod whose containers share a pid namespace.
	LaunchInit(ctx context.Context, spec ProcessSpec) (Process, error)
	// Adopt takes over a process that an earlier daemon launched. It gives an
	// ended Process when that is gone.
	Adopt(ref ProcessRef, dir string) (Process, error)
	// OpenTerminal makes a pseudo terminal; the caller closes it.
	OpenTerminal() (Terminal, error)
}

// Process is a worker. Safe for concurrent use.
type Process interface {
	Ref() ProcessRef
	// Signal is nil when the process has ended.
	Signal(signal int) error
	// Ended is closed when it is known how the guest ended. A command tells
	// before the kernel has cleared away its process, others do by ending.
	Ended() <-chan struct{}
	// Done is closed when the process has ended and is reaped; Ended is by then.
	Done() <-chan struct{}
	// Exit is valid after Ended.
	Exit() Exit
	// ReopenLog makes the guest's output go on in the file at path. label is
	// that of the container.
	ReopenLog(ctx context.Context, path string, label Label) error
	// Attach connects files, which stay the caller's, to the guest's streams.
	Attach(ctx context.Context, files AttachFiles) (Attachment, error)
	// Root opens the root directory that the process sees; the caller closes.
	Root() (*os.File, error)
	// InnerPID is the number of the process in its own pid namespace.
	InnerPID() (int, error)
	// Close gives up the handle; the process goes on.
	Close() error
}

// ProcessRef is a process for ever: pids are used again.
type ProcessRef struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime"` // clock ticks since boot
	BootID    string `json:"bootID"`
}

// Exit is how a process ended.
type Exit struct {
	Code    int32     `json:"code"`
	Signal  int       `json:"signal,omitempty"` // that killed it, when no guest code could say so
	Reason  string    `json:"reason"`
	Message string    `json:"message,omitempty"`
	Time    time.Time `json:"time"`
}

// Reasons as ContainerStatus has them.
const (
	ReasonCompleted = "Completed"
	ReasonError     = "Error"
	ReasonOOMKilled = "OOMKilled"
	ReasonTrap      = "Trap"
	ReasonEngine    = "EngineError"
	ReasonStart     = "StartError"
	ReasonUnknown   = "Unknown" // the process is gone and nobody saw how: a reboot
)

// Caps are capability sets, a bit for each number of linux/capability.h.
type Caps struct {
	Bounding    uint64
	Permitted   uint64 // and effective
	Inheritable uint64
	Ambient     uint64
}

// Rlimit is a resource limit of the process.
type Rlimit struct {
	Resource   uint32
	Soft, Hard uint64
}

// ProcessSpec is all that a worker needs to become a container or an exec.
// Files in it stay the caller's.
type ProcessSpec struct {
	ID   string
	Dir  string // on the host: control socket, exit record, what the worker says when it crashes; none with Target
	Code *os.File

	// Where it runs. With Target, an exec enters all namespaces and the root
	// of a running container; Root, NetNS, IPCNS and UTSNS are then unused.
	Target    Process
	Root      *Root
	NetNS     string // path; empty: the host's
	IPCNS     string // likewise
	UTSNS     string // likewise
	UserNS    string // likewise; also with Target
	PIDNS     PIDNamespace
	Cgroup    Cgroup // nil: stays in the daemon's
	MountProc bool

	// What it may do.
	User          User
	Caps          Caps
	NoNewPrivs    bool
	Seccomp       []byte // struct sock_filter[]; nil: unconfined
	AppArmor      string // profile; empty: that of the daemon
	Label         Label
	OOMScoreAdj   int64
	Rlimits       []Rlimit
	MaskedPaths   []string // below /proc
	ReadonlyPaths []string // below /proc

	// What it runs.
	Program  string
	Function string // exported function to call; empty: _start
	Args     []string
	Env      []EnvVar
	Cwd      string
	MaxProcs int
	// Dirs are directories that the guest finds open beside its root, each a
	// root of its own.
	Dirs []Directory

	// Its streams: a log, or files for exec.
	LogPath  string // empty: none
	Stdin    *os.File
	Stdout   *os.File
	Stderr   *os.File
	Terminal bool // the three are one terminal, which becomes the controlling one
	// Master is its other side where the worker serves that itself.
	Master *os.File
	// Trace is the file to which the WASI calls are traced; nil: to none.
	Trace *TraceFile
	// Listeners are sockets that the guest finds open.
	Listeners []*os.File
	// FedStdin is a stdin that attached clients feed; with StdinOnce it ends
	// with the first of them.
	FedStdin, StdinOnce bool
}

// Directory is a directory and the path at which a guest finds it.
type Directory struct {
	Path string
	File *os.File
}

// TraceFile is where the WASI calls of a process are traced.
type TraceFile struct {
	Path string // on the host; what is older is in a second file, see OldTrace
	Size int64  // bytes of both at most
	Mark string // begins each line; empty: nothing
}

// PIDNamespace chooses the pid namespace of a process.
type PIDNamespace struct {
	New  bool
	Join Process // the namespace of this process; nil and not New: the host's
}
