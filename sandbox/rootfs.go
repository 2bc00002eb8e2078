package sandbox

import (
	"context"
	"os"
)

// RootFS builds the mount namespaces in which containers run. Safe for
// concurrent use.
type RootFS interface {
	// Build makes a mount namespace whose root is the container's root
	// filesystem with all its mounts, and nothing of the host. It can be
	// called again for the same container: after a daemon restart the
	// namespace of a container that never started is built anew on the same
	// writable layer.
	Build(ctx context.Context, spec RootSpec) (*Root, error)
	// Remove deletes the writable layer of the container; nil when gone.
	Remove(ctx context.Context, id string) error
	// Usage measures the writable layer of the container.
	Usage(id string) (bytes, inodes uint64, err error)
	// Filesystem describes the filesystem that holds the writable layers.
	Filesystem() (Filesystem, error)
	// Orphans removes every writable layer whose container is not in keep.
	Orphans(ctx context.Context, keep map[string]bool) error
}

// Filesystem is a mounted filesystem.
type Filesystem struct {
	Device             string // such as /dev/sda1
	Bytes              uint64
	Inodes, InodesFree uint64 // 0 where it has no fixed number
}

// RootSpec says what a container sees as its filesystem.
type RootSpec struct {
	ID       string   `json:"id"`               // container id, names the writable layer
	Layers   []string `json:"layers,omitempty"` // unpacked image layers, lowest first; may be empty
	Readonly bool     `json:"readonly,omitempty"`
	Mounts   []Mount  `json:"mounts,omitempty"` // in the order of the request
	// Files are small files of the runtime, shown at their path unless Mounts has
	// the same path: /etc/hosts, /etc/hostname, /etc/resolv.conf. In a read-only
	// root they are read-only.
	Files []BindFile `json:"files,omitempty"`
	// ShmSize is the size of /dev/shm in bytes; ShmPath, when set, is a tmpfs
	// of the pod on the host that is bound there instead.
	ShmSize       int64    `json:"shmSize,omitempty"`
	ShmPath       string   `json:"shmPath,omitempty"`
	MaskedPaths   []string `json:"maskedPaths,omitempty"`   // outside /proc; those below /proc are the process's step
	ReadonlyPaths []string `json:"readonlyPaths,omitempty"` // likewise
	Devices       []Device `json:"devices,omitempty"`
	Privileged    bool     `json:"privileged,omitempty"` // all host devices in /dev
	WorkingDir    string   `json:"workingDir,omitempty"` // made when missing
	// UserNS maps the ids of the image and of the writable layer; UserNSPath is
	// where such a user namespace is bound.
	UserNS     *UserNS `json:"userNS,omitempty"`
	UserNSPath string  `json:"userNSPath,omitempty"`
	// Label is the SELinux label of all that is made for the container, and of
	// images; empty: as the kernel has it.
	Label string `json:"label,omitempty"`
}

// Propagation is how mounts cross between host and container.
type Propagation string

const (
	PropagationPrivate Propagation = "private"
	PropagationSlave   Propagation = "slave"  // host to container
	PropagationShared  Propagation = "shared" // both ways
)

// Mount binds a file or directory of the host into the container.
type Mount struct {
	HostPath          string      `json:"hostPath"`
	ContainerPath     string      `json:"containerPath"`
	Readonly          bool        `json:"readonly,omitempty"`
	RecursiveReadonly bool        `json:"recursiveReadonly,omitempty"`
	Propagation       Propagation `json:"propagation,omitempty"`
	// Layers, when set, makes this a read-only mount of an image (lowest
	// layer first) and HostPath is ignored; SubPath is a path inside it.
	Layers  []string `json:"layers,omitempty"`
	SubPath string   `json:"subPath,omitempty"`
	// Options are further bind options: noexec, nosuid, nodev.
	Options []string `json:"options,omitempty"`
	// IDMap shows the owners of files as these mappings say; nil: as they are.
	// An image is always shown as the root filesystem is.
	IDMap *UserNS `json:"idMap,omitempty"`
}

// BindFile shows a file of the runtime inside the container.
type BindFile struct {
	HostPath      string `json:"hostPath"`
	ContainerPath string `json:"containerPath"`
	Readonly      bool   `json:"readonly,omitempty"`
}

// Device is a device node of the host.
type Device struct {
	HostPath      string `json:"hostPath"`
	ContainerPath string `json:"containerPath"`
	Permissions   string `json:"permissions"` // of rwm
}

// Root is a built mount namespace. It lives as long as NS, Dir or a process in
// it does; the caller owns both files.
type Root struct {
	NS  *os.File // for setns(CLONE_NEWNS)
	Dir *os.File // O_PATH of its root: openat2(RESOLVE_IN_ROOT) from any namespace
}

// Close gives up both files.
func (r *Root) Close() error {
	if r == nil {
		return nil
	}
	err := r.NS.Close()
	if e := r.Dir.Close(); err == nil {
		err = e
	}
	return err
}
