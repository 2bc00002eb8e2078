package network

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/internal/privatetest"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
	"github.com/cri-wasmer/cri-wasmer/sandbox/namespace"
)

// TestMain runs the tests in a network and a mount namespace of their own, so
// that no bridge, rule or mount touches the machine's.
func TestMain(m *testing.M) {
	privatetest.Main(unix.CLONE_NEWNET|unix.CLONE_NEWNS, func() int { return runPrivate(m) })
}

func runPrivate(m *testing.M) int {
	if os.Getuid() == 0 {
		if err := loopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	dir, err := os.MkdirTemp("", "cni-plugins-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	pluginDir = dir
	return m.Run()
}

var pluginDir string

// buildPlugins builds the real plugins from the module in go.mod, once, in the
// network of the machine: the module may not be downloaded yet.
var buildPlugins = sync.OnceValue(func() error {
	return namespace.OnThread(func() error {
		host, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", os.Getppid()))
		if err != nil {
			return err
		}
		defer host.Close()
		if err := unix.Setns(int(host.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return goBuildPlugins()
	})
})

func goBuildPlugins() error {
	const base = "github.com/containernetworking/plugins/plugins/"
	cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", pluginDir+"/",
		base+"main/bridge", base+"ipam/host-local", base+"meta/bandwidth")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// needRoot skips tests that make namespaces.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
}

// realPlugins returns the directory of the real plugins.
func realPlugins(t *testing.T) string {
	t.Helper()
	needRoot(t)
	if err := buildPlugins(); err != nil {
		t.Fatalf("build CNI plugins: %v", err)
	}
	return pluginDir
}

// testConfig is a node without CNI configuration, with the given plugins.
func testConfig(t *testing.T, bins ...string) Config {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(dir, "netns"), unix.MNT_DETACH) })
	return Config{
		ConfDir:  filepath.Join(dir, "net.d"),
		BinDirs:  bins,
		CacheDir: filepath.Join(dir, "cache"),
		StateDir: filepath.Join(dir, "state"),
		NetNSDir: filepath.Join(dir, "netns"),
		LocksDir: filepath.Join(dir, "locks"),
		Logger:   slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// newCNI is the network of a daemon that lives until the test ends. Without the
// cleanup a collected one would give its claim up before.
func newCNI(t *testing.T, conf Config) *CNI {
	t.Helper()
	needRoot(t)
	c, err := New(conf)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return c
}

// pod names a pod; its id differs from that of every other test.
func pod(c *CNI, id string) sandbox.PodNetwork {
	return sandbox.PodNetwork{ID: id, Name: "name-" + id, Namespace: "ns", UID: "uid-" + id, NetNS: c.NetNSPath(id)}
}

// setup connects the pod and disconnects it when the test ends.
func setup(t *testing.T, c *CNI, p sandbox.PodNetwork) *sandbox.NetworkResult {
	t.Helper()
	r, err := c.Setup(t.Context(), p)
	if err != nil {
		t.Fatalf("Setup(%s): %v", p.ID, err)
	}
	t.Cleanup(func() {
		if err := c.Teardown(context.Background(), p); err != nil {
			t.Errorf("Teardown(%s): %v", p.ID, err)
		}
	})
	return r
}

// inNetNS runs f in the namespace.
func inNetNS(t *testing.T, path string, f func() error) error {
	t.Helper()
	return namespace.OnThread(func() error {
		ns, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(ns)
		if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
			return err
		}
		return f()
	})
}

// serve listens in the namespace and answers each connection with the address
// it came from. While it does so the namespace lives: stop ends it.
func serve(t *testing.T, netns, addr string) (stop func()) {
	t.Helper()
	var l net.Listener
	err := inNetNS(t, netns, func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	if err != nil {
		t.Fatalf("listen on %s in %s: %v", addr, netns, err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, conn.RemoteAddr().(*net.TCPAddr).IP)
			conn.Close()
		}
	}()
	return func() { l.Close() }
}

// ask connects from the namespace ("" is the node's) and returns the answer.
func ask(t *testing.T, netns, addr string) (string, error) {
	t.Helper()
	var conn net.Conn
	dial := func() (err error) {
		d := net.Dialer{Timeout: 3 * time.Second, FallbackDelay: -1}
		conn, err = d.Dial("tcp", addr)
		return err
	}
	err := dialIn(t, netns, dial)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

func dialIn(t *testing.T, netns string, dial func() error) error {
	if netns == "" {
		return dial()
	}
	return inNetNS(t, netns, dial)
}

// traces lists everything that connecting pods may leave behind.
func traces(t *testing.T, c *CNI) []string {
	t.Helper()
	var out []string
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Type() == "veth" || l.Type() == "ifb" {
			out = append(out, "link "+l.Attrs().Name)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, c.conf.NetNSDir+"/") {
			out = append(out, "mount "+line)
		}
	}
	for _, pattern := range []string{c.conf.NetNSDir + "/*", c.conf.CacheDir + "/results/*", c.conf.StateDir + "/leases/*/*.*.*.*", c.conf.StateDir + "/leases/*/*:*"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.Contains(f, "last_reserved_ip") {
				out = append(out, "file "+f)
			}
		}
	}
	sort.Strings(out)
	return out
}

func wantNoTraces(t *testing.T, c *CNI) {
	t.Helper()
	if left := traces(t, c); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

func mustPrefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
