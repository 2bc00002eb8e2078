package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// namespaces counts the mount namespaces of this process: those that its
// threads are in and those that it holds open.
func namespaces(t *testing.T) int {
	t.Helper()
	seen := map[string]bool{}
	links, _ := filepath.Glob("/proc/self/task/*/ns/mnt")
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, l := range append(links, fds...) {
		if target, err := os.Readlink(l); err == nil && strings.HasPrefix(target, "mnt:") {
			seen[target] = true
		}
	}
	return len(seen)
}

// foreign are the mounts of before the tests. They may go when somebody else
// removes the directories that they are on.
var foreign = sync.OnceValue(func() map[string]bool {
	seen := map[string]bool{}
	text, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(text)) {
		seen[line] = true
	}
	return seen
})

// ourMounts counts the mounts that the tests made.
func ourMounts(t *testing.T) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !foreign()[line] {
			n++
		}
	}
	return n
}

// snapshot describes what a Build could leave behind.
func snapshot(t *testing.T, f *FS) stock {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	layers, err := os.ReadDir(f.dir)
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, e := range layers {
		if !strings.HasPrefix(e.Name(), ".") {
			dirs = append(dirs, e.Name())
		}
	}
	return stock{fds: len(fds), mounts: ourMounts(t), namespaces: namespaces(t), layers: fmt.Sprint(dirs)}
}

// stock is what a process holds.
type stock struct {
	fds, mounts, namespaces int
	layers                  string
}

// within says whether nothing is there beyond want: Go may close files of its own
// at any time.
func (s stock) within(want stock) bool {
	return s.fds <= want.fds && s.mounts <= want.mounts && s.namespaces <= want.namespaces && s.layers == want.layers
}

func (s stock) String() string {
	return fmt.Sprintf("%d fds, %d mounts, %d mount namespaces, layers %s", s.fds, s.mounts, s.namespaces, s.layers)
}

// everything asks for all that a Build can do.
func everything(t *testing.T) sandbox.RootSpec {
	t.Helper()
	host := tree(t, "dir/", "file", "hosts", "nested/")
	low, top := tree(t, "a/b", "masked", "ro/x", "sub/y"), tree(t, "c")
	shared := hostTmpfs(t, unix.MS_SHARED)
	return sandbox.RootSpec{
		ID: "c1", Layers: []string{low, top}, Readonly: true, Privileged: true, WorkingDir: "/new/dir",
		Mounts: []sandbox.Mount{
			{HostPath: host + "/dir", ContainerPath: "/vol", Readonly: true},
			{HostPath: host + "/file", ContainerPath: "/x/y/file", Options: []string{"noexec"}},
			{HostPath: shared, ContainerPath: "/shared", Propagation: sandbox.PropagationShared},
			{ContainerPath: "/image", Layers: []string{low, top}, SubPath: "sub"},
			{ContainerPath: "/image1", Layers: []string{low}},
		},
		Files:         []sandbox.BindFile{{HostPath: host + "/hosts", ContainerPath: "/etc/hosts", Readonly: true}},
		MaskedPaths:   []string{"/masked", "/a"},
		ReadonlyPaths: []string{"/ro"},
		Devices:       []sandbox.Device{{HostPath: "/dev/zero", ContainerPath: "/outside/zero"}},
	}
}

func TestFailureOfAnyStepLeavesNothing(t *testing.T) {
	failEveryStep(t, newFS(t), everything(t), allSteps)
}

func TestFailureOfAnyStepWithMappedIDsLeavesNothing(t *testing.T) {
	f := newFS(t)
	spec := everything(t)
	spec.UserNS, spec.UserNSPath = users(t, 100000)
	spec.Privileged = false // the devices of the host are tested without
	spec.Mounts[0].IDMap = spec.UserNS
	failEveryStep(t, f, spec, append(allSteps, StepUserNS, StepIDMap))
}

func failEveryStep(t *testing.T, f *FS, spec sandbox.RootSpec, all []Step) {
	t.Helper()
	var mu sync.Mutex
	seen := map[Step]int{}
	f.fault = func(s Step) error {
		mu.Lock()
		defer mu.Unlock()
		seen[s]++
		return nil
	}
	before := snapshot(t, f)
	r, err := f.Build(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), f.Remove(context.Background(), spec.ID)); err != nil {
		t.Fatal(err)
	}
	settle(t, "success and removal", f, before)
	total := 0
	for _, s := range all {
		if seen[s] == 0 {
			t.Errorf("step %q does not occur", s)
		}
		total += seen[s]
	}
	for step, times := range seen {
		for n := range times {
			failNth(t, f, spec, step, n, before)
		}
	}
	t.Logf("%d faults in %d steps", total, len(seen))
}

var allSteps = []Step{
	StepCheck, StepWritableLayer, StepBase, StepOverlay, StepDev, StepDevice, StepShm, StepPts, StepSource,
	StepPropagation, StepAttributes, StepImage, StepMask, StepNamespace, StepAttachRoot, StepSubPath, StepPivot,
	StepMountpoint, StepAttach, StepReadonlyPath, StepWorkingDir, StepReadonlyRoot, StepShareRoot,
	StepOpenNamespace, StepLeaveNamespace,
}

// failNth fails the nth occurrence of a step and looks at what is left. A
// privileged container has a step for each device of the host: a few will do.
func failNth(t *testing.T, f *FS, spec sandbox.RootSpec, step Step, n int, before stock) {
	t.Helper()
	if step == StepDevice && n > 3 && n%40 != 0 {
		return
	}
	var mu sync.Mutex
	boom, count := errors.New("boom"), 0
	f.fault = func(s Step) error {
		mu.Lock()
		defer mu.Unlock()
		if s == step {
			if count++; count == n+1 {
				return boom
			}
		}
		return nil
	}
	_, err := f.Build(context.Background(), spec)
	var e *Error
	if !errors.Is(err, boom) || !errors.As(err, &e) || e.Step != step {
		t.Errorf("%s #%d: got %v, want the fault", step, n, err)
	}
	f.fault = nil
	settle(t, fmt.Sprintf("%s #%d", step, n), f, before)
}

// settle waits for threads that are ending and for the trash.
func settle(t *testing.T, what string, f *FS, want stock) {
	t.Helper()
	var got stock
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if got = snapshot(t, f); got.within(want) {
			return
		}
	}
	t.Errorf("%s: got %s, want %s", what, got, want)
}

// steady is a snapshot that stays for a moment: threads that have ended are gone.
func steady(t *testing.T, f *FS) stock {
	t.Helper()
	got := snapshot(t, f)
	for same := 0; same < 20; same++ {
		time.Sleep(5 * time.Millisecond)
		if now := snapshot(t, f); now != got {
			got, same = now, 0
		}
	}
	return got
}

func TestLostBuildersAreReplaced(t *testing.T) {
	f := newFS(t)
	f.fault = func(s Step) error {
		if s == StepLeaveNamespace {
			return unix.EIO
		}
		return nil
	}
	for range 2 * numBuilders() {
		if _, err := f.Build(context.Background(), sandbox.RootSpec{ID: "c"}); !errors.Is(err, unix.EIO) {
			t.Fatalf("got %v, want the fault", err)
		}
	}
	f.fault = nil
	mustBuild(t, f, sandbox.RootSpec{ID: "c"})
}

func TestManyBuildsAtOnceLeaveNothing(t *testing.T) {
	f := newFS(t)
	spec := everything(t)
	before := snapshot(t, f)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 25 {
				s := spec
				s.ID = fmt.Sprintf("c%d-%d", i, j)
				s.Privileged = false
				r, err := f.Build(context.Background(), s)
				if err != nil {
					t.Error(err)
					return
				}
				if err := errors.Join(r.Close(), f.Remove(context.Background(), s.ID)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	settle(t, "200 builds", f, before)
}

func TestNewAndCloseLeaveNothing(t *testing.T) {
	f := newFS(t)
	g, err := New(Config{Dir: filepath.Join(t.TempDir(), "warm")}) // Go's own threads and fds
	if err != nil {
		t.Fatal(err)
	}
	g.Close()
	before := steady(t, f)
	for range 5 {
		g, err := New(Config{Dir: filepath.Join(t.TempDir(), "x")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.Build(context.Background(), sandbox.RootSpec{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("got %v, want an invalid request", err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		if _, err := g.Build(context.Background(), sandbox.RootSpec{ID: "c"}); !errors.Is(err, ErrClosed) {
			t.Errorf("build after close: got %v, want ErrClosed", err)
		}
	}
	settle(t, "five of them", f, before)
}

func TestBuildGivesUpWaitingWithItsContext(t *testing.T) {
	f := newFS(t)
	before := snapshot(t, f)
	release := make(chan struct{})
	f.fault = func(s Step) error {
		if s == StepPivot {
			<-release
		}
		return nil
	}
	var wg sync.WaitGroup
	for i := range numBuilders() {
		wg.Go(func() {
			r, err := f.Build(context.Background(), sandbox.RootSpec{ID: fmt.Sprint("busy", i)})
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(r.Close(), f.Remove(context.Background(), fmt.Sprint("busy", i))); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(20 * time.Millisecond) // all builders are taken
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := f.Build(ctx, sandbox.RootSpec{ID: "late"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
	close(release)
	wg.Wait()
	settle(t, "all", f, before)
}
