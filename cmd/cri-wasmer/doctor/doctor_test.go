package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cri-wasmer/cri-wasmer/imageservice"
	"github.com/cri-wasmer/cri-wasmer/internal/config"
)

// node is a Doctor for one check, on directories of the test.
func node(t *testing.T) *Doctor {
	t.Helper()
	dir := t.TempDir()
	c, err := config.Load(nil, []string{"CRI_WASMER_CONFIG=" + write(t, filepath.Join(dir, "config.toml"), "")})
	if err != nil {
		t.Fatal(err)
	}
	o := c.Options
	o.Root, o.State, o.Socket, o.CNI.ConfDir = filepath.Join(dir, "root"), filepath.Join(dir, "state"), filepath.Join(dir, "sock"), filepath.Join(dir, "net.d")
	o.CNI.BinDirs, o.Image.CertsDirs = []string{filepath.Join(dir, "cni")}, []string{filepath.Join(dir, "certs.d")}
	for _, d := range []string{o.Root, o.State, filepath.Join(dir, "etc"), filepath.Join(dir, "proc")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return &Doctor{Config: Config{Options: o, Version: "1", Host: Host{Proc: filepath.Join(dir, "proc"), Etc: filepath.Join(dir, "etc")}.withDefaults()}}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// want checks that the findings are these, each "status: part of its text", in
// this order, and that each that calls for it has a remedy.
func (d *Doctor) want(t *testing.T, list ...string) {
	t.Helper()
	var got []string
	for _, f := range d.findings {
		got = append(got, fmt.Sprintf("%s: %s", f.Status, f.Text))
		if (f.Status == Problem || f.Status == Warning) && f.Remedy == "" {
			t.Errorf("no remedy for: %s", f.Text)
		}
	}
	ok := len(got) == len(list)
	for i := range min(len(got), len(list)) {
		status, part, _ := strings.Cut(list[i], ": ")
		ok = ok && strings.HasPrefix(got[i], status+": ") && strings.Contains(got[i], part)
	}
	if !ok {
		t.Errorf("findings:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(list, "\n  "))
	}
	d.findings = nil
}

func TestSELinux(t *testing.T) {
	const without = "the policy lets nobody"
	for _, tc := range []struct {
		name, enforce, option string
		daemon                *Daemon
		want                  string
	}{
		{"none", "", "auto", nil, "note: none"},
		{"no daemon", "1", "auto", nil, "note: enforcing; whether"},
		{"an older daemon", "0", "auto", &Daemon{}, "note: permissive; whether"},
		{"labels", "1", "auto", &Daemon{SELinux: "on"}, "ok: enforcing, pods have labels"},
		{"no labels", "1", "auto", &Daemon{SELinux: without}, "warning: enforcing, pods have no labels: " + without},
		{"switched off", "0", "off", &Daemon{SELinux: without}, "note: permissive; pods have no labels"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := node(t)
			d.Host.SELinux = t.TempDir()
			if tc.enforce != "" {
				write(t, filepath.Join(d.Host.SELinux, "enforce"), tc.enforce)
			}
			d.Options.SELinux.Labels, d.daemon = tc.option, tc.daemon
			d.seLinux(t.Context())
			d.want(t, tc.want)
		})
	}
}

func TestTheDaemonsWordCounts(t *testing.T) {
	for _, tc := range []struct {
		name   string
		daemon *Daemon
		err    error
		want   []string
	}{
		{"none", nil, nil, []string{"note: no daemon runs"}},
		{"silent", nil, errors.New("timeout"), []string{"problem: does not answer as it should: timeout"}},
		{"well", &Daemon{Version: "1", Conditions: []Condition{{Type: "RuntimeReady", OK: true}}}, nil, []string{"ok: version 1", "ok: condition RuntimeReady"}},
		{"old and ill", &Daemon{Version: "0", Conditions: []Condition{{Type: "NetworkReady", Reason: "NoConfig", Message: "nothing there"}}}, nil,
			[]string{"ok: version 0", "warning: of version 0, this binary of 1", "problem: NetworkReady is not met: NoConfig: nothing there"}},
	} {
		d := node(t)
		d.Ask = func(context.Context) (*Daemon, error) { return tc.daemon, tc.err }
		d.askDaemon(t.Context())
		d.want(t, tc.want...)
	}
}

func TestTheNetworkIsLookedThrough(t *testing.T) {
	const bridge = `{"name":"n","plugins":[{"type":"bridge","ipam":{"type":"host-local"}}]}`
	for _, tc := range []struct {
		name    string
		files   map[string]string
		plugins []string
		bundled bool
		want    []string
	}{
		{"complete", map[string]string{"10-a.conflist": bridge}, []string{"bridge", "host-local"}, true, []string{"ok: 10-a.conflist is used", "ok: plugins "}},
		{"plugin missing", map[string]string{"10-a.conflist": bridge}, []string{"bridge"}, true, []string{"ok: is used", "problem: the plugin host-local is in none of"}},
		{"first one broken", map[string]string{"10-a.conf": "{", "20-b.conf": `{"name":"n","type":"bridge"}`}, []string{"bridge"}, true,
			[]string{"warning: 10-a.conf is skipped: not a CNI configuration", "ok: 20-b.conf is used", "ok: plugins"}},
		{"all broken", map[string]string{"10-a.conf": `{"name":"n"}`}, nil, true, []string{"warning: is skipped", "problem: is valid"}},
		{"none and not bundled", nil, nil, false, []string{"problem: the bundled network is switched off"}},
		{"a path as type", map[string]string{"a.conf": `{"name":"n","type":"../bridge"}`}, []string{"bridge"}, true, []string{"ok: is used", "problem: the plugin ../bridge"}},
	} {
		d := node(t)
		d.Options.CNI.Bundled = tc.bundled
		for name, text := range tc.files {
			write(t, filepath.Join(d.Options.CNI.ConfDir, name), text)
		}
		for _, name := range tc.plugins {
			write(t, filepath.Join(d.Options.CNI.BinDirs[0], name), "")
		}
		d.network(t.Context())
		t.Log(tc.name)
		d.want(t, tc.want...)
	}
}

func TestASubnetInUseIsFound(t *testing.T) {
	addrs, err := hostAddresses()
	if err != nil || len(addrs) == 0 {
		t.Skipf("needs a network device with an address: %v", err)
	}
	d := node(t)
	d.Options.CNI.Subnets = []netip.Prefix{addrs[0].prefix}
	d.bundled()
	if got := d.findings[len(d.findings)-1]; got.Status != Problem || !strings.Contains(got.Text, "overlaps with") {
		t.Errorf("finding = %+v", got)
	}
}

func TestTheKubeletIsCompared(t *testing.T) {
	const head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	for _, tc := range []struct {
		name, config, cmdline, driver string
		want                          []string
	}{
		{"none", "", "", "cgroupfs", []string{"note: no kubelet"}},
		{"alike", head + "containerRuntimeEndpoint: \"unix://SOCKET\" # ours\ncgroupDriver: cgroupfs\nfailCgroupV1: false\n", "", "cgroupfs",
			[]string{"ok: configuration in", "ok: it uses unix://"}},
		{"another runtime", head + "containerRuntimeEndpoint: unix:///run/containerd/containerd.sock\n", "", "cgroupfs",
			[]string{"ok: configuration in", "warning: another runtime: unix:///run/containerd"}},
		{"told of none", head + "nested:\n  containerRuntimeEndpoint: x\n", "", "cgroupfs", []string{"ok: configuration", "warning: is told of no runtime"}},
		{"flag wins", head + "containerRuntimeEndpoint: unix:///other\n", "/usr/bin/kubelet\x00--container-runtime-endpoint\x00unix://SOCKET\x00--v=2\x00", "cgroupfs",
			[]string{"ok: configuration", "ok: it uses"}},
		{"JSON", `{"kind":"KubeletConfiguration","containerRuntimeEndpoint":"unix://SOCKET","failCgroupV1":false}`, "", "cgroupfs", []string{"ok: configuration", "ok: it uses"}},
	} {
		d := node(t)
		d.Options.Cgroup.Driver = tc.driver
		put := func(name, text string) {
			if text != "" {
				write(t, name, strings.ReplaceAll(text, "SOCKET", d.Options.Socket))
			}
		}
		put(filepath.Join(d.Host.Etc, "var/lib/kubelet/config.yaml"), tc.config)
		put(filepath.Join(d.Host.Proc, "17/cmdline"), tc.cmdline)
		d.findKubelet(t.Context())
		t.Log(tc.name)
		d.want(t, tc.want...)
	}
}

func TestDriversAreCompared(t *testing.T) {
	d := node(t)
	d.Options.Cgroup.Driver = "cgroupfs"
	d.kubelet.values = map[string]string{"cgroupDriver": "systemd"}
	d.driver()
	d.want(t, "warning: the driver is cgroupfs and the kubelet's configuration says systemd")
	d.kubelet.values["cgroupDriver"] = "cgroupfs"
	d.driver()
	d.want(t, "ok: driver cgroupfs")
}

func TestControllersAreCounted(t *testing.T) {
	v1, v2 := t.TempDir(), t.TempDir()
	write(t, filepath.Join(v2, "cgroup.controllers"), "cpu memory pids\n")
	for _, name := range []string{"cpu,cpuacct", "pids"} {
		write(t, filepath.Join(v1, name, "tasks"), "")
	}
	for dir, want := range map[string]string{v1: "false [cpu cpuacct pids] <nil>", v2: "true [cpu memory pids] <nil>"} {
		unified, names, err := controllers(Host{Cgroup: dir})
		if got := fmt.Sprint(unified, names, err); got != want {
			t.Errorf("controllers = %s, want %s", got, want)
		}
	}
	d := node(t)
	d.Host.Cgroup, d.kubelet.files, d.kubelet.values = v1, []string{"x"}, map[string]string{}
	d.cgroups(t.Context())
	d.findings = d.findings[:min(4, len(d.findings))] // the driver wants real ones
	d.want(t, "ok: version 1 with cpu, cpuacct, pids", "problem: no controller memory", "warning: no controller cpuset", "problem: cgroup v1, with which kubelets since 1.35")
}

func TestDirectoriesOfOthersAreAProblem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: directories must be root's")
	}
	d := node(t)
	d.directories(t.Context())
	last := d.findings[:2]
	d.findings = last
	d.want(t, "ok: (option root)", "ok: (option state)")
	if err := os.Chmod(d.Options.Root, 0o777); err != nil {
		t.Fatal(err)
	}
	d.ownDirectory(d.Options.Root, "root")
	d.want(t, "problem: whoever may write there is root")
	d.ownDirectory(filepath.Join(d.Options.Root, "none"), "root")
	d.want(t, "ok: does not exist yet")
	write(t, d.Options.Socket, "")
	if err := os.Chmod(d.Options.Socket, 0o666); err != nil {
		t.Fatal(err)
	}
	d.socket()
	d.want(t, "warning: the socket has mode 0666", "problem: everybody may use the socket")
}

func TestPortsInUseAreAProblem(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d := node(t)
	d.Options.Metrics.Address = l.Addr().String()
	d.ports(t.Context())
	d.want(t, "ok: 127.0.0.1 has free ports, one of which is chosen (option stream.address)", "problem: option metrics.address")
	d.daemon = &Daemon{}
	d.ports(t.Context())
	d.want(t)
}

func TestTheStoreIsChecked(t *testing.T) {
	d := node(t)
	d.images(t.Context())
	d.want(t, "ok: no images yet")
	root := filepath.Join(d.Options.Root, "images")
	s, err := imageservice.Open(t.Context(), imageservice.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d.images(t.Context())
	d.want(t, "ok: 0 images, 0 blobs, 0 layers, 0 compiled: consistent (names and sizes")
	write(t, filepath.Join(root, "blobs/sha256", strings.Repeat("a", 64)), "x")
	d.images(t.Context())
	d.want(t, "warning: orphan: blob")
	write(t, filepath.Join(root, "meta.db"), "garbage")
	d.images(t.Context())
	d.want(t, "problem: ")
}

func TestLeftoversAreTold(t *testing.T) {
	d := node(t)
	id := func(c string) string { return strings.Repeat(c, 64) }
	d.leftovers(t.Context())
	d.want(t, "ok: nothing is left")
	write(t, filepath.Join(d.Options.Root, "containers", id("a")+".json"), "{}")
	write(t, filepath.Join(d.Options.Root, "rootfs", id("a"), "x"), "")
	write(t, filepath.Join(d.Options.Root, "rootfs", id("b"), "x"), "")
	write(t, filepath.Join(d.Options.State, "netns", id("c")), "")
	write(t, filepath.Join(d.Options.Root, "pods/quarantine/x.json"), "")
	mount := func(point string) string { return "36 35 98:0 / " + point + " rw - ext3 x rw\n" }
	write(t, filepath.Join(d.Options.Root, "pods", id("d")+".json"), "{}")
	write(t, filepath.Join(d.Host.Proc, "self/mountinfo"), mount(d.Options.Root+"/rootfs/"+id("b"))+
		mount(d.Options.State+"/namespaces")+mount(d.Options.State+"/namespaces/"+id("d")+".ipc")+mount(d.Options.State+"/netns/"+id("d"))+mount("/elsewhere/"+id("e")))
	d.leftovers(t.Context())
	d.want(t, "warning: 1 damaged record in ", "warning: 1 left of kind network namespace: "+id("c"), "warning: 1 left of kind writable layer: "+id("b"), "warning: 1 mounts left")
	d.daemon = &Daemon{}
	d.leftovers(t.Context())
	d.want(t, "warning: 1 damaged record in ", "ok: the daemon holds 1 pod and 1 container")
}

func TestRegistriesAreAskedOnlyWhenNamed(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.URL.Path != "/v2/" || r.Header.Get("Authorization") != "" {
			t.Errorf("asked %s with %v", r.URL.Path, r.Header)
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	d := node(t)
	d.registries(t.Context())
	d.want(t)
	d.Registries = []string{host}
	d.registries(t.Context())
	d.want(t, "ok: answers in")
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	write(t, filepath.Join(d.Options.Image.CertsDirs[0], "registry.example/hosts.toml"), "server = \""+server.URL+"\"\n[host.\"http://127.0.0.1:1\"]\ncapabilities = [\"pull\"]\n")
	d.Registries = []string{"registry.example"}
	d.registries(t.Context())
	d.want(t, "warning: by its mirror http://127.0.0.1:1", "ok: registry.example answers")
	write(t, filepath.Join(d.Options.Image.CertsDirs[0], "registry.example/hosts.toml"), "=")
	d.registries(t.Context())
	d.want(t, "problem: hosts.toml")
	server.Close()
	d.Registries = []string{host}
	d.registries(t.Context())
	d.want(t, "problem: "+host)
}

func TestProbesTellThereFromMissing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces and network devices")
	}
	before, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[string]bool{"bridge": true, "no-such-kind": false} {
		err := inNamespaces(0x40000000, func() error { return makeLink(kind) }) // CLONE_NEWNET
		if (err == nil) != want {
			t.Errorf("device of kind %s: %v", kind, err)
		}
	}
	after, err := net.Interfaces()
	if err != nil || len(after) != len(before) {
		t.Errorf("%d devices became %d, %v", len(before), len(after), err)
	}
}

func TestAWorkerThatIsMissingOrForeignIsAProblem(t *testing.T) {
	d := node(t)
	d.Options.Worker = filepath.Join(d.Options.Root, "none")
	d.worker(t.Context())
	d.want(t, "problem: "+d.Options.Worker)
	d.Options.Worker = write(t, filepath.Join(d.Options.Root, "worker"), "#!/bin/sh\necho libwasmer.so: cannot open shared object file >&2; exit 127\n")
	d.worker(t.Context())
	d.want(t, "problem: libwasmer.so: cannot open")
}

func TestExamineLeavesNothing(t *testing.T) {
	d := node(t)
	list := Examine(t.Context(), d.Config)
	if Count(list, OK) < 5 {
		t.Errorf("findings = %+v", list)
	}
	for _, dir := range []string{d.Options.Root, d.Options.State} {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 0 {
			t.Errorf("%s holds %v, %v", dir, entries, err)
		}
	}
	if _, err := os.Stat(d.Options.Socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("socket: %v", err)
	}
}

func TestFindingsAreLaidOut(t *testing.T) {
	var b bytes.Buffer
	Write(&b, []Finding{{"a", OK, "fine", ""}, {"a", Problem, "broken", "mend it"}, {"b", Warning, "odd", ""}})
	want := "ok       a                 fine\nproblem                    broken\n                           -> mend it\nwarning  b                 odd\n\n1 problem, 1 warning\n"
	if b.String() != want {
		t.Errorf("laid out as\n%s\nwant\n%s", b.String(), want)
	}
}
