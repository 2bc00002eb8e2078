package namespace

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/internal/privatetest"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// TestMain runs the tests in a mount namespace of their own. The test binary is
// also the worker: started as one, it waits for the end of its socket.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "init" {
		os.NewFile(3, "spawn").Read(make([]byte, 1))
		os.Exit(125)
	}
	privatetest.Main(unix.CLONE_NEWNS, m.Run)
}

func newKeeper(t *testing.T) *Keeper {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to make namespaces")
	}
	dir := t.TempDir()
	k, err := Open(Config{Dir: dir + "/own", NetNSDir: dir + "/net", Worker: "/proc/self/exe", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

func ids(first uint32) *sandbox.UserNS {
	m := []sandbox.IDMapping{{HostID: first, Size: 65536}}
	return &sandbox.UserNS{UIDs: m, GIDs: m}
}

// own is a namespace of this process.
func own(t *testing.T, kind string) uint64 {
	t.Helper()
	return inode(t, "/proc/thread-self/ns/"+kind)
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func left(t *testing.T, k *Keeper) []string {
	t.Helper()
	a, err := k.own.Names()
	if err != nil {
		t.Fatal(err)
	}
	b, err := k.net.Names()
	if err != nil {
		t.Fatal(err)
	}
	return append(a, b...)
}

func TestNamespacesOfAPod(t *testing.T) {
	k := newKeeper(t)
	for name, u := range map[string]*sandbox.UserNS{"host users": nil, "own users": ids(100000)} {
		t.Run(name, func(t *testing.T) {
			spec := sandbox.NamespaceSpec{ID: "pod", User: u, Net: u != nil, IPC: true, UTS: true, Hostname: "bakery"}
			ns, err := k.Make(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			if !k.Alive(ns) {
				t.Error("not alive")
			}
			for kind, path := range map[string]string{"ipc": ns.IPC, "uts": ns.UTS} {
				if inode(t, path) == own(t, kind) {
					t.Errorf("the %s namespace is the host's", kind)
				}
			}
			if (ns.User == "") != (u == nil) || u != nil && inode(t, ns.User) == own(t, "user") {
				t.Errorf("user namespace %q", ns.User)
			}
			if k.net.Exists("pod") != (u != nil) {
				t.Errorf("network namespace made: %t", u == nil)
			}
			wantHostname(t, ns.UTS, "bakery")
			wantShm(t, ns.Shm, u)
			sysctls := sandbox.Sysctls{List: []sandbox.Sysctl{{Path: "kernel/shm_rmid_forced", Value: "1"}, {Path: "kernel/msgmax", Value: "4096"}}, User: u}
			if u != nil {
				sysctls.NetNS = k.net.File("pod")
				sysctls.List = append(sysctls.List, sandbox.Sysctl{Path: "net/ipv4/ping_group_range", Value: "0 7"})
			}
			if err := k.SetSysctls(ns, sysctls); err != nil {
				t.Error(err)
			}
			if err := errors.Join(k.Remove("pod"), k.Remove("pod")); err != nil {
				t.Error(err)
			}
			if k.Alive(ns) {
				t.Error("alive after the removal")
			}
			if l := left(t, k); len(l) != 0 {
				t.Errorf("left: %q", l)
			}
		})
	}
}

func wantHostname(t *testing.T, uts, want string) {
	t.Helper()
	var name unix.Utsname
	err := OnThread(func() error { return errors.Join(enter(uts, kindUTS), unix.Uname(&name)) })
	if got := unix.ByteSliceToString(name.Nodename[:]); err != nil || got != want {
		t.Errorf("hostname %q, %v, want %q", got, err, want)
	}
	if host, err := os.Hostname(); err != nil || host == want {
		t.Errorf("the host is named %q, %v", host, err)
	}
}

func wantShm(t *testing.T, path string, u *sandbox.UserNS) {
	t.Helper()
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Stat(path, &st), unix.Statfs(path, &fs)); err != nil {
		t.Fatal(err)
	}
	uid, gid := u.HostRoot()
	if st.Uid != uid || st.Gid != gid || st.Mode&0o7777 != 0o1777 || fs.Type != unix.TMPFS_MAGIC || fs.Blocks*uint64(fs.Bsize) != 64<<20 {
		t.Errorf("/dev/shm: owner %d:%d, mode %o, type %#x, %d blocks", st.Uid, st.Gid, st.Mode, fs.Type, fs.Blocks)
	}
}

func TestWhatIsNotAskedForIsTheHosts(t *testing.T) {
	k := newKeeper(t)
	ns, err := k.Make(t.Context(), sandbox.NamespaceSpec{ID: "pod"})
	if err != nil || ns != (sandbox.PodNamespaces{}) || !k.Alive(ns) {
		t.Errorf("got %v, %v", ns, err)
	}
	if l := left(t, k); len(l) != 0 {
		t.Errorf("made: %q", l)
	}
}

func TestFailedMakeLeavesNothing(t *testing.T) {
	k := newKeeper(t)
	for name, spec := range map[string]sandbox.NamespaceSpec{
		"hostname":    {ID: "pod", IPC: true, UTS: true, Hostname: strings.Repeat("x", 65)},
		"mapped":      {ID: "pod", User: ids(100000), Net: true, UTS: true, Hostname: strings.Repeat("x", 65)},
		"size of shm": {ID: "pod", IPC: true, ShmSize: -1},
		"mapping": {ID: "pod", User: &sandbox.UserNS{
			UIDs: []sandbox.IDMapping{{HostID: 1, Size: 10}, {HostID: 1, Size: 10}}, GIDs: ids(1).GIDs,
		}},
	} {
		if _, err := k.Make(t.Context(), spec); err == nil {
			t.Errorf("%s: no error", name)
		}
		if l := left(t, k); len(l) != 0 {
			t.Errorf("%s: left %q", name, l)
		}
	}
	if children, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid())); err != nil || len(children) != 0 {
		t.Errorf("children are left: %q, %v", children, err)
	}
}

func TestWrongSysctlsAreTheCallersFault(t *testing.T) {
	k := newKeeper(t)
	u := ids(100000)
	ns, err := k.Make(t.Context(), sandbox.NamespaceSpec{ID: "pod", User: u, Net: true, IPC: true})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Remove("pod")
	for path, value := range map[string]string{
		"net/ipv4/no_such": "1", "kernel/msgmax": "many", "net/../../../etc/x": "1", "net/ipv4/ping_group_range": "0 99999",
		"net/ipv4": "1", "net/ipv4/tcp_available_congestion_control": "reno",
	} {
		err := k.SetSysctls(ns, sandbox.Sysctls{List: []sandbox.Sysctl{{Path: path, Value: value}}, NetNS: k.net.File("pod"), User: u})
		if !errors.Is(err, sandbox.ErrInvalid) {
			t.Errorf("%s=%s: %v, want ErrInvalid", path, value, err)
		}
	}
}

func TestOrphansGo(t *testing.T) {
	k := newKeeper(t)
	for _, id := range []string{"kept", "gone"} {
		if _, err := k.Make(t.Context(), sandbox.NamespaceSpec{ID: id, User: ids(100000), IPC: true, UTS: true, Hostname: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.Orphans(map[string]bool{"kept": true}); err != nil {
		t.Error(err)
	}
	for _, name := range left(t, k) {
		if !strings.HasPrefix(name, "kept.") {
			t.Errorf("left: %s", name)
		}
	}
	if n := len(left(t, k)); n != 4 {
		t.Errorf("%d are left, want 4", n)
	}
	if err := k.Remove("kept"); err != nil {
		t.Error(err)
	}
}

func TestUserNamespaceOfAFile(t *testing.T) {
	k := newKeeper(t)
	f, err := k.UserNS(ids(100000))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if inode(t, filepath.Join("/proc/self/fd", fmt.Sprint(f.Fd()))) == own(t, "user") {
		t.Error("it is the host's")
	}
}
