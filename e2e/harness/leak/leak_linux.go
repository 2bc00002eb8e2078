// Package leak takes stock of what a server holds of the machine, so that a
// test can show that nothing remains.
//
// A Snapshot is a set of named things: processes, mounts, network namespaces,
// links, control groups, files and descriptors. It sees the namespaces of the
// process that takes it; in those of package isolate every process and every
// mount is a product of the test.
package leak

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
)

// Scope says what to look at besides processes, mounts, links and namespaces.
type Scope struct {
	Daemon int      // pid, whose descriptors are counted; 0: none
	Dirs   []string // whose files are listed
	// Ignore drops things whose name has one of these parts, IgnoreEnds those
	// whose name ends so.
	Ignore, IgnoreEnds []string
}

// Snapshot is the names of all that is there, each with a count.
type Snapshot map[string]int

// Take takes stock.
func Take(s Scope) (Snapshot, error) {
	snap := Snapshot{}
	steps := []func(Scope, func(kind, name string)) error{
		processes, mounts, networkNamespaces, links, packetFilter, controlGroups, files, descriptors,
	}
	add := func(kind, name string) {
		full := kind + " " + name
		for _, part := range s.Ignore {
			if strings.Contains(full, part) {
				return
			}
		}
		for _, end := range s.IgnoreEnds {
			if strings.HasSuffix(full, end) {
				return
			}
		}
		snap[full]++
	}
	for _, step := range steps {
		if err := step(s, add); err != nil {
			return nil, err
		}
	}
	return snap, nil
}

// Since lists what is there now and was not before, sorted.
func (now Snapshot) Since(before Snapshot) []string {
	var more []string
	for name, n := range now {
		if was := before[name]; n > was {
			more = append(more, fmt.Sprintf("%s (%d, was %d)", name, n, was))
		}
	}
	sort.Strings(more)
	return more
}

// Wait takes stock until nothing is there that was not before, at most for d,
// since the kernel takes some things down in its own time. It gives what is
// left.
func Wait(before Snapshot, s Scope, d time.Duration) ([]string, error) {
	for deadline := time.Now().Add(d); ; time.Sleep(50 * time.Millisecond) {
		now, err := Take(s)
		if err != nil {
			return nil, err
		}
		more := now.Since(before)
		if len(more) == 0 || time.Now().After(deadline) {
			return more, nil
		}
	}
}

// processes are named by their command line without its arguments; a zombie is
// one too.
func processes(_ Scope, add func(kind, name string)) error {
	for _, pid := range pids() {
		stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		if err != nil {
			continue // it has ended
		}
		open, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
		if open < 0 || end < open {
			return fmt.Errorf("/proc/%s/stat: %q", pid, stat)
		}
		if state := strings.Fields(string(stat[end+1:])); len(state) > 0 && state[0] == "Z" {
			add("zombie", string(stat[open+1:end]))
			continue
		}
		add("process", string(stat[open+1:end]))
	}
	return nil
}

func pids() []string {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var list []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			list = append(list, e.Name())
		}
	}
	return list
}

func mounts(_ Scope, add func(kind, name string)) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			add("mount", fields[4])
		}
	}
	return nil
}

// networkNamespaces are those of the processes, and those that a file keeps
// alive, which are mounts as well.
func networkNamespaces(_ Scope, add func(kind, name string)) error {
	seen := map[string]bool{}
	for _, pid := range pids() {
		if ns, err := os.Readlink(filepath.Join("/proc", pid, "ns/net")); err == nil && !seen[ns] {
			seen[ns] = true
			add("netns", "of processes")
		}
	}
	return nil
}

func links(_ Scope, add func(kind, name string)) error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range interfaces {
		add("link", i.Name)
	}
	return nil
}

// packetFilter lists the rules of nftables, where the tool for it is there.
func packetFilter(_ Scope, add func(kind, name string)) error {
	nft, err := exec.LookPath("nft")
	if err != nil {
		return nil
	}
	out, err := exec.Command(nft, "list", "ruleset").Output()
	if err != nil {
		return fmt.Errorf("nft list ruleset: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if line != "" && line != "}" {
			add("nft", line)
		}
	}
	return nil
}

func controlGroups(_ Scope, add func(kind, name string)) error {
	if isolate.Group() == "" {
		return nil
	}
	roots, err := isolate.CgroupRoots()
	if err != nil {
		return err
	}
	for _, root := range roots {
		err := walk(filepath.Join(root, isolate.Group()), func(path string, d fs.DirEntry) {
			if d.IsDir() {
				add("cgroup", path)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func files(s Scope, add func(kind, name string)) error {
	for _, dir := range s.Dirs {
		if err := walk(dir, func(path string, _ fs.DirEntry) { add("file", path) }); err != nil {
			return err
		}
	}
	return nil
}

// walk visits a tree that may change meanwhile.
func walk(dir string, visit func(path string, d fs.DirEntry)) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		visit(path, d)
		return nil
	})
}

// descriptors counts those of the daemon by what they are: the names of most
// differ from run to run.
func descriptors(s Scope, add func(kind, name string)) error {
	if s.Daemon == 0 {
		return nil
	}
	dir := fmt.Sprintf("/proc/%d/fd", s.Daemon)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		add("daemon fd", descriptorKind(target))
	}
	return nil
}

var namedDescriptors = []string{"socket", "pipe", "anon_inode", "net", "mnt", "pid"}

func descriptorKind(target string) string {
	kind, rest, ok := strings.Cut(target, ":")
	if ok && slices.Contains(namedDescriptors, kind) {
		if kind == "anon_inode" {
			return kind + " " + rest
		}
		return kind
	}
	return target
}
