package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// okResult is what a plugin prints that gave the pod an address.
const okResult = `{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"'"$CNI_NETNS"'"}],"ips":[{"address":"10.1.2.3/24","interface":0}]}`

// scriptPlugin writes a plugin in shell, which does what the case of its
// CNI_COMMAND says, and first notes each call in a file, but for those of VERSION. It
// returns a function that reads those notes.
func scriptPlugin(t *testing.T, dir, name, cases string) (calls func() []string) {
	t.Helper()
	notes := filepath.Join(t.TempDir(), "calls")
	script := fmt.Sprintf(`#!/bin/sh
cat > %[1]s.stdin.$CNI_COMMAND
if [ $CNI_COMMAND = VERSION ]; then echo '{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}'; exit; fi
env | grep ^CNI_ | sort > %[1]s.env.$CNI_COMMAND
echo "$CNI_COMMAND $CNI_CONTAINERID netns=$CNI_NETNS" >> %[1]s
case $CNI_COMMAND in
%[2]s
esac
`, notes, cases)
	if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return func() []string {
		data, _ := os.ReadFile(notes)
		return strings.Split(strings.TrimSpace(string(data)), "\n")
	}
}

// scriptNode is a node whose only network is the script plugin "script".
func scriptNode(t *testing.T, cniVersion, cases string) (c *CNI, conf Config, calls func() []string) {
	t.Helper()
	bin := t.TempDir()
	calls = scriptPlugin(t, bin, "script", cases)
	conf = testConfig(t, bin)
	writeConf(t, conf, "10-script.conflist", `{"cniVersion":"`+cniVersion+`","name":"net","plugins":[{"type":"script",
		"capabilities":{"portMappings":true,"dns":true,"bandwidth":true,"cgroupPath":true,"io.kubernetes.cri.pod-annotations":true}}]}`)
	return newCNI(t, conf), conf, calls
}

func TestAFailedSetupSaysWhyAndLeavesNothing(t *testing.T) {
	tests := []struct {
		name, cases string
		want        []string // parts of the error
	}{
		{"the plugin says why", `ADD) echo '{"cniVersion":"1.0.0","code":11,"msg":"no address left","details":"in 10.1.2.0/24"}'; exit 1;;`,
			[]string{"add pod ns/name-", `CNI network "net"`, `type="script"`, "no address left; in 10.1.2.0/24"}},
		{"the plugin fails and only writes to stderr", `ADD) echo "cannot load module" >&2; exit 3;;`,
			[]string{"exit status 3", `stderr: "cannot load module"`}},
		{"the plugin fails without a word", `ADD) exit 1;;`, []string{"/script: exit status 1"}},
		{"the plugin fails with garbage", `ADD) echo 'panic: oh no'; exit 2;;`, []string{"exit status 2", `no CNI error: "panic: oh no"`}},
		{"the plugin succeeds with garbage", `ADD) echo 'all good!';;`, []string{`type="script"`, "failed to unmarshal"}},
		{"the plugin succeeds with nothing", `ADD) ;;`, []string{`type="script"`, "unexpected end of JSON"}},
		{"the plugin gives no address", `ADD) echo '{"cniVersion":"1.0.0"}';;`, []string{"no IP address"}},
		{"the plugin kills itself", `ADD) kill -9 $$;;`, []string{"signal: killed"}},
		{"the plugin prints without end", `ADD) yes 2>/dev/null; exit 1;;`, []string{"did not end in time"}},
		{"DEL fails, too", `ADD) exit 1;; DEL) echo '{"code":99,"msg":"and it stays"}'; exit 1;;`, []string{"exit status 1", "and it stays"}},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _, calls := scriptNode(t, "1.0.0", tt.cases)
			c.conf.PluginTimeout = 2 * time.Second
			p := pod(c, "failing-"+strconv.Itoa(i))
			_, err := c.Setup(t.Context(), p)
			if err == nil {
				t.Fatal("Setup = nil, want an error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Setup = %v\nwant %q in it", err, want)
				}
			}
			if got, want := calls(), []string{"ADD " + p.ID + " netns=" + p.NetNS, "DEL " + p.ID + " netns=" + p.NetNS}; !reflect.DeepEqual(got, want) {
				t.Errorf("calls = %q, want %q", got, want)
			}
			wantNoTraces(t, c)
		})
	}
}

func TestThePluginsErrorIsInTheChain(t *testing.T) {
	c, _, _ := scriptNode(t, "1.0.0", `ADD) echo '{"code":11,"msg":"try again"}'; exit 1;;`)
	_, err := c.Setup(t.Context(), pod(c, "chain"))
	var said *types.Error
	if !errors.As(err, &said) || said.Code != types.ErrTryAgainLater {
		t.Errorf("Setup = %v, want a CNI error with code %d in its chain", err, types.ErrTryAgainLater)
	}
}

func TestAnErrorTellsWhosePatienceEnded(t *testing.T) {
	c, _, _ := scriptNode(t, "1.0.0", `ADD) sleep 1000;;`)
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := c.Setup(short, pod(c, "impatient"))
	if !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "gave up") {
		t.Errorf("Setup for an impatient caller = %v, want only that time ran out", err)
	}
	c.conf.PluginTimeout = 200 * time.Millisecond
	_, err = c.Setup(t.Context(), pod(c, "patient"))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "gave up after 200ms") {
		t.Errorf("Setup for a patient caller = %v, want that we gave up, and after which time", err)
	}
}

// TestAPluginThatHangsIsKilledWithItsChildren: the child holds the plugin's
// output open, so waiting for that would never end.
func TestAPluginThatHangsIsKilledWithItsChildren(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	c, _, _ := scriptNode(t, "1.0.0", `ADD) sleep 1000 & echo $! > `+pidFile+`; wait;;`)
	c.conf.PluginTimeout = 500 * time.Millisecond
	start := time.Now()
	_, err := c.Setup(t.Context(), pod(c, "hangs"))
	if err == nil || !strings.Contains(err.Error(), "did not end in time") || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Setup = %v, want that it did not end in time", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Setup took %v", took)
	}
	data, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the plugin's child to be gone", func() bool { return !alive(pid) })
	wantNoTraces(t, c)
}

// alive says whether a process runs; a zombie whose parent is gone does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// TestAPluginWhoseOutputOutlivesItHasEnded: a child of its own may hold it open, or
// one of the daemon's that is on its way from fork to exec.
func TestAPluginWhoseOutputOutlivesItHasEnded(t *testing.T) {
	c, _, _ := scriptNode(t, "1.0.0", `ADD) sleep 5 & echo '`+okResult+`';; DEL) sleep 5 & ;;`)
	p := pod(c, "outlives")
	if _, err := c.Setup(t.Context(), p); err != nil {
		t.Errorf("Setup = %v, want nil: the plugin said all", err)
	}
	if err := c.Teardown(t.Context(), p); err != nil {
		t.Errorf("Teardown = %v, want nil", err)
	}
	wantNoTraces(t, c)
}

func TestACallerWhoGivesUpEndsThePlugin(t *testing.T) {
	c, _, calls := scriptNode(t, "1.0.0", `ADD) sleep 1000;;`)
	ctx, cancel := context.WithCancel(t.Context())
	p := pod(c, "gives-up")
	done := make(chan error)
	go func() {
		_, err := c.Setup(ctx, p)
		done <- err
	}()
	waitFor(t, "the plugin to run", func() bool { return strings.HasPrefix(calls()[0], "ADD") })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Setup = %v, want context.Canceled in its chain", err)
	}
	if got := len(calls()); got != 2 {
		t.Errorf("calls = %q, want ADD and DEL: undoing needs a context of its own", calls())
	}
	wantNoTraces(t, c)
}

func TestAPluginThatIsJustBeingInstalled(t *testing.T) {
	c, conf, _ := scriptNode(t, "1.0.0", `ADD) echo '`+okResult+`';;`)
	f, err := os.OpenFile(filepath.Join(conf.BinDirs[0], "script"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(300*time.Millisecond, func() { f.Close() })
	setup(t, c, pod(c, "text-busy"))
}

func TestPluginsLearnOfThePod(t *testing.T) {
	c, _, calls := scriptNode(t, "1.0.0", `ADD) echo '`+okResult+`';;`)
	p := pod(c, "learns")
	p.Ports = []sandbox.PortMapping{{Protocol: "tcp", HostPort: 80, ContainerPort: 8080, HostIP: "127.0.0.1"}, {Protocol: "udp", ContainerPort: 53}}
	p.DNS = &sandbox.DNS{Servers: []string{"10.0.0.10"}, Searches: []string{"svc"}, Options: []string{"ndots:5"}}
	p.CgroupPath = "/kubepods/x"
	p.Annotations = map[string]string{ingressAnnotation: "10M"}
	r := setup(t, c, p)
	if want := "10.1.2.3"; len(r.IPs) != 1 || r.IPs[0].String() != want {
		t.Errorf("IPs = %v, want %s", r.IPs, want)
	}
	if !json.Valid(r.Raw) || !strings.Contains(string(r.Raw), "10.1.2.3/24") {
		t.Errorf("Raw = %s, want the result", r.Raw)
	}
	notes := noteFile(t, c, calls)
	env, err := os.ReadFile(notes + ".env.ADD")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=name-learns;K8S_POD_INFRA_CONTAINER_ID=learns;K8S_POD_UID=uid-learns\n",
		"CNI_CONTAINERID=learns\n", "CNI_IFNAME=eth0\n", "CNI_NETNS=" + p.NetNS + "\n", "CNI_PATH=" + c.conf.BinDirs[0] + "\n",
	} {
		if !strings.Contains(string(env), want) {
			t.Errorf("environment:\n%swant %q in it", env, want)
		}
	}
	var stdin struct {
		RuntimeConfig json.RawMessage `json:"runtimeConfig"`
	}
	data, err := os.ReadFile(notes + ".stdin.ADD")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &stdin); err != nil {
		t.Fatal(err)
	}
	want := `{"bandwidth":{"ingressRate":10000000,"ingressBurst":2147483647},` +
		`"cgroupPath":"/kubepods/x",` +
		`"dns":{"options":["ndots:5"],"searches":["svc"],"servers":["10.0.0.10"]},` +
		`"io.kubernetes.cri.pod-annotations":{"kubernetes.io/ingress-bandwidth":"10M"},` +
		`"portMappings":[{"hostPort":80,"containerPort":8080,"protocol":"tcp","hostIP":"127.0.0.1"}]}`
	if !sameJSON(t, stdin.RuntimeConfig, []byte(want)) {
		t.Errorf("runtimeConfig = %s\nwant %s", stdin.RuntimeConfig, want)
	}
}

// noteFile finds where scriptPlugin's script writes.
func noteFile(t *testing.T, c *CNI, calls func() []string) string {
	t.Helper()
	calls()
	script, err := os.ReadFile(filepath.Join(c.conf.BinDirs[0], "script"))
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Split(string(script), "\n")[1]
	return strings.TrimSuffix(strings.TrimPrefix(line, "cat > "), ".stdin.$CNI_COMMAND")
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

func TestAWrongBandwidthAnnotationFailsBeforeAnyPlugin(t *testing.T) {
	c, _, calls := scriptNode(t, "1.0.0", ``)
	p := pod(c, "bandwidth-wrong")
	p.Annotations = map[string]string{egressAnnotation: "fast"}
	if _, err := c.Setup(t.Context(), p); err == nil || !strings.Contains(err.Error(), `annotation kubernetes.io/egress-bandwidth: "fast" is no quantity`) {
		t.Errorf("Setup = %v, want one that names the annotation", err)
	}
	// As after a crash between the pod's record and its refusal.
	if err := c.Teardown(t.Context(), p); err != nil {
		t.Errorf("Teardown: %v, want nil, as nothing was done", err)
	}
	if got := calls(); len(got) != 1 || got[0] != "" {
		t.Errorf("calls = %q, want none", got)
	}
	wantNoTraces(t, c)
}

func TestBandwidthIsLimited(t *testing.T) {
	for name, own := range map[string]bool{"by a configuration that can": true, "by the bundled network": false} {
		t.Run(name, func(t *testing.T) {
			conf := testConfig(t, realPlugins(t))
			if own {
				writeConf(t, conf, "10-limited.conflist", `{"cniVersion":"1.0.0","name":"limited","plugins":[
					{"type":"bridge","bridge":"limited0","isGateway":true,"ipam":{"type":"host-local","subnet":"10.66.0.0/24","dataDir":"`+t.TempDir()+`"}},
					{"type":"bandwidth","capabilities":{"bandwidth":true}}]}`)
			}
			c := newCNI(t, conf)
			setup(t, c, pod(c, "without-limit"))
			if got := limits(t); len(got) != 0 {
				t.Errorf("limits of a pod without annotations = %v, want none", got)
			}
			p := pod(c, "limited")
			p.Annotations = map[string]string{ingressAnnotation: "10M"}
			want := []uint64{10e6 / 8}
			if hasIFB(t) {
				p.Annotations[egressAnnotation] = "20M"
				want = append(want, 20e6/8)
			}
			if _, err := c.Setup(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if got := limits(t); !slices.Equal(got, want) {
				t.Errorf("limits of interfaces in bytes a second = %v, want %v", got, want)
			}
			// A daemon that has forgotten the pod undoes the same.
			if err := os.RemoveAll(conf.CacheDir); err != nil {
				t.Fatal(err)
			}
			if err := newCNI(t, conf).Teardown(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if left := strings.Join(traces(t, c), "\n"); strings.Contains(left, p.ID) || strings.Count(left, "link ") != 1 {
				t.Errorf("left behind:\n%s", left)
			}
		})
	}
}

// limits are the rates that interfaces of the node have, in bytes a second.
func limits(t *testing.T) []uint64 {
	t.Helper()
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var rates []uint64
	for _, l := range links {
		qdiscs, err := netlink.QdiscList(l)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range qdiscs {
			if tbf, ok := q.(*netlink.Tbf); ok {
				rates = append(rates, tbf.Rate)
			}
		}
	}
	slices.Sort(rates)
	return rates
}

// hasIFB says whether the kernel has the interfaces by which a pod's sending is
// limited.
func hasIFB(t *testing.T) bool {
	t.Helper()
	ifb := &netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: "probe-ifb"}}
	if err := netlink.LinkAdd(ifb); err != nil {
		t.Logf("no interfaces of type ifb: %v", err)
		return false
	}
	if err := netlink.LinkDel(ifb); err != nil {
		t.Fatal(err)
	}
	return true
}

func TestTeardownOfANamespaceThatIsGone(t *testing.T) {
	c, _, calls := scriptNode(t, "1.0.0", `ADD) echo '`+okResult+`';;`)
	p := pod(c, "ns-gone")
	if _, err := c.Setup(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	// As after a reboot of a machine whose /run is no tmpfs: the file is there,
	// what was bound to it is not.
	if err := unix.Unmount(p.NetNS, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if err := c.Teardown(t.Context(), p); err != nil {
		t.Fatalf("Teardown: %v", err)
	}
	if got, want := calls()[1], "DEL ns-gone netns="; got != want {
		t.Errorf("last call = %q, want %q", got, want)
	}
	wantNoTraces(t, c)
}

func TestAFailedTeardownCanBeTriedAgain(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	c, _, calls := scriptNode(t, "1.0.0", `ADD) echo '`+okResult+`';;
DEL) if [ -e `+broken+` ]; then echo '{"code":11,"msg":"store is down"}'; exit 1; fi;;`)
	p := pod(c, "again")
	if _, err := c.Setup(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Teardown(t.Context(), p); err == nil || !strings.Contains(err.Error(), "delete pod ns/name-again") || !strings.Contains(err.Error(), "store is down") {
		t.Errorf("Teardown = %v, want the plugin's message", err)
	}
	if !c.netns.Exists(p.ID) {
		t.Error("namespace is gone after a failed DEL, want it kept for the next try")
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	if err := c.Teardown(t.Context(), p); err != nil {
		t.Errorf("Teardown, tried again: %v", err)
	}
	if got, want := calls()[2], "DEL again netns="+p.NetNS; got != want {
		t.Errorf("last call = %q, want %q", got, want)
	}
	wantNoTraces(t, c)
}

func TestTeardownCallsDELEvenWithoutCache(t *testing.T) {
	c, conf, calls := scriptNode(t, "1.0.0", `ADD) echo '`+okResult+`';;`)
	p := pod(c, "no-cache")
	if _, err := c.Setup(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(conf.CacheDir); err != nil {
		t.Fatal(err)
	}
	if err := c.Teardown(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if got, want := calls()[1], "DEL no-cache netns="+p.NetNS; got != want {
		t.Errorf("last call = %q, want %q", got, want)
	}
	wantNoTraces(t, c)
}

// TestTeardownWithPluginsInFilesOfTheirOwn: the directory beside the list may hold
// something else by then.
func TestTeardownWithPluginsInFilesOfTheirOwn(t *testing.T) {
	bin := t.TempDir()
	calls := scriptPlugin(t, bin, "script", `ADD) echo '`+okResult+`';;`)
	conf := testConfig(t, bin)
	writeConf(t, conf, "10-net.conflist", `{"cniVersion":"1.1.0","name":"net"}`)
	if err := os.MkdirAll(filepath.Join(conf.ConfDir, "net"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeConf(t, conf, "net/1.conf", `{"type":"script"}`)
	c := newCNI(t, conf)
	p := pod(c, "own-files")
	if _, err := c.Setup(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	writeConf(t, conf, "net/1.conf", `{"type":"another"}`)
	if err := c.Teardown(t.Context(), p); err != nil {
		t.Fatalf("Teardown: %v", err)
	}
	if got, want := calls(), []string{"ADD own-files netns=" + p.NetNS, "DEL own-files netns=" + p.NetNS}; !reflect.DeepEqual(got, want) {
		t.Errorf("calls = %q, want %q", got, want)
	}
	wantNoTraces(t, c)
}

// TestNothingIsBegunThatCannotBeUndone: where a plugin is missing or too old, DEL
// could not work either, and each try would leave a pod.
func TestNothingIsBegunThatCannotBeUndone(t *testing.T) {
	old := "#!/bin/sh\n" + `[ $CNI_COMMAND = VERSION ] && { echo '{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0"]}'; exit; }` + "\n" +
		`echo '{"cniVersion":"0.4.0","code":1,"msg":"incompatible CNI versions"}'; exit 1` + "\n"
	for name, tt := range map[string]struct{ plugin, reason, detail string }{
		"missing": {"", ReasonPluginMissing, "CNI plugin second is not in"},
		"too old": {old, ReasonPluginVersion, "knows only 0.3.1, 0.4.0"},
	} {
		t.Run(name, func(t *testing.T) {
			bin := t.TempDir()
			calls := scriptPlugin(t, bin, "first", `ADD) echo '`+okResult+`';;`)
			if tt.plugin != "" {
				if err := os.WriteFile(filepath.Join(bin, "second"), []byte(tt.plugin), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			conf := testConfig(t, bin)
			writeConf(t, conf, "10-net.conflist", `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"first"},{"type":"second"}]}`)
			c := newCNI(t, conf)
			if st := c.Status(t.Context()); st.Ready || st.Reason != tt.reason || !strings.Contains(st.Detail, tt.detail) {
				t.Errorf("Status = %+v, want %s with %q", st, tt.reason, tt.detail)
			}
			_, err := c.Setup(t.Context(), pod(c, "not-begun"))
			if !errors.Is(err, sandbox.ErrUnavailable) || errors.Is(err, sandbox.ErrLeftBehind) || !strings.Contains(fmt.Sprint(err), tt.detail) {
				t.Errorf("Setup = %v, want of kind ErrUnavailable, with nothing left behind, and %q", err, tt.detail)
			}
			if got := calls(); got[0] != "" {
				t.Errorf("calls = %q, want none", got)
			}
			wantNoTraces(t, c)
			scriptPlugin(t, bin, "second", `ADD) echo '`+okResult+`';;`)
			if st := c.Status(t.Context()); !st.Ready {
				t.Errorf("Status = %+v with another plugin, want ready", st)
			}
			setup(t, c, pod(c, "begun"))
		})
	}
}

func TestOrphansOfANodesOwnNetwork(t *testing.T) {
	c, conf, calls := scriptNode(t, "1.1.0", `ADD) echo '`+okResult+`';;`)
	for _, id := range []string{"own-kept", "own-gone"} {
		if _, err := c.Setup(t.Context(), pod(c, id)); err != nil {
			t.Fatal(err)
		}
	}
	keep := map[string]bool{"own-kept": true}
	if err := c.Orphans(t.Context(), keep); err != nil {
		t.Fatal(err)
	}
	if got, want := calls()[2:], []string{"DEL own-gone netns=" + c.NetNSPath("own-gone")}; !reflect.DeepEqual(got, want) {
		t.Errorf("calls = %q, want %q: GC only when it is allowed", got, want)
	}
	conf.GC = true
	c = newCNI(t, conf)
	if err := c.Orphans(t.Context(), keep); err != nil {
		t.Fatal(err)
	}
	if got, want := calls()[3:], []string{"GC  netns="}; !reflect.DeepEqual(got, want) {
		t.Errorf("calls = %q, want %q", got, want)
	}
	data, err := os.ReadFile(noteFile(t, c, calls) + ".stdin.GC")
	if err != nil {
		t.Fatal(err)
	}
	if want := `"cni.dev/valid-attachments":[{"containerID":"own-kept","ifname":"eth0"}]`; !strings.Contains(string(data), want) {
		t.Errorf("GC got %s, want %s in it", data, want)
	}
	if err := c.Teardown(t.Context(), pod(c, "own-kept")); err != nil {
		t.Fatal(err)
	}
	wantNoTraces(t, c)
}

// TestOrphansWhosePluginsHangAreLeftForTheNextTime: the daemon serves nobody meanwhile.
func TestOrphansWhosePluginsHangAreLeftForTheNextTime(t *testing.T) {
	hangs := filepath.Join(t.TempDir(), "hangs")
	c, conf, calls := scriptNode(t, "1.1.0", `ADD) echo '`+okResult+`';; DEL) if [ -e `+hangs+` ]; then exec sleep 1000; fi;;`)
	const pods = 5
	for i := range pods {
		if _, err := c.Setup(t.Context(), pod(c, fmt.Sprint("hangs-", i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(hangs, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	conf.PluginTimeout = time.Second
	c = newCNI(t, conf)
	start := time.Now()
	if err := c.Orphans(t.Context(), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Orphans = %v, want that time ran out", err)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("Orphans took %v for %d pods, with a second for all", took, pods)
	}
	if err := os.Remove(hangs); err != nil {
		t.Fatal(err)
	}
	conf.PluginTimeout = 0
	if err := newCNI(t, conf).Orphans(t.Context(), nil); err != nil {
		t.Errorf("Orphans, tried again: %v", err)
	}
	for i := range pods {
		if id := fmt.Sprint("hangs-", i); !strings.HasPrefix(lastCall(calls(), id), "DEL") {
			t.Errorf("DEL was not called for %s", id)
		}
	}
	wantNoTraces(t, c)
}

// lastCall is the last of the calls for a pod.
func lastCall(calls []string, id string) string {
	for _, call := range slices.Backward(calls) {
		if strings.Contains(call, " "+id+" ") {
			return call
		}
	}
	return ""
}
