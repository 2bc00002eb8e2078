package doctor

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// leftovers looks for what outlived its pod. A daemon removes it when it starts.
func (d *Doctor) leftovers(context.Context) {
	d.quarantine()
	pods, containers := d.ids("pods"), d.ids("containers")
	if d.daemon != nil {
		d.ok("the daemon holds %s and %s, and removed what was left when it started", Number(len(pods), "pod"), Number(len(containers), "container"))
		return
	}
	if workers := d.workers(); workers > 0 {
		d.note("%d containers and helpers run without a daemon: the next one adopts them", workers)
	}
	found := d.strays("network namespace", d.names(filepath.Join(d.Options.State, "netns")), pods)
	found = d.strays("writable layer", d.names(filepath.Join(d.Options.Root, "rootfs")), containers) || found
	found = d.strays("control group", d.groups(), containers) || found
	found = d.strayMounts() || found
	if !found {
		d.ok("nothing is left of pods that are gone")
	}
}

const startIt = "start the daemon, which removes it"

// strays tells of names that no record has.
func (d *Doctor) strays(what string, names []string, known map[string]bool) (found bool) {
	var list []string
	for _, name := range names {
		if !known[name] {
			list = append(list, name)
		}
	}
	if len(list) == 0 {
		return false
	}
	d.warn(startIt, "%d left of kind %s: %s", len(list), what, shortList(list))
	return true
}

func shortList(list []string) string {
	if len(list) > 5 {
		list = append(list[:5:5], "...")
	}
	return strings.Join(list, ", ")
}

// ids lists the objects that there are records of.
func (d *Doctor) ids(kind string) map[string]bool {
	known := map[string]bool{}
	for _, name := range d.names(filepath.Join(d.Options.Root, kind)) {
		if id, ok := strings.CutSuffix(name, ".json"); ok {
			known[id] = true
		}
	}
	return known
}

// names lists a directory, without what is hidden.
func (d *Doctor) names(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names
}

// groups lists the control groups of containers below the default parent, by
// the hierarchy that has the most of them.
func (d *Doctor) groups() []string {
	parent := d.Options.Cgroup.Parent
	if parent == "" {
		parent = "/cri-wasmer" + d.Options.Suffix()
	}
	var names []string
	for _, tree := range []string{"", "pids", "memory"} {
		for _, name := range d.names(filepath.Join(d.Host.Cgroup, tree, parent)) {
			if info, err := os.Stat(filepath.Join(d.Host.Cgroup, tree, parent, name)); err == nil && info.IsDir() && isID(name) {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			break
		}
	}
	return names
}

// isID says whether a name is the id of a container.
func isID(name string) bool {
	return len(name) == 64 && strings.Trim(name, "0123456789abcdef") == ""
}

// strayMounts tells of mounts below our directories whose pods are gone: the
// ones that are right are in namespaces of their own, apart from those that hold
// namespaces of pods, as POD or POD.KIND below a directory of their own.
func (d *Doctor) strayMounts() bool {
	f, err := os.Open(filepath.Join(d.Host.Proc, "self/mountinfo"))
	if err != nil {
		return false
	}
	defer f.Close()
	pods := d.ids("pods")
	var list []string
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 5 {
			continue
		}
		point := fields[4]
		below := strings.HasPrefix(point, d.Options.Root+"/rootfs/") || strings.HasPrefix(point, d.Options.State+"/")
		pod, _, _ := strings.Cut(filepath.Base(point), ".")
		if below && isID(pod) && !pods[pod] && !slices.Contains(list, point) {
			list = append(list, point)
		}
	}
	if len(list) == 0 {
		return false
	}
	d.warn(startIt, "%d mounts left: %s", len(list), shortList(list))
	return true
}

// workers counts the processes of containers.
func (d *Doctor) workers() int {
	n := 0
	links, err := filepath.Glob(filepath.Join(d.Host.Proc, "[0-9]*", "exe"))
	if err != nil {
		return 0
	}
	for _, link := range links {
		exe, err := os.Readlink(link)
		if err == nil && strings.HasPrefix(filepath.Base(exe), "cri-wasmer-worker") {
			n++
		}
	}
	return n
}

// quarantine tells of records that did not parse.
func (d *Doctor) quarantine() {
	for _, kind := range []string{"pods", "containers"} {
		dir := filepath.Join(d.Options.Root, kind, "quarantine")
		if list := d.names(dir); len(list) > 0 {
			d.warn("look at them, report how they came to be, and remove them: their "+kind+" are gone already", "%s in %s", Number(len(list), "damaged record"), dir)
		}
	}
}
