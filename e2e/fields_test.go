package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
)

// secure changes the security context of a container.
func secure(change func(*runtime.LinuxContainerSecurityContext)) func(containerConfig) {
	return func(c containerConfig) { change(c.Linux.SecurityContext) }
}

func (n *node) privilegedPod(t *testing.T) *pod {
	t.Helper()
	config := n.podConfig(criclient.PodSpec{HostNetwork: true})
	config.Linux.SecurityContext.Privileged = true
	return n.podFrom(t, config, "")
}

// Capabilities by their numbers in linux/capability.h.
const (
	capNetAdmin = 1 << 12
	capDefault  = 1<<0 | 1<<1 | 1<<3 | 1<<4 | 1<<10
)

func TestCapabilities(t *testing.T) {
	n := sharedNode(t)
	p := n.privilegedPod(t)
	caps := func(change func(*runtime.Capability)) func(containerConfig) {
		return secure(func(s *runtime.LinuxContainerSecurityContext) {
			s.Capabilities = &runtime.Capability{}
			change(s.Capabilities)
		})
	}
	mask := func(v uint64) string { return fmt.Sprintf("%016x", v) }
	for name, tc := range map[string]struct {
		edit      func(containerConfig)
		key, want string
	}{
		"default": {nil, "CapBnd", mask(capDefault)},
		"added":   {caps(func(c *runtime.Capability) { c.AddCapabilities = []string{"NET_ADMIN"} }), "CapEff", mask(capDefault | capNetAdmin)},
		"dropped": {caps(func(c *runtime.Capability) { c.DropCapabilities = []string{"CHOWN"} }), "CapEff", mask(capDefault &^ 1)},
		"none":    {caps(func(c *runtime.Capability) { c.DropCapabilities = []string{"ALL"} }), "CapBnd", mask(0)},
		"one of none": {caps(func(c *runtime.Capability) {
			c.DropCapabilities, c.AddCapabilities = []string{"ALL"}, []string{"CAP_NET_ADMIN"}
		}), "CapBnd", mask(capNetAdmin)},
		"ambient": {func(c containerConfig) {
			caps(func(c *runtime.Capability) { c.AddAmbientCapabilities = []string{"NET_ADMIN"} })(c)
			c.Linux.SecurityContext.RunAsUser = &runtime.Int64Value{Value: 1000}
		}, "CapEff", mask(capNetAdmin)},
	} {
		t.Run(name, func(t *testing.T) { p.wantTool(tc.want, tc.edit, "status", tc.key) })
	}
	held, err := os.ReadFile("/proc/self/status")
	must(t, err)
	all := caps(func(c *runtime.Capability) { c.AddCapabilities = []string{"ALL"} })
	privileged := secure(func(s *runtime.LinuxContainerSecurityContext) { s.Privileged = true })
	for name, edit := range map[string]func(containerConfig){"all": all, "privileged": privileged} {
		_, got, _ := p.tool(edit, "status", "CapBnd")
		if !strings.Contains(string(held), "CapPrm:\t"+got+"\n") {
			t.Errorf("%s: bounding set %s is not that of the server", name, got)
		}
	}
	config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t)}.Config()
	caps(func(c *runtime.Capability) { c.AddCapabilities = []string{"NO_SUCH"} })(config)
	_, err = n.Client.Create(t.Context(), p.id, p.config, config)
	wantCode(t, "unknown capability", err, codes.InvalidArgument, "NO_SUCH")
}

func TestPrivilegedContainersNeedAPrivilegedPod(t *testing.T) {
	n := sharedNode(t)
	config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t)}.Config()
	config.Linux.SecurityContext.Privileged = true
	p := n.hostPod(t)
	_, err := n.Client.Create(t.Context(), p.id, p.config, config)
	wantCode(t, "create", err, codes.InvalidArgument, "privileged")
	// The kubelet says so later, for a debugging container.
	p.config.Linux.SecurityContext.Privileged = true
	p.createFrom(config)
	n.privilegedPod(t).wantTool("zero", func(c containerConfig) { c.Linux.SecurityContext.Privileged = true }, "echo", "zero")
}

func TestNoNewPrivilegesAndSystemCallFilters(t *testing.T) {
	n := sharedNode(t)
	p := n.privilegedPod(t)
	file := filepath.Join(t.TempDir(), "profile.json")
	must(t, os.WriteFile(file, []byte(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["chmod"],"action":"SCMP_ACT_ERRNO"}]}`), 0o644))
	seccomp := func(kind runtime.SecurityProfile_ProfileType, ref string) func(containerConfig) {
		return secure(func(s *runtime.LinuxContainerSecurityContext) {
			s.Seccomp = &runtime.SecurityProfile{ProfileType: kind, LocalhostRef: ref}
		})
	}
	p.wantTool("0", nil, "status", "NoNewPrivs")
	p.wantTool("1", secure(func(s *runtime.LinuxContainerSecurityContext) { s.NoNewPrivs = true }), "status", "NoNewPrivs")
	p.wantTool("0", nil, "status", "Seccomp")
	p.wantTool("2", seccomp(runtime.SecurityProfile_RuntimeDefault, ""), "status", "Seccomp")
	p.wantTool("0", seccomp(runtime.SecurityProfile_Unconfined, ""), "status", "Seccomp")
	p.wantTool("2", seccomp(runtime.SecurityProfile_Localhost, file), "status", "Seccomp")
	//lint:ignore SA1019 older kubelets send nothing else
	p.wantTool("2", secure(func(s *runtime.LinuxContainerSecurityContext) { s.SeccompProfilePath = "localhost/" + file }), "status", "Seccomp")
	p.wantTool("0", func(c containerConfig) {
		seccomp(runtime.SecurityProfile_Localhost, file)(c)
		c.Linux.SecurityContext.Privileged = true
	}, "status", "Seccomp")
}

// profile confines a container by a file with this text.
func profile(t *testing.T, text string) (path string, edit func(containerConfig)) {
	t.Helper()
	path = filepath.Join(writeFile(t, "profile.json", text), "profile.json")
	return path, localProfile(path)
}

func localProfile(path string) func(containerConfig) {
	return secure(func(s *runtime.LinuxContainerSecurityContext) {
		s.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_Localhost, LocalhostRef: path}
	})
}

// deny is a profile that does this to each of the system calls.
func deny(action string, calls ...string) string {
	return fmt.Sprintf(`{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["%s"],"action":"%s"}]}`, strings.Join(calls, `","`), action)
}

func TestSeccompProfilesAreReadAtCreate(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	broken, _ := profile(t, `{"defaultAction":`)
	odd, _ := profile(t, `{"defaultAction":"SCMP_ACT_SHRUG"}`)
	long, _ := profile(t, `{"defaultAction":"SCMP_ACT_ALLOW"}`+strings.Repeat(" ", 5<<20))
	for path, part := range map[string]string{
		broken: "unexpected EOF", odd: "SCMP_ACT_SHRUG", long: "at most", "/no/such/profile": "no such file", "/dev/zero": "not a regular file", "/": "not a regular file",
	} {
		config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t)}.Config()
		localProfile(path)(config)
		_, err := n.Client.Create(t.Context(), p.id, p.config, config)
		wantCode(t, path, err, codes.InvalidArgument, path, part)
	}
	wantNothingIn(t, p)

	path, edit := profile(t, deny("SCMP_ACT_ERRNO", "mkdirat"))
	config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t), Args: []string{"top"}}.Config()
	edit(config)
	c := p.createFrom(config)
	must(t, os.Remove(path))
	c.start()
	c.waitLine("up")
	if got := strings.TrimSpace(c.exec("status", "Seccomp")); got != "2" {
		t.Errorf("a command is confined by %q, want a filter, after the profile has gone", got)
	}
}

// A profile is written for what a guest does. What its worker has to say to the
// server, and do at all, it does under any.
func TestContainersRunUnderAnySeccompProfile(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	_, noNetwork := profile(t, deny("SCMP_ACT_KILL_PROCESS", "socket", "connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg", "recvfrom", "recvmsg", "getsockopt"))
	config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t), Args: []string{"top"}}.Config()
	noNetwork(config)
	c := p.createFrom(config)
	c.start()
	c.waitLine("up")
	r, err := n.Client.Exec(t.Context(), c.id, 30, "echo", "in here")
	if err != nil || string(r.GetStdout()) != "in here\n" {
		t.Errorf("a command gives %v, %v", r, err)
	}
	_, err = n.Client.ReopenContainerLog(t.Context(), &runtime.ReopenContainerLogRequest{ContainerId: c.id})
	must(t, err)
	s, _ := c.stop(10)
	c.wantExit(s, 143, "Error")

	_, nothing := profile(t, `{"defaultAction":"SCMP_ACT_ERRNO"}`)
	p.wantTool("no file is opened", nothing, "echo", "no file is opened")
	p.wantToolFails("not permitted", nothing, "cat", "/etc/marker")
	_, deadly := profile(t, `{"defaultAction":"SCMP_ACT_KILL_PROCESS"}`)
	p.wantTool("no file is opened", deadly, "echo", "no file is opened")
	p.wantTool("no file is opened\r", func(c containerConfig) {
		deadly(c)
		c.Stdin, c.Tty = true, true
	}, "echo", "no file is opened")
	s, _, _ = p.tool(deadly, "cat", "/etc/marker")
	if s.ExitCode != 159 || s.Reason != "Error" || !strings.Contains(s.Message, "seccomp profile") {
		t.Errorf("a forbidden call ends in %d, %s, %q", s.ExitCode, s.Reason, s.Message)
	}
}

func TestSupplementalGroupsPolicies(t *testing.T) {
	p := sharedNode(t).hostPod(t)
	groups := func(policy runtime.SupplementalGroupsPolicy) func(containerConfig) {
		return secure(func(s *runtime.LinuxContainerSecurityContext) {
			s.RunAsUsername, s.SupplementalGroups, s.SupplementalGroupsPolicy = "baker", []int64{4000}, policy
		})
	}
	p.wantTool("2042 2043 4000", groups(runtime.SupplementalGroupsPolicy_Merge), "status", "Groups")
	p.wantTool("2042 4000", groups(runtime.SupplementalGroupsPolicy_Strict), "status", "Groups")
}

func TestMaskedAndReadonlyPaths(t *testing.T) {
	p := sharedNode(t).hostPod(t)
	edit := secure(func(s *runtime.LinuxContainerSecurityContext) {
		s.MaskedPaths = []string{"/etc/marker", "/tmp", "/proc/version", "/proc/net", "/no/such"}
		s.ReadonlyPaths = []string{"/data", "/proc/sys", "/no/such"}
	})
	p.wantTool("", edit, "cat", "/etc/marker")
	p.wantTool("", edit, "cat", "/proc/version")
	p.wantTool("", edit, "ls", "-A", "/tmp")
	p.wantToolFails("read-only", edit, "write", "/data/x", "text")
	p.wantToolFails("read-only", edit, "write", "/proc/sys/kernel/hostname", "text")
	version, err := os.ReadFile("/proc/version")
	must(t, err)
	p.node.privilegedPod(t).wantTool(strings.TrimSpace(string(version)), func(c containerConfig) {
		edit(c)
		c.Linux.SecurityContext.Privileged = true
	}, "cat", "/proc/version")
}

func TestOOMScoreAndDevices(t *testing.T) {
	p := sharedNode(t).hostPod(t)
	p.wantTool("912", func(c containerConfig) { c.Linux.Resources.OomScoreAdj = 912 }, "cat", "/proc/self/oom_score_adj")
	p.wantTool("", func(c containerConfig) {
		c.Devices = []*runtime.Device{{HostPath: "/dev/null", ContainerPath: "/dev/bakery/oven", Permissions: "rwm"}}
	}, "write", "/dev/bakery/oven", "bread")
	p.wantTool("null\noven", func(c containerConfig) {
		c.Devices = []*runtime.Device{{HostPath: "/dev/null", ContainerPath: "/tmp/null"}, {HostPath: "/dev/zero", ContainerPath: "/tmp/oven"}}
	}, "ls", "/tmp")
	with := func(permissions string) func(containerConfig) {
		return func(c containerConfig) {
			c.Devices = []*runtime.Device{{HostPath: "/dev/null", ContainerPath: "/dev/oven", Permissions: permissions}}
		}
	}
	p.wantTool("", with("r"), "cat", "/dev/oven")
	p.wantToolFails("not permitted", with("r"), "write", "/dev/oven", "bread")
	p.wantTool("", with("w"), "write", "/dev/oven", "bread")
	p.wantToolFails("not permitted", with("w"), "cat", "/dev/oven")
}

// bakerProfile allows all but what it denies. Who may signal a confined process is
// part of every profile for containers.
const bakerProfile = `profile cri-wasmer-e2e flags=(attach_disconnected,mediate_deleted) {
  file,
  network,
  capability,
  signal (receive) peer=unconfined,
  deny /etc/marker rw,
}
profile cri-wasmer-e2e-deaf flags=(attach_disconnected,mediate_deleted) {
  file,
  network,
  capability,
}
`

func TestAppArmorConfines(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	local := func(profile string) func(containerConfig) {
		return secure(func(s *runtime.LinuxContainerSecurityContext) {
			s.Apparmor = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_Localhost, LocalhostRef: profile}
		})
	}
	refused := func(name, profile string, code codes.Code, parts ...string) {
		t.Helper()
		config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t), Args: []string{"top"}}.Config()
		local(profile)(config)
		_, err := n.Client.Create(t.Context(), p.id, p.config, config)
		wantCode(t, name, err, code, parts...)
		pc := n.podConfig(criclient.PodSpec{HostNetwork: true})
		pc.Linux.SecurityContext.Apparmor = config.Linux.SecurityContext.Apparmor
		_, err = n.Client.RunPod(t.Context(), pc, "")
		wantCode(t, name+" of a pod", err, code, parts...)
	}
	on, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	if !strings.HasPrefix(string(on), "Y") {
		refused("without AppArmor", "cri-wasmer-e2e", codes.Unimplemented, "this node has no AppArmor", "remove securityContext.appArmorProfile")
		return
	}
	refused("a profile that is not loaded", "no-such-profile", codes.InvalidArgument, "no-such-profile", "apparmor_parser")
	parser, err := exec.LookPath("apparmor_parser")
	if err != nil {
		t.Skip("needs apparmor_parser, to load a profile")
	}
	file := filepath.Join(t.TempDir(), "profile")
	must(t, os.WriteFile(file, []byte(bakerProfile), 0o644))
	load := func(flag string) error {
		out, err := exec.Command(parser, "--skip-cache", flag, file).CombinedOutput()
		if err != nil {
			return fmt.Errorf("apparmor_parser %s: %w: %s", flag, err, out)
		}
		return nil
	}
	must(t, load("--replace"))
	t.Cleanup(func() { must(t, load("--remove")) })
	p.wantTool("cri-wasmer-e2e (enforce)", local("cri-wasmer-e2e"), "cat", "/proc/self/attr/current")
	p.wantToolFails("permission denied", local("cri-wasmer-e2e"), "cat", "/etc/marker")
	p.wantToolFails("permission denied", func(c containerConfig) {
		local("cri-wasmer-e2e")(c)
		secure(func(s *runtime.LinuxContainerSecurityContext) { s.RunAsUser = &runtime.Int64Value{Value: 1234} })(c)
	}, "cat", "/etc/marker")
	for profile, code := range map[string]int32{"cri-wasmer-e2e": 143, "cri-wasmer-e2e-deaf": 137} {
		config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t), Args: []string{"top"}}.Config()
		local(profile)(config)
		c := p.createFrom(config)
		c.start()
		c.waitLine("up")
		r, err := n.Client.Exec(t.Context(), c.id, 30, "cat", "/proc/self/attr/current")
		must(t, err)
		if got := strings.TrimSpace(string(r.Stdout)); got != profile+" (enforce)" {
			t.Errorf("a command of exec is confined by %q, want %s", got, profile)
		}
		s, _ := c.stop(10)
		c.wantExit(s, code, "Error")
	}
}

// hostTmpfs mounts a tmpfs, shared with what is cloned of it, until the end of
// the test.
func hostTmpfs(t *testing.T, dir string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0777"))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	must(t, unix.Mount("", dir, "", unix.MS_SHARED, ""))
}

func TestMountPropagation(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	dir := t.TempDir()
	hostTmpfs(t, dir)
	for mode, seen := range map[runtime.MountPropagation]string{
		runtime.MountPropagation_PROPAGATION_PRIVATE:           "",
		runtime.MountPropagation_PROPAGATION_HOST_TO_CONTAINER: "came-later",
		runtime.MountPropagation_PROPAGATION_BIDIRECTIONAL:     "came-later",
	} {
		t.Run(mode.String(), func(t *testing.T) {
			config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t), Args: []string{"top"}}.Config()
			config.Mounts = []*runtime.Mount{{HostPath: dir, ContainerPath: "/mnt", Propagation: mode}}
			c := p.createFrom(config)
			c.start()
			c.waitLine("up")
			sub := filepath.Join(dir, mode.String())
			hostTmpfs(t, sub)
			must(t, os.WriteFile(filepath.Join(sub, "came-later"), nil, 0o644))
			r, err := n.Client.Exec(t.Context(), c.id, 20, "ls", "/mnt/"+mode.String())
			must(t, err)
			if got := strings.TrimSpace(string(r.Stdout)); got != seen || r.ExitCode != 0 {
				t.Errorf("the container sees %q (exit code %d), want %q", got, r.ExitCode, seen)
			}
		})
	}
}

func TestReadonlyMountsAndTheirOptions(t *testing.T) {
	p := sharedNode(t).hostPod(t)
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o777))
	hostTmpfs(t, filepath.Join(dir, "sub"))
	mount := func(change func(*runtime.Mount)) func(containerConfig) {
		m := &runtime.Mount{HostPath: dir, ContainerPath: "/mnt", Readonly: true}
		change(m)
		return withMount(m)
	}
	p.wantTool("", mount(func(*runtime.Mount) {}), "write", "/mnt/sub/f", "text")
	p.wantToolFails("read-only", mount(func(*runtime.Mount) {}), "write", "/mnt/f", "text")
	p.wantToolFails("read-only", mount(func(m *runtime.Mount) { m.RecursiveReadOnly = true }), "write", "/mnt/sub/f", "text")
	_, table, _ := p.tool(mount(func(m *runtime.Mount) { m.MountOptions = []string{"noexec", "nosuid"} }), "cat", "/proc/self/mountinfo")
	found := false
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		found = found || len(fields) > 5 && fields[4] == "/mnt" && strings.HasPrefix(fields[5], "ro,nosuid,nodev,noexec")
	}
	if !found {
		t.Errorf("the options are not in the table of mounts:\n%s", table)
	}
	config := criclient.ContainerSpec{Name: "c", Image: p.node.toolbox(t)}.Config()
	mount(func(m *runtime.Mount) { m.MountOptions = []string{"nowhere"} })(config)
	_, err := p.node.Client.Create(t.Context(), p.id, p.config, config)
	wantError(t, "unknown option", err, "nowhere")
}

func TestLinksOfTheHostAreFollowed(t *testing.T) {
	p := sharedNode(t).hostPod(t)
	dir := writeFile(t, "f", "at the end of the link\n")
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(dir, link))
	p.wantTool("at the end of the link", withMount(&runtime.Mount{HostPath: link, ContainerPath: "/mnt", SelinuxRelabel: true}), "cat", "/mnt/f")
}

func TestImageVolumes(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	ref := n.pull(t, "volume", images.Rootfs{Layers: [][]images.File{
		{{Name: "bread/", Type: typeDirectory}, {Name: "bread/rye", Data: []byte("rye\n")}}, {{Name: "top", Data: []byte("top\n")}},
	}}.Artifact())
	empty := n.pull(t, "volume-without-files", images.Rootfs{}.Artifact())
	volume := func(sub string) func(containerConfig) {
		return withMount(&runtime.Mount{Image: &runtime.ImageSpec{Image: ref}, ContainerPath: "/vol", ImageSubPath: sub, Readonly: true})
	}
	p.wantTool("rye", volume(""), "cat", "/vol/bread/rye")
	p.wantTool("top", volume(""), "cat", "/vol/top")
	p.wantTool("rye", volume("bread"), "cat", "/vol/rye")
	p.wantToolFails("read-only", volume(""), "write", "/vol/new", "text")
	s, _, _ := p.tool(volume("bread"), "true")
	if m := s.Mounts; len(m) != 1 || m[0].ImageSubPath != "bread" || m[0].GetImage().GetImageRef() == "" {
		t.Errorf("status has mounts %v", m)
	}
	for name, edit := range map[string]func(containerConfig){
		"missing sub path": volume("cake"),
		"ids of its own": withMount(&runtime.Mount{
			Image: &runtime.ImageSpec{Image: ref}, ContainerPath: "/vol", Readonly: true, UidMappings: mapping(), GidMappings: mapping(),
		}),
		"not read-only": withMount(&runtime.Mount{Image: &runtime.ImageSpec{Image: ref}, ContainerPath: "/vol"}),
		"no files":      withMount(&runtime.Mount{Image: &runtime.ImageSpec{Image: empty}, ContainerPath: "/vol", Readonly: true}),
		"unknown image": withMount(&runtime.Mount{Image: &runtime.ImageSpec{Image: "no.such/image:v1"}, ContainerPath: "/vol", Readonly: true}),
	} {
		config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t)}.Config()
		edit(config)
		_, err := n.Client.Create(t.Context(), p.id, p.config, config)
		wantError(t, name, err, "ImageVolumeMountFailed")
	}
	wantNothingLeft(t, p)
}

// wantNothingLeft checks that only containers that have exited are in the pod.
func wantNothingLeft(t *testing.T, p *pod) {
	t.Helper()
	state := &runtime.ContainerStateValue{State: created}
	if ids := containerIDs(t, p.node, &containerFilter{PodSandboxId: p.id, State: state}); len(ids) != 0 {
		t.Errorf("containers are left: %q", ids)
	}
}

func TestContainersOfAPodShareMemory(t *testing.T) {
	n := sharedNode(t)
	p, other := n.pod(t, criclient.PodSpec{}), n.hostPod(t)
	p.wantTool("", nil, "write", "/dev/shm/loaf", "of this pod")
	p.wantTool("of this pod", nil, "cat", "/dev/shm/loaf")
	other.wantToolFails("", nil, "cat", "/dev/shm/loaf")
	config := n.podConfig(criclient.PodSpec{HostNetwork: true})
	config.Linux.SecurityContext.NamespaceOptions.Ipc = runtime.NamespaceMode_NODE
	host := n.podFrom(t, config, "")
	ofHost := secure(func(s *runtime.LinuxContainerSecurityContext) { s.NamespaceOptions.Ipc = runtime.NamespaceMode_NODE })
	name := "/dev/shm/" + n.unique("cri-wasmer-e2e")
	host.wantTool("", ofHost, "write", name, "of the host")
	data, err := os.ReadFile(name)
	if err != nil || string(data) != "of the host" {
		t.Errorf("the host reads %q, %v", data, err)
	}
	must(t, os.Remove(name))
}

func TestSysctlsOfAPod(t *testing.T) {
	n := sharedNode(t)
	config := n.podConfig(criclient.PodSpec{})
	config.Linux.Sysctls = map[string]string{
		"net.ipv4.ip_unprivileged_port_start": "77", "kernel.shm_rmid_forced": "1", "fs.mqueue.msg_max": "20",
		"net/ipv4/conf/lo/forwarding": "1",
	}
	p := n.podFrom(t, config, "")
	p.wantTool("77", nil, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start")
	p.wantTool("1", nil, "cat", "/proc/sys/kernel/shm_rmid_forced")
	p.wantTool("20", nil, "cat", "/proc/sys/fs/mqueue/msg_max")
	p.wantTool("1", nil, "cat", "/proc/sys/net/ipv4/conf/lo/forwarding")
	for name, host := range map[string]bool{
		"net.ipv4.no_such_thing": false, "net.ipv4": false, "net.ipv4.tcp_available_congestion_control": false,
		"net.ipv4.ip_forward": true, "net/ipv4/ip_forward": true, "vm.swappiness": false, "net./../vm/swappiness": false,
	} {
		config := n.podConfig(criclient.PodSpec{HostNetwork: host})
		config.Linux.Sysctls = map[string]string{name: "1"}
		_, err := n.Client.RunPod(t.Context(), config, "")
		wantCode(t, name, err, codes.InvalidArgument, name)
	}
}

// limit reads a file of a container's control group: of the v1 hierarchy of the
// controller, or of the unified one.
func (c *container) limit(controller, v1, v2 string) string {
	c.t.Helper()
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", guestPIDs(c.t, c.id)[0]))
	must(c.t, err)
	for line := range strings.Lines(string(groups)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		file := filepath.Join("/sys/fs/cgroup", controller, parts[2], v1)
		switch {
		case parts[1] == "":
			file = filepath.Join("/sys/fs/cgroup", parts[2], v2)
		case !strings.Contains(","+parts[1]+",", ","+controller+","):
			continue
		}
		if data, err := os.ReadFile(file); err == nil {
			return strings.TrimSpace(string(data))
		}
	}
	c.t.Fatalf("no group of %s has a file %s or %s", controller, v1, v2)
	return ""
}

func TestResourcesChangeWhileAContainerRuns(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t), Args: []string{"top"}, MemoryLimit: 96 << 20}.Config()
	config.Linux.Resources.CpuShares, config.Linux.Resources.CpuPeriod, config.Linux.Resources.CpuQuota = 512, 100000, 50000
	config.Linux.Resources.CpusetCpus = "0"
	c := p.createFrom(config)
	c.start()
	c.waitLine("up")
	want := func(memory, quota, shares string) {
		t.Helper()
		if got := c.limit("memory", "memory.limit_in_bytes", "memory.max"); got != memory {
			t.Errorf("the memory limit is %s, want %s", got, memory)
		}
		if got := strings.Fields(c.limit("cpu", "cpu.cfs_quota_us", "cpu.max"))[0]; got != quota {
			t.Errorf("the cpu quota is %s, want %s", got, quota)
		}
		if got := c.limit("cpu", "cpu.shares", "cpu.weight"); !strings.Contains(shares, got) {
			t.Errorf("the cpu shares are %s, want one of %s", got, shares)
		}
		if got := c.limit("cpuset", "cpuset.cpus", "cpuset.cpus"); got != "0" {
			t.Errorf("the cpus are %q, want 0", got)
		}
	}
	want(fmt.Sprint(96<<20), "50000", "512 59")
	_, err := n.Client.UpdateContainerResources(t.Context(), &runtime.UpdateContainerResourcesRequest{
		ContainerId: c.id, Linux: &runtime.LinuxContainerResources{CpuQuota: 70000, CpuPeriod: 100000, MemoryLimitInBytes: 128 << 20, CpuShares: 1024},
	})
	must(t, err)
	want(fmt.Sprint(128<<20), "70000", "1024 100")
	r := c.status().GetResources().GetLinux()
	if r.MemoryLimitInBytes != 128<<20 || r.CpuQuota != 70000 || r.CpuPeriod != 100000 || r.CpuShares != 1024 || r.CpusetCpus != "0" {
		t.Errorf("status has resources %v", r)
	}
	for name, tc := range map[string]struct {
		res  *runtime.LinuxContainerResources
		code codes.Code
	}{
		"memory that is in use":   {&runtime.LinuxContainerResources{CpuShares: 2048, MemoryLimitInBytes: 64 << 10}, codes.FailedPrecondition},
		"a cpu that is not there": {&runtime.LinuxContainerResources{CpuQuota: 80000, CpuShares: 2048, CpusetCpus: "4000"}, codes.InvalidArgument},
		"a tiny quota":            {&runtime.LinuxContainerResources{CpuQuota: 5, CpuShares: 2048}, codes.InvalidArgument},
		"swap below memory":       {&runtime.LinuxContainerResources{CpuShares: 2048, MemorySwapLimitInBytes: 1 << 20}, codes.InvalidArgument},
	} {
		_, err := n.Client.UpdateContainerResources(t.Context(), &runtime.UpdateContainerResourcesRequest{ContainerId: c.id, Linux: tc.res})
		wantCode(t, name, err, tc.code)
		want(fmt.Sprint(128<<20), "70000", "1024 100")
		if now := c.status().GetResources().GetLinux(); !proto.Equal(now, r) {
			t.Errorf("%s: status has resources %v, want %v", name, now, r)
		}
	}
	if s := c.status(); s.State != running {
		t.Errorf("after the updates that failed the container is %v", s)
	}
}

func TestUpdatedResourcesOutliveTheServer(t *testing.T) {
	n := ownNode(t, nodeOptions{})
	p := n.hostPod(t)
	create := func() *container {
		config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t), Args: []string{"top"}, MemoryLimit: 96 << 20}.Config()
		config.Linux.Resources.CpuPeriod, config.Linux.Resources.CpuQuota = 100000, 50000
		return p.createFrom(config)
	}
	runs, waits := create(), create()
	runs.start()
	runs.waitLine("up")
	update := func(c *container, r *runtime.LinuxContainerResources) {
		t.Helper()
		_, err := n.Client.UpdateContainerResources(t.Context(), &runtime.UpdateContainerResourcesRequest{ContainerId: c.id, Linux: r})
		must(t, err)
	}
	want := func(c *container, memory, quota int64) {
		t.Helper()
		if r := c.status().GetResources().GetLinux(); r.MemoryLimitInBytes != memory || r.CpuQuota != quota || r.CpuPeriod != 100000 {
			t.Errorf("status has %v, want memory %d and quota %d", r, memory, quota)
		}
		if c.status().State != running {
			return
		}
		if got := c.limit("memory", "memory.limit_in_bytes", "memory.max"); got != fmt.Sprint(memory) {
			t.Errorf("the memory limit is %s, want %d", got, memory)
		}
		if got := strings.Fields(c.limit("cpu", "cpu.cfs_quota_us", "cpu.max"))[0]; got != fmt.Sprint(quota) {
			t.Errorf("the cpu quota is %s, want %d", got, quota)
		}
	}
	for _, c := range []*container{runs, waits} {
		update(c, &runtime.LinuxContainerResources{MemoryLimitInBytes: 128 << 20})
		want(c, 128<<20, 50000)
	}
	must(t, n.Daemon.Kill())
	must(t, n.Start(t.Context()))
	for _, c := range []*container{runs, waits} {
		want(c, 128<<20, 50000)
		update(c, &runtime.LinuxContainerResources{CpuQuota: 60000})
		want(c, 128<<20, 60000)
	}
	waits.start()
	waits.waitLine("up")
	want(waits, 128<<20, 60000)
	s, _ := waits.stop(5)
	waits.wantExit(s, 143, "Error")
	_, err := n.Client.UpdateContainerResources(t.Context(), &runtime.UpdateContainerResourcesRequest{
		ContainerId: waits.id, Linux: &runtime.LinuxContainerResources{CpuQuota: 70000},
	})
	wantCode(t, "update of one that has exited", err, codes.FailedPrecondition)
	want(waits, 128<<20, 60000)
}

func TestOOMScoreChangesWhileAContainerRuns(t *testing.T) {
	n := sharedNode(t)
	config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t), Args: []string{"top"}}.Config()
	config.Linux.Resources.OomScoreAdj = 500
	c := n.hostPod(t).createFrom(config)
	c.start()
	c.waitLine("up")
	want := func(score string) {
		t.Helper()
		for who, path := range map[string]string{"the container": "/proc/1/oom_score_adj", "a command in it": "/proc/self/oom_score_adj"} {
			r, err := n.Client.Exec(t.Context(), c.id, 30, "cat", path)
			must(t, err)
			if got := strings.TrimSpace(string(r.Stdout)); got != score {
				t.Errorf("%s has %s, want %s", who, got, score)
			}
		}
	}
	want("500")
	for _, score := range []int64{700, 600} { // what it was made with is no bound
		_, err := n.Client.UpdateContainerResources(t.Context(), &runtime.UpdateContainerResourcesRequest{
			ContainerId: c.id, Linux: &runtime.LinuxContainerResources{OomScoreAdj: score},
		})
		must(t, err)
		want(fmt.Sprint(score))
		if got := c.status().GetResources().GetLinux().GetOomScoreAdj(); got != score {
			t.Errorf("status has %d, want %d", got, score)
		}
	}
	_, err := n.Client.UpdateContainerResources(t.Context(), &runtime.UpdateContainerResourcesRequest{
		ContainerId: c.id, Linux: &runtime.LinuxContainerResources{OomScoreAdj: 1001},
	})
	wantCode(t, "a score that is none", err, codes.InvalidArgument, "1001")
	want("600")
}

// TestUnifiedResources: the kubelet sends memory.oom.group so, and nothing else
// can bound the tasks of one container.
func TestUnifiedResources(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t), Args: []string{"top"}}.Config()
	config.Linux.Resources.Unified = map[string]string{"pids.max": "64", "memory.oom.group": "1"}
	var fs unix.Statfs_t
	must(t, unix.Statfs("/sys/fs/cgroup", &fs))
	if fs.Type != unix.CGROUP2_SUPER_MAGIC {
		_, err := n.Client.Create(t.Context(), p.id, p.config, config)
		wantCode(t, "on cgroup v1", err, codes.InvalidArgument, "unified resources need cgroup v2")
		return
	}
	c := p.createFrom(config)
	c.start()
	c.waitLine("up")
	for file, want := range config.Linux.Resources.Unified {
		if got := c.limit("", "", file); got != want {
			t.Errorf("%s is %s, want %s", file, got, want)
		}
	}
	_, err := n.Client.UpdateContainerResources(t.Context(), &runtime.UpdateContainerResourcesRequest{
		ContainerId: c.id, Linux: &runtime.LinuxContainerResources{Unified: map[string]string{"pids.max": "80"}},
	})
	must(t, err)
	if got := c.limit("", "", "pids.max"); got != "80" {
		t.Errorf("after the update pids.max is %s, want 80", got)
	}
	if got := c.status().GetResources().GetLinux().GetUnified(); got["pids.max"] != "80" || got["memory.oom.group"] != "1" {
		t.Errorf("status has %v", got)
	}
}

func TestResourcesOfAPodAreNoted(t *testing.T) {
	n := sharedNode(t)
	config := n.podConfig(criclient.PodSpec{HostNetwork: true})
	config.Linux.Resources = &runtime.LinuxContainerResources{CpuShares: 111, MemoryLimitInBytes: 1 << 27}
	config.Linux.Overhead = &runtime.LinuxContainerResources{MemoryLimitInBytes: 12345678}
	p := n.podFrom(t, config, "")
	_, err := n.Client.UpdatePodSandboxResources(t.Context(), &runtime.UpdatePodSandboxResourcesRequest{
		PodSandboxId: p.id, Resources: &runtime.LinuxContainerResources{CpuShares: 222},
	})
	must(t, err)
	s, err := n.Client.PodSandboxStatus(t.Context(), &runtime.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
	must(t, err)
	for _, want := range []string{`"cpuShares":222`, `"memoryLimit":134217728`, `"memoryLimit":12345678`} {
		if !strings.Contains(s.Info["info"], want) {
			t.Errorf("the verbose status lacks %s: %s", want, s.Info["info"])
		}
	}
	_, err = n.Client.UpdatePodSandboxResources(t.Context(), &runtime.UpdatePodSandboxResourcesRequest{PodSandboxId: "no-such-pod"})
	wantCode(t, "unknown pod", err, codes.NotFound)
}

func TestCgroupParentOfAPod(t *testing.T) {
	n := sharedNode(t)
	for asked, want := range map[string]string{isolate.Parent("asked"): isolate.Parent("asked"), "": isolate.Parent("default")} {
		config := n.podConfig(criclient.PodSpec{HostNetwork: true})
		config.Linux.CgroupParent = asked
		c := n.podFrom(t, config, "").run(criclient.ContainerSpec{Image: n.program(t, "top-c")})
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", guestPIDs(t, c.id)[0]))
		must(t, err)
		if !strings.Contains(string(groups), strings.TrimSuffix(want, ".slice")) {
			t.Errorf("with the parent %q the container is in\n%swant it below %s", asked, groups, want)
		}
	}
	for _, parent := range []string{"/", "../..", "/bread\n"} {
		config := n.podConfig(criclient.PodSpec{HostNetwork: true})
		config.Linux.CgroupParent = parent
		_, err := n.Client.RunPod(t.Context(), config, "")
		wantCode(t, parent, err, codes.InvalidArgument, "parent")
	}
}

func TestPIDNamespaces(t *testing.T) {
	n := sharedNode(t)
	space := func(pid string) string {
		t.Helper()
		link, err := os.Readlink("/proc/" + pid + "/ns/pid")
		must(t, err)
		return link
	}
	for mode, want := range map[runtime.NamespaceMode]struct{ hosts, shared bool }{
		runtime.NamespaceMode_NODE: {true, true}, runtime.NamespaceMode_POD: {false, true}, runtime.NamespaceMode_CONTAINER: {false, false},
	} {
		config := n.podConfig(criclient.PodSpec{HostNetwork: true})
		config.Linux.SecurityContext.NamespaceOptions.Pid = mode
		p := n.podFrom(t, config, "")
		var spaces []string
		for range 2 {
			config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.program(t, "top-c")}.Config()
			config.Linux.SecurityContext.NamespaceOptions.Pid = mode
			c := p.createFrom(config)
			c.start()
			spaces = append(spaces, space(fmt.Sprint(guestPIDs(t, c.id)[0])))
		}
		if hosts, shared := spaces[0] == space("self"), spaces[0] == spaces[1]; hosts != want.hosts || shared != want.shared {
			t.Errorf("%v: the host's: %v, that of both containers: %v, want %v", mode, hosts, shared, want)
		}
	}
}

// TestContainersByAnyKindOfReference: the kubelet names images by their ids, and says
// what the user wrote.
func TestContainersByAnyKindOfReference(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	ref := n.program(t, "exit-c")
	image := n.image(t, ref)
	create := func(name string) (string, error) {
		config := criclient.ContainerSpec{Name: n.unique("c"), Image: name}.Config()
		config.Image.UserSpecifiedImage = "what/the-user:wrote"
		return n.Client.Create(t.Context(), p.id, p.config, config)
	}
	for _, name := range []string{ref, image.RepoDigests[0], image.Id, strings.TrimPrefix(image.Id, "sha256:"), strings.TrimPrefix(image.Id, "sha256:")[:13]} {
		id, err := create(name)
		must(t, err)
		s, err := n.Client.Container(t.Context(), id)
		must(t, err)
		if s.ImageId != image.Id || s.GetImage().GetUserSpecifiedImage() != "what/the-user:wrote" {
			t.Errorf("made from %s, the container has image %v with id %s, want %s", name, s.Image, s.ImageId, image.Id)
		}
	}
	_, err := create("sha256:" + strings.Repeat("0", 64))
	wantCode(t, "an id that no image has", err, codes.NotFound, "what/the-user:wrote")
}

func TestInitOfAPodRunsAsThePodSays(t *testing.T) {
	n := sharedNode(t)
	config := n.podConfig(criclient.PodSpec{HostNetwork: true})
	s := config.Linux.SecurityContext
	s.NamespaceOptions.Pid = runtime.NamespaceMode_POD
	s.RunAsUser, s.RunAsGroup, s.SupplementalGroups = &runtime.Int64Value{Value: 4242}, &runtime.Int64Value{Value: 4343}, []int64{4444}
	p := n.podFrom(t, config, "")
	shared := secure(func(s *runtime.LinuxContainerSecurityContext) { s.NamespaceOptions.Pid = runtime.NamespaceMode_POD })
	_, out, _ := p.tool(shared, "cat", "/proc/1/status")
	for _, want := range []string{"Uid:\t4242\t", "Gid:\t4343\t", "Groups:\t4444"} {
		if !strings.Contains(out, want) {
			t.Errorf("process 1 has not %q:\n%s", want, out)
		}
	}
	s.RunAsUser = nil
	config.Metadata.Name += "-refused"
	_, err := n.Client.RunPod(t.Context(), config, "")
	wantCode(t, "group without user", err, codes.InvalidArgument, "run_as_group")
}
