package cri

import (
	"strconv"
	"time"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

const (
	counter = runtimev1.MetricType_COUNTER
	gauge   = runtimev1.MetricType_GAUGE
	both    = ofPod | ofContainer
)

var (
	onDevice    = []string{"device"}
	onInterface = []string{"interface"}
	ofPages     = []string{"pagesize"}
)

// metrics lists all of them, in groups by subject.
var metrics = concat(aboutCPU, aboutMemory, aboutDisks, aboutNetwork, aboutProcesses, aboutPressure, aboutSpec)

func concat(lists ...[]metric) []metric {
	var all []metric
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

var aboutCPU = []metric{
	{name: "container_cpu_user_seconds_total", help: "Cumulative user cpu time consumed in seconds.", kind: counter, kinds: both,
		group: func(s *sandbox.CgroupStats) []sample { return one(wholeSeconds(s.CPUUser)) }},
	{name: "container_cpu_system_seconds_total", help: "Cumulative system cpu time consumed in seconds.", kind: counter, kinds: both,
		group: func(s *sandbox.CgroupStats) []sample { return one(wholeSeconds(s.CPUSystem)) }},
	{name: "container_cpu_usage_seconds_total", help: "Cumulative cpu time consumed in seconds.", kind: counter, kinds: both, labels: []string{"cpu"},
		group: func(s *sandbox.CgroupStats) []sample {
			return []sample{{labels: []string{"total"}, value: wholeSeconds(s.CPUUsage)}}
		}},
	{name: "container_cpu_cfs_periods_total", help: "Number of elapsed enforcement period intervals.", kind: counter, kinds: ofContainer,
		subject: withQuota(func(s *sandbox.CgroupStats) uint64 { return s.CPUPeriods })},
	{name: "container_cpu_cfs_throttled_periods_total", help: "Number of throttled period intervals.", kind: counter, kinds: ofContainer,
		subject: withQuota(func(s *sandbox.CgroupStats) uint64 { return s.CPUThrottled })},
	{name: "container_cpu_cfs_throttled_seconds_total", help: "Total time duration the container has been throttled.", kind: counter, kinds: ofContainer,
		subject: withQuota(func(s *sandbox.CgroupStats) uint64 { return wholeSeconds(s.CPUThrottledTime) })},
}

// withQuota gives a value for containers whose CPU time is limited.
func withQuota(f func(*sandbox.CgroupStats) uint64) func(*subject) []sample {
	return func(s *subject) []sample {
		if s.container.Config.Resources.CPUQuota <= 0 {
			return nil
		}
		return one(f(s.group))
	}
}

var aboutMemory = []metric{
	{name: "container_memory_cache", help: "Number of bytes of page cache memory.", kind: gauge, kinds: both,
		group: func(s *sandbox.CgroupStats) []sample { return one(s.MemoryCache) }},
	{name: "container_memory_rss", help: "Size of RSS in bytes.", kind: gauge, kinds: both,
		group: func(s *sandbox.CgroupStats) []sample { return one(s.MemoryRSS) }},
	{name: "container_memory_kernel_usage", help: "Size of kernel memory allocated in bytes.", kind: gauge, kinds: both,
		group: func(s *sandbox.CgroupStats) []sample { return one(s.MemoryKernel) }},
	{name: "container_memory_mapped_file", help: "Size of memory mapped files in bytes.", kind: gauge, kinds: both,
		group: func(s *sandbox.CgroupStats) []sample { return one(s.MemoryMapped) }},
	{name: "container_memory_swap", help: "Container swap usage in bytes.", kind: gauge, kinds: both,
		group: func(s *sandbox.CgroupStats) []sample { return one(s.SwapUsage) }},
	{name: "container_memory_failcnt", help: "Number of memory usage hits limits", kind: counter, kinds: both,
		group: func(s *sandbox.CgroupStats) []sample { return one(s.MemoryFailcnt) }},
	{name: "container_memory_usage_bytes", help: "Current memory usage in bytes, including all memory regardless of when it was accessed", kind: gauge, kinds: both,
		group: func(s *sandbox.CgroupStats) []sample { return one(s.MemoryUsage) }},
	{name: "container_memory_max_usage_bytes", help: "Maximum memory usage recorded in bytes", kind: gauge, kinds: both,
		group: func(s *sandbox.CgroupStats) []sample { return one(s.MemoryMax) }},
	{name: "container_memory_working_set_bytes", help: "Current working set in bytes.", kind: gauge, kinds: both,
		group: func(s *sandbox.CgroupStats) []sample { return one(s.MemoryWorkingSet) }},
	// A container's group has no groups below it: both scopes are one.
	{name: "container_memory_failures_total", help: "Cumulative count of memory allocation failures.", kind: counter, kinds: ofContainer,
		labels: []string{"failure_type", "scope"},
		group: func(s *sandbox.CgroupStats) []sample {
			return []sample{
				{labels: []string{"pgfault", "container"}, value: s.PageFaults},
				{labels: []string{"pgmajfault", "container"}, value: s.MajorPageFaults},
				{labels: []string{"pgfault", "hierarchy"}, value: s.PageFaults},
				{labels: []string{"pgmajfault", "hierarchy"}, value: s.MajorPageFaults},
			}
		}},
	{name: "container_oom_events_total", help: "Count of out of memory events observed for the container", kind: counter, kinds: both,
		group: func(s *sandbox.CgroupStats) []sample { return one(s.OOMKills) }},
	{name: "container_hugetlb_usage_bytes", help: "Current hugepage usage in bytes", kind: gauge, kinds: both, labels: ofPages,
		group: hugepages(func(h sandbox.HugepageUsage) uint64 { return h.Usage })},
	{name: "container_hugetlb_max_usage_bytes", help: "Maximum hugepage usage recorded in bytes", kind: gauge, kinds: both, labels: ofPages,
		group: hugepages(func(h sandbox.HugepageUsage) uint64 { return h.Max })},
}

func hugepages(f func(sandbox.HugepageUsage) uint64) func(*sandbox.CgroupStats) []sample {
	return func(s *sandbox.CgroupStats) []sample {
		var list []sample
		for _, h := range s.Hugepages {
			list = append(list, sample{labels: []string{h.Size}, value: f(h)})
		}
		return list
	}
}

var aboutDisks = []metric{
	{name: "container_fs_inodes_free", help: "Number of available Inodes", kind: gauge, kinds: ofContainer, labels: onDevice,
		subject: onDisk(func(s *subject) sample { return sample{value: s.disk.InodesFree} })},
	{name: "container_fs_inodes_total", help: "Number of Inodes", kind: gauge, kinds: ofContainer, labels: onDevice,
		subject: onDisk(func(s *subject) sample { return sample{value: s.disk.Inodes} })},
	{name: "container_fs_limit_bytes", help: "Number of bytes that can be consumed by the container on this filesystem.", kind: gauge, kinds: ofContainer, labels: onDevice,
		subject: onDisk(func(s *subject) sample { return sample{value: s.disk.Bytes} })},
	{name: "container_fs_usage_bytes", help: "Number of bytes that are consumed by the container on this filesystem.", kind: gauge, kinds: ofContainer, labels: onDevice,
		subject: onDisk(func(s *subject) sample {
			return sample{value: s.container.Layer.Bytes, at: s.container.Layer.Time.UnixNano()}
		})},
	{name: "container_fs_reads_bytes_total", help: "Cumulative count of bytes read", kind: counter, kinds: both, labels: onDevice,
		group: byDevice(func(d *sandbox.DeviceIO) uint64 { return d.ReadBytes })},
	{name: "container_fs_reads_total", help: "Cumulative count of reads completed", kind: counter, kinds: both, labels: onDevice,
		group: byDevice(func(d *sandbox.DeviceIO) uint64 { return d.Reads })},
	{name: "container_fs_writes_bytes_total", help: "Cumulative count of bytes written", kind: counter, kinds: both, labels: onDevice,
		group: byDevice(func(d *sandbox.DeviceIO) uint64 { return d.WriteBytes })},
	{name: "container_fs_writes_total", help: "Cumulative count of writes completed", kind: counter, kinds: both, labels: onDevice,
		group: byDevice(func(d *sandbox.DeviceIO) uint64 { return d.Writes })},
	{name: "container_blkio_device_usage_total", help: "Blkio Device bytes usage", kind: counter, kinds: both,
		labels: []string{"device", "major", "minor", "operation"}, group: blockIO},
}

func onDisk(f func(*subject) sample) func(*subject) []sample {
	return func(s *subject) []sample {
		v := f(s)
		v.labels = []string{s.disk.Device}
		return []sample{v}
	}
}

func byDevice(f func(*sandbox.DeviceIO) uint64) func(*sandbox.CgroupStats) []sample {
	return func(s *sandbox.CgroupStats) []sample {
		var list []sample
		for i := range s.Devices {
			list = append(list, sample{labels: []string{s.Devices[i].Name}, value: f(&s.Devices[i])})
		}
		return list
	}
}

func blockIO(s *sandbox.CgroupStats) []sample {
	var list []sample
	for _, d := range s.Devices {
		major, minor := strconv.Itoa(int(d.Major)), strconv.Itoa(int(d.Minor))
		list = append(list,
			sample{labels: []string{d.Name, major, minor, "Read"}, value: d.ReadBytes},
			sample{labels: []string{d.Name, major, minor, "Write"}, value: d.WriteBytes})
	}
	return list
}

var aboutNetwork = []metric{
	{name: "container_network_receive_bytes_total", help: "Cumulative count of bytes received", kind: counter, kinds: ofPod, labels: onInterface,
		subject: byInterface(func(i *sandbox.InterfaceCounters) uint64 { return i.RxBytes })},
	{name: "container_network_receive_packets_total", help: "Cumulative count of packets received", kind: counter, kinds: ofPod, labels: onInterface,
		subject: byInterface(func(i *sandbox.InterfaceCounters) uint64 { return i.RxPackets })},
	{name: "container_network_receive_packets_dropped_total", help: "Cumulative count of packets dropped while receiving", kind: counter, kinds: ofPod, labels: onInterface,
		subject: byInterface(func(i *sandbox.InterfaceCounters) uint64 { return i.RxDropped })},
	{name: "container_network_receive_errors_total", help: "Cumulative count of errors encountered while receiving", kind: counter, kinds: ofPod, labels: onInterface,
		subject: byInterface(func(i *sandbox.InterfaceCounters) uint64 { return i.RxErrors })},
	{name: "container_network_transmit_bytes_total", help: "Cumulative count of bytes transmitted", kind: counter, kinds: ofPod, labels: onInterface,
		subject: byInterface(func(i *sandbox.InterfaceCounters) uint64 { return i.TxBytes })},
	{name: "container_network_transmit_packets_total", help: "Cumulative count of packets transmitted", kind: counter, kinds: ofPod, labels: onInterface,
		subject: byInterface(func(i *sandbox.InterfaceCounters) uint64 { return i.TxPackets })},
	{name: "container_network_transmit_packets_dropped_total", help: "Cumulative count of packets dropped while transmitting", kind: counter, kinds: ofPod, labels: onInterface,
		subject: byInterface(func(i *sandbox.InterfaceCounters) uint64 { return i.TxDropped })},
	{name: "container_network_transmit_errors_total", help: "Cumulative count of errors encountered while transmitting", kind: counter, kinds: ofPod, labels: onInterface,
		subject: byInterface(func(i *sandbox.InterfaceCounters) uint64 { return i.TxErrors })},
}

func byInterface(f func(*sandbox.InterfaceCounters) uint64) func(*subject) []sample {
	return func(s *subject) []sample {
		var list []sample
		for i := range s.pod.Interfaces {
			list = append(list, sample{labels: []string{s.pod.Interfaces[i].Name}, value: f(&s.pod.Interfaces[i])})
		}
		return list
	}
}

var aboutProcesses = []metric{
	{name: "container_last_seen", help: "Last time a container was seen by the exporter", kind: gauge, kinds: both,
		group: func(s *sandbox.CgroupStats) []sample { return one(unix(s.Time)) }},
	{name: "container_start_time_seconds", help: "Start time of the container since unix epoch in seconds.", kind: gauge, kinds: both,
		subject: func(s *subject) []sample {
			if s.container == nil {
				return one(unix(s.pod.CreatedAt))
			}
			return one(unix(s.container.StartedAt))
		}},
	{name: "container_processes", help: "Number of processes running inside the container.", kind: gauge, kinds: ofContainer,
		subject: func(s *subject) []sample { return one(s.container.Processes) }},
	{name: "container_file_descriptors", help: "Number of open file descriptors for the container.", kind: gauge, kinds: ofContainer,
		subject: func(s *subject) []sample { return one(s.container.Files) }},
	{name: "container_sockets", help: "Number of open sockets for the container.", kind: gauge, kinds: ofContainer,
		subject: func(s *subject) []sample { return one(s.container.Sockets) }},
	{name: "container_threads_max", help: "Maximum number of threads allowed inside the container, infinity if value is zero", kind: gauge, kinds: both,
		group: func(s *sandbox.CgroupStats) []sample { return one(s.PidsLimit) }},
	{name: "container_threads", help: "Number of threads running inside the container", kind: gauge, kinds: both,
		group: func(s *sandbox.CgroupStats) []sample { return one(s.Pids) }},
	{name: "container_ulimits_soft", help: "Soft ulimit values for the container root process. Unlimited if -1, except priority and nice", kind: gauge, kinds: ofContainer,
		labels: []string{"ulimit"},
		subject: func(s *subject) []sample {
			return []sample{{labels: []string{"max_open_files"}, value: s.container.Limit}}
		}},
}

var aboutPressure = []metric{
	{name: "container_pressure_cpu_stalled_seconds_total", kind: counter, kinds: both,
		help: "Total time duration no tasks in the container could make progress due to CPU congestion.",
		group: pressed(func(s *sandbox.CgroupStats) (sandbox.Pressure, uint64) {
			return s.CPUPressure, s.CPUPressure.Full.Total
		})},
	{name: "container_pressure_cpu_waiting_seconds_total", kind: counter, kinds: both,
		help: "Total time duration tasks in the container have waited due to CPU congestion.",
		group: pressed(func(s *sandbox.CgroupStats) (sandbox.Pressure, uint64) {
			return s.CPUPressure, s.CPUPressure.Some.Total
		})},
	{name: "container_pressure_memory_stalled_seconds_total", kind: counter, kinds: both,
		help: "Total time duration no tasks in the container could make progress due to memory congestion.",
		group: pressed(func(s *sandbox.CgroupStats) (sandbox.Pressure, uint64) {
			return s.MemoryPressure, s.MemoryPressure.Full.Total
		})},
	{name: "container_pressure_memory_waiting_seconds_total", kind: counter, kinds: both,
		help: "Total time duration tasks in the container have waited due to memory congestion.",
		group: pressed(func(s *sandbox.CgroupStats) (sandbox.Pressure, uint64) {
			return s.MemoryPressure, s.MemoryPressure.Some.Total
		})},
	{name: "container_pressure_io_stalled_seconds_total", kind: counter, kinds: both,
		help:  "Total time duration no tasks in the container could make progress due to IO congestion.",
		group: pressed(func(s *sandbox.CgroupStats) (sandbox.Pressure, uint64) { return s.IOPressure, s.IOPressure.Full.Total })},
	{name: "container_pressure_io_waiting_seconds_total", kind: counter, kinds: both,
		help:  "Total time duration tasks in the container have waited due to IO congestion.",
		group: pressed(func(s *sandbox.CgroupStats) (sandbox.Pressure, uint64) { return s.IOPressure, s.IOPressure.Some.Total })},
}

// pressed gives a value where the kernel keeps pressure.
func pressed(f func(*sandbox.CgroupStats) (sandbox.Pressure, uint64)) func(*sandbox.CgroupStats) []sample {
	return func(s *sandbox.CgroupStats) []sample {
		p, total := f(s)
		if !p.Known {
			return nil
		}
		return one(wholeSeconds(total))
	}
}

var aboutSpec = []metric{
	{name: "container_spec_cpu_period", help: "CPU period of the container.", kind: gauge, kinds: ofContainer,
		subject: spec(func(r *sandbox.Resources) (int64, bool) { return orDefault(r.CPUPeriod, defaultPeriod), true })},
	{name: "container_spec_cpu_quota", help: "CPU quota of the container.", kind: gauge, kinds: ofContainer,
		subject: spec(func(r *sandbox.Resources) (int64, bool) { return r.CPUQuota, r.CPUQuota > 0 })},
	{name: "container_spec_cpu_shares", help: "CPU share of the container.", kind: gauge, kinds: ofContainer,
		subject: spec(func(r *sandbox.Resources) (int64, bool) { return orDefault(r.CPUShares, defaultShares), true })},
	{name: "container_spec_memory_limit_bytes", help: "Memory limit for the container.", kind: gauge, kinds: ofContainer,
		subject: spec(func(r *sandbox.Resources) (int64, bool) { return max(0, r.MemoryLimit), true })},
	{name: "container_spec_memory_swap_limit_bytes", help: "Memory swap limit for the container.", kind: gauge, kinds: ofContainer,
		subject: spec(func(r *sandbox.Resources) (int64, bool) { return max(0, r.MemorySwap), true })},
	// The API has no soft limit of memory, so there is none.
	{name: "container_spec_memory_reservation_limit_bytes", help: "Memory reservation limit for the container.", kind: gauge, kinds: ofContainer,
		subject: spec(func(*sandbox.Resources) (int64, bool) { return 0, true })},
}

// The kernel's own.
const (
	defaultPeriod = int64(100 * time.Millisecond / time.Microsecond)
	defaultShares = 1024
)

func orDefault(v, def int64) int64 {
	if v == 0 {
		return def
	}
	return v
}

func spec(f func(*sandbox.Resources) (int64, bool)) func(*subject) []sample {
	return func(s *subject) []sample {
		v, ok := f(&s.container.Config.Resources)
		if !ok {
			return nil
		}
		return one(uint64(v))
	}
}
