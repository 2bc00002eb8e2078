// Package procstat reads from /proc what processes use. See proc(5).
package procstat

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// RSS is the resident memory of a process in bytes.
func RSS(pid int) (int64, error) { return field(pid, "status", "VmRSS") }

// PeakRSS is the most resident memory that a process has had since it began, or
// since ForgetPeak, in bytes.
func PeakRSS(pid int) (int64, error) { return field(pid, "status", "VmHWM") }

// ForgetPeak makes PeakRSS begin anew.
func ForgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// TotalPSS sums up the memory of all processes but the given ones, in bytes;
// what processes share is counted once. A process that ends meanwhile counts
// nothing.
func TotalPSS(but ...int) (int64, error) {
	pids, err := processes(but)
	if err != nil {
		return 0, err
	}
	var total int64
	for _, pid := range pids {
		if pss, err := field(pid, "smaps_rollup", "Pss"); err == nil {
			total += pss
		}
	}
	return total, nil
}

func processes(but []int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	leave := map[int]bool{}
	for _, pid := range but {
		leave[pid] = true
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && !leave[pid] {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// field reads a line of KEY: NUMBER kB.
func field(pid int, file, key string) (int64, error) {
	path := fmt.Sprintf("/proc/%d/%s", pid, file)
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s of %s: %w", key, path, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, key)
}

// CPU is the processor time of a process, user and system.
func CPU(pid int) (time.Duration, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, fmt.Errorf("%s has %d fields", path, len(fields))
	}
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		ticks += n
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every architecture of ours
	return time.Duration(ticks) * tick, nil
}
