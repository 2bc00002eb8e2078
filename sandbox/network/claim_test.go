package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
	"github.com/cri-wasmer/cri-wasmer/sandbox/namespace"
)

// beside is another daemon on the node of conf.
func beside(t *testing.T, conf Config, subnets ...string) Config {
	t.Helper()
	other := testConfig(t, conf.BinDirs...)
	other.LocksDir, other.Suffix = conf.LocksDir, "_"+filepath.Base(filepath.Dir(other.StateDir))
	for _, s := range subnets {
		other.Subnets = append(other.Subnets, mustPrefix(s))
	}
	return other
}

// wantTaken wants that no pod is connected, for another daemon has the subnet.
func wantTaken(t *testing.T, c *CNI, subnet string, by Config) {
	t.Helper()
	st := c.Status(t.Context())
	if st.Ready || st.Reason != ReasonSubnetTaken {
		t.Errorf("Status = %+v, want not ready for %s", st, ReasonSubnetTaken)
	}
	for _, want := range []string{subnet, fmt.Sprintf("pid %d", os.Getpid()), by.StateDir, "cni.subnets"} {
		if !strings.Contains(st.Detail, want) {
			t.Errorf("detail %q, want %q in it", st.Detail, want)
		}
	}
	_, err := c.Setup(t.Context(), pod(c, "taken"))
	var nr *NotReadyError
	if !errors.As(err, &nr) || nr.Detail != st.Detail {
		t.Errorf("Setup = %v, want %q", err, st.Detail)
	}
}

func wantReady(t *testing.T, c *CNI, when string) {
	t.Helper()
	if st := c.Status(t.Context()); !st.Ready {
		t.Errorf("%s: Status = %+v, want ready", when, st)
	}
}

func TestSubnetsOfAnotherDaemonAreNotUsed(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	first := newCNI(t, conf)
	if err := first.Orphans(t.Context(), nil); err != nil { // as at start
		t.Fatal(err)
	}
	second := newCNI(t, beside(t, conf, "fd00:88::/64", "10.88.7.0/24"))
	wantTaken(t, second, "10.88.7.0/24", conf)
	wantNoTraces(t, second)
	wantReady(t, newCNI(t, beside(t, conf, "10.89.0.0/16")), "with another subnet")
	wantReady(t, newCNI(t, conf), "the same daemon again")

	err := namespace.OnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		wantReady(t, newCNI(t, beside(t, conf)), "in another network namespace")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	// The kubelet's word counts, and makes room for others.
	if err := second.UpdatePodCIDR("10.90.0.0/24"); err != nil {
		t.Fatal(err)
	}
	wantReady(t, second, "with a pod CIDR of its own")
	if err := second.UpdatePodCIDR("10.88.9.0/24"); err != nil {
		t.Fatal(err)
	}
	wantTaken(t, second, "10.88.9.0/24", conf)
}

func TestSubnetsAreFreeWhenTheirDaemonHasGone(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	first := newCNI(t, conf)
	wantReady(t, first, "alone")
	second := newCNI(t, beside(t, conf))
	wantTaken(t, second, "10.88.0.0/16", conf)

	// Killed: the kernel has closed the file.
	if err := first.claim.file.Close(); err != nil {
		t.Fatal(err)
	}
	first.claim.file = nil
	wantReady(t, second, "after the first was killed")
	if files, err := filepath.Glob(conf.LocksDir + "/*"); err != nil || len(files) != 1 {
		t.Errorf("files of daemons = %q, %v, want that of the one that lives", files, err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if files, err := filepath.Glob(conf.LocksDir + "/*"); err != nil || len(files) != 0 {
		t.Errorf("files of daemons = %q, %v, want none", files, err)
	}
}

func TestSubnetsOfBeforeAreTakenWhilePodsHaveThem(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	first := newCNI(t, conf)
	p := pod(first, "claim-past")
	if _, err := first.Setup(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := first.UpdatePodCIDR("10.91.0.0/24"); err != nil {
		t.Fatal(err)
	}
	wantReady(t, first, "with the new subnet")
	second := newCNI(t, beside(t, conf))
	wantTaken(t, second, "10.88.0.0/16", conf)
	if err := first.Teardown(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	wantReady(t, first, "without a pod in the old one")
	wantReady(t, second, "after the last pod there has gone")
}

func TestClaimsThatCannotBeMadeAreAReason(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	if err := os.WriteFile(conf.LocksDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	st := newCNI(t, conf).Status(t.Context())
	if st.Ready || st.Reason != ReasonSubnetsUnknown || !strings.Contains(st.Detail, conf.LocksDir) {
		t.Errorf("Status = %+v, want not ready for %s, with the path", st, ReasonSubnetsUnknown)
	}
}

func TestDaemonsLeaveEachOthersRulesAlone(t *testing.T) {
	conf := testConfig(t, realPlugins(t))
	first := newCNI(t, conf)
	p := pod(first, "rules-first")
	p.Ports = []sandbox.PortMapping{{Protocol: "tcp", HostPort: 12050, ContainerPort: 80}}
	setup(t, first, p)
	serve(t, p.NetNS, ":80")

	second := newCNI(t, beside(t, conf, "10.92.0.0/16"))
	if err := second.Orphans(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	q := pod(second, "rules-second")
	q.Ports = []sandbox.PortMapping{{Protocol: "tcp", HostPort: 12051, ContainerPort: 80}}
	setup(t, second, q)
	serve(t, q.NetNS, ":80")
	for _, port := range []string{"12050", "12051"} {
		if _, err := ask(t, "", "127.0.0.1:"+port); err != nil {
			t.Errorf("host port %s: %v", port, err)
		}
	}
	outside := outsideWorld(t)
	serve(t, outside, "192.0.2.2:7002")
	for _, p := range []sandbox.PodNetwork{p, q} {
		if got, err := ask(t, p.NetNS, "192.0.2.2:7002"); err != nil || got != "192.0.2.1" {
			t.Errorf("%s came to the outside from %q, %v, want 192.0.2.1", p.ID, got, err)
		}
	}
}

func TestOnlyAddressesInUseKeepASubnet(t *testing.T) {
	b := &bundled{dir: t.TempDir(), sub: subnets{
		Current: []netip.Prefix{mustPrefix("10.1.0.0/24")},
		Past:    []netip.Prefix{mustPrefix("10.2.0.0/24"), mustPrefix("10.3.0.0/24"), mustPrefix("fd00:2::/64")},
	}}
	dir := filepath.Join(b.leases(), "x")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"10.3.0.7", "fd00:2::5", "lock", "last_reserved_ip.0"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	current, past, err := b.usedSubnets()
	if err != nil || len(current) != 1 || fmt.Sprint(past) != "[10.3.0.0/24 fd00:2::/64]" {
		t.Errorf("usedSubnets = %v, %v, %v", current, past, err)
	}
}
