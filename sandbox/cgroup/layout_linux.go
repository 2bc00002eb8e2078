package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// hierarchy is one mounted tree.
type hierarchy struct {
	root        string   // where it is mounted
	controllers []string // "systemd" for the named one of v1; empty on v2
}

// layout is how the host has mounted its hierarchies.
type layout struct {
	unified bool
	trees   []hierarchy // one on v2
}

// used are the controllers of v1 in whose hierarchies groups are made.
var used = []string{"cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "hugetlb", systemdName}

const systemdName = "systemd"

// readLayout finds the hierarchies at and below mount.
func readLayout(mount string) (layout, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return layout{}, err
	}
	defer f.Close()
	return parseLayout(f, filepath.Clean(mount))
}

func parseLayout(mountinfo io.Reader, mount string) (layout, error) {
	var l layout
	lines := bufio.NewScanner(mountinfo)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		point, fstype, options, ok := parseMount(lines.Text())
		if !ok || point != mount && filepath.Dir(point) != mount {
			continue
		}
		switch {
		case fstype == "cgroup2" && point == mount:
			return layout{unified: true, trees: []hierarchy{{root: point}}}, nil
		case fstype == "cgroup":
			l.add(point, options)
		}
	}
	if err := lines.Err(); err != nil {
		return l, err
	}
	if len(l.trees) == 0 {
		return l, fmt.Errorf("no control groups are mounted at %s (mount -t cgroup2 none %s)", mount, mount)
	}
	return l, nil
}

// add takes a hierarchy of v1 that has a controller we use and that is not
// known yet: some hosts mount one twice.
func (l *layout) add(point string, options []string) {
	var has []string
	for _, o := range options {
		o = strings.TrimPrefix(o, "name=")
		if slices.Contains(used, o) && l.find(o) == nil {
			has = append(has, o)
		}
	}
	if len(has) > 0 {
		l.trees = append(l.trees, hierarchy{root: point, controllers: has})
	}
}

// find gives the hierarchy of a controller of v1; nil when there is none.
func (l *layout) find(controller string) *hierarchy {
	for i := range l.trees {
		if slices.Contains(l.trees[i].controllers, controller) {
			return &l.trees[i]
		}
	}
	return nil
}

// parseMount takes a line of mountinfo apart. options are the filesystem's.
func parseMount(line string) (point, fstype string, options []string, ok bool) {
	mount, super, found := strings.Cut(line, " - ")
	words, rest := strings.Fields(mount), strings.Fields(super)
	if !found || len(words) < 6 || len(rest) < 3 {
		return "", "", nil, false
	}
	return unescape(words[4]), rest[0], strings.Split(rest[2], ","), true
}

// unescape undoes the octal escapes of mountinfo.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// absent says that an error means "it is gone", whoever says it.
func absent(err error) bool {
	return errors.Is(err, os.ErrNotExist) || isNoDevice(err)
}
