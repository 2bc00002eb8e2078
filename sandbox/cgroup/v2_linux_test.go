package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

var allControllers = []string{"cpu", "cpuset", "io", "memory", "pids", "hugetlb"}

func TestV2Limits(t *testing.T) {
	tests := []struct {
		name   string
		first  sandbox.Resources
		second sandbox.Resources
		want   map[string]string
	}{
		{"everything", sandbox.Resources{
			CPUShares: 1024, CPUQuota: 20000, CPUPeriod: 50000, CpusetCpus: "0-1", CpusetMems: "0",
			MemoryLimit: 64 << 20, MemorySwap: 96 << 20, PidsLimit: 7,
			HugepageLimits: map[string]uint64{"2MB": 4 << 20},
			Unified:        map[string]string{"memory.oom.group": "1", "memory.high": "1000"},
		}, sandbox.Resources{}, map[string]string{
			"cpu.weight": "100", "cpu.max": "20000 50000", "cpuset.cpus": "0-1", "cpuset.mems": "0",
			"memory.max": "67108864", "memory.swap.max": "33554432", "pids.max": "7",
			"hugetlb.2MB.max": "4194304", "hugetlb.2MB.rsvd.max": "4194304",
			"memory.oom.group": "1", "memory.high": "1000",
		}},
		{"nothing", sandbox.Resources{}, sandbox.Resources{}, map[string]string{"cpu.max": "max 100000", "memory.max": "max", "pids.max": "max"}},
		{"memory and swap are equal", sandbox.Resources{MemoryLimit: 1 << 20, MemorySwap: 1 << 20}, sandbox.Resources{},
			map[string]string{"memory.max": "1048576", "memory.swap.max": "0"}},
		{"period alone keeps the quota", sandbox.Resources{CPUQuota: 5000}, sandbox.Resources{CPUPeriod: 10000}, map[string]string{"cpu.max": "5000 10000"}},
		{"quota alone keeps the period", sandbox.Resources{CPUPeriod: 10000}, sandbox.Resources{CPUQuota: 5000}, map[string]string{"cpu.max": "5000 10000"}},
		{"quota is lifted", sandbox.Resources{CPUQuota: 5000, CPUPeriod: 10000}, sandbox.Resources{CPUQuota: -1}, map[string]string{"cpu.max": "max 10000"}},
		{"swap alone needs the memory limit", sandbox.Resources{MemoryLimit: 100 << 20}, sandbox.Resources{MemorySwap: 150 << 20}, map[string]string{"memory.swap.max": "52428800"}},
		{"memory is lifted", sandbox.Resources{MemoryLimit: 1 << 20, MemorySwap: 1 << 20, PidsLimit: 5}, sandbox.Resources{MemoryLimit: -1, PidsLimit: -1},
			map[string]string{"memory.max": "max", "memory.swap.max": "max", "pids.max": "max"}},
		{"swap is lifted", sandbox.Resources{MemoryLimit: 1 << 20, MemorySwap: 1 << 20}, sandbox.Resources{MemorySwap: -1},
			map[string]string{"memory.max": "1048576", "memory.swap.max": "max"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeV2(t, allControllers...)
			m := f.manager(nil, sandbox.DriverCgroupfs)
			g, err := m.Create(t.Context(), "/kubepods/pod1", "c1", tt.first)
			if err != nil {
				t.Fatal(err)
			}
			if err := g.Update(t.Context(), tt.second); err != nil {
				t.Fatal(err)
			}
			for file, want := range tt.want {
				if got := f.get(g.Path() + "/" + file); got != want {
					t.Errorf("%s: got %q, want %q", file, got, want)
				}
			}
			if err := g.Delete(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := f.groups(); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestV2RefusedLimitsLeaveNothing(t *testing.T) {
	tests := []struct {
		name        string
		controllers []string
		res         sandbox.Resources
		missing     string // controller; "" for an invalid request
	}{
		{"no memory controller", []string{"cpu"}, sandbox.Resources{MemoryLimit: 1}, "memory"},
		{"no cpu controller", []string{"memory"}, sandbox.Resources{CPUShares: 5}, "cpu"},
		{"no cpu controller for a quota", []string{"memory"}, sandbox.Resources{CPUQuota: 5}, "cpu"},
		{"no pids controller", []string{"cpu"}, sandbox.Resources{PidsLimit: 5}, "pids"},
		{"no cpuset controller", []string{"cpu"}, sandbox.Resources{CpusetCpus: "0"}, "cpuset"},
		{"no hugetlb controller", []string{"cpu"}, sandbox.Resources{HugepageLimits: map[string]uint64{"2MB": 1}}, "hugetlb"},
		{"no controller of a unified file", []string{"cpu"}, sandbox.Resources{Unified: map[string]string{"io.weight": "1"}}, "io"},
		{"swap below memory", allControllers, sandbox.Resources{MemoryLimit: 5, MemorySwap: 4}, ""},
		{"swap without memory", allControllers, sandbox.Resources{MemorySwap: 4}, ""},
		{"unified path", allControllers, sandbox.Resources{Unified: map[string]string{"../memory.max": "1"}}, ""},
		{"unified without a value", allControllers, sandbox.Resources{Unified: map[string]string{"memory.max": " \n"}}, ""},
		{"unified core file", allControllers, sandbox.Resources{Unified: map[string]string{"cgroup.procs": "1"}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeV2(t, tt.controllers...)
			_, err := f.manager(nil, sandbox.DriverCgroupfs).Create(t.Context(), "", "c1", tt.res)
			var missing *MissingError
			switch {
			case tt.missing == "" && !errors.Is(err, ErrInvalid):
				t.Errorf("got %v, want an invalid request", err)
			case tt.missing != "" && (!errors.As(err, &missing) || missing.Controller != tt.missing):
				t.Errorf("got %v, want that controller %s is missing", err, tt.missing)
			}
			if left := f.groups(); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestV2NoHugepagesNeedsNoController(t *testing.T) {
	f := newFakeV2(t, "cpu", "memory")
	_, err := f.manager(nil, sandbox.DriverCgroupfs).Create(t.Context(), "", "c1", sandbox.Resources{HugepageLimits: map[string]uint64{"2MB": 0}})
	if err != nil {
		t.Error(err)
	}
}

func TestV2ControllersGoDownThePathOnce(t *testing.T) {
	f := newFakeV2(t, allControllers...)
	m := f.manager(nil, sandbox.DriverCgroupfs)
	if _, err := m.Create(t.Context(), "/a/b", "c1", sandbox.Resources{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"", "/a", "/a/b"} {
		on := strings.Fields(f.get(p + "/cgroup.subtree_control"))
		slices.Sort(on)
		if want := slices.Sorted(slices.Values(allControllers)); !slices.Equal(on, want) {
			t.Errorf("%q: got %v, want %v", p, on, want)
		}
	}
	if on := f.get("/a/b/c1/cgroup.subtree_control"); on != "" {
		t.Errorf("the group itself hands down %s, so no process could join it", on)
	}
	f.writes = nil
	if _, err := m.Create(t.Context(), "/a/b", "c2", sandbox.Resources{}); err != nil {
		t.Fatal(err)
	}
	if len(f.writes) != 0 {
		t.Errorf("the second group: got writes %v, want none", f.writes)
	}
}

func TestV2ParentWithProcesses(t *testing.T) {
	f := newFakeV2(t, allControllers...)
	m := f.manager(nil, sandbox.DriverCgroupfs)
	if err := f.mkdir(f.root + "/busy"); err != nil {
		t.Fatal(err)
	}
	f.put("/busy/cgroup.procs", "42\n")
	if _, err := m.Create(t.Context(), "/busy", "a", sandbox.Resources{}); err != nil {
		t.Errorf("without limits: %v", err)
	}
	var missing *MissingError
	if _, err := m.Create(t.Context(), "/busy", "b", sandbox.Resources{MemoryLimit: 1}); !errors.As(err, &missing) {
		t.Errorf("with a limit: got %v, want a missing controller", err)
	}
}

func TestV2Stats(t *testing.T) {
	f := newFakeV2(t, allControllers...)
	g, err := f.manager(nil, sandbox.DriverCgroupfs).Create(t.Context(), "", "c1", sandbox.Resources{MemoryLimit: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"cpu.stat":            "usage_usec 3\nuser_usec 2\nsystem_usec 1\nnr_periods 10\nnr_throttled 4\nthrottled_usec 5\n",
		"memory.current":      "5000\n",
		"memory.peak":         "6000\n",
		"memory.swap.current": "70\n",
		"memory.events":       "low 0\nhigh 0\nmax 8\noom 2\noom_kill 1\noom_group_kill 0\n",
		"memory.stat":         "anon 100\nfile 200\nkernel 300\nfile_mapped 40\ninactive_file 500\npgfault 6\npgmajfault 7\n",
		"pids.current":        "9\n",
		"pids.max":            "90\n",
		"memory.swap.max":     "800\n",
		"io.stat":             "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
		"memory.pressure":     "some avg10=1.50 avg60=2.00 avg300=3.00 total=4\nfull avg10=0.00 avg60=0.00 avg300=0.25 total=5\n",
	} {
		f.put(g.Path()+"/"+file, text)
	}
	got, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	want := sandbox.CgroupStats{
		CgroupUsage: sandbox.CgroupUsage{
			Time: got.Time, CPUUsage: 3000, MemoryUsage: 5000, MemoryWorkingSet: 4500, MemoryRSS: 100, MemoryLimit: 1 << 20,
			PageFaults: 6, MajorPageFaults: 7, SwapUsage: 70, SwapLimit: 800,
			MemoryPressure: sandbox.Pressure{
				Known: true, Some: sandbox.PressureTime{Avg10: 1.5, Avg60: 2, Avg300: 3, Total: 4000}, Full: sandbox.PressureTime{Avg300: 0.25, Total: 5000},
			},
		},
		CPUUser: 2000, CPUSystem: 1000, CPUPeriods: 10, CPUThrottled: 4, CPUThrottledTime: 5000,
		MemoryCache: 200, MemoryMapped: 40, MemoryKernel: 300, MemoryMax: 6000, MemoryFailcnt: 8, Pids: 9, PidsLimit: 90, OOMKills: 1,
		Devices: []sandbox.DeviceIO{{Name: deviceName(8, 16), Major: 8, Minor: 16, ReadBytes: 1, WriteBytes: 2, Reads: 3, Writes: 4}},
	}
	if u, err := g.Usage(); err != nil || u.CPUUsage != 3000 || u.MemoryPressure != want.MemoryPressure {
		t.Errorf("usage: got %+v, %v", u, err)
	}
	if !reflect.DeepEqual(got, want) || got.Time.IsZero() {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if n, err := g.OOMKills(); n != 1 || err != nil {
		t.Errorf("got %d, %v, want 1", n, err)
	}
}

func TestV2OrphansAndMarks(t *testing.T) {
	f := newFakeV2(t, allControllers...)
	if err := f.mkdir(f.root + "/theirs"); err != nil {
		t.Fatal(err)
	}
	m := f.manager(nil, sandbox.DriverCgroupfs)
	var paths []string
	for _, at := range [][2]string{{"", "a"}, {"/cri-wasmer/pod", "b"}, {"/theirs/new", "c"}} {
		g, err := m.Create(t.Context(), at[0], at[1], sandbox.Resources{})
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, g.Path())
	}
	f.put(paths[0]+"/cgroup.procs", "999999999\n") // killed by the fake's cgroup.kill
	m = f.manager(nil, sandbox.DriverCgroupfs)     // a new daemon
	if err := m.Orphans(t.Context(), map[string]bool{paths[1]: true, paths[2]: false}); err != nil {
		t.Fatal(err)
	}
	if got, want := f.groups(), []string{"/cri-wasmer", "/cri-wasmer/pod", "/cri-wasmer/pod/b", "/theirs"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestV2CreateUndoneOnFault(t *testing.T) {
	for _, file := range []string{"/cri-wasmer/c1/cpu.max", "/cri-wasmer/c1/memory.max", "/cri-wasmer/c1/memory.swap.max", "/cri-wasmer/c1/pids.max"} {
		f := newFakeV2(t, allControllers...)
		f.refuse[file] = unix.EIO
		_, err := f.manager(nil, sandbox.DriverCgroupfs).Create(t.Context(), "", "c1", sandbox.Resources{CPUQuota: 5, MemoryLimit: 5, MemorySwap: 5, PidsLimit: 5})
		var e *Error
		if !errors.Is(err, unix.EIO) || !errors.As(err, &e) || !strings.HasPrefix(e.File, file[len("/cri-wasmer/c1/"):]) {
			t.Errorf("%s: got %v, want an error about it", file, err)
		}
		if left := f.groups(); len(left) != 0 {
			t.Errorf("%s: left behind: %v", file, left)
		}
	}
}

func TestStaleEmptyGroupIsReplaced(t *testing.T) {
	f := newFakeV2(t, allControllers...)
	m := f.manager(nil, sandbox.DriverCgroupfs)
	if _, err := m.Create(t.Context(), "", "c1", sandbox.Resources{PidsLimit: 5}); err != nil {
		t.Fatal(err)
	}
	g, err := m.Create(t.Context(), "", "c1", sandbox.Resources{})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.get(g.Path() + "/pids.max"); got != "max" {
		t.Errorf("got the old limit %s", got)
	}
	f.put(g.Path()+"/cgroup.procs", "5\n")
	if _, err := m.Create(t.Context(), "", "c1", sandbox.Resources{}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("one with processes: got %v, want EBUSY", err)
	}
	if _, err := os.Stat(f.root + g.Path()); err != nil {
		t.Errorf("the group of somebody else is gone: %v", err)
	}
}

func TestRequestsThatNameNoGroup(t *testing.T) {
	f := newFakeV2(t, allControllers...)
	m := f.manager(nil, sandbox.DriverCgroupfs)
	for _, at := range [][2]string{{"", ""}, {"", "a/b"}, {"", ".."}, {"/", "a"}, {"kubepods-pod1.slice", "a"}, {"/pods\x00", "a"}, {"/pods\n", "a"}} {
		if _, err := m.Create(t.Context(), at[0], at[1], sandbox.Resources{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got %v, want an invalid request", at, err)
		}
		if at[0] == "" {
			continue
		}
		if _, err := m.OfParent(at[0]); !errors.Is(err, ErrInvalid) {
			t.Errorf("of parent %q: got %v, want an invalid request", at[0], err)
		}
	}
	for _, p := range []string{"", "/", "a", "/a/../b", "/a/"} {
		if _, err := m.Open(p); !errors.Is(err, ErrInvalid) {
			t.Errorf("open %q: got %v, want an invalid request", p, err)
		}
	}
	g, err := m.Open("/not/there")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := errors.Join(g.Kill(ctx), g.Delete(ctx)); err != nil {
		t.Errorf("a group that is not there: %v", err)
	}
	_, serr := g.Stats()
	_, oerr := g.OOMKills()
	_, jerr := g.JoinFiles()
	for _, err := range []error{serr, oerr, jerr, g.Join(ctx, 1), g.Update(ctx, sandbox.Resources{PidsLimit: 1})} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a group that is not there: got %v, want not exist", err)
		}
	}
}

func TestWeight(t *testing.T) {
	for shares, want := range map[int64]uint64{1: 1, 2: 1, 10: 4, 102: 17, 512: 59, 1024: 100, 2048: 174, 262144: 10000, 1 << 40: 10000} {
		if got := weight(shares); got != want {
			t.Errorf("%d shares: got %d, want %d", shares, got, want)
		}
	}
	for s := int64(2); s < 262144; s++ {
		if weight(s) > weight(s+1) {
			t.Fatalf("weight falls from %d to %d shares", s, s+1)
		}
	}
}

// TestV2OnThisKernel uses a real cgroup v2, which on hybrid machines has no
// controllers to speak of.
func TestV2OnThisKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make control groups")
	}
	root := "/sys/fs/cgroup"
	for _, dir := range []string{root, root + "/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			root = dir
		}
	}
	before, err := os.ReadFile(root + "/cgroup.subtree_control")
	if err != nil {
		t.Skip("no cgroup v2 is mounted: ", err)
	}
	t.Cleanup(func() { // as it was
		after, _ := os.ReadFile(root + "/cgroup.subtree_control")
		for _, c := range strings.Fields(string(after)) {
			if !slices.Contains(strings.Fields(string(before)), c) {
				os.WriteFile(root+"/cgroup.subtree_control", []byte("-"+c), 0)
			}
		}
	})
	l := layout{unified: true, trees: []hierarchy{{root: root}}}
	m, err := newManager(Config{Driver: sandbox.DriverCgroupfs, DefaultParent: fmt.Sprintf("/cri-wasmer-test-%d", os.Getpid())}, newTree(l, kernelFiles{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	g := m.mustCreate(t, "a", sandbox.Resources{})
	proc := newSleeper(t)
	if err := g.Join(t.Context(), proc.pid); err != nil {
		t.Fatal(err)
	}
	if s, err := g.Stats(); err != nil || s.Time.IsZero() {
		t.Errorf("got %+v, %v", s, err)
	}
	files, err := g.JoinFiles()
	if err != nil || len(files) != 1 {
		t.Fatalf("got %d files, %v, want 1", len(files), err)
	}
	files[0].Close()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := g.Delete(short); !errors.Is(err, unix.EBUSY) {
		t.Errorf("delete with a process: got %v, want EBUSY", err)
	}
	if err := errors.Join(g.Kill(t.Context()), g.Delete(t.Context())); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(root + m.parent); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the parent is still there: %v", err)
	}
}

func TestTheDefaultParentIsNamedByDriverAndDaemon(t *testing.T) {
	for _, tc := range []struct {
		cfg  Config
		want string
	}{
		{Config{Driver: sandbox.DriverCgroupfs}, "/cri-wasmer"},
		{Config{Driver: sandbox.DriverCgroupfs, Suffix: "_0a"}, "/cri-wasmer_0a"},
		{Config{Driver: sandbox.DriverSystemd, Suffix: "_0a"}, "/cri.slice/cri-wasmer_0a.slice"},
		{Config{Driver: sandbox.DriverCgroupfs, DefaultParent: "/pods", Suffix: "_0a"}, "/pods"},
	} {
		m, err := newManager(tc.cfg, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Parent(); got != tc.want {
			t.Errorf("%+v: parent %s, want %s", tc.cfg, got, tc.want)
		}
	}
}
