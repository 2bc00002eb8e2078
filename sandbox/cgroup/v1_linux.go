package cgroup

import (
	"errors"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// v1 is a set of hierarchies of cgroup v1. It has no state and is safe for
// concurrent use.
type v1 struct {
	files  files
	layout layout
}

// makeTries bounds how often making a group starts again because its parent
// went away meanwhile, with what was that parent's last child.
const makeTries = 10

func (t *v1) noted(j *journal) tree {
	j.files = t.files
	return &v1{files: j, layout: t.layout}
}

func (t *v1) make(p string) error {
	for i := range t.layout.trees {
		h := &t.layout.trees[i]
		if err := t.makeIn(h, p); err != nil {
			return errors.Join(&Error{Op: "create", Path: p, File: h.root, Err: err}, t.remove(p))
		}
	}
	return nil
}

func (t *v1) adopt(p string) error {
	for i := range t.layout.trees {
		h := &t.layout.trees[i]
		if t.exists(h, p) {
			continue
		}
		if err := t.makeIn(h, p); err != nil {
			return &Error{Op: "create", Path: p, File: h.root, Err: err}
		}
	}
	return nil
}

func (t *v1) exists(h *hierarchy, p string) bool {
	var one [1]byte
	_, err := t.files.read(h.root+p+"/tasks", one[:])
	return err == nil
}

// makeIn makes p in one hierarchy.
func (t *v1) makeIn(h *hierarchy, p string) error {
	dir := h.root + p
	err := t.files.mkdir(dir)
	if errors.Is(err, os.ErrExist) { // left by a daemon that died in Create
		if err = t.files.rmdir(dir); err == nil || errors.Is(err, os.ErrNotExist) {
			err = t.files.mkdir(dir)
		}
	}
	for try := 0; absent(err) && try < makeTries; try++ { // a parent was removed with its last child
		if err = t.makeParents(h, path.Dir(p)); err == nil {
			err = t.files.mkdir(dir)
		}
	}
	if err != nil {
		return err
	}
	return t.fill(h, p)
}

// makeParents makes the missing ones of p and the groups above it.
func (t *v1) makeParents(h *hierarchy, p string) error {
	if p == "/" {
		return nil
	}
	err := t.files.mkdir(h.root + p)
	if errors.Is(err, os.ErrNotExist) {
		if err = t.makeParents(h, path.Dir(p)); err == nil {
			err = t.files.mkdir(h.root + p)
		}
	}
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := markNew(t.files, h.root+p); err != nil {
		return err
	}
	return t.fill(h, p)
}

// fill gives a new cpuset its parent's CPUs and memory nodes: an empty one
// takes no process.
func (t *v1) fill(h *hierarchy, p string) error {
	if t.layout.find("cpuset") != h {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := t.inherited(h, path.Dir(p), file)
		if err != nil {
			return err
		}
		if err := t.files.write(h.root+p+"/"+file, value); err != nil {
			return err
		}
	}
	return nil
}

// inherited gives the value of a cpuset file of p, which gets its parent's if
// it is empty.
func (t *v1) inherited(h *hierarchy, p, file string) (string, error) {
	value, err := t.text(h.root + p + "/" + file)
	if err != nil || value != "" || p == "/" {
		return value, err
	}
	if value, err = t.inherited(h, path.Dir(p), file); err != nil {
		return "", err
	}
	return value, t.files.write(h.root+p+"/"+file, value)
}

// text reads a short file.
func (t *v1) text(file string) (string, error) {
	var buf [512]byte
	n, err := t.files.read(file, buf[:])
	return strings.TrimSpace(string(buf[:n])), err
}

func (t *v1) joinFiles(p string) ([]*os.File, error) {
	return openJoinFiles(t.layout.trees, p, "tasks")
}

// openJoinFiles opens the same file of p in all hierarchies, or none.
func openJoinFiles(trees []hierarchy, p, name string) ([]*os.File, error) {
	all := make([]*os.File, 0, len(trees))
	for i := range trees {
		file := trees[i].root + p + "/" + name
		fd, err := open(file, unix.O_WRONLY)
		if err != nil {
			for _, f := range all {
				f.Close()
			}
			return nil, &Error{Op: "open", Path: p, File: file, Err: err}
		}
		all = append(all, os.NewFile(uintptr(fd), file))
	}
	return all, nil
}

func (t *v1) join(p string, pid int) error {
	for i := range t.layout.trees {
		file := t.layout.trees[i].root + p + "/cgroup.procs"
		if err := t.files.write(file, strconv.Itoa(pid)); err != nil {
			return &Error{Op: "join", Path: p, File: file, Err: err}
		}
	}
	return nil
}

func (t *v1) children(p string) []string {
	var all []string
	for i := range t.layout.trees {
		names, err := t.files.list(t.layout.trees[i].root + p)
		if err == nil {
			all = append(all, names...)
		}
	}
	return unique(all)
}

func (t *v1) remove(p string) error {
	var errs []error
	for i := range t.layout.trees {
		root := t.layout.trees[i].root
		if err := removeTree(t.files, root, p); err != nil {
			errs = append(errs, &Error{Op: "delete", Path: p, File: root, Err: err})
			continue
		}
		removeParents(t.files, root, path.Dir(p))
	}
	return errors.Join(errs...)
}

// kill looks at all hierarchies, as a process that was interrupted while it
// joined is in the group of some of them only.
func (t *v1) kill(p string) (left bool, err error) {
	for i := range t.layout.trees {
		more, err := killTree(t.files, t.layout.trees[i].root+p)
		if err != nil {
			return false, &Error{Op: "kill", Path: p, Err: err}
		}
		left = left || more
	}
	return left, nil
}

// limit is one value on its way into a file of v1.
type limit struct {
	controller string
	field      string // of Resources, for errors
	file       string
	value      string
}

func (t *v1) apply(p string, r *sandbox.Resources) error {
	if err := checkResources(r); err != nil {
		return &Error{Op: "limit", Path: p, Err: err}
	}
	for name := range r.Unified {
		return &Error{Op: "limit", Path: p, File: name, Err: invalid("unified resources need cgroup v2, and this host has cgroup v1")}
	}
	for _, set := range []func(string, *sandbox.Resources) error{
		t.setCPU, t.setCpuset, t.setMemory, t.setPids, t.setHugepages,
	} {
		if err := set(p, r); err != nil {
			return err
		}
	}
	return nil
}

// set writes one limit.
func (t *v1) set(p string, l limit) error {
	h := t.layout.find(l.controller)
	if h == nil {
		return &Error{Op: "limit", Path: p, Err: &MissingError{Controller: l.controller, Limit: l.field}}
	}
	file := h.root + p + "/" + l.file
	if err := t.files.write(file, l.value); err != nil {
		return &Error{Op: "limit", Path: p, File: l.file + "=" + l.value, Err: refused(err)}
	}
	return nil
}

func (t *v1) setNumber(p, controller, field, file string, value int64) error {
	return t.set(p, limit{controller, field, file, strconv.FormatInt(value, 10)})
}

func (t *v1) setCPU(p string, r *sandbox.Resources) error {
	if r.CPUShares != 0 {
		if err := t.setNumber(p, "cpu", "cpu shares", "cpu.shares", r.CPUShares); err != nil {
			return err
		}
	}
	period := func() error {
		if r.CPUPeriod == 0 {
			return nil
		}
		return t.setNumber(p, "cpu", "cpu period", "cpu.cfs_period_us", r.CPUPeriod)
	}
	quota := func() error {
		if r.CPUQuota == 0 {
			return nil
		}
		return t.setNumber(p, "cpu", "cpu quota", "cpu.cfs_quota_us", r.CPUQuota)
	}
	// The kernel checks each step against the parent's share: a shorter period
	// may fit only after the quota is smaller.
	err := period()
	if errors.Is(err, unix.EINVAL) && r.CPUQuota != 0 {
		if err = quota(); err != nil {
			return err
		}
		return period()
	}
	if err != nil {
		return err
	}
	return quota()
}

func (t *v1) setCpuset(p string, r *sandbox.Resources) error {
	for _, l := range []limit{
		{"cpuset", "cpuset cpus", "cpuset.cpus", r.CpusetCpus},
		{"cpuset", "cpuset mems", "cpuset.mems", r.CpusetMems},
	} {
		if l.value == "" {
			continue
		}
		if err := t.set(p, l); err != nil {
			return err
		}
	}
	return nil
}

// setMemory keeps the kernel's rule that memory never exceeds memory + swap,
// after each of the two writes.
func (t *v1) setMemory(p string, r *sandbox.Resources) error {
	swap := r.MemorySwap
	if r.MemoryLimit == noLimit && swap == 0 {
		swap = noLimit
	}
	memory := func() error {
		if r.MemoryLimit == 0 {
			return nil
		}
		return t.setNumber(p, "memory", "memory", "memory.limit_in_bytes", r.MemoryLimit)
	}
	if swap == 0 {
		return memory()
	}
	if swap == noLimit || t.memoryLimit(p) < uint64(swap) {
		if err := t.setSwap(p, swap); err != nil {
			return err
		}
		return memory()
	}
	if err := memory(); err != nil {
		return err
	}
	return t.setSwap(p, swap)
}

// memoryLimit is the present one; 0 when it cannot be read.
func (t *v1) memoryLimit(p string) uint64 {
	h := t.layout.find("memory")
	if h == nil {
		return 0
	}
	s, _ := t.text(h.root + p + "/memory.limit_in_bytes")
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

// setSwap limits memory + swap. Where the kernel does not count swap, the limit
// holds all the same if there is none.
func (t *v1) setSwap(p string, swap int64) error {
	err := t.setNumber(p, "memory", "memory and swap", "memory.memsw.limit_in_bytes", swap)
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if swap == noLimit || !hostHasSwap() {
		return nil
	}
	return &Error{Op: "limit", Path: p, Err: &MissingError{
		Controller: "memory (swap accounting, kernel parameter swapaccount=1)", Limit: "memory and swap"}}
}

func (t *v1) setPids(p string, r *sandbox.Resources) error {
	if r.PidsLimit == 0 {
		return nil
	}
	return t.set(p, limit{"pids", "pids", "pids.max", limitText(r.PidsLimit)})
}

// setHugepages limits huge pages. Kubelets ask for a limit of 0 of every size
// in each container: that holds by itself where nothing counts them, as a
// WebAssembly process uses none.
func (t *v1) setHugepages(p string, r *sandbox.Resources) error {
	for size, n := range r.HugepageLimits {
		if n == 0 && t.layout.find("hugetlb") == nil {
			continue
		}
		l := limit{"hugetlb", "huge pages of " + size, "hugetlb." + size + ".limit_in_bytes", strconv.FormatUint(n, 10)}
		if err := t.set(p, l); err != nil {
			return err
		}
	}
	return nil
}
