package rootfs

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// users makes a user namespace in which first is root. It lives as long as the
// test.
func users(t testing.TB, first uint32) (u *sandbox.UserNS, path string) {
	t.Helper()
	const size = 65536
	ids := []syscall.SysProcIDMap{{HostID: int(first), Size: size}}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	m := []sandbox.IDMapping{{HostID: first, Size: size}}
	return &sandbox.UserNS{UIDs: m, GIDs: m}, fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid)
}

// owners lists what belongs to others than uid, of the paths given.
func owners(uid uint32, paths ...string) error {
	var errs []error
	for _, p := range paths {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			errs = append(errs, &os.PathError{Op: "stat", Path: p, Err: err})
		} else if st.Uid != uid || st.Gid != uid {
			errs = append(errs, fmt.Errorf("%s belongs to %d:%d, want %d", p, st.Uid, st.Gid, uid))
		}
	}
	return errors.Join(errs...)
}

func TestMappedRootBelongsToItsUsers(t *testing.T) {
	const first = 300000
	f := newFS(t)
	low, top, host := tree(t, "etc/passwd", "home/baker/"), tree(t, "top"), tree(t, "f")
	if err := errors.Join(os.Chown(low+"/home/baker", 1000, 1000), os.Chmod(low+"/home/baker", 0o700)); err != nil {
		t.Fatal(err)
	}
	spec := sandbox.RootSpec{
		ID: "c", Layers: []string{low, top}, WorkingDir: "/home/baker/work",
		Mounts: []sandbox.Mount{
			{HostPath: host, ContainerPath: "/plain"},
			{ContainerPath: "/image", Layers: []string{low, top}},
			{ContainerPath: "/sub", Layers: []string{low, top}, SubPath: "etc"},
			{ContainerPath: "/one", Layers: []string{low}, SubPath: "home"},
		},
	}
	spec.UserNS, spec.UserNSPath = users(t, first)
	spec.Mounts = append(spec.Mounts, sandbox.Mount{HostPath: host, ContainerPath: "/mapped", IDMap: spec.UserNS})
	r := mustBuild(t, f, spec)
	inside(t, r, func() error {
		return errors.Join(
			owners(first, "/", "/etc/passwd", "/top", "/home/baker/work", "/dev", "/dev/null", "/dev/shm", "/dev/fd", "/proc", "/sys",
				"/image/top", "/image/etc/passwd", "/sub/passwd", "/mapped/f"),
			owners(first+1000, "/home/baker", "/image/home/baker", "/one/baker"),
			owners(0, "/plain/f"),
		)
	})
	// On disk the layer belongs to the pod's users, the image as before.
	if err := owners(first, f.layerDir("c")+"/fs"); err != nil {
		t.Error(err)
	}
	if err := owners(0, low+"/etc/passwd"); err != nil {
		t.Error(err)
	}
	bytes, inodes, err := f.Usage("c")
	if err != nil || bytes == 0 || inodes < 3 {
		t.Errorf("usage %d bytes, %d inodes, %v", bytes, inodes, err)
	}
}

func TestMappedRootOnOlderKernels(t *testing.T) {
	f := newFS(t)
	f.kern.layerList = false
	spec := sandbox.RootSpec{ID: "c", Layers: []string{tree(t, "a"), tree(t, "b")}}
	spec.UserNS, spec.UserNSPath = users(t, 300000)
	inside(t, mustBuild(t, f, spec), func() error { return owners(300000, "/a", "/b") })
	for range 200 {
		spec.Layers = append(spec.Layers, spec.Layers[0])
	}
	spec.ID = "d"
	if _, err := f.Build(t.Context(), spec); !errors.Is(err, ErrUnsupported) {
		t.Errorf("202 layers in one option: got %v, want ErrUnsupported", err)
	}
}

func TestOwnersOfTheLayerAreMapped(t *testing.T) {
	f := newFS(t)
	layer := tree(t, "a")
	if err := os.Chown(layer, 12, 70000); err != nil { // the group is not mapped
		t.Fatal(err)
	}
	spec := sandbox.RootSpec{ID: "c", Layers: []string{layer}}
	spec.UserNS, spec.UserNSPath = users(t, 300000)
	mustBuild(t, f, spec)
	var st unix.Stat_t
	if err := unix.Stat(f.layerDir("c")+"/fs", &st); err != nil || st.Uid != 300012 || st.Gid != 300000 {
		t.Errorf("the layer belongs to %d:%d, %v, want 300012:300000", st.Uid, st.Gid, err)
	}
}

func TestMountsWithOtherIDs(t *testing.T) {
	f := newFS(t)
	other, path := users(t, 400000)
	spec := sandbox.RootSpec{ID: "c", Mounts: []sandbox.Mount{{HostPath: tree(t, "f"), ContainerPath: "/m", IDMap: other}}}
	if _, err := f.Build(t.Context(), spec); !errors.Is(err, ErrUnsupported) {
		t.Errorf("without a maker of user namespaces: %v, want ErrUnsupported", err)
	}
	f.user = func(u *sandbox.UserNS) (*os.File, error) { return os.Open(path) }
	inside(t, mustBuild(t, f, spec), func() error { return owners(400000, "/m/f") })
}

func TestFilesystemsThatCannotMapIDsAreNamed(t *testing.T) {
	f := newFS(t)
	spec := sandbox.RootSpec{ID: "c"}
	spec.UserNS, spec.UserNSPath = users(t, 300000)
	spec.Mounts = []sandbox.Mount{{HostPath: "/proc", ContainerPath: "/m", IDMap: spec.UserNS}}
	_, err := f.Build(t.Context(), spec)
	if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "filesystem proc") {
		t.Errorf("got %v, want ErrUnsupported with the filesystem", err)
	}
}

// before63 says whether this is a Linux that maps no ids of a tmpfs.
func before63(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major < 6 || major == 6 && minor < 3
}

func TestProbeOfUserNamespaces(t *testing.T) {
	f := newFS(t)
	u, path := users(t, 300000)
	err := f.ProbeUserNS(t.Context(), u, path)
	if before63(t) { // what Secrets need
		if !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "filesystem tmpfs") {
			t.Errorf("before Linux 6.3: got %v, want ErrUnsupported with the filesystem", err)
		}
	} else if err != nil {
		t.Error(err)
	}
	if err := f.ProbeUserNS(t.Context(), u, filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a probe without user namespace succeeds")
	}
	left, err := filepath.Glob(f.dir + "/*probe*")
	if err != nil || len(left) != 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}
