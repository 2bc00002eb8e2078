package sandbox

import (
	"context"
	"os"
	"time"
)

// CgroupDriver says who owns the tree: this daemon or systemd.
type CgroupDriver string

const (
	DriverCgroupfs CgroupDriver = "cgroupfs"
	DriverSystemd  CgroupDriver = "systemd"
)

// Cgroups makes the control groups of pods and containers, on cgroup v1 and v2.
// Safe for concurrent use.
type Cgroups interface {
	Driver() CgroupDriver
	// Create makes the group id below parent. An empty parent means the
	// default one of the daemon. Missing parents are made; those that Create
	// made are removed with their last child.
	Create(ctx context.Context, parent, id string, res Resources) (Cgroup, error)
	// Find gives the group that Create gives, without making anything.
	Find(parent, id string) (Cgroup, error)
	// Open gives the group that an earlier Create made, by its Path.
	Open(path string) (Cgroup, error)
	// OfParent gives the group that a pod names as its parent, to look at.
	OfParent(parent string) (Cgroup, error)
	// Orphans removes every group of ours below the default parent, and those
	// listed, whose path is not in keep.
	Orphans(ctx context.Context, keep map[string]bool) error
}

// Cgroup is the control group of one container or pod.
type Cgroup interface {
	// Path is the name that Open takes; it is part of the record.
	Path() string
	// JoinFiles opens, for each hierarchy, the file to which a
	// single-threaded process writes "0" to join: tasks on v1, cgroup.procs
	// on v2. The caller closes them. Empty with the systemd driver when Join
	// must be used.
	JoinFiles() ([]*os.File, error)
	// Join moves a process that waits for its plan into the group.
	Join(ctx context.Context, pid int) error
	// Update changes the limits of the group, and the OOM score of the
	// processes that are in it. When it fails, the limits are as before.
	Update(ctx context.Context, res Resources) error
	// Usage reads what is asked for often, Stats all counters there are.
	Usage() (CgroupUsage, error)
	Stats() (CgroupStats, error)
	// Processes lists the processes of the group, without those of groups
	// below it.
	Processes() ([]int, error)
	// OOMKills counts processes of the group that the kernel killed for
	// memory since the group was made; on cgroup v2 also those of groups that
	// are or were below it. The error wraps fs.ErrNotExist when the group is
	// gone and nobody else knows.
	OOMKills() (uint64, error)
	// Kill sends SIGKILL to every process in the group, again until none is
	// left or ctx ends.
	Kill(ctx context.Context) error
	// Delete removes the group; nil when it is gone. A group that is busy for
	// a moment is tried again.
	Delete(ctx context.Context) error
}

// Resources limits a container. A zero field means: leave as it is.
type Resources struct {
	CPUShares      int64             `json:"cpuShares,omitempty"`
	CPUQuota       int64             `json:"cpuQuota,omitempty"`  // microseconds per period; -1 no limit
	CPUPeriod      int64             `json:"cpuPeriod,omitempty"` // microseconds
	CpusetCpus     string            `json:"cpusetCpus,omitempty"`
	CpusetMems     string            `json:"cpusetMems,omitempty"`
	MemoryLimit    int64             `json:"memoryLimit,omitempty"`    // bytes; -1 no limit
	MemorySwap     int64             `json:"memorySwap,omitempty"`     // bytes, memory + swap; -1 no limit
	PidsLimit      int64             `json:"pidsLimit,omitempty"`      // -1 no limit
	HugepageLimits map[string]uint64 `json:"hugepageLimits,omitempty"` // page size ("2MB") to bytes
	Unified        map[string]string `json:"unified,omitempty"`        // v2 only: file name to value
	OOMScoreAdj    int64             `json:"oomScoreAdj,omitempty"`    // a process sets it at its start, Update later
}

// CgroupUsage is one reading of the counters that are asked for often.
type CgroupUsage struct {
	Time             time.Time
	CPUUsage         uint64 // nanoseconds
	MemoryUsage      uint64 // bytes
	MemoryWorkingSet uint64 // usage less inactive file pages
	MemoryRSS        uint64
	MemoryLimit      uint64 // 0: none
	PageFaults       uint64
	MajorPageFaults  uint64
	SwapUsage        uint64
	SwapLimit        uint64 // 0: none

	// Cgroup v1 has no pressure.
	CPUPressure, MemoryPressure, IOPressure Pressure
}

// Pressure is how long tasks of a group waited for a resource.
type Pressure struct {
	Known      bool
	Some, Full PressureTime
}

// PressureTime says how much of the time some tasks, or all, waited.
type PressureTime struct {
	Avg10, Avg60, Avg300 float64 // percent
	Total                uint64  // nanoseconds
}

// CgroupStats is one reading of all counters of a group.
type CgroupStats struct {
	CgroupUsage
	CPUUser          uint64 // nanoseconds
	CPUSystem        uint64 // nanoseconds
	CPUPeriods       uint64
	CPUThrottled     uint64 // periods
	CPUThrottledTime uint64 // nanoseconds
	MemoryCache      uint64
	MemoryMapped     uint64
	MemoryKernel     uint64
	MemoryMax        uint64 // highest usage
	MemoryFailcnt    uint64
	Pids             uint64 // tasks: processes and their threads
	PidsLimit        uint64 // 0: none
	OOMKills         uint64
	Devices          []DeviceIO
	Hugepages        []HugepageUsage
}

// DeviceIO is what a group read from and wrote to a block device.
type DeviceIO struct {
	Name                  string // such as /dev/sda
	Major, Minor          uint32
	ReadBytes, WriteBytes uint64
	Reads, Writes         uint64
}

// HugepageUsage is what a group uses of huge pages of one size, in bytes.
type HugepageUsage struct {
	Size       string // such as 2MB
	Usage, Max uint64 // Max is 0 where the kernel does not keep it
}
