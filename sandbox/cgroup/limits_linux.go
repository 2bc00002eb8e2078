package cgroup

import (
	"math"
	"strconv"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// noLimit is the value of a field of Resources that lifts the limit.
const noLimit = -1

// checkResources refuses values that no kernel takes, for errors that name the
// field.
func checkResources(r *sandbox.Resources) error {
	for _, f := range []struct {
		name  string
		value int64
		min   int64
	}{
		{"cpu shares", r.CPUShares, 0},
		{"cpu quota", r.CPUQuota, noLimit},
		{"cpu period", r.CPUPeriod, 0},
		{"memory limit", r.MemoryLimit, noLimit},
		{"memory and swap limit", r.MemorySwap, noLimit},
		{"pids limit", r.PidsLimit, noLimit},
	} {
		if f.value < f.min {
			return invalid("%s %d", f.name, f.value)
		}
	}
	for _, f := range []struct{ name, list string }{{"cpuset cpus", r.CpusetCpus}, {"cpuset mems", r.CpusetMems}} {
		if f.list != "" && strings.Trim(f.list, ", \t\n") == "" { // no process could join
			return invalid("%s %q is empty", f.name, f.list)
		}
	}
	if r.OOMScoreAdj < -1000 || r.OOMScoreAdj > 1000 {
		return invalid("oom_score_adj %d is not between -1000 and 1000", r.OOMScoreAdj)
	}
	if r.MemorySwap > 0 && (r.MemoryLimit == noLimit || r.MemorySwap < r.MemoryLimit) {
		return invalid("memory and swap limit %d is below the memory limit %d", r.MemorySwap, r.MemoryLimit)
	}
	return nil
}

// Bounds of cpu.shares.
const (
	minShares = 2
	maxShares = 262144
)

// weight turns CPU shares of cgroup v1 into the weight of v2, by the curve of
// runc and containerd through (2, 1), (1024, 100) and (262144, 10000): the
// default of one is the default of the other.
func weight(shares int64) uint64 {
	switch {
	case shares <= minShares:
		return 1
	case shares >= maxShares:
		return 10000
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}

// limitText is a limit as cgroup v2 writes it.
func limitText(n int64) string {
	if n == noLimit {
		return "max"
	}
	return strconv.FormatInt(n, 10)
}

// cpuMax is the text of cpu.max. now is its present text, for the half that
// does not change.
func cpuMax(r *sandbox.Resources, now string) string {
	quota, period := splitCPUMax(now)
	switch {
	case r.CPUQuota == noLimit:
		quota = "max"
	case r.CPUQuota > 0:
		quota = strconv.FormatInt(r.CPUQuota, 10)
	}
	if r.CPUPeriod > 0 {
		period = strconv.FormatInt(r.CPUPeriod, 10)
	}
	return quota + " " + period
}
