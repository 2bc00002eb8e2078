package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// fakeBus is a systemd that makes its scopes in a fake cgroup v2.
type fakeBus struct {
	f *fakeV2

	mu    sync.Mutex
	units map[string]map[string]any // name to properties
	left  map[string]string         // failed ones that are still loaded, to their Result
	calls []string
	fault error
}

func newFakeBus(t *testing.T) (*fakeBus, *Manager) {
	f := newFakeV2(t, allControllers...)
	b := &fakeBus{f: f, units: map[string]map[string]any{}, left: map[string]string{}}
	m := f.manager(b, sandbox.DriverSystemd)
	m.kernelLog = func() ([]byte, error) { return nil, nil }
	return b, m
}

func (b *fakeBus) path(unit string) string {
	slice, err := expandSlice(b.units[unit]["Slice"].(string))
	if err != nil {
		b.f.t.Error(err)
	}
	return slice + "/" + unit
}

func (b *fakeBus) start(_ context.Context, unit string, props []systemd.Property) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, "start "+unit)
	if b.fault != nil {
		return b.fault
	}
	if b.units[unit] != nil || b.left[unit] != "" {
		return errUnitExists
	}
	b.units[unit] = map[string]any{}
	for _, p := range props {
		b.units[unit][p.Name] = p.Value.Value()
	}
	p := b.path(unit)
	t := &v2{files: b.f, root: b.f.root}
	if err := t.make(p); err != nil {
		return err
	}
	for _, pid := range b.units[unit]["PIDs"].([]uint32) {
		if err := t.join(p, int(pid)); err != nil {
			return err
		}
	}
	return nil
}

func (b *fakeBus) stop(_ context.Context, unit string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, "stop "+unit)
	if b.units[unit] == nil && b.left[unit] == "" {
		return errNoUnit
	}
	if b.units[unit] != nil {
		b.empty(unit)
	}
	delete(b.units, unit)
	delete(b.left, unit)
	return nil
}

// empty does what systemd does when the last process has gone.
func (b *fakeBus) empty(unit string) {
	p := b.path(unit)
	b.f.put(p+"/cgroup.procs", "")
	if err := b.f.rmdir(b.f.root + p); err != nil {
		b.f.t.Error(err)
	}
}

func (b *fakeBus) set(_ context.Context, unit string, props []systemd.Property) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, "set "+unit)
	if b.units[unit] == nil {
		return errNoUnit
	}
	for _, p := range props {
		b.units[unit][p.Name] = p.Value.Value()
	}
	return b.fault
}

func (b *fakeBus) result(_ context.Context, unit string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r := b.left[unit]; r != "" {
		return r, nil
	}
	return "success", nil
}

func (b *fakeBus) Close() {}

func TestExpandSlice(t *testing.T) {
	for slice, want := range map[string]string{
		"-.slice":        "/",
		"kubepods.slice": "/kubepods.slice",
		"kubepods-besteffort-pod1_2.slice": "/kubepods.slice/kubepods-besteffort.slice/" +
			"kubepods-besteffort-pod1_2.slice",
		"a--b.slice": "", "-a.slice": "", ".slice": "", "a/b.slice": "",
	} {
		got, err := expandSlice(slice)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", slice, got, err, want)
		}
	}
}

func TestScopeFromJoinToDelete(t *testing.T) {
	b, m := newFakeBus(t)
	g, err := m.Create(t.Context(), "/kubepods.slice/kubepods-pod1.slice", "c1", sandbox.Resources{
		CPUShares: 1024, CPUQuota: 12345, CPUPeriod: 50000, MemoryLimit: 1 << 20, MemorySwap: 3 << 20, PidsLimit: 9, CpusetCpus: "0-1,9",
	})
	if err != nil {
		t.Fatal(err)
	}
	const unit, path = "cri-wasmer-c1.scope", "/kubepods.slice/kubepods-pod1.slice/cri-wasmer-c1.scope"
	if g.Path() != path {
		t.Errorf("got path %s, want %s", g.Path(), path)
	}
	if files, err := g.JoinFiles(); len(files) != 0 || err != nil {
		t.Errorf("before Join: got %d files, %v, want none", len(files), err)
	}
	if err := g.Update(t.Context(), sandbox.Resources{PidsLimit: 10}); err != nil {
		t.Fatal(err)
	}
	if err := g.Join(t.Context(), 999999); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"Slice": "kubepods-pod1.slice", "Delegate": true, "PIDs": []uint32{999999}, "DefaultDependencies": false,
		"CPUWeight": uint64(100), "CPUQuotaPerSecUSec": uint64(250000), "CPUQuotaPeriodUSec": uint64(50000),
		"MemoryMax": uint64(1 << 20), "MemorySwapMax": uint64(2 << 20), "TasksMax": uint64(10),
		"AllowedCPUs": []byte{3, 2}, "MemoryAccounting": true,
	} {
		if got := b.units[unit][name]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("property %s: got %v, want %v", name, got, want)
		}
	}
	for file, want := range map[string]string{"cpu.max": "12345 50000", "pids.max": "10", "memory.swap.max": "2097152"} {
		if got := b.f.get(path + "/" + file); got != want {
			t.Errorf("%s: got %s, want %s", file, got, want)
		}
	}
	again, err := m.Open(path) // an exec, or a new daemon
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Join(t.Context(), 999998); err != nil {
		t.Fatal(err)
	}
	if files, err := again.JoinFiles(); len(files) != 1 || err != nil {
		t.Errorf("with the scope running: got %d files, %v, want 1", len(files), err)
	} else {
		files[0].Close()
	}
	if err := again.Update(t.Context(), sandbox.Resources{MemoryLimit: -1}); err != nil {
		t.Fatal(err)
	}
	if got := b.units[unit]["MemoryMax"]; got != uint64(math.MaxUint64) {
		t.Errorf("got MemoryMax %v, want infinity", got)
	}
	if got := strings.Count(strings.Join(b.calls, " "), "start"); got != 1 {
		t.Errorf("got %d starts, want 1: %v", got, b.calls)
	}
	if err := errors.Join(g.Kill(t.Context()), g.Delete(t.Context()), again.Delete(t.Context())); err != nil {
		t.Fatal(err)
	}
	if len(b.units) != 0 || slices.Contains(b.f.groups(), path) {
		t.Errorf("left behind: %v, %v", b.units, b.f.groups())
	}
}

func TestScopeNeverJoinedNeedsNoSystemd(t *testing.T) {
	b, m := newFakeBus(t)
	g, err := m.Create(t.Context(), "", "c1", sandbox.Resources{})
	if err != nil {
		t.Fatal(err)
	}
	if g.Path() != "/cri.slice/cri-wasmer.slice/cri-wasmer-c1.scope" {
		t.Errorf("got path %s", g.Path())
	}
	if n, err := g.OOMKills(); n != 0 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %d, %v, want that there is no group", n, err)
	}
	if err := errors.Join(g.Kill(t.Context()), g.Delete(t.Context())); err != nil || len(b.f.groups()) != 0 {
		t.Errorf("got %v, groups %v", err, b.f.groups())
	}
}

func TestScopeOOMIsKnownAfterItsEnd(t *testing.T) {
	b, m := newFakeBus(t)
	g, err := m.Create(t.Context(), "", "c1", sandbox.Resources{})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Join(t.Context(), 999999); err != nil {
		t.Fatal(err)
	}
	b.f.put(g.Path()+"/memory.events", "oom_kill 2\n")
	if n, err := g.OOMKills(); n != 2 || err != nil {
		t.Errorf("while it runs: got %d, %v, want 2", n, err)
	}
	unit := "cri-wasmer-c1.scope"
	b.empty(unit)
	delete(b.units, unit)
	b.left[unit] = "oom-kill"
	if n, err := g.OOMKills(); n != 1 || err != nil {
		t.Errorf("after its end: got %d, %v, want 1", n, err)
	}
	// The same name can be started again over the failed unit.
	if err := g.Join(t.Context(), 999999); err != nil {
		t.Error(err)
	}
	if err := errors.Join(g.Kill(t.Context()), g.Delete(t.Context())); err != nil {
		t.Error(err)
	}
}

// TestTheKernelsLogKnowsWhoRanOutOfMemory: systemd before 253 does not.
func TestTheKernelsLogKnowsWhoRanOutOfMemory(t *testing.T) {
	const line = "<6>[  673.510966] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0," +
		"oom_memcg=%[1]s,task_memcg=%[1]s,task=a,task_memcg=/b,pid=4512,uid=0\n"
	const parent = "/outer/cri.slice/cri-wasmer.slice/"
	own, other := fmt.Sprintf(line, parent+"cri-wasmer-c1.scope"), fmt.Sprintf(line, parent+"cri-wasmer-c2.scope")
	for name, tt := range map[string]struct {
		log   string
		fault error
		want  uint64
		known bool
	}{
		"it was this one":        {log: "<6>[ 1.0] x\n" + own + other, want: 1, known: true},
		"twice":                  {log: own + own, want: 2, known: true},
		"it was another one":     {log: other, known: true},
		"one of another pod":     {log: fmt.Sprintf(line, "/kubepods.slice/kubepods-pod1.slice/cri-wasmer-c2.scope")},
		"of a name that is like": {log: fmt.Sprintf(line, parent+"not-cri-wasmer-c1.scope"), known: true},
		"nothing is logged":      {log: "oom-kill:constraint=\n<4>[ 1.0] Memory cgroup out of memory: Killed process 4512 (a)\n"},
		"it cannot be read":      {log: own, fault: unix.EPERM},
	} {
		t.Run(name, func(t *testing.T) {
			_, m := newFakeBus(t)
			m.kernelLog = func() ([]byte, error) { return []byte(tt.log), tt.fault }
			g, err := m.Open("/cri.slice/cri-wasmer.slice/cri-wasmer-c1.scope")
			if err != nil {
				t.Fatal(err)
			}
			n, err := g.OOMKills()
			if n != tt.want || (err == nil) != tt.known || err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %d, %v, want %d, known: %v", n, err, tt.want, tt.known)
			}
		})
	}
}

// TestTheKernelLogsAsThisPackageReads kills a process for memory, for real.
func TestTheKernelLogsAsThisPackageReads(t *testing.T) {
	g := realGroup(t, sandbox.Resources{MemoryLimit: 8 << 20})
	cmd := exec.Command("sh", "-c", "read go; exec dd if=/dev/zero of=/dev/null bs=64M count=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.Join(t.Context(), cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	fmt.Fprintln(in)
	if err := cmd.Wait(); err == nil {
		t.Fatal("64 MiB fit into 8")
	}
	log, err := readKernelLog()
	if errors.Is(err, unix.EPERM) {
		t.Skip("the kernel's log may not be read here")
	}
	if err != nil {
		t.Fatal(err)
	}
	if own, _ := loggedOOMKills(log, g.Path()); own == 0 {
		t.Errorf("nothing of %s in the kernel's log:\n%s", g.Path(), log[max(0, len(log)-2000):])
	}
	if n, err := g.OOMKills(); n == 0 || err != nil {
		t.Errorf("the group counts %d, %v", n, err)
	}
}

func TestScopeFaultsLeaveNothing(t *testing.T) {
	t.Run("start", func(t *testing.T) {
		b, m := newFakeBus(t)
		g, err := m.Create(t.Context(), "", "c1", sandbox.Resources{})
		if err != nil {
			t.Fatal(err)
		}
		b.fault = errors.New("job failed")
		var e *Error
		if err := g.Join(t.Context(), 999999); !errors.As(err, &e) || !errors.Is(err, b.fault) {
			t.Errorf("got %v, want the fault", err)
		}
		if left := b.f.groups(); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	t.Run("limit after start", func(t *testing.T) {
		b, m := newFakeBus(t)
		g, err := m.Create(t.Context(), "", "c1", sandbox.Resources{PidsLimit: 3})
		if err != nil {
			t.Fatal(err)
		}
		b.f.refuse[g.Path()+"/pids.max"] = unix.EIO
		if err := g.Join(t.Context(), 999999); !errors.Is(err, unix.EIO) {
			t.Errorf("got %v, want EIO", err)
		}
		if len(b.units) != 0 || slices.Contains(b.f.groups(), g.Path()) {
			t.Errorf("left behind: %v, %v", b.units, b.f.groups())
		}
	})
	t.Run("wrong parent", func(t *testing.T) {
		_, m := newFakeBus(t)
		if _, err := m.Create(t.Context(), "/kubepods/pod1", "c", sandbox.Resources{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("got %v, want an invalid request", err)
		}
		if _, err := m.Create(t.Context(), "", "c", sandbox.Resources{CPUShares: -1}); !errors.Is(err, ErrInvalid) {
			t.Errorf("got %v, want an invalid request", err)
		}
	})
}

func TestScopeOrphans(t *testing.T) {
	b, m := newFakeBus(t)
	var groups []sandbox.Cgroup
	for i, parent := range []string{"", "", "kubepods-pod1.slice"} {
		g, err := m.Create(t.Context(), parent, "c"+strconv.Itoa(i), sandbox.Resources{})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Join(t.Context(), 999990+i); err != nil {
			t.Fatal(err)
		}
		groups = append(groups, g)
	}
	if err := m.Orphans(t.Context(), map[string]bool{groups[0].Path(): true, groups[2].Path(): false}); err != nil {
		t.Fatal(err)
	}
	if len(b.units) != 1 || b.units["cri-wasmer-c0.scope"] == nil {
		t.Errorf("got %v, want c0 only", b.units)
	}
}

func TestQuotaForSystemd(t *testing.T) {
	for _, tt := range []struct {
		quota, period int64
		want          uint64
	}{{-1, 0, math.MaxUint64}, {100000, 0, 1000000}, {100000, 100000, 1000000}, {1000, 100000, 10000}, {12345, 50000, 250000}, {200000, 100000, 2000000}} {
		if got := quotaPerSecond(tt.quota, tt.period); got != tt.want {
			t.Errorf("%d/%d: got %d, want %d", tt.quota, tt.period, got, tt.want)
		}
	}
}

func TestCPUMask(t *testing.T) {
	for list, want := range map[string][]byte{"": nil, "0": {1}, "0-2,5": {0x27}, "8": {0, 1}, " 1 , 3 ": {0x0a}} {
		if got, err := cpuMask(list); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: got %v, %v, want %v", list, got, err, want)
		}
	}
	for _, list := range []string{"x", "1-", "-1", "1-9999999"} {
		if got, err := cpuMask(list); err == nil {
			t.Errorf("%q: got %v, want an error", list, got)
		}
	}
}
