package cgroup

import (
	"errors"
	"maps"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// limits reads files of a group.
func limits(t *testing.T, files ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[file] = strings.TrimSpace(string(text))
	}
	return all
}

var (
	before = sandbox.Resources{CPUShares: 512, CPUQuota: 20000, CPUPeriod: 50000, MemoryLimit: 64 << 20, MemorySwap: 64 << 20, PidsLimit: 20}
	after  = sandbox.Resources{CPUShares: 1024, CPUQuota: 30000, CPUPeriod: 100000, CpusetCpus: "0", MemoryLimit: 128 << 20, MemorySwap: 192 << 20, PidsLimit: 30}
)

func TestV1UpdateIsAllOrNothing(t *testing.T) {
	m := newV1(t)
	g := m.mustCreate(t, "a", before)
	var files []string
	for _, f := range [][2]string{
		{"cpu", "cpu.shares"}, {"cpu", "cpu.cfs_quota_us"}, {"cpu", "cpu.cfs_period_us"}, {"cpuset", "cpuset.cpus"},
		{"memory", "memory.limit_in_bytes"}, {"memory", "memory.memsw.limit_in_bytes"}, {"pids", "pids.max"},
	} {
		files = append(files, m.file(f[0], g.Path(), f[1]))
	}
	want := limits(t, files...)
	count, nth := 0, 0
	kernel := m.tree.(*v1).files
	m.tree.(*v1).files = &faulty{fail: func(_, path string) error {
		if count++; count == nth {
			return syscall.EIO
		}
		return nil
	}}
	for nth = range len(files) {
		count = -1 // the first write is number 0
		if err := g.Update(t.Context(), after); !errors.Is(err, syscall.EIO) {
			t.Errorf("fault %d: got %v, want EIO", nth, err)
		}
		if got := limits(t, files...); !maps.Equal(got, want) {
			t.Errorf("fault %d: got %v, want %v", nth, got, want)
		}
	}
	m.tree.(*v1).files = kernel
	if err := g.Update(t.Context(), after); err != nil {
		t.Fatal(err)
	}
	if got := limits(t, files[6])[files[6]]; got != "30" {
		t.Errorf("without a fault: pids.max is %s", got)
	}
}

func TestV2UpdateIsAllOrNothing(t *testing.T) {
	names := []string{"cpu.weight", "cpu.max", "cpuset.cpus", "memory.max", "memory.swap.max", "pids.max", "memory.high"}
	update := after
	update.Unified = map[string]string{"memory.high": "5"}
	for _, fails := range names {
		f := newFakeV2(t, allControllers...)
		g, err := f.manager(nil, sandbox.DriverCgroupfs).Create(t.Context(), "", "c1", before)
		if err != nil {
			t.Fatal(err)
		}
		var files []string
		for _, name := range names {
			files = append(files, f.root+g.Path()+"/"+name)
		}
		want := limits(t, files...)
		f.refuse[g.Path()+"/"+fails] = unix.EINVAL
		if err := g.Update(t.Context(), update); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want an invalid request", fails, err)
		}
		if got := limits(t, files...); !maps.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", fails, got, want)
		}
	}
}

// The kernel of v2 would kill to make such a limit hold.
func TestV2MemoryInUseIsNotTakenAway(t *testing.T) {
	f := newFakeV2(t, allControllers...)
	g, err := f.manager(nil, sandbox.DriverCgroupfs).Create(t.Context(), "", "c1", before)
	if err != nil {
		t.Fatal(err)
	}
	f.put(g.Path()+"/memory.current", "50000000\n")
	f.put(g.Path()+"/memory.stat", "anon 20000000\nactive_file 10000000\ninactive_file 15000000\nslab_reclaimable 5000000\n")
	for limit, fits := range map[int64]bool{30 << 20: true, 20000000: true, 19 << 20: false, -1: true} {
		err := g.Update(t.Context(), sandbox.Resources{MemoryLimit: limit})
		if (err == nil) != fits || !fits && !errors.Is(err, sandbox.ErrPrecondition) {
			t.Errorf("limit %d: got %v, fits: %v", limit, err, fits)
		}
	}
}

// systemd hears of nothing that the kernel has refused, and the kernel keeps nothing
// that systemd refuses.
func TestScopeUpdateIsAllOrNothing(t *testing.T) {
	b, m := newFakeBus(t)
	g, err := m.Create(t.Context(), "", "c1", before)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Join(t.Context(), 999999); err != nil {
		t.Fatal(err)
	}
	props := func() map[string]any { return maps.Clone(b.units["cri-wasmer-c1.scope"]) }
	root := b.f.root + g.Path() + "/"
	files := []string{root + "cpu.weight", root + "cpu.max", root + "memory.max", root + "memory.swap.max", root + "pids.max"}
	want, shares := limits(t, files...), props()["CPUWeight"]

	b.f.refuse[g.Path()+"/pids.max"] = unix.EINVAL
	if err := g.Update(t.Context(), after); !errors.Is(err, ErrInvalid) || props()["CPUWeight"] != shares {
		t.Errorf("refused by the kernel: %v, systemd has the weight %v", err, props()["CPUWeight"])
	}
	delete(b.f.refuse, g.Path()+"/pids.max")
	b.fault = errors.New("no such property")
	if err := g.Update(t.Context(), after); !errors.Is(err, b.fault) {
		t.Errorf("refused by systemd: %v", err)
	}
	if got := limits(t, files...); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
