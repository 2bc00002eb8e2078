package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// v2 is the one hierarchy of cgroup v2. It has no state and is safe for
// concurrent use.
type v2 struct {
	files files
	root  string
}

// wanted are the controllers that groups get where the kernel has them.
var wanted = []string{"cpu", "cpuset", "io", "memory", "pids", "hugetlb"}

func (t *v2) noted(j *journal) tree {
	j.files = t.files
	return &v2{files: j, root: t.root}
}

func (t *v2) make(p string) error {
	err := t.tryMake(p)
	for try := 0; errors.Is(err, os.ErrNotExist) && try < makeTries; try++ {
		if err = t.makeParents(path.Dir(p)); err == nil {
			err = t.tryMake(p)
		}
	}
	if err == nil {
		err = t.enable(path.Dir(p))
	}
	if err != nil {
		return errors.Join(&Error{Op: "create", Path: p, Err: err}, t.remove(p))
	}
	return nil
}

// tryMake makes p, in place of an empty one that a daemon which died in Create
// has left.
func (t *v2) tryMake(p string) error {
	err := t.files.mkdir(t.root + p)
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := t.files.rmdir(t.root + p); err != nil && !absent(err) {
		return err
	}
	return t.files.mkdir(t.root + p)
}

func (t *v2) makeParents(p string) error {
	if p == "/" {
		return nil
	}
	err := t.files.mkdir(t.root + p)
	if errors.Is(err, os.ErrNotExist) {
		if err = t.makeParents(path.Dir(p)); err == nil {
			err = t.files.mkdir(t.root + p)
		}
	}
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return markNew(t.files, t.root+p)
}

// adopt lets the parent of a scope that systemd made hand on its controllers.
func (t *v2) adopt(p string) error {
	if err := t.enable(path.Dir(p)); err != nil {
		return &Error{Op: "create", Path: p, Err: err}
	}
	return nil
}

// enable hands the wanted controllers down to the children of p. A group that
// has them needs one read.
func (t *v2) enable(p string) error {
	on, err := t.words(p, "cgroup.subtree_control")
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(wanted, func(c string) bool { return !slices.Contains(on, c) }) {
		return nil
	}
	if p != "/" {
		if err := t.enable(path.Dir(p)); err != nil {
			return err
		}
	}
	has, err := t.words(p, "cgroup.controllers")
	if err != nil {
		return err
	}
	for _, c := range wanted {
		if slices.Contains(on, c) || !slices.Contains(has, c) {
			continue
		}
		// One that is refused is missed only if somebody sets its limit: a
		// parent with processes of its own hands down none, for example.
		if err := t.files.write(t.root+p+"/cgroup.subtree_control", "+"+c); err != nil && absent(err) {
			return err
		}
	}
	return nil
}

// words gives the names in a file of p.
func (t *v2) words(p, file string) ([]string, error) {
	text, err := t.text(p, file)
	return strings.Fields(text), err
}

func (t *v2) text(p, file string) (string, error) {
	var buf [512]byte
	n, err := t.files.read(t.root+p+"/"+file, buf[:])
	return strings.TrimSpace(string(buf[:n])), err
}

func (t *v2) joinFiles(p string) ([]*os.File, error) {
	return openJoinFiles([]hierarchy{{root: t.root}}, p, "cgroup.procs")
}

func (t *v2) join(p string, pid int) error {
	if err := t.files.write(t.root+p+"/cgroup.procs", strconv.Itoa(pid)); err != nil {
		return &Error{Op: "join", Path: p, File: "cgroup.procs", Err: err}
	}
	return nil
}

func (t *v2) children(p string) []string {
	names, _ := t.files.list(t.root + p)
	return names
}

func (t *v2) remove(p string) error {
	if err := removeTree(t.files, t.root, p); err != nil {
		return &Error{Op: "delete", Path: p, Err: err}
	}
	removeParents(t.files, t.root, path.Dir(p))
	return nil
}

// kill uses cgroup.kill (Linux 5.14), which misses nobody who forks meanwhile.
func (t *v2) kill(p string) (bool, error) {
	err := t.files.write(t.root+p+"/cgroup.kill", "1")
	if err == nil {
		return t.populated(p), nil
	}
	left, err := killTree(t.files, t.root+p)
	if err != nil {
		return false, &Error{Op: "kill", Path: p, Err: err}
	}
	return left, nil
}

func (t *v2) populated(p string) bool {
	text, err := t.text(p, "cgroup.events")
	return err == nil && strings.Contains(text, "populated 1")
}

func (t *v2) apply(p string, r *sandbox.Resources) error {
	if err := checkResources(r); err != nil {
		return &Error{Op: "limit", Path: p, Err: err}
	}
	for _, set := range []func(string, *sandbox.Resources) error{
		t.setCPU, t.setMemory, t.setRest, t.setHugepages, t.setUnified,
	} {
		if err := set(p, r); err != nil {
			return err
		}
	}
	return nil
}

// set writes a limit. The controller is the file's first name.
func (t *v2) set(p, field, file, value string) error {
	err := t.files.write(t.root+p+"/"+file, value)
	if err == nil {
		return nil
	}
	if errors.Is(err, os.ErrNotExist) {
		if _, e := t.text(p, "cgroup.procs"); e == nil { // the group is there
			controller, _, _ := strings.Cut(file, ".")
			return &Error{Op: "limit", Path: p, File: file, Err: &MissingError{Controller: controller, Limit: field}}
		}
	}
	return &Error{Op: "limit", Path: p, File: file + "=" + value, Err: refused(err)}
}

func (t *v2) setCPU(p string, r *sandbox.Resources) error {
	if r.CPUShares != 0 {
		if err := t.set(p, "cpu shares", "cpu.weight", strconv.FormatUint(weight(r.CPUShares), 10)); err != nil {
			return err
		}
	}
	if r.CPUQuota == 0 && r.CPUPeriod == 0 {
		return nil
	}
	now, _ := t.text(p, "cpu.max")
	return t.set(p, "cpu quota", "cpu.max", cpuMax(r, now))
}

// splitCPUMax takes cpu.max apart; a missing half is the kernel's default.
func splitCPUMax(text string) (quota, period string) {
	quota, period, _ = strings.Cut(text, " ")
	if quota == "" {
		quota = "max"
	}
	if period == "" {
		period = "100000"
	}
	return quota, period
}

func (t *v2) setMemory(p string, r *sandbox.Resources) error {
	if r.MemoryLimit != 0 {
		if err := t.checkInUse(p, r.MemoryLimit); err != nil {
			return err
		}
		if err := t.set(p, "memory", "memory.max", limitText(r.MemoryLimit)); err != nil {
			return err
		}
	}
	swap, ok, err := t.swapMax(p, r)
	if err != nil || !ok {
		return err
	}
	err = t.set(p, "memory and swap", "memory.swap.max", swap)
	if missing := new(*MissingError); errors.As(err, missing) && (swap == "max" || !hostHasSwap()) {
		return nil // the kernel does not count swap, and there is none
	}
	return err
}

// checkInUse refuses a memory limit, as the kernel does on v1, where the group
// uses more than it can give back: to make it fit, the kernel would kill.
func (t *v2) checkInUse(p string, limit int64) error {
	if limit == noLimit {
		return nil
	}
	r := newReader(t.files)
	defer r.close()
	r.dir = t.root + p
	inUse := r.number("memory.current")
	stat := r.text("memory.stat")
	for _, reclaimable := range []string{"active_file", "inactive_file", "slab_reclaimable"} {
		inUse = less(inUse, keyed(stat, reclaimable))
	}
	if inUse <= uint64(limit) {
		return nil
	}
	return &Error{Op: "limit", Path: p, File: "memory.max=" + limitText(limit), Err: fmt.Errorf("%d bytes are in use: %w", inUse, sandbox.ErrPrecondition)}
}

// swapMax is memory.swap.max, which counts swap alone, where Resources counts
// memory and swap together. ok is false when it does not change.
func (t *v2) swapMax(p string, r *sandbox.Resources) (value string, ok bool, err error) {
	switch {
	case r.MemorySwap == noLimit, r.MemorySwap == 0 && r.MemoryLimit == noLimit:
		return "max", true, nil
	case r.MemorySwap == 0:
		return "", false, nil
	}
	memory := r.MemoryLimit
	if memory == 0 {
		text, _ := t.text(p, "memory.max")
		if memory, err = strconv.ParseInt(text, 10, 64); err != nil {
			return "", false, &Error{Op: "limit", Path: p, Err: invalid("memory and swap limit without a memory limit")}
		}
	}
	if r.MemorySwap < memory {
		return "", false, &Error{Op: "limit", Path: p, Err: invalid("memory and swap limit %d is below the memory limit %d", r.MemorySwap, memory)}
	}
	return strconv.FormatInt(r.MemorySwap-memory, 10), true, nil
}

func (t *v2) setRest(p string, r *sandbox.Resources) error {
	for _, l := range []struct{ field, file, value string }{
		{"cpuset cpus", "cpuset.cpus", r.CpusetCpus},
		{"cpuset mems", "cpuset.mems", r.CpusetMems},
	} {
		if l.value == "" {
			continue
		}
		if err := t.set(p, l.field, l.file, l.value); err != nil {
			return err
		}
	}
	if r.PidsLimit == 0 {
		return nil
	}
	return t.set(p, "pids", "pids.max", limitText(r.PidsLimit))
}

// setHugepages limits huge pages; see v1 about a limit of 0. The limit on
// reserved pages came with Linux 5.7.
func (t *v2) setHugepages(p string, r *sandbox.Resources) error {
	for size, n := range r.HugepageLimits {
		value := strconv.FormatUint(n, 10)
		err := t.set(p, "huge pages of "+size, "hugetlb."+size+".max", value)
		if missing := new(*MissingError); n == 0 && errors.As(err, missing) {
			continue
		}
		if err != nil {
			return err
		}
		if err := t.files.write(t.root+p+"/hugetlb."+size+".rsvd.max", value); err != nil && !absent(err) {
			return &Error{Op: "limit", Path: p, File: "hugetlb." + size + ".rsvd.max", Err: err}
		}
	}
	return nil
}

// setUnified writes files as the request names them.
func (t *v2) setUnified(p string, r *sandbox.Resources) error {
	names := make([]string, 0, len(r.Unified))
	for name := range r.Unified {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.ContainsAny(name, "/\x00") || !strings.Contains(name, ".") || strings.HasPrefix(name, "cgroup.") {
			return &Error{Op: "limit", Path: p, Err: invalid("unified resource %q is not a controller's file", name)}
		}
		if strings.TrimSpace(r.Unified[name]) == "" {
			return &Error{Op: "limit", Path: p, Err: invalid("unified resource %q has no value", name)}
		}
		// A file of several lines takes them one by one.
		for line := range strings.Lines(r.Unified[name]) {
			if err := t.set(p, "unified "+name, name, strings.TrimSpace(line)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *v2) oomKills(p string) (uint64, error) {
	buf := make([]byte, 512)
	n, err := t.files.read(t.root+p+"/memory.events", buf)
	if err == nil {
		return keyed(buf[:n], "oom_kill"), nil
	}
	if _, e := t.text(p, "cgroup.procs"); e == nil && errors.Is(err, unix.ENOENT) {
		return 0, nil // no memory controller
	}
	return 0, &Error{Op: "read", Path: p, File: "memory.events", Err: err}
}

// keyed gives the number after a key at the start of a line; 0 without it.
func keyed(text []byte, key string) uint64 {
	for len(text) > 0 {
		line := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line, text = text[:i], text[i+1:]
		} else {
			text = nil
		}
		if len(line) > len(key) && line[len(key)] == ' ' && string(line[:len(key)]) == key {
			return number(line[len(key)+1:])
		}
	}
	return 0
}

// number parses the digits at the start of text; "max" and the like are 0.
func number(text []byte) uint64 {
	var n uint64
	for _, c := range text {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + uint64(c-'0')
	}
	return n
}
