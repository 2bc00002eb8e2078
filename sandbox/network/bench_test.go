package network

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// BenchmarkPod connects and disconnects one pod at a time by the bundled
// network, and reports both halves.
func BenchmarkPod(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs root, to make network namespaces")
	}
	if err := buildPlugins(); err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	c, err := New(Config{
		ConfDir: dir + "/net.d", BinDirs: []string{pluginDir},
		CacheDir: dir + "/cache", StateDir: dir + "/state", NetNSDir: dir + "/netns", LocksDir: dir + "/locks",
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = unix.Unmount(dir+"/netns", unix.MNT_DETACH) })
	for name, ports := range map[string][]sandbox.PortMapping{
		"no-ports":  nil,
		"host-port": {{Protocol: "tcp", HostPort: 12099, ContainerPort: 80}},
	} {
		b.Run(name, func(b *testing.B) {
			var up, down time.Duration
			p := pod(c, "bench")
			p.Ports = ports
			for b.Loop() {
				t0 := time.Now()
				if _, err := c.Setup(b.Context(), p); err != nil {
					b.Fatal(err)
				}
				t1 := time.Now()
				if err := c.Teardown(b.Context(), p); err != nil {
					b.Fatal(err)
				}
				up += t1.Sub(t0)
				down += time.Since(t1)
			}
			b.ReportMetric(float64(up.Microseconds())/float64(b.N), "µs/setup")
			b.ReportMetric(float64(down.Microseconds())/float64(b.N), "µs/teardown")
		})
	}
}

// BenchmarkPublish is what the bundled network's own nftables rules cost.
func BenchmarkPublish(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs root, to program nftables")
	}
	n, p := &nat{}, sandbox.PodNetwork{ID: "bench"}
	for b.Loop() {
		if err := n.publish(p, nil, "lo", []netip.Prefix{defaultSubnet}); err != nil {
			b.Fatal(err)
		}
	}
}
