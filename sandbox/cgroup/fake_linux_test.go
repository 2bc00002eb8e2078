package cgroup

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// controllerFiles are those that a group gets from each controller.
var controllerFiles = map[string]map[string]string{
	"cpu":     {"cpu.weight": "100", "cpu.max": "max 100000"},
	"cpuset":  {"cpuset.cpus": "", "cpuset.mems": ""},
	"memory":  {"memory.max": "max", "memory.swap.max": "max", "memory.high": "max", "memory.current": "0", "memory.events": "oom_kill 0\n", "memory.stat": "", "memory.peak": "0", "memory.swap.current": "0", "memory.oom.group": "0"},
	"pids":    {"pids.max": "max", "pids.current": "0"},
	"hugetlb": {"hugetlb.2MB.max": "max", "hugetlb.2MB.rsvd.max": "max"},
}

// fakeV2 is a directory that behaves as a mounted cgroup v2 does, as far as the
// package can tell.
type fakeV2 struct {
	kernelFiles
	t    *testing.T
	root string

	mu     sync.Mutex
	writes []string         // "path value" of each
	refuse map[string]error // by the path of a file below the root
}

func newFakeV2(t *testing.T, controllers ...string) *fakeV2 {
	t.Helper()
	f := &fakeV2{t: t, root: t.TempDir(), refuse: map[string]error{}}
	f.put("/cgroup.controllers", strings.Join(controllers, " "))
	f.put("/cgroup.subtree_control", "")
	f.put("/cgroup.procs", "1\n")
	return f
}

// manager uses the fake with the cgroupfs driver.
func (f *fakeV2) manager(b bus, driver sandbox.CgroupDriver) *Manager {
	f.t.Helper()
	l := layout{unified: true, trees: []hierarchy{{root: f.root}}}
	m, err := newManager(Config{Driver: driver}, newTree(l, f), b)
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

func (f *fakeV2) put(path, text string) {
	f.t.Helper()
	if err := os.WriteFile(f.root+path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fakeV2) get(path string) string {
	text, err := os.ReadFile(f.root + path)
	if err != nil {
		return "(" + filepath.Base(path) + " is not there)"
	}
	return strings.TrimSpace(string(text))
}

func (f *fakeV2) mkdir(path string) error {
	if err := f.kernelFiles.mkdir(path); err != nil {
		return err
	}
	p := strings.TrimPrefix(path, f.root)
	on := strings.Fields(f.get(filepath.Dir(p) + "/cgroup.subtree_control"))
	f.put(p+"/cgroup.controllers", strings.Join(on, " "))
	for name, text := range map[string]string{
		"cgroup.subtree_control": "", "cgroup.procs": "", "cgroup.kill": "", "cgroup.events": "populated 0\n",
		"cpu.stat": "usage_usec 0\n",
	} {
		f.put(p+"/"+name, text)
	}
	for _, c := range on {
		f.addController(p, c)
	}
	return nil
}

func (f *fakeV2) addController(p, controller string) {
	for name, text := range controllerFiles[controller] {
		f.put(p+"/"+name, text)
	}
}

func (f *fakeV2) rmdir(path string) error {
	dirs, err := f.list(path)
	if os.IsNotExist(err) {
		return unix.ENOENT
	}
	if len(dirs) > 0 || f.get(strings.TrimPrefix(path, f.root)+"/cgroup.procs") != "" {
		return unix.EBUSY
	}
	return os.RemoveAll(path)
}

func (f *fakeV2) write(path, value string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := strings.TrimPrefix(filepath.Clean(path), f.root)
	if err := f.refuse[p]; err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return unix.ENOENT
	}
	f.writes = append(f.writes, p+" "+value)
	dir, name := filepath.Split(p)
	switch name {
	case "cgroup.subtree_control":
		return f.delegate(strings.TrimSuffix(dir, "/"), value)
	case "cgroup.kill":
		f.put(dir+"cgroup.procs", "")
	case "cgroup.procs":
		f.put(p, f.get(p)+"\n"+value)
	default:
		f.put(p, value)
	}
	return nil
}

// delegate turns a controller on for the children of p.
func (f *fakeV2) delegate(p, value string) error {
	c := strings.TrimPrefix(value, "+")
	if !slices.Contains(strings.Fields(f.get(p+"/cgroup.controllers")), c) {
		return unix.ENOENT
	}
	if p != "" && f.get(p+"/cgroup.procs") != "" {
		return unix.EBUSY
	}
	f.put(p+"/cgroup.subtree_control", strings.TrimSpace(f.get(p+"/cgroup.subtree_control")+" "+c))
	dirs, _ := f.list(f.root + p)
	for _, d := range dirs {
		child := p + "/" + d
		f.put(child+"/cgroup.controllers", f.get(child+"/cgroup.controllers")+" "+c)
		f.addController(child, c)
	}
	return nil
}

// groups lists all groups.
func (f *fakeV2) groups() []string {
	var all []string
	filepath.WalkDir(f.root, func(path string, d os.DirEntry, _ error) error {
		if p := strings.TrimPrefix(path, f.root); d.IsDir() && p != "" {
			all = append(all, p)
		}
		return nil
	})
	return all
}
