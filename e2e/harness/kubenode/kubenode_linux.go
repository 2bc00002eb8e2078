// Package kubenode makes the namespaces of package isolate fit for a kubelet,
// and keeps what a kubelet changes of the machine apart or puts it back.
//
//	Run           outside: runs a test in the namespaces, and puts back the sysctls that
//	              a kubelet sets
//	Prepare       inside, once: an address that is not loopback, empty directories in
//	              the places in which a kubelet writes, a control group as its root
//	Config        a KubeletConfiguration for such a node
package kubenode

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
)

// IP is the address of the node.
const IP = "10.99.0.1"

// hostDirs are where a kubelet writes outside of its root.
var hostDirs = []string{"/var/lib", "/var/log"}

// Prepare does all that a kubelet needs of its machine, once for all kubelets of
// the process. It must come before the server, whose network keeps its addresses
// in the directories as well.
var Prepare = sync.OnceValue(prepare)

func prepare() error {
	if err := makeAddress(); err != nil {
		return fmt.Errorf("make the node's address: %w", err)
	}
	for _, dir := range hostDirs {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("hide %s: %w", dir, err)
		}
	}
	if err := makeGroups(); err != nil {
		return fmt.Errorf("make control groups: %w", err)
	}
	return nil
}

// makeAddress gives the namespace an address that is not loopback, on a cable
// whose both ends are here, and a way out that leads nowhere.
func makeAddress() error {
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "node0"}, PeerName: "node1"}); err != nil {
		return err
	}
	var node netlink.Link
	for _, name := range []string{"node1", "node0"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
		node = link
	}
	addr, err := netlink.ParseAddr(IP + "/24")
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(node, addr); err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: node.Attrs().Index, Gw: net.ParseIP("10.99.0.254")})
}

// Group is the control group that the kubelet takes as its root.
func Group() string { return "/" + filepath.Join(isolate.Group(), "kubelet") }

// makeGroups makes Group in all hierarchies.
func makeGroups() error {
	roots, err := isolate.CgroupRoots()
	if err != nil {
		return err
	}
	for _, root := range roots {
		dir := root
		for _, part := range strings.Split(strings.Trim(Group(), "/"), "/") {
			parent := dir
			dir = filepath.Join(dir, part)
			if err := makeGroup(parent, dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeGroup makes one group, with all controllers of its parent. In the hierarchy
// of cpusets it must be told its part of its parent.
func makeGroup(parent, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	controllers, err := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	if err == nil {
		return delegate(parent, strings.Fields(string(controllers)))
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(parent, file))
		if errors.Is(err, os.ErrNotExist) {
			continue // another hierarchy
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// delegate gives controllers of the unified hierarchy to the groups below one.
func delegate(group string, controllers []string) error {
	for _, c := range controllers {
		if err := os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// sysctls are those that a kubelet sets, for the whole machine.
var sysctls = []string{"vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"}

// SaveSysctls remembers what a kubelet changes of the whole machine, and gives
// what puts it back.
func SaveSysctls() (restore func() error, err error) {
	saved := map[string][]byte{}
	for _, name := range sysctls {
		value, err := os.ReadFile(filepath.Join("/proc/sys", name))
		if err != nil {
			return nil, fmt.Errorf("save sysctl: %w", err)
		}
		saved[name] = value
	}
	return func() error {
		for name, value := range saved {
			if err := os.WriteFile(filepath.Join("/proc/sys", name), value, 0o644); err != nil {
				return fmt.Errorf("restore sysctl: %w", err)
			}
		}
		return nil
	}, nil
}

// Run is isolate.Run for tests with a kubelet. It calls prepare before, outside of
// the namespaces, where there is a network to fetch modules by, and puts back what
// a kubelet changes of the machine.
func Run(run func() int, prepare func() error) int {
	if !isolate.Outside() {
		return isolate.Run(run)
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	restore, err := SaveSysctls()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := isolate.Run(run)
	if err := restore(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// Config is a KubeletConfiguration for a node whose runtime listens on socket;
// dir is for the kubelet's files. Changes replace its fields.
func Config(socket, dir string, changes map[string]any) map[string]any {
	config := map[string]any{
		"apiVersion":                     "kubelet.config.k8s.io/v1beta1",
		"kind":                           "KubeletConfiguration",
		"containerRuntimeEndpoint":       "unix://" + socket,
		"staticPodPath":                  Manifests(dir),
		"podLogsDir":                     filepath.Join(dir, "logs"),
		"volumePluginDir":                filepath.Join(dir, "plugins"),
		"resolvConf":                     "",
		"cgroupRoot":                     Group(),
		"cgroupDriver":                   "cgroupfs",
		"cgroupsPerQOS":                  true,
		"enforceNodeAllocatable":         []string{},
		"failCgroupV1":                   false,
		"failSwapOn":                     false,
		"makeIPTablesUtilChains":         false,
		"localStorageCapacityIsolation":  true,
		"fileCheckFrequency":             "1s",
		"imageGCHighThresholdPercent":    100,
		"imageGCLowThresholdPercent":     99,
		"evictionHard":                   map[string]string{"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
		"serializeImagePulls":            false,
		"shutdownGracePeriod":            "0s",
		"nodeStatusUpdateFrequency":      "10s",
		"volumeStatsAggPeriod":           "1h",
		"syncFrequency":                  "10s",
		"streamingConnectionIdleTimeout": "10s",
	}
	maps.Copy(config, changes)
	return config
}

// Manifests is the directory of static pods of a kubelet whose files are in dir.
func Manifests(dir string) string { return filepath.Join(dir, "manifests") }
