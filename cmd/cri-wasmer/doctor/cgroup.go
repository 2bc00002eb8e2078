package doctor

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
	"github.com/cri-wasmer/cri-wasmer/sandbox/cgroup"
)

// controllers that limits of pods need; without the rest they only work less
// well.
var (
	neededControllers = []string{"cpu", "memory"}
	usefulControllers = []string{"cpuset", "pids"}
)

func (d *Doctor) cgroups(context.Context) {
	unified, have, err := controllers(d.Host)
	if err != nil {
		d.problem("mount cgroup2 at "+d.Host.Cgroup, "no control groups: %v", err)
		return
	}
	version := "1"
	if unified {
		version = "2"
	}
	d.ok("version %s with %s", version, strings.Join(have, ", "))
	for _, c := range neededControllers {
		if !slices.Contains(have, c) {
			d.problem("enable it in the kernel (cgroup_enable="+c+") or delegate it to this container", "there is no controller %s: limits of pods cannot be set", c)
		}
	}
	for _, c := range usefulControllers {
		if !slices.Contains(have, c) {
			d.warn("enable it in the kernel, or delegate it to this container", "there is no controller %s", c)
		}
	}
	if !unified && len(d.kubelet.files) > 0 && d.kubelet.values["failCgroupV1"] != "false" {
		d.problem("boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1), or set failCgroupV1: false in the kubelet's configuration",
			"the node has cgroup v1, with which kubelets since 1.35 do not start")
	}
	d.driver()
}

// controllers gives the version of control groups and what they control.
func controllers(h Host) (unified bool, names []string, err error) {
	if data, err := os.ReadFile(filepath.Join(h.Cgroup, "cgroup.controllers")); err == nil {
		return true, strings.Fields(string(data)), nil
	}
	entries, err := os.ReadDir(h.Cgroup)
	if err != nil {
		return false, nil, err
	}
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(h.Cgroup, e.Name(), "tasks")); err == nil {
			names = append(names, strings.Split(e.Name(), ",")...)
		}
	}
	if len(names) == 0 {
		return false, nil, unix.ENOENT
	}
	slices.Sort(names)
	return false, slices.Compact(names), nil
}

// driver finds which driver the daemon uses and compares it with the kubelet's.
func (d *Doctor) driver() {
	c := cgroup.Config{DefaultParent: d.Options.Cgroup.Parent, Mount: d.Host.Cgroup}
	if name := d.Options.Cgroup.Driver; name != "auto" {
		c.Driver = sandbox.CgroupDriver(name)
	}
	m, err := cgroup.New(c)
	if err != nil {
		d.problem("set the option cgroup.driver to what the node has", "%v", err)
		return
	}
	defer m.Close()
	driver := string(m.Driver())
	theirs := d.kubelet.values["cgroupDriver"]
	if theirs != "" && theirs != driver {
		d.warn("set cgroupDriver: "+driver+" in the kubelet's configuration, or the option cgroup.driver to "+theirs,
			"the driver is %s and the kubelet's configuration says %s: kubelets since 1.31 ask and follow, older ones make pods fail", driver, theirs)
		return
	}
	d.ok("driver %s", driver)
}
