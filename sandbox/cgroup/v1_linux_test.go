package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// newV1 gives a manager on the mounted hierarchies of this machine, and checks
// at the end that no group is left.
func newV1(t testing.TB) *Manager {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make control groups")
	}
	l, err := readLayout("/sys/fs/cgroup")
	if err != nil {
		t.Skip("no control groups are mounted: ", err)
	}
	if l.unified {
		t.Skip("this host has cgroup v2, the test is for v1")
	}
	parent := fmt.Sprintf("/cri-wasmer-test-%d/%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-"))
	m, err := newManager(Config{Driver: sandbox.DriverCgroupfs, DefaultParent: parent}, newTree(l, kernelFiles{}), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, h := range l.trees {
			left, _ := filepath.Glob(h.root + fmt.Sprintf("/cri-wasmer-test-%d*", os.Getpid()))
			for _, dir := range left {
				t.Errorf("left behind: %s", dir)
			}
		}
	})
	return m
}

func (m *Manager) file(controller, p, name string) string {
	return m.tree.(*v1).layout.find(controller).root + p + "/" + name
}

func (m *Manager) mustCreate(t testing.TB, id string, res sandbox.Resources) sandbox.Cgroup {
	t.Helper()
	g, err := m.Create(t.Context(), "", id, res)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if err := errors.Join(g.Kill(ctx), g.Delete(ctx)); err != nil {
			t.Error(err)
		}
	})
	return g
}

func wantFile(t testing.TB, file, want string) {
	t.Helper()
	got, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	} else if s := strings.TrimSpace(string(got)); s != want {
		t.Errorf("%s: got %q, want %q", file, s, want)
	}
}

func TestV1Limits(t *testing.T) {
	m := newV1(t)
	g := m.mustCreate(t, "a", sandbox.Resources{
		CPUShares: 512, CPUQuota: 20000, CPUPeriod: 50000, CpusetCpus: "0", CpusetMems: "0",
		MemoryLimit: 64 << 20, MemorySwap: 96 << 20, PidsLimit: 50,
		HugepageLimits: map[string]uint64{"2MB": 0, "1GB": 0},
	})
	p := g.Path()
	wantFile(t, m.file("cpu", p, "cpu.shares"), "512")
	wantFile(t, m.file("cpu", p, "cpu.cfs_quota_us"), "20000")
	wantFile(t, m.file("cpu", p, "cpu.cfs_period_us"), "50000")
	wantFile(t, m.file("cpuset", p, "cpuset.cpus"), "0")
	wantFile(t, m.file("memory", p, "memory.limit_in_bytes"), fmt.Sprint(64<<20))
	wantFile(t, m.file("memory", p, "memory.memsw.limit_in_bytes"), fmt.Sprint(96<<20))
	wantFile(t, m.file("pids", p, "pids.max"), "50")

	updates := []struct {
		name        string
		res         sandbox.Resources
		mem, memsw  int64
		pids, quota string
	}{
		{"raise both", sandbox.Resources{MemoryLimit: 128 << 20, MemorySwap: 128 << 20}, 128 << 20, 128 << 20, "50", "20000"},
		{"lower both", sandbox.Resources{MemoryLimit: 32 << 20, MemorySwap: 40 << 20}, 32 << 20, 40 << 20, "50", "20000"},
		{"lower memory alone", sandbox.Resources{MemoryLimit: 16 << 20}, 16 << 20, 40 << 20, "50", "20000"},
		{"raise swap alone", sandbox.Resources{MemorySwap: 50 << 20}, 16 << 20, 50 << 20, "50", "20000"},
		{"nothing", sandbox.Resources{}, 16 << 20, 50 << 20, "50", "20000"},
		{"lift cpu and pids", sandbox.Resources{CPUQuota: -1, PidsLimit: -1}, 16 << 20, 50 << 20, "max", "-1"},
		{"lift memory", sandbox.Resources{MemoryLimit: -1}, 9223372036854771712, 9223372036854771712, "max", "-1"},
	}
	for _, u := range updates {
		if err := g.Update(t.Context(), u.res); err != nil {
			t.Errorf("%s: %v", u.name, err)
			continue
		}
		wantFile(t, m.file("memory", p, "memory.limit_in_bytes"), fmt.Sprint(u.mem))
		wantFile(t, m.file("memory", p, "memory.memsw.limit_in_bytes"), fmt.Sprint(u.memsw))
		wantFile(t, m.file("pids", p, "pids.max"), u.pids)
		wantFile(t, m.file("cpu", p, "cpu.cfs_quota_us"), u.quota)
	}
}

func TestV1RefusedLimitsLeaveNothing(t *testing.T) {
	m := newV1(t)
	missing, invalid := func(err error) bool {
		return errors.As(err, new(*MissingError)) && errors.Is(err, sandbox.ErrUnsupported)
	},
		func(err error) bool { return errors.Is(err, ErrInvalid) }
	tests := []struct {
		name string
		res  sandbox.Resources
		is   func(error) bool
		says string
	}{
		{"cpu that is not there", sandbox.Resources{CpusetCpus: "4000"}, invalid, "cpuset.cpus=4000"},
		{"no cpu", sandbox.Resources{CpusetCpus: " "}, invalid, "is empty"},
		{"quota that is too small", sandbox.Resources{CPUQuota: 10}, invalid, "cpu.cfs_quota_us=10"},
		{"swap without memory", sandbox.Resources{MemorySwap: 1 << 26}, invalid, "memory.memsw.limit_in_bytes"},
		{"memory below swap", sandbox.Resources{MemoryLimit: 2 << 20, MemorySwap: 1 << 20}, invalid, "below the memory limit"},
		{"negative shares", sandbox.Resources{CPUShares: -5}, invalid, "cpu shares -5"},
		{"unified on v1", sandbox.Resources{Unified: map[string]string{"memory.high": "1"}}, invalid, "cgroup v2"},
	}
	if m.tree.(*v1).layout.find("hugetlb") == nil {
		tests = append(tests, struct {
			name string
			res  sandbox.Resources
			is   func(error) bool
			says string
		}{"no hugetlb", sandbox.Resources{HugepageLimits: map[string]uint64{"2MB": 1}}, missing, "hugetlb controller"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := m.Create(t.Context(), "", "a", tt.res)
			if err == nil || !strings.Contains(err.Error(), tt.says) || tt.is != nil && !tt.is(err) {
				t.Errorf("got %v, want an error that says %q", err, tt.says)
			}
		})
	}
}

// sleeper is a process that waits. It is reaped as soon as it ends.
type sleeper struct {
	pid  int
	dead chan struct{}
}

func newSleeper(t testing.TB) *sleeper {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &sleeper{pid: cmd.Process.Pid, dead: make(chan struct{})}
	go func() {
		cmd.Wait()
		close(s.dead)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-s.dead
	})
	return s
}

func TestV1JoinStatsKill(t *testing.T) {
	m := newV1(t)
	g := m.mustCreate(t, "a", sandbox.Resources{MemoryLimit: 64 << 20})
	proc := newSleeper(t)
	if err := g.Join(t.Context(), proc.pid); err != nil {
		t.Fatal(err)
	}
	s, err := g.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.Pids != 1 || s.MemoryLimit != 64<<20 || s.Time.IsZero() {
		t.Errorf("got %+v, want one process and a limit of 64 MiB", s)
	}
	if u, err := g.Usage(); err != nil || u.MemoryLimit != 64<<20 {
		t.Errorf("usage: got %+v, %v, want a limit of 64 MiB", u, err)
	}
	if pids, err := g.Processes(); err != nil || !slices.Equal(pids, []int{proc.pid}) {
		t.Errorf("got processes %v, %v, want %d", pids, err, proc.pid)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := g.Delete(short); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("delete with a process: got %v, want EBUSY", err)
	}
	if err := g.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := g.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Stats(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stats of a deleted group: got %v, want not exist", err)
	}
	if err := errors.Join(g.Delete(t.Context()), g.Kill(t.Context())); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestV1JoinFiles(t *testing.T) {
	m := newV1(t)
	g := m.mustCreate(t, "a", sandbox.Resources{})
	files, err := g.JoinFiles()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "for i in 3 4 5 6 7 8 9 10 11; do [ -e /proc/$$/fd/$i ] && echo 0 > /proc/$$/fd/$i; done; cat /proc/self/cgroup")
	cmd.ExtraFiles = files
	out, err := cmd.Output()
	for _, f := range files {
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Count(string(out), g.Path()), len(m.tree.(*v1).layout.trees); got != want {
		t.Errorf("joined %d hierarchies, want %d:\n%s", got, want, out)
	}
}

func TestV1OOMKills(t *testing.T) {
	m := newV1(t)
	g := m.mustCreate(t, "a", sandbox.Resources{MemoryLimit: 8 << 20, MemorySwap: 8 << 20})
	files, err := g.JoinFiles()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "for i in 3 4 5 6 7 8 9 10 11; do [ -e /proc/$$/fd/$i ] && echo 0 > /proc/$$/fd/$i; done; head -c 64m /dev/zero | tail >/dev/null")
	cmd.ExtraFiles = files
	cmd.Run()
	for _, f := range files {
		f.Close()
	}
	if n, err := g.OOMKills(); err != nil || n == 0 {
		t.Errorf("got %d, %v, want a kill", n, err)
	}
	if s, err := g.Stats(); err != nil || s.OOMKills == 0 || s.MemoryMax == 0 {
		t.Errorf("got %+v, %v, want a kill", s, err)
	}
}

func TestV1ParentsOfOursGoWithTheirLastChild(t *testing.T) {
	m := newV1(t)
	theirs := fmt.Sprintf("/cri-wasmer-test-%d-theirs", os.Getpid())
	for _, h := range m.tree.(*v1).layout.trees {
		dir := h.root + theirs
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(dir)
	}
	a, err := m.Create(t.Context(), theirs+"/x/y", "a", sandbox.Resources{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Create(t.Context(), theirs+"/x", "b", sandbox.Resources{})
	if err != nil {
		t.Fatal(err)
	}
	exists := func(p string) bool {
		_, err := os.Stat(m.file("memory", p, ""))
		return err == nil
	}
	if err := a.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exists(theirs+"/x/y") || !exists(theirs+"/x") {
		t.Error("after the first: want y gone and x there")
	}
	if err := b.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if exists(theirs+"/x") || !exists(theirs) {
		t.Error("after the last: want x gone and the parent that was there before still there")
	}
}

func TestV1ConcurrentCreateAndDelete(t *testing.T) {
	m := newV1(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 10 {
				g, err := m.Create(t.Context(), "", fmt.Sprintf("g%d-%d", i, j), sandbox.Resources{MemoryLimit: 1 << 24})
				if err != nil {
					t.Error(err)
					return
				}
				if err := g.Delete(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestV1Orphans(t *testing.T) {
	m := newV1(t)
	kept := m.mustCreate(t, "kept", sandbox.Resources{})
	inPod, err := m.Create(t.Context(), kept.Path(), "inside", sandbox.Resources{})
	if err != nil {
		t.Fatal(err)
	}
	deep, err := m.Create(t.Context(), m.parent+"/pod", "deep", sandbox.Resources{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { deep.Delete(context.Background()) })
	orphan := m.mustCreate(t, "orphan", sandbox.Resources{})
	elsewhere, err := m.Create(t.Context(), fmt.Sprintf("/cri-wasmer-test-%d-else", os.Getpid()), "x", sandbox.Resources{})
	if err != nil {
		t.Fatal(err)
	}
	proc := newSleeper(t)
	if err := orphan.Join(t.Context(), proc.pid); err != nil {
		t.Fatal(err)
	}
	keep := map[string]bool{kept.Path(): true, deep.Path(): true, elsewhere.Path(): false}
	if err := m.Orphans(t.Context(), keep); err != nil {
		t.Fatal(err)
	}
	select {
	case <-proc.dead:
	case <-time.After(5 * time.Second):
		t.Error("process of the orphan lives on")
	}
	for g, want := range map[sandbox.Cgroup]bool{kept: true, deep: true, inPod: false, orphan: false, elsewhere: false} {
		_, err := g.Stats()
		if got := err == nil; got != want {
			t.Errorf("%s exists: got %v, want %v", g.Path(), got, want)
		}
	}
}

func BenchmarkV1CreateDelete(b *testing.B) {
	m := newV1(b)
	keep, err := m.Create(b.Context(), "", "keep", sandbox.Resources{})
	if err != nil {
		b.Fatal(err)
	}
	defer keep.Delete(context.Background())
	res := sandbox.Resources{CPUShares: 512, CPUQuota: 20000, CPUPeriod: 100000, MemoryLimit: 64 << 20, MemorySwap: 64 << 20}
	for b.Loop() {
		g, err := m.Create(b.Context(), "", "a", res)
		if err != nil {
			b.Fatal(err)
		}
		if err := g.Delete(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkV1Stats(b *testing.B) {
	m := newV1(b)
	g, err := m.Create(b.Context(), "", "a", sandbox.Resources{})
	if err != nil {
		b.Fatal(err)
	}
	defer g.Delete(context.Background())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Stats(); err != nil {
			b.Fatal(err)
		}
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// faulty are the files of this kernel, one operation of which fails.
type faulty struct {
	kernelFiles
	fail func(op, path string) error
}

func (f *faulty) mkdir(path string) error {
	if err := f.fail("mkdir", path); err != nil {
		return err
	}
	return f.kernelFiles.mkdir(path)
}

func (f *faulty) write(path, value string) error {
	if err := f.fail("write", path); err != nil {
		return err
	}
	return f.kernelFiles.write(path, value)
}

func (f *faulty) mark(path string) error {
	if err := f.fail("mark", path); err != nil {
		return err
	}
	return f.kernelFiles.mark(path)
}

func TestV1CreateUndoneOnAnyFault(t *testing.T) {
	m := newV1(t) // looks for what is left at the end
	res := sandbox.Resources{CPUShares: 5, CPUQuota: 20000, CPUPeriod: 50000, CpusetCpus: "0", MemoryLimit: 1 << 24, MemorySwap: 1 << 25, PidsLimit: 5}
	count, nth := 0, -1
	m.tree.(*v1).files = &faulty{fail: func(_, path string) error {
		if count++; count == nth {
			return syscall.EIO
		}
		return nil
	}}
	g, err := m.Create(t.Context(), "", "a", res)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	for total := count; nth < total; {
		nth, count = max(nth, 0)+1, 0
		if _, err := m.Create(t.Context(), "", "a", res); !errors.Is(err, syscall.EIO) {
			t.Errorf("fault %d: got %v, want EIO", nth, err)
		}
		for _, h := range m.tree.(*v1).layout.trees {
			if top := h.root + path.Dir(m.parent); exists(top) {
				t.Fatalf("fault %d: left behind: %s", nth, top)
			}
		}
	}
	t.Logf("%d faults", nth)
}
