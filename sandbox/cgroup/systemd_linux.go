package cgroup

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"math/big"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// scopePrefix starts the name of each scope of ours.
const scopePrefix = "cri-wasmer-"

// resultTime bounds asking systemd how a scope ended.
const resultTime = 2 * time.Second

// expandSlice gives the path of a slice, whose name has a dash for each level:
// a-b.slice is /a.slice/a-b.slice. See systemd.slice(5).
func expandSlice(slice string) (string, error) {
	name := strings.TrimSuffix(slice, ".slice")
	if name == "-" {
		return "/", nil
	}
	if name == "" || strings.Contains(name, "/") {
		return "", invalid("slice %q", slice)
	}
	full, prefix := "", ""
	for part := range strings.SplitSeq(name, "-") {
		if part == "" {
			return "", invalid("slice %q has an empty part", slice)
		}
		full += "/" + prefix + part + ".slice"
		prefix += part + "-"
	}
	return full, nil
}

// scope is a group that systemd makes, out of a process that waits. Before Join
// it is only a name and its limits. It is safe for concurrent use.
type scope struct {
	group
	unit string

	mu  sync.Mutex
	res sandbox.Resources // what Join applies
}

// prepareScope gives the group of a scope that Join starts.
func (m *Manager) prepareScope(slice, id string, res sandbox.Resources) (sandbox.Cgroup, error) {
	unit := scopePrefix + id + ".scope"
	s := &scope{group: group{m: m, path: path.Join(slice, unit)}, unit: unit, res: res}
	if err := checkResources(&res); err != nil {
		return nil, &Error{Op: "create", Path: s.path, Err: err}
	}
	return s, nil
}

// JoinFiles opens the files to join through when the scope runs already, as it
// does for an exec. Before that there are none, and Join must be used.
func (s *scope) JoinFiles() ([]*os.File, error) {
	files, err := s.m.tree.joinFiles(s.path)
	if absent(err) {
		return nil, nil
	}
	return files, err
}

// Join moves a process into the scope, which starts with the first one. When it
// fails, systemd kills the process. Errors are *Error.
func (s *scope) Join(ctx context.Context, pid int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.m.tree.join(s.path, pid)
	if !absent(err) {
		return err
	}
	if err := s.start(ctx, pid); err != nil {
		return &Error{Op: "start scope", Path: s.path, Err: err}
	}
	if err := s.complete(pid); err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), busyTime)
		defer cancel()
		return errors.Join(err, s.Kill(undo), s.Delete(undo))
	}
	return nil
}

// start asks systemd for the scope. A failed one of the same name, left by an
// earlier start, is cleared away first.
func (s *scope) start(ctx context.Context, pid int) error {
	props := s.properties(pid)
	err := s.m.bus.start(ctx, s.unit, props)
	if !errors.Is(err, errUnitExists) {
		return err
	}
	if err := s.m.bus.stop(ctx, s.unit); err != nil && !errors.Is(err, errNoUnit) {
		return err
	}
	return s.m.bus.start(ctx, s.unit, props)
}

// complete does what systemd does not: hierarchies and limits it has no name
// for.
func (s *scope) complete(pid int) error {
	if err := s.m.tree.adopt(s.path); err != nil {
		return err
	}
	if err := s.m.tree.join(s.path, pid); err != nil {
		return err
	}
	return s.m.tree.apply(s.path, &s.res)
}

// properties describes the scope to systemd.
func (s *scope) properties(pid int) []systemd.Property {
	props := []systemd.Property{
		systemd.PropDescription("cri-wasmer container " + strings.TrimSuffix(strings.TrimPrefix(s.unit, scopePrefix), ".scope")),
		systemd.PropSlice(path.Base(path.Dir(s.path))),
		property("PIDs", []uint32{uint32(pid)}),
		property("Delegate", true),
		property("DefaultDependencies", false),
		property("CPUAccounting", true),
		property("MemoryAccounting", true),
		property("TasksAccounting", true),
	}
	return append(props, s.limits(&s.res)...)
}

func property(name string, value any) systemd.Property {
	return systemd.Property{Name: name, Value: dbus.MakeVariant(value)}
}

// limits are the resources as systemd names them. It must know them, or it
// would write its own values at the next daemon-reload.
func (s *scope) limits(r *sandbox.Resources) []systemd.Property {
	_, unified := s.m.tree.(*v2)
	props := cpuProperties(r, unified)
	if r.PidsLimit != 0 {
		props = append(props, property("TasksMax", unlimited(r.PidsLimit)))
	}
	if r.MemoryLimit != 0 {
		name := "MemoryLimit"
		if unified {
			name = "MemoryMax"
		}
		props = append(props, property(name, unlimited(r.MemoryLimit)))
	}
	if unified && r.MemorySwap == noLimit {
		props = append(props, property("MemorySwapMax", unlimited(noLimit)))
	} else if unified && r.MemorySwap > 0 && r.MemoryLimit > 0 {
		props = append(props, property("MemorySwapMax", uint64(r.MemorySwap-r.MemoryLimit)))
	}
	return props
}

func cpuProperties(r *sandbox.Resources, unified bool) []systemd.Property {
	var props []systemd.Property
	if r.CPUShares != 0 && unified {
		props = append(props, property("CPUWeight", weight(r.CPUShares)))
	} else if r.CPUShares != 0 {
		props = append(props, property("CPUShares", uint64(r.CPUShares)))
	}
	if r.CPUQuota != 0 {
		props = append(props, property("CPUQuotaPerSecUSec", quotaPerSecond(r.CPUQuota, r.CPUPeriod)))
	}
	if r.CPUPeriod != 0 && r.CPUPeriod != defaultPeriod {
		props = append(props, property("CPUQuotaPeriodUSec", uint64(r.CPUPeriod))) // systemd 242
	}
	if !unified {
		return props // systemd has no cpuset on v1
	}
	if mask, err := cpuMask(r.CpusetCpus); err == nil && mask != nil {
		props = append(props, property("AllowedCPUs", mask)) // systemd 244
	}
	if mask, err := cpuMask(r.CpusetMems); err == nil && mask != nil {
		props = append(props, property("AllowedMemoryNodes", mask))
	}
	return props
}

// defaultPeriod is the kernel's CPU period in microseconds.
const defaultPeriod = 100_000

// quotaPerSecond is the CPU time for each second in microseconds. systemd keeps
// it in whole percent, so it is rounded up to one; the exact quota is written
// to the kernel's file afterwards.
func quotaPerSecond(quota, period int64) uint64 {
	if quota < 0 {
		return math.MaxUint64
	}
	if period == 0 {
		period = defaultPeriod
	}
	const percent = 10_000
	perSecond := uint64(quota) * 1_000_000 / uint64(period)
	return (perSecond + percent - 1) / percent * percent
}

func unlimited(n int64) uint64 {
	if n == noLimit {
		return math.MaxUint64
	}
	return uint64(n)
}

// cpuMask turns a list such as "0-2,5" into systemd's bytes, lowest CPU first.
func cpuMask(list string) ([]byte, error) {
	bits := new(big.Int)
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		first, last, ok := strings.Cut(item, "-")
		if !ok {
			last = first
		}
		low, err := strconv.ParseUint(first, 10, 13)
		if err != nil {
			return nil, err
		}
		high, err := strconv.ParseUint(last, 10, 13)
		if err != nil {
			return nil, err
		}
		for cpu := low; cpu <= high; cpu++ {
			bits.SetBit(bits, int(cpu), 1)
		}
	}
	mask := bits.Bytes()
	slices.Reverse(mask)
	if len(mask) == 0 {
		return nil, nil
	}
	return mask, nil
}

// Update changes limits; before Join it changes what Join will apply. When it
// fails, the limits are as before. Errors are *Error.
func (s *scope) Update(ctx context.Context, res sandbox.Resources) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := checkResources(&res); err != nil {
		return &Error{Op: "limit", Path: s.path, Err: err}
	}
	if _, err := s.m.tree.stats(s.path); absent(err) {
		merge(&s.res, &res)
		return nil
	}
	var j journal
	if err := s.change(ctx, s.m.tree.noted(&j), &res); err != nil {
		return errors.Join(err, j.undo())
	}
	return nil
}

// change applies limits to the scope. systemd hears only of what the kernel takes,
// and rounds some: they are written once more.
func (s *scope) change(ctx context.Context, t tree, res *sandbox.Resources) error {
	if err := t.apply(s.path, res); err != nil {
		return err
	}
	if props := s.limits(res); len(props) > 0 {
		if err := s.m.bus.set(ctx, s.unit, props); err != nil {
			return &Error{Op: "limit", Path: s.path, Err: err}
		}
		if err := t.apply(s.path, res); err != nil {
			return err
		}
	}
	return s.m.setOOMScores(s.path, res.OOMScoreAdj)
}

// merge puts the fields of from that are set over those of to.
func merge(to, from *sandbox.Resources) {
	for _, f := range []struct{ to, from *int64 }{
		{&to.CPUShares, &from.CPUShares},
		{&to.CPUQuota, &from.CPUQuota},
		{&to.CPUPeriod, &from.CPUPeriod},
		{&to.MemoryLimit, &from.MemoryLimit},
		{&to.MemorySwap, &from.MemorySwap},
		{&to.PidsLimit, &from.PidsLimit},
		{&to.OOMScoreAdj, &from.OOMScoreAdj},
	} {
		if *f.from != 0 {
			*f.to = *f.from
		}
	}
	if from.CpusetCpus != "" {
		to.CpusetCpus = from.CpusetCpus
	}
	if from.CpusetMems != "" {
		to.CpusetMems = from.CpusetMems
	}
	to.HugepageLimits = merged(to.HugepageLimits, from.HugepageLimits)
	to.Unified = merged(to.Unified, from.Unified)
}

func merged[V any](to, from map[string]V) map[string]V {
	if len(from) == 0 {
		return to
	}
	all := make(map[string]V, len(to)+len(from))
	for _, m := range []map[string]V{to, from} {
		for k, v := range m {
			all[k] = v
		}
	}
	return all
}

// OOMKills counts kills for memory. systemd removes the group with its last
// process; from then on systemd knows whether there was one, if it is 253 or
// later, and so does the kernel's log. The error wraps fs.ErrNotExist when the
// group is gone and neither can tell.
func (s *scope) OOMKills() (uint64, error) {
	n, err := s.m.tree.oomKills(s.path)
	if !absent(err) {
		return n, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), resultTime)
	defer cancel()
	if result, e := s.m.bus.result(ctx, s.unit); e == nil && result == "oom-kill" {
		return 1, nil
	}
	gone := &Error{Op: "count kills for memory in", Path: s.path, Err: fs.ErrNotExist}
	log, err := s.m.kernelLog()
	if err != nil {
		s.m.log.Debug("the kernel's log cannot be read", "error", err)
		return 0, gone
	}
	own, others := loggedOOMKills(log, s.path)
	if own == 0 && others == 0 {
		return 0, gone // not logged, or long ago
	}
	return own, nil
}

// Delete stops the scope and removes what systemd does not; nil when it is
// gone. Errors are *Error.
func (s *scope) Delete(ctx context.Context) error {
	if err := s.m.bus.stop(ctx, s.unit); err != nil && !errors.Is(err, errNoUnit) {
		return &Error{Op: "stop scope", Path: s.path, Err: err}
	}
	return s.group.Delete(ctx)
}
