package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

// seLinux says whether this machine has it, and whether it refuses anything.
func seLinux(t *testing.T) (on, enforcing bool) {
	t.Helper()
	b, err := os.ReadFile("/sys/fs/selinux/enforce")
	if os.IsNotExist(err) {
		return false, false
	}
	must(t, err)
	return true, strings.HasPrefix(string(b), "1")
}

func needSELinux(t *testing.T) {
	t.Helper()
	if on, _ := seLinux(t); !on {
		t.Skip("needs a kernel with SELinux, and a policy for containers")
	}
}

func withLabel(o *runtime.SELinuxOption) func(containerConfig) {
	return secure(func(s *runtime.LinuxContainerSecurityContext) { s.SelinuxOptions = o })
}

// labelledPod asks for a label of the whole pod.
func (n *node) labelledPod(t *testing.T, o *runtime.SELinuxOption) *pod {
	t.Helper()
	config := n.podConfig(criclient.PodSpec{HostNetwork: true})
	config.Linux.SecurityContext.SelinuxOptions = o
	return n.podFrom(t, config, "")
}

// ownLabel gives the label of the processes of a container.
func (p *pod) ownLabel(edit func(containerConfig)) string {
	p.t.Helper()
	s, stdout, stderr := p.tool(edit, "cat", "/proc/self/attr/current")
	if s.ExitCode != 0 {
		p.t.Fatalf("read the label: exit code %d: %s", s.ExitCode, stderr)
	}
	return strings.Trim(stdout, "\x00\n")
}

func TestSELinuxLabels(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	refused := func(name string, o *runtime.SELinuxOption, code codes.Code, parts ...string) {
		t.Helper()
		config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t), Args: []string{"top"}}.Config()
		withLabel(o)(config)
		_, err := n.Client.Create(t.Context(), p.id, p.config, config)
		wantCode(t, name+" of a container", err, code, parts...)
		pc := n.podConfig(criclient.PodSpec{HostNetwork: true})
		pc.Linux.SecurityContext.SelinuxOptions = o
		_, err = n.Client.RunPodSandbox(t.Context(), &runtime.RunPodSandboxRequest{Config: pc})
		wantCode(t, name+" of a pod", err, code, parts...)
	}
	refused("a name with a colon", &runtime.SELinuxOption{Type: "container_t:s0"}, codes.InvalidArgument, "container_t:s0")
	on, enforcing := seLinux(t)
	if !on {
		refused("without SELinux", &runtime.SELinuxOption{Type: "spc_t"}, codes.Unimplemented, "this node has no SELinux", "remove securityContext.seLinuxOptions")
		return
	}
	refused("an unknown type", &runtime.SELinuxOption{Type: "no_such_t"}, codes.InvalidArgument, "no_such_t", "policy of this node")
	refused("a malformed level", &runtime.SELinuxOption{Level: "s0,c4,c5"}, codes.InvalidArgument, "s0,c4,c5")
	if enforcing {
		refused("a type of no container", &runtime.SELinuxOption{Type: "sshd_t"}, codes.Unimplemented, ":sshd_t:", "cri-wasmer.cil")
	}

	first, second, other := p.ownLabel(nil), p.ownLabel(nil), n.hostPod(t).ownLabel(nil)
	if !regexp.MustCompile(`^system_u:system_r:container_t:s0:c\d+,c\d+$`).MatchString(first) {
		t.Errorf("a container has the label %q", first)
	}
	if first != second || first == other {
		t.Errorf("labels of two containers of a pod are %q and %q, that of another pod is %q", first, second, other)
	}
	level := func(o *runtime.SELinuxOption) string { return p.ownLabel(withLabel(o)) }
	if got := level(&runtime.SELinuxOption{Level: "s0:c4,c5"}); got != "system_u:system_r:container_t:s0:c4,c5" {
		t.Errorf("with a level of its own, a container has the label %q", got)
	}
	labelled := n.labelledPod(t, &runtime.SELinuxOption{Level: "s0:c6,c7", Type: "spc_t"})
	if got := labelled.ownLabel(nil); got != "system_u:system_r:spc_t:s0:c6,c7" {
		t.Errorf("in a pod with type and level, a container has the label %q", got)
	}
	if got := labelled.ownLabel(withLabel(&runtime.SELinuxOption{Type: "container_t"})); got != "system_u:system_r:container_t:s0:c6,c7" {
		t.Errorf("with a type of its own in such a pod, a container has the label %q", got)
	}
}

// What the labels mean shows in an enforcing policy alone, but must hold in any.
func TestSELinuxKeepsPodsApart(t *testing.T) {
	on, enforcing := seLinux(t)
	n := sharedNode(t)
	p, other := n.hostPod(t), n.hostPod(t)
	dir := writeFile(t, "f", "of a volume\n")
	volume := withMount(&runtime.Mount{HostPath: dir, ContainerPath: "/mnt", SelinuxRelabel: true})
	plain := withMount(&runtime.Mount{HostPath: dir, ContainerPath: "/mnt"})
	p.wantTool("of a volume", volume, "cat", "/mnt/f")
	p.wantTool("", volume, "write", "/mnt/new", "text")
	if !on {
		return // the relabelling was to be ignored
	}
	for _, name := range []string{"", "f", "new"} {
		buf := make([]byte, 256)
		size, err := unix.Getxattr(filepath.Join(dir, name), "security.selinux", buf)
		must(t, err)
		if got, want := strings.TrimRight(string(buf[:size]), "\x00"), ":container_file_t:"+levelOf(p.ownLabel(nil)); !strings.HasSuffix(got, want) {
			t.Errorf("%q of the volume has the label %q, want one with %q", name, got, want)
		}
	}
	if !enforcing {
		return
	}
	p.wantTool("of a volume", plain, "cat", "/mnt/f")
	other.wantToolFails("permission denied", plain, "cat", "/mnt/f")
	strange := writeFile(t, "f", "of the host\n")
	p.wantToolFails("permission denied", withMount(&runtime.Mount{HostPath: strange, ContainerPath: "/mnt"}), "cat", "/mnt/f")
	other.wantTool("of a volume", volume, "cat", "/mnt/f")
	p.wantToolFails("permission denied", plain, "cat", "/mnt/f")

	config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t)}.Config()
	withMount(&runtime.Mount{HostPath: "/usr", ContainerPath: "/mnt", SelinuxRelabel: true})(config)
	_, err := n.Client.Create(t.Context(), p.id, p.config, config)
	wantError(t, "relabel /usr", err, "/usr", "relabel")
}

// levelOf is the last part of a label, which has colons of its own.
func levelOf(label string) string {
	parts := strings.SplitN(label, ":", 4)
	return parts[len(parts)-1]
}

func TestSELinuxLabelsOfAllThatIsMade(t *testing.T) {
	needSELinux(t)
	n := sharedNode(t)
	config := n.podConfig(criclient.PodSpec{})
	config.Linux.SecurityContext.NamespaceOptions.Pid = runtime.NamespaceMode_POD
	p := n.podFrom(t, config, "")
	ref := n.pull(t, "labelled-volume", images.Rootfs{Layers: [][]images.File{{{Name: "rye", Data: []byte("rye\n")}}}}.Artifact())
	edit := func(c containerConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Pid = runtime.NamespaceMode_POD
		c.Linux.SecurityContext.MaskedPaths = []string{"/proc/irq", "/proc/version"}
		withMount(&runtime.Mount{Image: &runtime.ImageSpec{Image: ref}, ContainerPath: "/vol", Readonly: true})(c)
		withMount(&runtime.Mount{Image: &runtime.ImageSpec{Image: ref}, ContainerPath: "/part", ImageSubPath: "rye", Readonly: true})(c)
	}
	spec := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t), Args: []string{"top"}}.Config()
	edit(spec)
	c := p.createFrom(spec)
	c.start()
	c.waitLine("up")
	label := strings.Trim(c.exec("cat", "/proc/self/attr/current"), "\x00\n")
	if init := strings.Trim(c.exec("cat", "/proc/1/attr/current"), "\x00\n"); init != label || !strings.Contains(label, ":container_t:") {
		t.Errorf("the init process of the pod has the label %q, a command %q", init, label)
	}
	context := fmt.Sprintf(`context="system_u:object_r:container_file_t:%s"`, levelOf(label))
	labelled := map[string]bool{"/": true, "/dev": true, "/dev/pts": true, "/dev/shm": true, "/vol": true, "/part": true, "/proc/irq": true}
	for line := range strings.Lines(c.exec("cat", "/proc/self/mountinfo")) {
		if at := strings.Fields(line)[4]; labelled[at] && strings.Contains(line, context) {
			delete(labelled, at)
		}
	}
	if len(labelled) > 0 {
		t.Errorf("mounts without %s: %v", context, labelled)
	}
	for command, want := range map[string]string{
		"cat /vol/rye": "rye\n", "cat /part": "rye\n", "ls /proc/irq": "", "cat /proc/version": "",
		"write /dev/shm/x text": "", "write /etc/new text": "", "cat /etc/hostname": config.Hostname + "\n",
	} {
		if got := c.exec(strings.Fields(command)...); got != want {
			t.Errorf("%s: got %q, want %q", command, got, want)
		}
	}
}

func TestSELinuxLeavesTheUnconfinedAlone(t *testing.T) {
	needSELinux(t)
	n := sharedNode(t)
	p := n.privilegedPod(t)
	privileged := secure(func(s *runtime.LinuxContainerSecurityContext) { s.Privileged = true })
	if got := p.ownLabel(privileged); !strings.HasPrefix(got, "system_u:system_r:spc_t:s0") {
		t.Errorf("a privileged container has the label %q", got)
	}
	if got := p.ownLabel(nil); !strings.HasPrefix(got, "system_u:system_r:container_t:s0:c") {
		t.Errorf("another one of its pod has the label %q", got)
	}
	strange := writeFile(t, "f", "of the host\n")
	p.wantTool("of the host", func(c containerConfig) {
		privileged(c)
		withMount(&runtime.Mount{HostPath: strange, ContainerPath: "/mnt"})(c)
	}, "cat", "/mnt/f")
	named := p.ownLabel(func(c containerConfig) {
		privileged(c)
		withLabel(&runtime.SELinuxOption{Type: "container_t", Level: "s0:c8,c9"})(c)
	})
	if named != "system_u:system_r:container_t:s0:c8,c9" {
		t.Errorf("a privileged container that names its label has %q", named)
	}
	host := secure(func(s *runtime.LinuxContainerSecurityContext) {
		s.NamespaceOptions.Pid = runtime.NamespaceMode_NODE
	})
	if got := p.ownLabel(host); !strings.Contains(got, ":spc_t:") {
		t.Errorf("a container in the pid namespace of the node has the label %q", got)
	}
}

func TestSELinuxLabelsOutliveTheServer(t *testing.T) {
	needSELinux(t)
	n := ownNode(t, nodeOptions{})
	p := n.hostPod(t)
	c := p.run(criclient.ContainerSpec{Image: n.toolbox(t), Args: []string{"top"}})
	c.waitLine("up")
	label := func() string { return c.exec("cat", "/proc/self/attr/current") }
	before, made := label(), p.create(criclient.ContainerSpec{Name: "made", Image: n.toolbox(t), Args: []string{"cat", "/proc/self/attr/current"}})
	must(t, n.Kill())
	must(t, n.Start(t.Context()))
	if after := label(); after != before {
		t.Errorf("after a restart, a command has the label %q, before it had %q", after, before)
	}
	made.start()
	made.wantExit(made.wait(), 0, "Completed")
	if got := strings.Join(made.lines("stdout"), ""); got != before {
		t.Errorf("a container that was made before has the label %q, want %q", got, before)
	}
}
