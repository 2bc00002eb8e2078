package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

// outside is a directory of the host with a file that no guest may reach, and a
// volume beside it, in which the host has made links that lead there.
type outside struct {
	t           testing.TB
	dir, marker string
	before      os.FileInfo
}

const (
	markerText = "a marker of the host"
	markerSize = 47_113 // no other file has it
)

func newOutside(t *testing.T) *outside {
	t.Helper()
	o := &outside{t: t, dir: t.TempDir()}
	must(t, os.Chmod(o.dir, 0o777)) // permissions are not what keeps a guest out
	o.marker = filepath.Join(o.dir, "marker")
	must(t, os.WriteFile(o.marker, []byte(markerText+strings.Repeat("\n", markerSize-len(markerText))), 0o666))
	must(t, os.Chmod(o.marker, 0o666))
	must(t, os.Chtimes(o.marker, time.Unix(2e9, 0), time.Unix(1e9, 0))) // read after it was written: reading changes nothing
	volume := o.volume()
	must(t, os.MkdirAll(filepath.Join(volume, "dir"), 0o777))
	must(t, os.Chmod(volume, 0o777))
	must(t, os.Chmod(filepath.Join(volume, "dir"), 0o777))
	must(t, os.WriteFile(filepath.Join(volume, "dir", "marker"), []byte("of the volume\n"), 0o666))
	for name, target := range map[string]string{
		"link": o.dir, "absolute-marker": o.marker, "up-marker": "../marker", "up": "..", "root": "/", "magic": "/proc/1/root" + o.dir,
		"self": "/proc/self/root" + o.dir, "far": strings.Repeat("../", 40) + o.dir,
	} {
		must(t, os.Symlink(target, filepath.Join(volume, name)))
	}
	var err error
	o.before, err = os.Stat(o.marker)
	must(t, err)
	return o
}

func (o *outside) volume() string { return filepath.Join(o.dir, "volume") }

func (o *outside) mounts() []*runtime.Mount {
	return []*runtime.Mount{{HostPath: o.volume(), ContainerPath: "/volume"}}
}

// ways lead to the marker where nothing holds them.
func (o *outside) ways() []string {
	list := []string{o.marker}
	for _, link := range []string{"link", "up", "magic", "self", "far"} {
		list = append(list, "/volume/"+link+"/marker", "/volume/"+link+"/volume/../marker")
	}
	return append(list, "/volume/absolute-marker", "/volume/up-marker", "/volume/root"+o.marker, "/volume/../marker", "/volume/dir/../../marker")
}

// intact checks that the marker is as it was, and that nothing was made beside
// it.
func (o *outside) intact() {
	o.t.Helper()
	after, err := os.Stat(o.marker)
	must(o.t, err)
	if !os.SameFile(o.before, after) || after.Size() != markerSize || !after.ModTime().Equal(o.before.ModTime()) || after.Mode() != o.before.Mode() {
		o.t.Errorf("the marker has changed: %v, %d bytes, of %v", after.Mode(), after.Size(), after.ModTime())
	}
	data, err := os.ReadFile(o.marker)
	must(o.t, err)
	if !strings.HasPrefix(string(data), markerText) {
		o.t.Errorf("the marker begins with %q", data[:20])
	}
	if got, err := os.ReadDir(o.dir); len(got) != 2 || err != nil {
		o.t.Errorf("beside the marker there is %v, %v", got, err)
	}
}

// escapes runs the guest that tries, and gives how many ways it went and which
// of them led out.
func (o *outside) escapes(p *pod, config containerConfig) (tried int, out []string) {
	o.t.Helper()
	c := p.createFrom(config)
	c.start()
	c.wantExit(c.wait(), 0, "Completed")
	for _, line := range c.lines("stdout") {
		if strings.HasPrefix(line, "escaped") {
			out = append(out, line)
		}
		if n, ok := strings.CutPrefix(line, "tried "); ok {
			tried, _ = strconv.Atoi(strings.TrimSuffix(n, " ways"))
		}
	}
	return tried, out
}

func TestNoWayLeadsOutOfAContainer(t *testing.T) {
	n := sharedNode(t)
	with := images.Program(guest(t, "escape-c"))
	with.Layers[0] = append(with.Layers[0], imageFile{Name: "tmp/", Type: typeDirectory, Mode: 0o1777})
	image := n.pull(t, "escape", with.Artifact())
	for name, change := range map[string]func(pod podConfig, c containerConfig){
		"root": func(podConfig, containerConfig) {},
		"a user": func(_ podConfig, c containerConfig) {
			c.Linux.SecurityContext.RunAsUser = &runtime.Int64Value{Value: 1042}
		},
		"all capabilities": func(_ podConfig, c containerConfig) {
			c.Linux.SecurityContext.Capabilities = &runtime.Capability{AddCapabilities: []string{"ALL"}}
		},
		"processes of the host": func(pod podConfig, c containerConfig) {
			pod.Linux.SecurityContext.NamespaceOptions.Pid = runtime.NamespaceMode_NODE
			c.Linux.SecurityContext.NamespaceOptions.Pid = runtime.NamespaceMode_NODE
		},
		"a read-only root": func(_ podConfig, c containerConfig) {
			c.Linux.SecurityContext.ReadonlyRootfs = true
			c.Mounts = append(c.Mounts, &runtime.Mount{HostPath: t.TempDir(), ContainerPath: "/tmp"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOutside(t)
			pod := n.podConfig(criclient.PodSpec{HostNetwork: true})
			args := append([]string{"try", markerText, strconv.Itoa(markerSize)}, o.ways()...)
			config := criclient.ContainerSpec{Name: n.unique("c"), Image: image, Args: args, Mounts: o.mounts()}.Config()
			change(pod, config)
			tried, out := o.escapes(n.podFrom(t, pod, ""), config)
			if tried < 1000 || len(out) > 0 {
				t.Errorf("%d ways were tried, want a thousand at least; %d led out: %q", tried, len(out), out[:min(len(out), 5)])
			}
			o.intact()
		})
	}
	t.Run("control", func(t *testing.T) { // what is mounted is found
		o := newOutside(t)
		config := criclient.ContainerSpec{
			Name: n.unique("c"), Image: image, Args: []string{"try", markerText, strconv.Itoa(markerSize), "/outside/marker"},
			Mounts: []*runtime.Mount{{HostPath: o.dir, ContainerPath: "/outside", Readonly: true}},
		}.Config()
		if _, out := o.escapes(n.hostPod(t), config); len(out) == 0 {
			t.Error("the guest does not see a marker that is there")
		}
		o.intact()
	})
}

// Two containers share a volume: one swaps a directory with a link that leads
// out, the other walks through it.
func TestARaceInAVolumeLeadsNowhere(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	o := newOutside(t)
	image := n.program(t, "escape-c")
	swapper := p.run(criclient.ContainerSpec{Image: image, Args: []string{"swap", "/volume"}, Mounts: o.mounts()})
	swapper.waitLine("swapping")
	walker := p.run(criclient.ContainerSpec{Image: image, Args: []string{"walk", "/volume", markerText}, Mounts: o.mounts()})
	walker.waitLine("walked") // its file is there now and then
	walker.stop(5)
	swapper.stop(5)
	if out := walker.lines("stdout"); !slices.Equal(out, []string{"walked"}) {
		t.Errorf("the walker says %q", out)
	}
	o.intact()
}
