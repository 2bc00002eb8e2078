package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/daemon"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

// Ids of the user namespaces of these tests.
const firstID, numIDs = 200000, 65536

func mapping() []*runtime.IDMapping {
	return []*runtime.IDMapping{{HostId: firstID, ContainerId: 0, Length: numIDs}}
}

// userNSConfig is a pod with a user namespace.
func (n *node) userNSConfig(spec criclient.PodSpec) podConfig {
	config := n.podConfig(spec)
	config.Linux.SecurityContext.NamespaceOptions.UsernsOptions = &runtime.UserNamespace{
		Mode: runtime.NamespaceMode_POD, Uids: mapping(), Gids: mapping(),
	}
	return config
}

// wantOwner checks whom a file of a container belongs to, by the ids of the host.
func (c *container) wantOwner(path string, uid uint32) {
	c.t.Helper()
	pids := guestPIDs(c.t, c.id)
	if len(pids) == 0 {
		c.t.Fatal("the container has no process")
	}
	var st syscall.Stat_t
	if err := syscall.Lstat(fmt.Sprintf("/proc/%d/root%s", pids[0], path), &st); err != nil {
		c.t.Error(err)
		return
	}
	if st.Uid != uid || st.Gid != uid {
		c.t.Errorf("%s belongs to %d:%d, want %d", path, st.Uid, st.Gid, uid)
	}
}

func TestUserNamespaceOfAPod(t *testing.T) {
	n := sharedNode(t)
	p := n.podFrom(t, n.userNSConfig(criclient.PodSpec{}), "")
	want := fmt.Sprintf("%10d %10d %10d", 0, firstID, numIDs)
	p.wantTool(want, nil, "cat", "/proc/self/uid_map")
	p.wantTool(want, nil, "cat", "/proc/self/gid_map")
	p.wantTool("0", nil, "id", "-u")
	p.wantTool("1042", func(c containerConfig) { c.Linux.SecurityContext.RunAsUsername = "baker" }, "id", "-u")
	p.wantTool("2042 2043", func(c containerConfig) {
		c.Linux.SecurityContext.RunAsUsername = "baker"
	}, "status", "Groups")
	p.wantTool("made by the image", nil, "cat", "/etc/marker")
	p.wantTool("", nil, "write", "/etc/marker", "changed")
	p.wantTool("", nil, "write", "/new", "text")
	p.wantTool("", nil, "write", "/dev/shm/f", "shared by the pod")
	p.wantTool("shared by the pod", nil, "cat", "/dev/shm/f")

	s, err := n.Client.Pod(t.Context(), p.id)
	must(t, err)
	if u := s.GetLinux().GetNamespaces().GetOptions().GetUsernsOptions(); u.GetMode() != runtime.NamespaceMode_POD || len(u.GetUids()) != 1 || u.Uids[0].HostId != firstID {
		t.Errorf("status has user namespace %v", u)
	}

	host, err := os.ReadFile("/proc/self/uid_map")
	must(t, err)
	for _, u := range []*runtime.UserNamespace{nil, {Mode: runtime.NamespaceMode_NODE}} {
		config := n.podConfig(criclient.PodSpec{HostNetwork: true})
		config.Linux.SecurityContext.NamespaceOptions.UsernsOptions = u
		n.podFrom(t, config, "").wantTool(strings.TrimRight(string(host), "\n"), nil, "cat", "/proc/self/uid_map")
	}
}

func TestFilesBelongToTheRootOfTheUserNamespace(t *testing.T) {
	n := sharedNode(t)
	config := n.userNSConfig(criclient.PodSpec{})
	config.Linux.SecurityContext.NamespaceOptions.Pid = runtime.NamespaceMode_POD
	p := n.podFrom(t, config, "")
	volume := writeFile(t, "f", "of the host's root\n")
	layered := images.Rootfs{Layers: [][]images.File{
		{{Name: "a", Data: []byte("a")}, {Name: "sub/", Type: typeDirectory}, {Name: "sub/b", Data: []byte("b")}}, {{Name: "c", Data: []byte("c")}},
	}}
	must(t, os.Chmod(volume, 0o755))
	volumes := n.pull(t, "userns-volume", layered.Artifact())
	c := p.createFrom(func() containerConfig {
		c := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t), Args: []string{"top"}, WorkingDir: "/made/for/this"}.Config()
		c.Linux.SecurityContext.NamespaceOptions.Pid = runtime.NamespaceMode_POD
		c.Mounts = []*runtime.Mount{
			{HostPath: volume, ContainerPath: "/mapped", UidMappings: mapping(), GidMappings: mapping()},
			{HostPath: volume, ContainerPath: "/plain"},
			{
				HostPath: volume, ContainerPath: "/other", UidMappings: []*runtime.IDMapping{{HostId: firstID + 7, Length: 10}},
				GidMappings: []*runtime.IDMapping{{HostId: firstID + 7, Length: 10}},
			},
			{Image: &runtime.ImageSpec{Image: volumes}, ContainerPath: "/image", Readonly: true, UidMappings: mapping(), GidMappings: mapping()},
			{Image: &runtime.ImageSpec{Image: volumes}, ContainerPath: "/image-sub", ImageSubPath: "sub", Readonly: true},
		}
		return c
	}())
	c.start()
	c.waitLine("up")
	for _, path := range []string{
		"/", "/etc", "/etc/passwd", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/made", "/made/for/this",
		"/dev", "/dev/null", "/dev/shm", "/dev/stdin", "/mapped/f", "/image/a", "/image/c", "/image-sub/b",
	} {
		c.wantOwner(path, firstID)
	}
	c.wantOwner("/plain/f", 0)
	c.wantOwner("/other/f", firstID+7)

	// What the guest makes in a mapped volume is its host root's on disk.
	r, err := n.Client.Exec(t.Context(), c.id, 20, "write", "/mapped/new", "text")
	must(t, err)
	var st syscall.Stat_t
	must(t, syscall.Stat(filepath.Join(volume, "new"), &st))
	if r.ExitCode != 0 || st.Uid != 0 {
		t.Errorf("exit code %d (%s), the new file belongs to %d on the host, want 0", r.ExitCode, r.Stderr, st.Uid)
	}
	r, err = n.Client.Exec(t.Context(), c.id, 20, "write", "/plain/refused", "text")
	must(t, err)
	if r.ExitCode == 0 {
		t.Error("root of a user namespace writes where only the host's root may")
	}
	r, err = n.Client.Exec(t.Context(), c.id, 20, "cat", "/proc/self/uid_map")
	must(t, err)
	if !strings.Contains(string(r.Stdout), fmt.Sprint(firstID)) {
		t.Errorf("an exec is in user namespace %q", r.Stdout)
	}
	stats, err := n.Client.ContainerStats(t.Context(), &runtime.ContainerStatsRequest{ContainerId: c.id})
	must(t, err)
	if used := stats.GetStats().GetWritableLayer().GetUsedBytes().GetValue(); used == 0 {
		t.Error("the writable layer has no size")
	}
}

func TestUserNamespaceHasItsNetwork(t *testing.T) {
	n := sharedNode(t)
	config := n.userNSConfig(criclient.PodSpec{})
	config.Linux.Sysctls = map[string]string{"net.ipv4.ping_group_range": "0 1000", "kernel.shm_rmid_forced": "1"}
	p := n.podFrom(t, config, "")
	p.wantTool("0\t1000", nil, "cat", "/proc/sys/net/ipv4/ping_group_range")
	p.wantTool("1", nil, "cat", "/proc/sys/kernel/shm_rmid_forced")
	// Port 80 is the pod's root's, as the network belongs to its user namespace.
	c := p.run(criclient.ContainerSpec{Image: n.program(t, "httpd-go"), Args: []string{"serve", ":80"}})
	ip := podIP(t, n, p)
	eventually(t, "an answer", func() bool {
		r, err := http.Get("http://" + ip + ":80/")
		if err != nil {
			return false
		}
		r.Body.Close()
		return true
	})
	for transport := range forwarders {
		address := p.forward(t, transport, 80)
		r, err := http.Get("http://" + address + "/")
		if err != nil {
			t.Fatalf("%s: %v", transport, err)
		}
		if _, err := io.ReadAll(r.Body); err != nil {
			t.Errorf("%s: %v", transport, err)
		}
		r.Body.Close()
	}
	c.stop(1)
}

func TestUserNamespaceWithHostNetwork(t *testing.T) {
	n := sharedNode(t)
	p := n.podFrom(t, n.userNSConfig(criclient.PodSpec{HostNetwork: true}), "")
	c := p.run(criclient.ContainerSpec{Image: n.toolbox(t), Args: []string{"top"}})
	c.waitLine("up")
	own, err := os.Readlink("/proc/thread-self/ns/net")
	must(t, err)
	got, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", guestPIDs(t, c.id)[0]))
	must(t, err)
	if got != own {
		t.Errorf("the container is in network namespace %s, the host in %s", got, own)
	}
	users, err := os.Readlink("/proc/thread-self/ns/user")
	must(t, err)
	got, err = os.Readlink(fmt.Sprintf("/proc/%d/ns/user", guestPIDs(t, c.id)[0]))
	must(t, err)
	if got == users {
		t.Error("the container is in the host's user namespace")
	}
}

// userNamespacesWork says whether this kernel has all that pods with user
// namespaces need: before Linux 6.3 no tmpfs, which is where Secrets are, shows
// mapped ids.
func userNamespacesWork(t *testing.T) bool {
	t.Helper()
	var u unix.Utsname
	must(t, unix.Uname(&u))
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	must(t, err)
	return major > 6 || major == 6 && minor >= 3
}

func TestUserNamespacesAreAdvertised(t *testing.T) {
	n := sharedNode(t)
	s, err := n.Client.Status(t.Context(), &runtime.StatusRequest{})
	must(t, err)
	want := userNamespacesWork(t)
	for _, h := range s.RuntimeHandlers {
		if h.Features.UserNamespaces != want || !h.Features.RecursiveReadOnlyMounts {
			t.Errorf("handler %q has features %v, want user namespaces: %v", h.Name, h.Features, want)
		}
	}
	if f := s.Features; f.UserNamespacesHostNetwork != want || !f.SupplementalGroupsPolicy || !f.MountOptions {
		t.Errorf("features are %v, want user namespaces: %v", f, want)
	}
	id, err := n.Client.RunPod(t.Context(), n.userNSConfig(criclient.PodSpec{HostNetwork: true}), "")
	if want {
		must(t, err)
		must(t, n.Client.RemovePod(t.Context(), id))
		return
	}
	wantCode(t, "a pod with a user namespace", err, codes.Unimplemented, "tmpfs", "hostUsers")
}

func TestOddUserNamespacesAreRefused(t *testing.T) {
	n := sharedNode(t)
	two := []*runtime.IDMapping{{HostId: 1000, Length: 10}, {HostId: 5000, ContainerId: 10, Length: 10}}
	for name, u := range map[string]*runtime.UserNamespace{
		"two mappings":      {Mode: runtime.NamespaceMode_POD, Uids: two, Gids: two},
		"none":              {Mode: runtime.NamespaceMode_POD},
		"root not mapped":   {Mode: runtime.NamespaceMode_POD, Uids: []*runtime.IDMapping{{ContainerId: 1, HostId: 1000, Length: 10}}, Gids: mapping()},
		"empty range":       {Mode: runtime.NamespaceMode_POD, Uids: []*runtime.IDMapping{{HostId: 1000}}, Gids: mapping()},
		"beyond all ids":    {Mode: runtime.NamespaceMode_POD, Uids: []*runtime.IDMapping{{HostId: 1<<32 - 10, Length: 100}}, Gids: mapping()},
		"mode CONTAINER":    {Mode: runtime.NamespaceMode_CONTAINER},
		"mode TARGET":       {Mode: runtime.NamespaceMode_TARGET},
		"NODE with mapping": {Mode: runtime.NamespaceMode_NODE, Uids: mapping(), Gids: mapping()},
	} {
		config := n.podConfig(criclient.PodSpec{})
		config.Linux.SecurityContext.NamespaceOptions.UsernsOptions = u
		_, err := n.Client.RunPod(t.Context(), config, "")
		wantCode(t, name, err, codes.InvalidArgument)
	}
	p := n.podFrom(t, n.userNSConfig(criclient.PodSpec{HostNetwork: true}), "")
	for name, edit := range map[string]func(containerConfig){
		"user outside of the ids": func(c containerConfig) {
			c.Linux.SecurityContext.RunAsUser = &runtime.Int64Value{Value: numIDs}
		},
		"group outside of the ids": func(c containerConfig) {
			c.Linux.SecurityContext.SupplementalGroups = []int64{numIDs + 1}
		},
		"host users": func(c containerConfig) {
			c.Linux.SecurityContext.NamespaceOptions.UsernsOptions = &runtime.UserNamespace{Mode: runtime.NamespaceMode_NODE}
		},
		"other ids": func(c containerConfig) {
			m := []*runtime.IDMapping{{HostId: 7, Length: 10}}
			c.Linux.SecurityContext.NamespaceOptions.UsernsOptions = &runtime.UserNamespace{Mode: runtime.NamespaceMode_POD, Uids: m, Gids: m}
		},
		"mount with uids only": withMount(&runtime.Mount{HostPath: "/tmp", ContainerPath: "/x", UidMappings: mapping()}),
		"mount of proc":        withMount(&runtime.Mount{HostPath: "/proc", ContainerPath: "/x", UidMappings: mapping(), GidMappings: mapping()}),
	} {
		config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t)}.Config()
		edit(config)
		_, err := n.Client.Create(t.Context(), p.id, p.config, config)
		wantError(t, name, err)
	}
	wantNothingIn(t, p)
}

func TestUserNamespacesOutliveTheServer(t *testing.T) {
	n := ownNode(t, nodeOptions{})
	p := n.podFrom(t, n.userNSConfig(criclient.PodSpec{}), "")
	c := p.run(criclient.ContainerSpec{Name: "runs", Image: n.toolbox(t), Args: []string{"top"}})
	later := p.create(criclient.ContainerSpec{Name: "later", Image: n.toolbox(t), Args: []string{"cat", "/proc/self/uid_map"}})
	c.waitLine("up")
	must(t, (*daemon.Daemon).Kill(n.Daemon))
	must(t, n.Start(t.Context()))
	if s, err := n.Client.Pod(t.Context(), p.id); err != nil || s.State != runtime.PodSandboxState_SANDBOX_READY {
		t.Fatalf("the pod is %v, %v", s, err)
	}
	r, err := n.Client.Exec(t.Context(), c.id, 20, "cat", "/proc/self/uid_map")
	must(t, err)
	if !strings.Contains(string(r.Stdout), fmt.Sprint(firstID)) {
		t.Errorf("an exec after the restart is in user namespace %q", r.Stdout)
	}
	later.start()
	later.wantExit(later.wait(), 0, "Completed")
	if got := later.lines("stdout"); len(got) != 1 || !strings.Contains(got[0], fmt.Sprint(firstID)) {
		t.Errorf("a start after the restart is in user namespace %q", got)
	}
	// A server that comes back to no record removes what it finds.
	must(t, n.Daemon.Kill())
	records, err := filepath.Glob(filepath.Join(n.dir, "*", "pods", "*.json"))
	must(t, err)
	containers, err := filepath.Glob(filepath.Join(n.dir, "*", "containers", "*.json"))
	must(t, err)
	for _, file := range slices.Concat(records, containers) {
		must(t, os.Remove(file))
	}
	if len(records) != 1 {
		t.Fatalf("records are %q", records)
	}
	for _, pid := range guestPIDs(t, c.id) {
		must(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	must(t, n.Start(t.Context()))
	for _, dir := range []string{"namespaces", "netns"} {
		left, err := filepath.Glob(filepath.Join(n.dir, "*", dir, "*"))
		must(t, err)
		if len(left) != 0 {
			t.Errorf("orphans are left: %q", left)
		}
	}
}
