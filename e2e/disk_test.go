package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

// smallDisk mounts a file system of so many MiB and gives its directory.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	requireServer(t)
	dir, err := os.MkdirTemp("/tmp", "cwd")
	must(t, err)
	t.Cleanup(func() { _ = os.Remove(dir) })
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib)))
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// fill writes a file until the disk has no byte left, and gives its path.
func fill(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for size := 1 << 20; size >= 1; size /= 2 {
		chunk := make([]byte, size)
		for {
			if _, err := f.Write(chunk); err != nil {
				break
			}
		}
	}
	return path
}

func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, 64)
	n := ownNode(t, nodeOptions{root: filepath.Join(disk, "root")})
	present := n.program(t, "hello-c")
	a := images.Program(guest(t, "tool-go")).Artifact()
	ref := n.push(t, "for-a-full-disk", a)
	filler := fill(t, disk)

	_, err := n.Client.Pull(t.Context(), ref)
	wantCode(t, "pull onto a full disk", err, codes.ResourceExhausted, "no space left")
	if i := n.image(t, ref); i != nil {
		t.Errorf("the image is there: %v", i)
	}
	tryPod(t, n, present)
	must(t, os.Remove(filler))

	c := n.hostPod(t).run(criclient.ContainerSpec{Image: n.pull(t, "for-a-full-disk", a), Args: []string{"echo", "room again"}})
	c.wantExit(c.wait(), 0, "Completed")
	c = n.hostPod(t).run(criclient.ContainerSpec{Image: present})
	c.wantExit(c.wait(), 0, "Completed")
}

// Pods can be ended on a full disk: that is how the kubelet makes room.
func TestPodsEndOnAFullDisk(t *testing.T) {
	disk := smallDisk(t, 64)
	n := ownNode(t, nodeOptions{root: filepath.Join(disk, "root")})
	image := n.program(t, "top-c")
	config := n.podConfig(criclient.PodSpec{})
	config.Linux.SecurityContext.NamespaceOptions.Pid = runtime.NamespaceMode_POD // with an init
	p := n.podFrom(t, config, "")
	c := p.run(criclient.ContainerSpec{Image: image})
	filler := fill(t, disk)

	_, err := n.Client.StopPodSandbox(t.Context(), &runtime.StopPodSandboxRequest{PodSandboxId: p.id})
	must(t, err)
	c.wantExit(c.status(), 137, "Error")
	s, err := n.Client.Pod(t.Context(), p.id)
	must(t, err)
	if s.State != runtime.PodSandboxState_SANDBOX_NOTREADY || s.GetNetwork().GetIp() != "" {
		t.Errorf("the stopped pod is %v with network %v", s.State, s.Network)
	}
	wantNoGuests(t)

	// What could not be written is found out.
	must(t, n.Kill())
	must(t, n.Start(t.Context()))
	if s, err := n.Client.Pod(t.Context(), p.id); err != nil || s.State != runtime.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("after a restart of the server the stopped pod is %v, %v", s.GetState(), err)
	}
	must(t, n.Client.RemovePod(t.Context(), p.id))
	list, err := n.Client.ListContainers(t.Context(), &runtime.ListContainersRequest{})
	must(t, err)
	if ids := podIDs(t, n, nil); len(ids) != 0 || len(list.Containers) != 0 {
		t.Errorf("after their removal there are pods %q and containers %v", ids, list.Containers)
	}
	must(t, os.Remove(filler))
}

// How containers ended is known even where the server's state directory has become
// full while they ran.
func TestExitsWithAFullStateDirectory(t *testing.T) {
	n := ownNode(t, nodeOptions{})
	p := n.hostPod(t)
	heeding := p.run(criclient.ContainerSpec{Name: "heeding", Image: n.program(t, "top-c")})
	ticking := p.run(criclient.ContainerSpec{Name: "ticking", Image: n.program(t, "ticker-c"), Args: []string{"20", "100", "7"}})
	must(t, unix.Mount("", n.State(), "", unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, "size=8m"))
	filler := fill(t, n.State())

	heeding.stop(10)
	ticking.wait()
	for range 2 {
		heeding.wantExit(heeding.status(), 143, "Error")
		ticking.wantExit(ticking.status(), 7, "Error")
		must(t, n.Kill())
		must(t, n.Start(t.Context()))
	}
	must(t, n.Client.RemovePod(t.Context(), p.id))
	must(t, os.Remove(filler))
}

// tryPod runs a pod where that may fail, but then with a reason and without a
// trace.
func tryPod(t *testing.T, n *node, image string) {
	t.Helper()
	config := n.podConfig(criclient.PodSpec{HostNetwork: true})
	id, err := n.Client.RunPod(t.Context(), config, "")
	if err != nil {
		wantCode(t, "run pod", err, codes.ResourceExhausted, "no space left")
		return
	}
	c, err := n.Client.Create(t.Context(), id, config, criclient.ContainerSpec{Image: image}.Config())
	if err != nil {
		wantCode(t, "create container", err, codes.ResourceExhausted, "no space left")
	} else if err := n.Client.Start(t.Context(), c); err != nil {
		wantCode(t, "start container", err, codes.ResourceExhausted, "no space left")
	}
	must(t, n.Client.RemovePod(t.Context(), id))
	list, err := n.Client.ListContainers(t.Context(), &runtime.ListContainersRequest{})
	must(t, err)
	if len(list.Containers) != 0 {
		t.Errorf("containers remain: %v", list.Containers)
	}
}
