package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// hostTmpfs mounts a tmpfs on a new directory of the host.
func hostTmpfs(t *testing.T, propagation uintptr) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("needs to mount a tmpfs: ", err)
	}
	t.Cleanup(func() {
		for unix.Unmount(dir, unix.MNT_DETACH) == nil {
		}
	})
	if err := unix.Mount("", dir, "", propagation, ""); err != nil {
		t.Fatal(err)
	}
	return dir
}

// submount mounts a tmpfs with a file on a directory below dir.
func submount(t *testing.T, dir, name string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("test", path, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
	if err := os.WriteFile(filepath.Join(path, "file"), []byte(name), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPropagation(t *testing.T) {
	tests := []struct {
		mode                        sandbox.Propagation
		hostToContainer, fromWithin bool
	}{
		{"", false, false},
		{sandbox.PropagationPrivate, false, false},
		{sandbox.PropagationSlave, true, false},
		{sandbox.PropagationShared, true, true},
	}
	for _, tt := range tests {
		t.Run("mode "+string(tt.mode), func(t *testing.T) {
			f := newFS(t)
			dir := hostTmpfs(t, unix.MS_SHARED)
			submount(t, dir, "before")
			r := mustBuild(t, f, sandbox.RootSpec{ID: "c", Mounts: []sandbox.Mount{
				{HostPath: dir, ContainerPath: "/vol", Propagation: tt.mode},
			}})
			submount(t, dir, "after")
			if err := os.Mkdir(filepath.Join(dir, "within"), 0o755); err != nil {
				t.Fatal(err)
			}
			inside(t, r, func() error {
				_, err := os.Stat("/vol/after/file")
				if got := err == nil; got != tt.hostToContainer {
					t.Errorf("a mount of the host shows in the container: got %v, want %v", got, tt.hostToContainer)
				}
				if err := unix.Mount("test", "/vol/within", "tmpfs", 0, ""); err != nil {
					return err
				}
				return errors.Join(os.WriteFile("/vol/within/file", nil, 0o644), read("/vol/before/file", "before"))
			})
			_, err := os.Stat(filepath.Join(dir, "within/file"))
			if got := err == nil; got != tt.fromWithin {
				t.Errorf("a mount of the container shows on the host: got %v, want %v", got, tt.fromWithin)
			}
			unix.Unmount(filepath.Join(dir, "within"), unix.MNT_DETACH)
		})
	}
}

// TestMountsOnASharedMountStayInside: what the container has on a mount that it shares
// with the host is not for the host, which would keep it for ever. The mount is
// shared all the same.
func TestMountsOnASharedMountStayInside(t *testing.T) {
	f := newFS(t)
	dir := hostTmpfs(t, unix.MS_SHARED)
	submount(t, dir, "a sub") // one below the top of the tree, with a blank in its path
	for _, name := range []string{"masked", "readonly", "etc", "within"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	host := tree(t, "nested/file", "hosts")
	before := ourMounts(t)
	r := mustBuild(t, f, sandbox.RootSpec{
		ID: "c",
		Mounts: []sandbox.Mount{
			{HostPath: dir, ContainerPath: "/vol", Propagation: sandbox.PropagationShared},
			{HostPath: dir + "/etc", ContainerPath: "/etc", Propagation: sandbox.PropagationShared},
			{HostPath: host + "/nested", ContainerPath: "/vol/nested"},
			{HostPath: host + "/nested", ContainerPath: "/vol/a sub/nested"},
		},
		Files:         []sandbox.BindFile{{HostPath: host + "/hosts", ContainerPath: "/etc/hosts"}},
		Devices:       []sandbox.Device{{HostPath: "/dev/zero", ContainerPath: "/vol/zero"}},
		MaskedPaths:   []string{"/vol/masked"},
		ReadonlyPaths: []string{"/vol/readonly"},
	})
	if got := ourMounts(t); got != before {
		t.Errorf("the host has %d mounts more", got-before)
	}
	submount(t, dir, "a sub/after")
	inside(t, r, func() error {
		return errors.Join(
			read("/vol/nested/file", "nested/file"), read("/vol/a sub/nested/file", "nested/file"), read("/etc/hosts", "hosts"),
			wantErrno(os.WriteFile("/vol/masked/x", nil, 0o644), unix.EROFS), wantErrno(os.WriteFile("/vol/readonly/x", nil, 0o644), unix.EROFS),
			read("/vol/a sub/after/file", "a sub/after"), unix.Mount("test", "/vol/within", "tmpfs", 0, ""), os.WriteFile("/vol/within/file", nil, 0o644),
		)
	})
	within := filepath.Join(dir, "within")
	if _, err := os.Stat(filepath.Join(within, "file")); err != nil {
		t.Errorf("a mount of the container does not show on the host: %v", err)
	}
	unix.Unmount(within, unix.MNT_DETACH)
}

// TestNothingIsMountedBelowProc: the process will mount proc over it.
func TestNothingIsMountedBelowProc(t *testing.T) {
	f := newFS(t)
	layer, host := tree(t, "sys-of-proc -> /proc/sys", "to-proc -> proc"), tree(t, "file")
	for _, path := range []string{"/proc", "proc/", "/proc/cpuinfo", "/x/../proc/sys", "/sys-of-proc", "/to-proc/new", "/dev/stdout"} {
		_, err := f.Build(context.Background(), sandbox.RootSpec{ID: "c", Layers: []string{layer}, Mounts: []sandbox.Mount{
			{HostPath: host, ContainerPath: path},
		}})
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "pid namespace") {
			t.Errorf("%s: got %v, want that it is invalid because of proc", path, err)
		}
	}
	mustBuild(t, f, sandbox.RootSpec{ID: "c", Mounts: []sandbox.Mount{{HostPath: host, ContainerPath: "/processes"}}})
}

func TestPropagationThatTheHostCannotGiveIsRefused(t *testing.T) {
	f := newFS(t)
	dir := hostTmpfs(t, unix.MS_PRIVATE)
	for _, mode := range []sandbox.Propagation{sandbox.PropagationSlave, sandbox.PropagationShared} {
		_, err := f.Build(context.Background(), sandbox.RootSpec{ID: "c", Mounts: []sandbox.Mount{
			{HostPath: dir, ContainerPath: "/vol", Propagation: mode},
		}})
		var e *Error
		if !errors.Is(err, ErrNotShared) || !errors.As(err, &e) || e.Step != StepPropagation || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: got %v, want an error that names %s", mode, err, dir)
		}
	}
}

func TestReadonlyMounts(t *testing.T) {
	const nosymfollow = 0x2000 // ST_NOSYMFOLLOW of linux/statfs.h
	f := newFS(t)
	dir := hostTmpfs(t, unix.MS_PRIVATE)
	submount(t, dir, "sub")
	r := mustBuild(t, f, sandbox.RootSpec{ID: "c", Mounts: []sandbox.Mount{
		{HostPath: dir, ContainerPath: "/ro", Readonly: true},
		{HostPath: dir, ContainerPath: "/rro", Readonly: true, RecursiveReadonly: true},
		{HostPath: dir, ContainerPath: "/rw"},
		{HostPath: dir, ContainerPath: "/opts", Options: []string{"noexec", "rnosuid", "noatime"}},
		{HostPath: dir, ContainerPath: "/more", Options: []string{"ro", "nosymfollow", "strictatime", "nodiratime", "dev"}},
		{HostPath: dir, ContainerPath: "/none", Options: []string{"ro", "noexec", "nosuid", "rw", "exec", "suid"}},
	}})
	inside(t, r, func() error {
		for path, want := range map[string]int64{
			"/opts":     unix.ST_NOEXEC | unix.ST_NOSUID | unix.ST_NODEV | unix.ST_NOATIME,
			"/opts/sub": unix.ST_NOSUID | unix.ST_NODEV | unix.ST_RELATIME,
			"/rw":       unix.ST_NODEV | unix.ST_RELATIME,
			"/more":     unix.ST_RDONLY | nosymfollow | unix.ST_NODIRATIME,
			"/none":     unix.ST_NODEV | unix.ST_RELATIME,
		} {
			var st unix.Statfs_t
			if err := unix.Statfs(path, &st); err != nil {
				return err
			}
			const valid = 0x20
			if got := st.Flags &^ valid; got != want {
				t.Errorf("%s: got mount flags %#x, want %#x", path, got, want)
			}
		}
		return errors.Join(
			wantErrno(os.WriteFile("/ro/x", nil, 0o644), unix.EROFS), os.WriteFile("/ro/sub/x", nil, 0o644),
			wantErrno(os.WriteFile("/rro/x", nil, 0o644), unix.EROFS), wantErrno(os.WriteFile("/rro/sub/x", nil, 0o644), unix.EROFS),
			os.WriteFile("/rw/x", nil, 0o644), os.WriteFile("/rw/sub/x", nil, 0o644),
		)
	})
}

func TestReadonlyRoot(t *testing.T) {
	f := newFS(t)
	layer := tree(t, "app/main.wasm")
	host := tree(t, "data/", "hosts")
	r := mustBuild(t, f, sandbox.RootSpec{
		ID: "c", Layers: []string{layer}, Readonly: true, WorkingDir: "/missing/dir",
		Mounts: []sandbox.Mount{{HostPath: host + "/data", ContainerPath: "/a/b/data"}},
		Files:  []sandbox.BindFile{{HostPath: host + "/hosts", ContainerPath: "/etc/hosts"}},
	})
	inside(t, r, func() error {
		return errors.Join(
			wantErrno(os.WriteFile("/x", nil, 0o644), unix.EROFS),
			wantErrno(os.WriteFile("/app/main.wasm", nil, 0o644), unix.EROFS),
			os.WriteFile("/a/b/data/x", nil, 0o644), os.WriteFile("/dev/shm/x", nil, 0o644),
			wantErrno(os.WriteFile("/etc/hosts", []byte("new"), 0o644), unix.EROFS), os.Chdir("/missing/dir"),
		)
	})
}

func TestMaskedAndReadonlyPaths(t *testing.T) {
	f := newFS(t)
	layer := tree(t, "secret/key", "keyfile", "ro/file", "dir/sub/file")
	host := tree(t, "below/file")
	r := mustBuild(t, f, sandbox.RootSpec{
		ID: "c", Layers: []string{layer},
		Mounts:        []sandbox.Mount{{HostPath: host + "/below", ContainerPath: "/ro/mounted"}},
		MaskedPaths:   []string{"/secret", "/keyfile", "/does/not/exist", "/keyfile/neither", "/proc/kcore"},
		ReadonlyPaths: []string{"/ro", "/nor/this", "/proc/sys"},
	})
	inside(t, r, func() error {
		entries, err := os.ReadDir("/secret")
		if err != nil || len(entries) != 0 {
			t.Errorf("/secret: got %v, %v, want an empty directory", entries, err)
		}
		return errors.Join(
			read("/keyfile", ""), wantErrno(os.WriteFile("/secret/x", nil, 0o644), unix.EROFS),
			read("/ro/file", "ro/file"), wantErrno(os.WriteFile("/ro/file", nil, 0o644), unix.EROFS),
			wantErrno(os.WriteFile("/ro/mounted/file", nil, 0o644), unix.EROFS),
			os.WriteFile("/dir/sub/file", nil, 0o644),
		)
	})
}

func TestImageMounts(t *testing.T) {
	low, top := tree(t, "a/x", "a/deep/file", "single"), tree(t, "a/y", "esc -> /etc")
	tests := []struct {
		name   string
		layers []string
		sub    string
		file   string
		want   string
	}{
		{"one layer", []string{low}, "", "/img/a/x", "a/x"},
		{"one layer, sub path", []string{low}, "a/deep", "/img/file", "a/deep/file"},
		{"one layer, file", []string{low}, "/single", "/img", "single"},
		{"two layers", []string{low, top}, "", "/img/a/y", "a/y"},
		{"two layers, sub path", []string{low, top}, "a", "/img/deep/file", "a/deep/file"},
		{"two layers, file", []string{low, top}, "a/y", "/img", "a/y"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, legacy := range []bool{false, true} {
				f := newFS(t)
				f.kern.layerList = f.kern.layerList && !legacy
				r := mustBuild(t, f, sandbox.RootSpec{ID: "c", Mounts: []sandbox.Mount{
					{ContainerPath: "/img", Layers: tt.layers, SubPath: tt.sub},
				}})
				inside(t, r, func() error {
					return errors.Join(read(tt.file, tt.want), wantErrno(os.WriteFile(tt.file, nil, 0o644), unix.EROFS))
				})
			}
		})
	}
	for _, sub := range []string{"nothing", "a/../../../nothing", "esc/passwd"} {
		for _, layers := range [][]string{{top}, {low, top}} {
			f := newFS(t)
			_, err := f.Build(context.Background(), sandbox.RootSpec{ID: "c", Mounts: []sandbox.Mount{
				{ContainerPath: "/img", Layers: layers, SubPath: sub},
			}})
			if !errors.Is(err, os.ErrNotExist) {
				t.Errorf("sub path %s of %d layers: got %v, want not exist", sub, len(layers), err)
			}
		}
	}
}

func TestDevices(t *testing.T) {
	nodes := filepath.Join(t.TempDir(), "nodes")
	all := map[string]uint64{"zero": unix.Mkdev(1, 5), "deep/random": unix.Mkdev(1, 9)}
	for name, dev := range all {
		path := filepath.Join(nodes, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = unix.Mknod(path, unix.S_IFCHR|0o666, int(dev))
		}
		if err == nil {
			err = unix.Chmod(path, 0o666) // whatever the umask is
		}
		if err != nil {
			t.Skipf("needs the right to make device nodes: %v", err)
		}
	}
	for _, mknod := range []bool{true, false} {
		t.Run(fmt.Sprintf("mknod %v", mknod), func(t *testing.T) {
			f := newFS(t)
			f.kern.mknod = f.kern.mknod && mknod
			r := mustBuild(t, f, sandbox.RootSpec{ID: "c", Devices: []sandbox.Device{
				{HostPath: nodes, ContainerPath: "/dev/all"},
				{HostPath: "/dev/zero", ContainerPath: "/dev/sub/dir/my-zero", Permissions: "rwm"},
				{HostPath: "/dev/zero", ContainerPath: "/elsewhere/zero"},
				{HostPath: "/dev/zero", ContainerPath: "/dev/null"},
			}})
			inside(t, r, func() error {
				var errs []error
				for path, want := range map[string]uint64{
					"/dev/zero": unix.Mkdev(1, 5), "/dev/sub/dir/my-zero": unix.Mkdev(1, 5),
					"/elsewhere/zero": unix.Mkdev(1, 5), "/dev/null": unix.Mkdev(1, 5), "/dev/urandom": unix.Mkdev(1, 9),
					"/dev/all/zero": all["zero"], "/dev/all/deep/random": all["deep/random"],
				} {
					var st unix.Stat_t
					err := unix.Stat(path, &st)
					if err == nil && (st.Rdev != want || st.Mode != unix.S_IFCHR|0o666) {
						err = fmt.Errorf("%s: got device %#x, mode %o, want %#x, 20666", path, st.Rdev, st.Mode, want)
					}
					f, e := os.Open(path)
					if e == nil {
						e = f.Close()
					}
					errs = append(errs, err, e)
				}
				return errors.Join(errs...)
			})
		})
	}
}

// TestDevicesWithFewerPermissions: the mode of the node says what is left, and a
// mark that it binds everybody.
func TestDevicesWithFewerPermissions(t *testing.T) {
	devices := func(path, permissions string) sandbox.RootSpec {
		return sandbox.RootSpec{ID: "c", Devices: []sandbox.Device{{HostPath: "/dev/zero", ContainerPath: path, Permissions: permissions}}}
	}
	for permissions, want := range map[string]uint32{"r": 0o1444, "w": 0o1222, "m": 0o1000, "rm": 0o1444, "rw": 0o666, "": 0o666} {
		f := newFS(t)
		if !f.kern.mknod && want&unix.S_ISVTX != 0 {
			continue
		}
		inside(t, mustBuild(t, f, devices("/dev/oven", permissions)), func() error {
			var st unix.Stat_t
			err := unix.Stat("/dev/oven", &st)
			if err == nil && st.Mode != unix.S_IFCHR|want {
				err = fmt.Errorf("with %q the mode is %o, want %o", permissions, st.Mode, unix.S_IFCHR|want)
			}
			return err
		})
	}
	for name, spec := range map[string]sandbox.RootSpec{
		"outside of /dev": devices("/elsewhere/zero", "r"), "on a node without device nodes": devices("/dev/oven", "r"),
	} {
		f := newFS(t)
		f.kern.mknod = f.kern.mknod && name == "outside of /dev"
		if _, err := f.Build(context.Background(), spec); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want that it is invalid", name, err)
		}
	}
}

func TestPrivilegedHasTheHostsDevices(t *testing.T) {
	f := newFS(t)
	var want int
	if err := walkDevices("/dev", "/dev", func(hostNode) { want++ }); err != nil {
		t.Fatal(err)
	}
	r := mustBuild(t, f, sandbox.RootSpec{ID: "c", Privileged: true})
	inside(t, r, func() error {
		got := 0
		err := walkDevices("/dev", "/x", func(hostNode) { got++ })
		if got != want {
			t.Errorf("got %d devices, want %d", got, want)
		}
		return err
	})
}

func TestDevicesOfTheHostDoNotWorkThroughMounts(t *testing.T) {
	f := newFS(t)
	r := mustBuild(t, f, sandbox.RootSpec{ID: "c", Mounts: []sandbox.Mount{
		{HostPath: "/dev", ContainerPath: "/hostdev"},
		{HostPath: "/dev", ContainerPath: "/hostdev2", Options: []string{"dev"}},
	}})
	inside(t, r, func() error {
		_, err := os.Open("/hostdev/zero")
		f, err2 := os.Open("/hostdev2/zero")
		f.Close()
		return errors.Join(wantErrno(err, unix.EACCES), err2)
	})
}

func TestMountOverDevReplacesIt(t *testing.T) {
	f := newFS(t)
	host := tree(t, "my/file", "my/shm/mine/", "log")
	pod := hostTmpfs(t, unix.MS_SHARED)
	if err := errors.Join(os.WriteFile(pod+"/x", []byte("of the pod"), 0o644), os.Mkdir(pod+"/mine", 0o755)); err != nil {
		t.Fatal(err)
	}
	r := mustBuild(t, f, sandbox.RootSpec{ID: "c", ShmPath: pod, Mounts: []sandbox.Mount{
		{HostPath: host + "/log", ContainerPath: "/dev/termination-log"},
		{HostPath: host + "/my", ContainerPath: "/dev"},
	}})
	inside(t, r, func() error {
		_, err := os.Stat("/dev/null")
		return errors.Join(
			read("/dev/file", "my/file"), read("/dev/termination-log", "log"), wantErrno(err, unix.ENOENT),
			read("/dev/shm/x", "of the pod"), os.WriteFile("/dev/shm/mine/x", nil, 0o644),
		)
	})
	if _, err := os.Stat(host + "/my/shm/mine/x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("/dev/shm is the volume's: %v", err)
	}
	for name, host := range map[string]string{"no shm": tree(t, "file"), "shm is a link": tree(t, "shm -> elsewhere"), "shm is a file": tree(t, "shm")} {
		mustBuild(t, f, sandbox.RootSpec{ID: "d", ShmPath: pod, Mounts: []sandbox.Mount{{HostPath: host, ContainerPath: "/dev"}}})
		if entries, err := os.ReadDir(host); err != nil || len(entries) != 1 {
			t.Errorf("%s: the volume has become %v, %v", name, entries, err)
		}
	}
}

func TestShm(t *testing.T) {
	f := newFS(t)
	pod := hostTmpfs(t, unix.MS_SHARED)
	size := func(r *sandbox.Root) (n int64) {
		inside(t, r, func() error {
			var st unix.Statfs_t
			err := unix.Statfs("/dev/shm", &st)
			n = int64(st.Blocks) * st.Bsize
			return err
		})
		return n
	}
	if got := size(mustBuild(t, f, sandbox.RootSpec{ID: "a"})); got != defaultShmSize {
		t.Errorf("got %d, want %d", got, defaultShmSize)
	}
	if got := size(mustBuild(t, f, sandbox.RootSpec{ID: "b", ShmSize: 1 << 20})); got != 1<<20 {
		t.Errorf("got %d, want 1 MiB", got)
	}
	a := mustBuild(t, f, sandbox.RootSpec{ID: "c", ShmPath: pod})
	b := mustBuild(t, f, sandbox.RootSpec{ID: "d", ShmPath: pod})
	inside(t, a, func() error { return os.WriteFile("/dev/shm/x", []byte("hi"), 0o644) })
	inside(t, b, func() error { return read("/dev/shm/x", "hi") })
}

func TestInvalidRequestsAreNamed(t *testing.T) {
	f := newFS(t)
	mount := func(m sandbox.Mount) sandbox.RootSpec {
		return sandbox.RootSpec{ID: "c", Mounts: []sandbox.Mount{m}}
	}
	for name, spec := range map[string]sandbox.RootSpec{
		"no id":                     {},
		"id with a slash":           {ID: "a/b"},
		"hidden id":                 {ID: ".trash"},
		"relative layer":            {ID: "c", Layers: []string{"x"}},
		"relative file":             {ID: "c", Files: []sandbox.BindFile{{HostPath: "x", ContainerPath: "/x"}}},
		"relative host path":        mount(sandbox.Mount{HostPath: "x", ContainerPath: "/x"}),
		"no container path":         mount(sandbox.Mount{HostPath: "/"}),
		"mount on the root":         mount(sandbox.Mount{HostPath: "/", ContainerPath: "/a/.."}),
		"unknown option":            mount(sandbox.Mount{HostPath: "/", ContainerPath: "/a", Options: []string{"rexe"}}),
		"unknown propagation":       mount(sandbox.Mount{HostPath: "/", ContainerPath: "/a", Propagation: "x"}),
		"sub path without image":    mount(sandbox.Mount{HostPath: "/", ContainerPath: "/a", SubPath: "x"}),
		"recursive but not ro":      mount(sandbox.Mount{HostPath: "/", ContainerPath: "/a", RecursiveReadonly: true}),
		"recursive ro and shared":   mount(sandbox.Mount{HostPath: "/", ContainerPath: "/a", Readonly: true, RecursiveReadonly: true, Propagation: "shared"}),
		"device that is none":       {ID: "c", Devices: []sandbox.Device{{HostPath: "/etc/passwd"}}},
		"device that is not there":  {ID: "c", Devices: []sandbox.Device{{HostPath: "/dev/no-such-oven"}}},
		"device at /dev/shm":        {ID: "c", Devices: []sandbox.Device{{HostPath: "/dev/zero", ContainerPath: "/dev/shm"}}},
		"device in /dev/pts":        {ID: "c", Devices: []sandbox.Device{{HostPath: "/dev/zero", ContainerPath: "/dev/pts/zero"}}},
		"device below /proc":        {ID: "c", Devices: []sandbox.Device{{HostPath: "/dev/zero", ContainerPath: "/proc/zero"}}},
		"device with odd rights":    {ID: "c", Devices: []sandbox.Device{{HostPath: "/dev/zero", Permissions: "rx"}}},
		"negative size of /dev/shm": {ID: "c", ShmSize: -1},
	} {
		if _, err := f.Build(context.Background(), spec); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want an invalid request", name, err)
		}
	}
}
