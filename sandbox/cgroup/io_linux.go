package cgroup

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// v1Devices reads lines "8:0 Read 4096" of the files of blkio.
func v1Devices(text []byte, devices map[[2]uint32]*sandbox.DeviceIO, counters func(*sandbox.DeviceIO) (reads, writes *uint64)) {
	for line := range bytes.Lines(text) {
		words := bytes.Fields(line)
		if len(words) != 3 {
			continue // the sum over all devices
		}
		major, minor, ok := deviceNumber(words[0])
		if !ok {
			continue
		}
		d := devices[[2]uint32{major, minor}]
		if d == nil {
			d = &sandbox.DeviceIO{Name: deviceName(major, minor), Major: major, Minor: minor}
			devices[[2]uint32{major, minor}] = d
		}
		reads, writes := counters(d)
		switch string(words[1]) {
		case "Read":
			*reads = number(words[2])
		case "Write":
			*writes = number(words[2])
		}
	}
}

func sortedDevices(devices map[[2]uint32]*sandbox.DeviceIO) []sandbox.DeviceIO {
	var list []sandbox.DeviceIO
	for _, d := range devices {
		list = append(list, *d)
	}
	slices.SortFunc(list, func(a, b sandbox.DeviceIO) int {
		return slices.Compare([]uint32{a.Major, a.Minor}, []uint32{b.Major, b.Minor})
	})
	return list
}

// v2Devices reads lines "8:0 rbytes=1 wbytes=2 rios=3 wios=4" of io.stat.
func v2Devices(text []byte) []sandbox.DeviceIO {
	var list []sandbox.DeviceIO
	for line := range bytes.Lines(text) {
		words := bytes.Fields(line)
		if len(words) < 2 {
			continue
		}
		major, minor, ok := deviceNumber(words[0])
		if !ok {
			continue
		}
		d := sandbox.DeviceIO{Name: deviceName(major, minor), Major: major, Minor: minor}
		for _, word := range words[1:] {
			key, value, _ := bytes.Cut(word, []byte("="))
			switch string(key) {
			case "rbytes":
				d.ReadBytes = number(value)
			case "wbytes":
				d.WriteBytes = number(value)
			case "rios":
				d.Reads = number(value)
			case "wios":
				d.Writes = number(value)
			}
		}
		list = append(list, d)
	}
	return list
}

func deviceNumber(word []byte) (major, minor uint32, ok bool) {
	left, right, found := bytes.Cut(word, []byte(":"))
	a, errA := strconv.ParseUint(string(left), 10, 32)
	b, errB := strconv.ParseUint(string(right), 10, 32)
	return uint32(a), uint32(b), found && errA == nil && errB == nil
}

var deviceNames sync.Map // [2]uint32 to string

// deviceName is the file of a block device; its numbers when sysfs does not know
// it.
func deviceName(major, minor uint32) string {
	key := [2]uint32{major, minor}
	if name, ok := deviceNames.Load(key); ok {
		return name.(string)
	}
	name := fmt.Sprintf("%d:%d", major, minor)
	if target, err := os.Readlink("/sys/dev/block/" + name); err == nil {
		name = "/dev/" + path.Base(target)
	}
	deviceNames.Store(key, name)
	return name
}

// pressure reads "some avg10=0.00 avg60=0.00 avg300=0.00 total=0" and the same
// of "full". Kernels without pressure have no such file, or an empty one.
func pressure(text []byte) sandbox.Pressure {
	var p sandbox.Pressure
	for line := range bytes.Lines(text) {
		words := strings.Fields(string(line))
		if len(words) != 5 {
			continue
		}
		times := &p.Some
		if words[0] == "full" {
			times = &p.Full
		}
		p.Known = true
		for _, word := range words[1:] {
			key, value, _ := strings.Cut(word, "=")
			switch key {
			case "avg10":
				times.Avg10, _ = strconv.ParseFloat(value, 64)
			case "avg60":
				times.Avg60, _ = strconv.ParseFloat(value, 64)
			case "avg300":
				times.Avg300, _ = strconv.ParseFloat(value, 64)
			case "total":
				times.Total = number([]byte(value)) * uint64(time.Microsecond)
			}
		}
	}
	return p
}

// hugepageSizes lists the sizes of huge pages of this kernel as control groups
// name them: 2MB, 1GB.
var hugepageSizes = sync.OnceValue(func() []string {
	entries, err := os.ReadDir("/sys/kernel/mm/hugepages")
	if err != nil {
		return nil // a kernel without
	}
	var sizes []string
	for _, e := range entries {
		text := strings.TrimSuffix(strings.TrimPrefix(e.Name(), "hugepages-"), "kB")
		if kib, err := strconv.ParseUint(text, 10, 64); err == nil {
			sizes = append(sizes, hugepageName(kib))
		}
	}
	return sizes
})

func hugepageName(kib uint64) string {
	switch {
	case kib >= 1<<20:
		return fmt.Sprintf("%dGB", kib>>20)
	case kib >= 1<<10:
		return fmt.Sprintf("%dMB", kib>>10)
	}
	return fmt.Sprintf("%dKB", kib)
}

// processes lists what is in a group.
func processes(f files, dir, p string) ([]int, error) {
	pids, err := readPids(f, dir)
	if err != nil {
		return nil, &Error{Op: "read", Path: p, File: "cgroup.procs", Err: err}
	}
	return pids, nil
}
