package cgroup

import (
	"bytes"
	"os"
	"sync"
	"time"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// reader reads the files of one group into a shared buffer. Missing files are
// empty; another error, and a missing group, is kept.
type reader struct {
	files files
	dir   string
	buf   *[8192]byte
	found bool
	err   error
}

var buffers = sync.Pool{New: func() any { return new([8192]byte) }}

func newReader(f files) *reader {
	return &reader{files: f, buf: buffers.Get().(*[8192]byte)}
}

func (r *reader) close() { buffers.Put(r.buf) }

// text gives the file's content until the next call.
func (r *reader) text(file string) []byte {
	n, err := r.files.read(r.dir+"/"+file, r.buf[:])
	switch {
	case err == nil:
		r.found = true
	case !absent(err) && r.err == nil:
		r.err = err
	}
	return r.buf[:n]
}

func (r *reader) number(file string) uint64 { return number(r.text(file)) }

// result is the error of everything that was read so far.
func (r *reader) result(p string) error {
	if r.err == nil && !r.found {
		r.err = os.ErrNotExist
	}
	if r.err != nil {
		return &Error{Op: "read", Path: p, Err: r.err}
	}
	return nil
}

// A limit of v1 that is not set is the highest multiple of the page size.
const v1Unlimited = 1 << 62

// clockTick is what v1 counts user and system time in. The kernel shows 100 a
// second to user space on every architecture that we build for.
const clockTick = uint64(time.Second / 100)

func (t *v1) usage(p string) (sandbox.CgroupUsage, error) {
	r := newReader(t.files)
	defer r.close()
	var s sandbox.CgroupStats
	t.readUsage(r, p, &s)
	return s.CgroupUsage, r.result(p)
}

func (t *v1) readUsage(r *reader, p string, s *sandbox.CgroupStats) {
	s.Time = time.Now()
	if t.in(r, "cpuacct", p) {
		s.CPUUsage = r.number("cpuacct.usage")
	}
	if !t.in(r, "memory", p) {
		return
	}
	s.MemoryUsage = r.number("memory.usage_in_bytes")
	s.MemoryLimit = limited(r.number("memory.limit_in_bytes"))
	if both := limited(r.number("memory.memsw.limit_in_bytes")); both > 0 && s.MemoryLimit > 0 {
		s.SwapLimit = less(both, s.MemoryLimit)
	}
	var inactive uint64
	fields(r.text("memory.stat"), func(key []byte, value uint64) {
		switch string(key) {
		case "total_rss":
			s.MemoryRSS = value
		case "total_cache":
			s.MemoryCache = value
		case "total_mapped_file":
			s.MemoryMapped = value
		case "total_pgfault":
			s.PageFaults = value
		case "total_pgmajfault":
			s.MajorPageFaults = value
		case "total_swap":
			s.SwapUsage = value
		case "total_inactive_file":
			inactive = value
		}
	})
	s.MemoryWorkingSet = less(s.MemoryUsage, inactive)
}

// limited is a limit of v1; 0 when it is none.
func limited(n uint64) uint64 {
	if n >= v1Unlimited {
		return 0
	}
	return n
}

func (t *v1) stats(p string) (sandbox.CgroupStats, error) {
	var s sandbox.CgroupStats
	r := newReader(t.files)
	defer r.close()
	t.readUsage(r, p, &s)
	if t.in(r, "cpuacct", p) {
		text := r.text("cpuacct.stat")
		s.CPUUser, s.CPUSystem = keyed(text, "user")*clockTick, keyed(text, "system")*clockTick
	}
	if t.in(r, "cpu", p) {
		text := r.text("cpu.stat")
		s.CPUPeriods, s.CPUThrottled = keyed(text, "nr_periods"), keyed(text, "nr_throttled")
		s.CPUThrottledTime = keyed(text, "throttled_time")
	}
	if t.in(r, "memory", p) {
		s.MemoryMax = r.number("memory.max_usage_in_bytes")
		s.MemoryFailcnt = r.number("memory.failcnt")
		s.MemoryKernel = r.number("memory.kmem.usage_in_bytes")
		s.OOMKills = keyed(r.text("memory.oom_control"), "oom_kill")
	}
	if t.in(r, "pids", p) {
		s.Pids, s.PidsLimit = r.number("pids.current"), r.number("pids.max")
	}
	if t.in(r, "blkio", p) {
		devices := map[[2]uint32]*sandbox.DeviceIO{}
		v1Devices(r.text("blkio.throttle.io_service_bytes"), devices, func(d *sandbox.DeviceIO) (*uint64, *uint64) { return &d.ReadBytes, &d.WriteBytes })
		v1Devices(r.text("blkio.throttle.io_serviced"), devices, func(d *sandbox.DeviceIO) (*uint64, *uint64) { return &d.Reads, &d.Writes })
		s.Devices = sortedDevices(devices)
	}
	if t.in(r, "hugetlb", p) {
		for _, size := range hugepageSizes() {
			s.Hugepages = append(s.Hugepages, sandbox.HugepageUsage{
				Size: size, Usage: r.number("hugetlb." + size + ".usage_in_bytes"), Max: r.number("hugetlb." + size + ".max_usage_in_bytes"),
			})
		}
	}
	return s, r.result(p)
}

// in points r at the group in a controller's hierarchy.
func (t *v1) in(r *reader, controller, p string) bool {
	h := t.layout.find(controller)
	if h != nil {
		r.dir = h.root + p
	}
	return h != nil
}

func (t *v1) processes(p string) ([]int, error) {
	return processes(t.files, t.layout.trees[0].root+p, p)
}

func (t *v1) oomKills(p string) (uint64, error) {
	h := t.layout.find("memory")
	if h == nil {
		return 0, nil
	}
	buf := make([]byte, 512)
	n, err := t.files.read(h.root+p+"/memory.oom_control", buf)
	if err != nil {
		return 0, &Error{Op: "read", Path: p, File: "memory.oom_control", Err: err}
	}
	return keyed(buf[:n], "oom_kill"), nil
}

func (t *v2) usage(p string) (sandbox.CgroupUsage, error) {
	r := newReader(t.files)
	defer r.close()
	var s sandbox.CgroupStats
	t.readUsage(r, p, &s)
	return s.CgroupUsage, r.result(p)
}

func (t *v2) readUsage(r *reader, p string, s *sandbox.CgroupStats) {
	s.Time = time.Now()
	r.dir = t.root + p
	const micro = uint64(time.Microsecond)
	fields(r.text("cpu.stat"), func(key []byte, value uint64) {
		switch string(key) {
		case "usage_usec":
			s.CPUUsage = value * micro
		case "user_usec":
			s.CPUUser = value * micro
		case "system_usec":
			s.CPUSystem = value * micro
		case "nr_periods":
			s.CPUPeriods = value
		case "nr_throttled":
			s.CPUThrottled = value
		case "throttled_usec":
			s.CPUThrottledTime = value * micro
		}
	})
	s.MemoryUsage = r.number("memory.current")
	s.MemoryLimit = r.number("memory.max") // "max" is 0
	s.SwapUsage = r.number("memory.swap.current")
	s.SwapLimit = r.number("memory.swap.max")
	var inactive uint64
	fields(r.text("memory.stat"), func(key []byte, value uint64) {
		switch string(key) {
		case "anon":
			s.MemoryRSS = value
		case "file":
			s.MemoryCache = value
		case "kernel":
			s.MemoryKernel = value
		case "file_mapped":
			s.MemoryMapped = value
		case "pgfault":
			s.PageFaults = value
		case "pgmajfault":
			s.MajorPageFaults = value
		case "inactive_file":
			inactive = value
		}
	})
	s.MemoryWorkingSet = less(s.MemoryUsage, inactive)
	s.CPUPressure = pressure(r.text("cpu.pressure"))
	s.MemoryPressure = pressure(r.text("memory.pressure"))
	s.IOPressure = pressure(r.text("io.pressure"))
}

func (t *v2) stats(p string) (sandbox.CgroupStats, error) {
	var s sandbox.CgroupStats
	r := newReader(t.files)
	defer r.close()
	t.readUsage(r, p, &s)
	s.MemoryMax = r.number("memory.peak")
	text := r.text("memory.events")
	s.MemoryFailcnt, s.OOMKills = keyed(text, "max"), keyed(text, "oom_kill")
	s.Pids, s.PidsLimit = r.number("pids.current"), r.number("pids.max")
	s.Devices = v2Devices(r.text("io.stat"))
	for _, size := range hugepageSizes() {
		if text := r.text("hugetlb." + size + ".current"); len(text) > 0 {
			s.Hugepages = append(s.Hugepages, sandbox.HugepageUsage{Size: size, Usage: number(text)})
		}
	}
	return s, r.result(p)
}

func (t *v2) processes(p string) ([]int, error) { return processes(t.files, t.root+p, p) }

// fields reports the lines "key number" of text.
func fields(text []byte, found func(key []byte, value uint64)) {
	for len(text) > 0 {
		line := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line, text = text[:i], text[i+1:]
		} else {
			text = nil
		}
		if i := bytes.IndexByte(line, ' '); i > 0 {
			found(line[:i], number(line[i+1:]))
		}
	}
}

// less is a - b, or 0.
func less(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}
