package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

// tool runs one applet of the toolbox as a container, changed by edit, and
// gives how it ended and what it wrote.
func (p *pod) tool(edit func(containerConfig), args ...string) (s *runtime.ContainerStatus, stdout, stderr string) {
	p.t.Helper()
	config := criclient.ContainerSpec{Name: p.node.unique("tool"), Image: p.node.toolbox(p.t), Args: args}.Config()
	if edit != nil {
		edit(config)
	}
	c := p.createFrom(config)
	c.start()
	s = c.wait()
	return s, strings.Join(c.lines("stdout"), "\n"), strings.Join(c.lines("stderr"), "\n")
}

// wantTool is tool with what it must write.
func (p *pod) wantTool(want string, edit func(containerConfig), args ...string) {
	p.t.Helper()
	s, stdout, stderr := p.tool(edit, args...)
	if s.ExitCode != 0 || stdout != want {
		p.t.Errorf("%q: exit code %d, stdout %q, stderr %q, want stdout %q", args, s.ExitCode, stdout, stderr, want)
	}
}

// wantToolFails is tool that must fail and say why.
func (p *pod) wantToolFails(part string, edit func(containerConfig), args ...string) {
	p.t.Helper()
	s, stdout, stderr := p.tool(edit, args...)
	if s.ExitCode != 1 || !strings.Contains(strings.ToLower(stderr), strings.ToLower(part)) {
		p.t.Errorf("%q: exit code %d, stdout %q, stderr %q, want exit code 1 and %q", args, s.ExitCode, stdout, stderr, part)
	}
}

func withMount(m *runtime.Mount) func(containerConfig) {
	return func(c containerConfig) { c.Mounts = append(c.Mounts, m) }
}

func TestMountsShowTheHostsFiles(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	dir := writeFile(t, "in.txt", "from the host\n")
	rw := withMount(&runtime.Mount{HostPath: dir, ContainerPath: "/mnt/dir"})
	ro := withMount(&runtime.Mount{HostPath: dir, ContainerPath: "/mnt/dir", Readonly: true})
	file := withMount(&runtime.Mount{HostPath: filepath.Join(dir, "in.txt"), ContainerPath: "/etc/one-file"})

	p.wantTool("from the host", rw, "cat", "/mnt/dir/in.txt")
	p.wantTool("", rw, "write", "/mnt/dir/out.txt", "from the guest")
	if data, err := os.ReadFile(filepath.Join(dir, "out.txt")); string(data) != "from the guest" {
		t.Errorf("the host reads %q, %v", data, err)
	}
	p.wantTool("from the host", ro, "cat", "/mnt/dir/in.txt")
	p.wantToolFails("read-only", ro, "write", "/mnt/dir/refused.txt", "text")
	if _, err := os.Stat(filepath.Join(dir, "refused.txt")); !os.IsNotExist(err) {
		t.Errorf("a read-only mount let a file through: %v", err)
	}
	p.wantTool("from the host", file, "cat", "/etc/one-file")
}

func TestMountOnASymlinkGoesToItsTargetInside(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	outside := t.TempDir()
	image := toolboxImage(t)
	image.Layers = append(image.Layers, []images.File{{Name: "trap", Type: typeSymlink, Link: outside}})
	ref := n.pull(t, "mount-trap", image.Artifact())
	dir := writeFile(t, "in.txt", "mounted\n")
	p.wantTool("mounted", func(c containerConfig) {
		c.Image.Image = ref
		c.Mounts = []*runtime.Mount{{HostPath: dir, ContainerPath: "/trap/deep"}}
	}, "cat", "/trap/deep/in.txt")
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
		t.Errorf("the mount point was made on the host: %v, %v", entries, err)
	}
}

func TestStatusShowsTheMountsAsAsked(t *testing.T) {
	n := sharedNode(t)
	dir := writeFile(t, "f", "")
	config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.program(t, "exit-c"), Mounts: []*runtime.Mount{
		{HostPath: dir, ContainerPath: "/a", Readonly: true},
		{HostPath: dir, ContainerPath: "/b", Propagation: runtime.MountPropagation_PROPAGATION_HOST_TO_CONTAINER},
	}}.Config()
	got := n.hostPod(t).createFrom(config).status().Mounts
	if len(got) != 2 {
		t.Fatalf("status has mounts %v, want 2", got)
	}
	for i, want := range config.Mounts {
		if g := got[i]; g.HostPath != want.HostPath || g.ContainerPath != want.ContainerPath || g.Readonly != want.Readonly || g.Propagation != want.Propagation {
			t.Errorf("mount %d is %v, want %v", i, g, want)
		}
	}
}

func TestMissingHostPathIsRefused(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := n.Client.Create(t.Context(), p.id, p.config, criclient.ContainerSpec{
		Image:  n.program(t, "exit-c"),
		Mounts: []*runtime.Mount{{HostPath: missing, ContainerPath: "/a"}},
	}.Config())
	wantError(t, "create", err, missing)
	wantNothingIn(t, p)
}

func TestMountsThatCannotBeAreRefused(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	dir := writeFile(t, "f", "")
	file := filepath.Join(dir, "f")
	at := func(host, path string) []*runtime.Mount {
		return []*runtime.Mount{{HostPath: host, ContainerPath: path}}
	}
	for name, tc := range map[string]struct {
		mounts []*runtime.Mount
		code   codes.Code
		part   string
	}{
		"missing host path":       {at(filepath.Join(dir, "missing"), "/a"), codes.FailedPrecondition, "missing"},
		"below a file":            {at(filepath.Join(file, "x"), "/a"), codes.FailedPrecondition, "f/x"},
		"relative host path":      {at("f", "/a"), codes.InvalidArgument, "not absolute"},
		"over proc":               {at(dir, "/proc"), codes.InvalidArgument, "pid namespace"},
		"over a file of proc":     {at(file, "/proc/cpuinfo"), codes.InvalidArgument, "pid namespace"},
		"over a link to proc":     {at(file, "/dev/stdout"), codes.InvalidArgument, "pid namespace"},
		"over the root":           {at(dir, "/a/.."), codes.InvalidArgument, "root"},
		"directory over a file":   {at(dir, "/etc/marker"), codes.InvalidArgument, "a file cannot be mounted on a directory"},
		"file over a directory":   {at(file, "/data"), codes.InvalidArgument, "a file cannot be mounted on a directory"},
		"below a file inside":     {at(dir, "/etc/marker/x"), codes.InvalidArgument, "/etc/marker/x"},
		"missing in a read-only":  {append(at(dir, "/a/missing"), &runtime.Mount{HostPath: dir, ContainerPath: "/a", Readonly: true}), codes.InvalidArgument, "read-only"},
		"name that is too long":   {at(dir, "/"+strings.Repeat("a", 300)), codes.InvalidArgument, "too long"},
		"host path that is no C ": {at("/\x00", "/a"), codes.InvalidArgument, "invalid"},
	} {
		config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t), Mounts: tc.mounts}.Config()
		_, err := n.Client.Create(t.Context(), p.id, p.config, config)
		wantCode(t, name, err, tc.code, tc.part)
	}
	wantNothingIn(t, p)
}

func TestNoProgramsOnMountsWithNoExec(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "hello"), guest(t, "hello-c"), 0o755))
	config := func(command string, options ...string) containerConfig {
		c := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t), Command: []string{command}, Args: []string{"top"}}.Config()
		c.Mounts = []*runtime.Mount{{HostPath: dir, ContainerPath: "/mnt", MountOptions: options}}
		return c
	}
	_, err := n.Client.Create(t.Context(), p.id, p.config, config("/mnt/hello", "noexec"))
	wantCode(t, "a container", err, codes.InvalidArgument, "noexec")
	for name, options := range map[string][]string{"with noexec": {"noexec"}, "without": nil} {
		c := p.createFrom(config("/bin/tool", options...))
		c.start()
		c.waitLine("up")
		r, err := n.Client.Exec(t.Context(), c.id, 30, "/mnt/hello")
		if options != nil {
			wantCode(t, name, err, codes.InvalidArgument, "noexec")
		} else if err != nil || r.ExitCode != 0 {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
}

// TestTheProcessHasTheGuestsArguments: in full, and nothing behind them.
func TestTheProcessHasTheGuestsArguments(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	long := strings.Repeat("long ", 2000)
	config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t), Args: []string{"top", "", "an argument", long}}.Config()
	c := p.createFrom(config)
	c.start()
	c.waitLine("up")
	for _, tc := range []struct {
		want string
		path string
	}{
		{"/bin/tool\x00top\x00\x00an argument\x00" + long + "\x00", "/proc/1/cmdline"},
		{"cat\x00/proc/self/cmdline\x00", "/proc/self/cmdline"},
		{"tool\n", "/proc/1/comm"},
		{"cat\n", "/proc/self/comm"},
	} {
		r, err := n.Client.Exec(t.Context(), c.id, 30, "cat", tc.path)
		must(t, err)
		if got := string(r.Stdout); got != tc.want {
			t.Errorf("%s is %.200q (%d bytes), want %.200q (%d bytes)", tc.path, got, len(got), tc.want, len(tc.want))
		}
	}
}

// TestPIDNamespaceFollowsThePod: a container that does not say has that of its pod.
func TestPIDNamespaceFollowsThePod(t *testing.T) {
	n := sharedNode(t)
	modes := runtime.NamespaceMode_value
	comm, err := os.ReadFile("/proc/1/comm")
	must(t, err)
	host := strings.TrimSpace(string(comm))
	for _, tc := range []struct{ pod, container, first string }{
		{"POD", "", "pod-init"}, {"CONTAINER", "", "tool"}, {"NODE", "", host}, {"NODE", "POD", host}, {"POD", "CONTAINER", "tool"},
	} {
		config := n.podConfig(criclient.PodSpec{HostNetwork: true})
		config.Linux.SecurityContext.NamespaceOptions.Pid = runtime.NamespaceMode(modes[tc.pod])
		n.podFrom(t, config, "").wantTool(tc.first, func(c containerConfig) {
			c.Linux.SecurityContext.NamespaceOptions.Pid = runtime.NamespaceMode(modes[tc.container])
			if tc.container == "" {
				c.Linux.SecurityContext.NamespaceOptions = nil
			}
		}, "cat", "/proc/1/comm")
	}
	p := n.hostPod(t)
	config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t)}.Config()
	config.Linux.SecurityContext.NamespaceOptions.Pid = runtime.NamespaceMode_POD
	_, err = n.Client.Create(t.Context(), p.id, p.config, config)
	wantCode(t, "that of a pod without one", err, codes.InvalidArgument, "pid namespace")
}

func TestGuestsCannotLeaveTheirRoot(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	secret := filepath.Join(writeFile(t, "secret", "of the host\n"), "secret")
	image := toolboxImage(t)
	image.Layers = append(image.Layers, []images.File{
		{Name: "absolute", Type: typeSymlink, Link: secret},
		{Name: "relative", Type: typeSymlink, Link: strings.Repeat("../", 20) + secret[1:]},
	})
	ref := n.pull(t, "escape", image.Artifact())
	for _, path := range []string{secret, "/absolute", "/relative", strings.Repeat("/..", 20) + secret} {
		p.wantToolFails("", func(c containerConfig) { c.Image.Image = ref }, "cat", path)
	}
}

func TestUserAndGroup(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	number := func(v int64) *runtime.Int64Value { return &runtime.Int64Value{Value: v} }
	as := func(user, group *runtime.Int64Value, name string) func(containerConfig) {
		return func(c containerConfig) {
			s := c.Linux.SecurityContext
			s.RunAsUser, s.RunAsGroup, s.RunAsUsername = user, group, name
		}
	}
	for name, tc := range map[string]struct {
		edit     func(containerConfig)
		uid, gid string
	}{
		"image without user":   {as(nil, nil, ""), "0", "0"},
		"uid":                  {as(number(1234), nil, ""), "1234", "0"},
		"uid and gid":          {as(number(1234), number(567), ""), "1234", "567"},
		"name":                 {as(nil, nil, "baker"), "1042", "2042"},
		"uid of the passwd":    {as(number(1042), nil, ""), "1042", "2042"},
		"name with a group id": {as(nil, number(77), "baker"), "1042", "77"},
	} {
		t.Run(name, func(t *testing.T) {
			p.wantTool(tc.uid, tc.edit, "id", "-u")
			p.wantTool(tc.gid, tc.edit, "id", "-g")
			s, _, _ := p.tool(tc.edit, "true")
			if u := s.GetUser().GetLinux(); u == nil || u.Uid != atoi(t, tc.uid) || u.Gid != atoi(t, tc.gid) {
				t.Errorf("status has user %v", u)
			}
		})
	}
	groups := func(c containerConfig) {
		as(number(1234), number(567), "")(c)
		c.Linux.SecurityContext.SupplementalGroups = []int64{4000, 4001}
	}
	s, out, _ := p.tool(groups, "status", "Groups")
	if got := sorted(strings.Fields(out)...); !slices.Contains(got, "4000") || !slices.Contains(got, "4001") {
		t.Errorf("groups are %q (exit code %d), want 4000 and 4001 in it", out, s.ExitCode)
	}
	for name, edit := range map[string]func(containerConfig){
		"unknown name":       as(nil, nil, "nobody-knows"),
		"group without user": as(nil, number(567), ""),
	} {
		config := criclient.ContainerSpec{Name: n.unique("c"), Image: n.toolbox(t)}.Config()
		edit(config)
		_, err := n.Client.Create(t.Context(), p.id, p.config, config)
		wantError(t, name, err)
	}
}

func atoi(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	must(t, err)
	return n
}

func TestUmaskOfTheServerIsNotThatOfGuests(t *testing.T) {
	old := unix.Umask(0o077) // as in a unit with UMask=0077
	n := ownNode(t, nodeOptions{})
	unix.Umask(old)
	dir := writeFile(t, "f", "")
	p := n.pod(t, criclient.PodSpec{})
	edit := func(c containerConfig) {
		c.Linux.SecurityContext.RunAsUser = &runtime.Int64Value{Value: 1234}
		c.Mounts = []*runtime.Mount{{HostPath: dir, ContainerPath: "/mnt"}}
	}
	for _, file := range []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"} {
		if s, _, stderr := p.tool(edit, "cat", file); s.ExitCode != 0 {
			t.Errorf("a guest that is not root cannot read %s: %s", file, stderr)
		}
	}
	p.wantTool("", edit, "write", "/mnt/new", "text")
	info, err := os.Stat(filepath.Join(dir, "new"))
	must(t, err)
	if got := info.Mode().Perm(); got != 0o644 {
		t.Errorf("a guest's file has mode %o, want 644", got)
	}
}

func TestUserOfTheImage(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	for user, want := range map[string][2]string{
		"1003:1004":  {"1003", "1004"},
		"baker":      {"1042", "2042"},
		"baker:root": {"1042", "0"},
		"1002":       {"1002", "0"},
	} {
		image := toolboxImage(t)
		image.User = user
		ref := n.pull(t, "user-"+strings.ReplaceAll(user, ":", "-"), image.Artifact())
		edit := func(c containerConfig) { c.Image.Image = ref }
		p.wantTool(want[0], edit, "id", "-u")
		p.wantTool(want[1], edit, "id", "-g")
	}
}

func TestHostnameAndNameServers(t *testing.T) {
	n := sharedNode(t)
	config := n.podConfig(criclient.PodSpec{Name: n.unique("named")})
	config.Hostname = "bakery"
	config.DnsConfig = &runtime.DNSConfig{
		Servers:  []string{"10.96.0.10", "192.0.2.53"},
		Searches: []string{"default.svc.cluster.local", "svc.cluster.local"},
		Options:  []string{"ndots:5", "timeout:1"},
	}
	p := n.podFrom(t, config, "")
	p.wantTool("bakery", nil, "hostname")
	p.wantTool("bakery", nil, "cat", "/etc/hostname")
	_, out, _ := p.tool(nil, "cat", "/etc/resolv.conf")
	for _, line := range []string{
		"nameserver 10.96.0.10", "nameserver 192.0.2.53",
		"search default.svc.cluster.local svc.cluster.local", "options ndots:5 timeout:1",
	} {
		if !slices.Contains(strings.Split(out, "\n"), line) {
			t.Errorf("resolv.conf %q lacks %q", out, line)
		}
	}

	host, err := os.ReadFile("/etc/resolv.conf")
	if !errors.Is(err, fs.ErrNotExist) {
		must(t, err)
	}
	for text, dns := range map[string]*runtime.DNSConfig{string(host): nil, "": {}} {
		config := n.podConfig(criclient.PodSpec{})
		config.DnsConfig = dns
		if _, out, _ := n.podFrom(t, config, "").tool(nil, "cat", "/etc/resolv.conf"); strings.TrimSpace(out) != strings.TrimSpace(text) {
			t.Errorf("with the DNS configuration %v resolv.conf is %q, want %q", dns, out, text)
		}
	}
	own, err := os.Hostname()
	must(t, err)
	config = n.podConfig(criclient.PodSpec{HostNetwork: true})
	config.Hostname = "bakery"
	p = n.podFrom(t, config, "")
	p.wantTool(own, nil, "hostname")
	p.wantTool(own, nil, "cat", "/etc/hostname")

	for name, change := range map[string]func(){
		"long hostname":        func() { config.Hostname = strings.Repeat("x", 65) },
		"hostname of two":      func() { config.Hostname = "bakery mill" },
		"name server of lines": func() { config.DnsConfig = &runtime.DNSConfig{Servers: []string{"192.0.2.1\noptions debug"}} },
		"no search domain":     func() { config.DnsConfig = &runtime.DNSConfig{Searches: []string{""}} },
	} {
		config = n.podConfig(criclient.PodSpec{})
		change()
		_, err := n.Client.RunPod(t.Context(), config, "")
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want InvalidArgument", name, err)
		}
	}
}

func TestWorkingDirectory(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	in := func(dir string) func(containerConfig) { return func(c containerConfig) { c.WorkingDir = dir } }
	p.wantTool("/", nil, "pwd")
	p.wantTool("/data", in("/data"), "pwd")
	p.wantTool("made by the image", in("/etc"), "cat", "marker")
	p.wantTool("/made/for/this", in("/made/for/this"), "pwd")
}

func TestReadonlyRootFilesystem(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	dir := writeFile(t, "f", "")
	readonly := func(c containerConfig) {
		c.Linux.SecurityContext.ReadonlyRootfs = true
		c.Mounts = []*runtime.Mount{{HostPath: dir, ContainerPath: "/data"}}
	}
	for _, path := range []string{"/etc/new", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"} {
		p.wantToolFails("read-only", readonly, "write", path, "text")
	}
	p.wantTool("", readonly, "write", "/data/new", "text")
	p.wantTool("", nil, "write", "/etc/new", "text")
}

func TestProcessHasNoPrivileges(t *testing.T) {
	n := sharedNode(t)
	p := n.hostPod(t)
	p.wantTool("0000000000000000", func(c containerConfig) {
		c.Linux.SecurityContext.RunAsUser = &runtime.Int64Value{Value: 1234}
	}, "status", "CapEff")
	p.wantTool("1", func(c containerConfig) { c.Linux.SecurityContext.NoNewPrivs = true }, "status", "NoNewPrivs")
	p.wantTool("2", func(c containerConfig) {
		c.Linux.SecurityContext.Seccomp = &runtime.SecurityProfile{ProfileType: runtime.SecurityProfile_RuntimeDefault}
	}, "status", "Seccomp")
}

// What fails because the pod ends meanwhile says so.
func TestContainersAreMadeWhileTheirPodEnds(t *testing.T) {
	n := sharedNode(t)
	image := n.program(t, "exit-c")
	const containers = 16
	for round := range 30 {
		p := n.hostPod(t) // without a network it ends quickly
		created := make(chan error)
		for i := range containers {
			go func() {
				spec := criclient.ContainerSpec{Name: fmt.Sprint("c", i), Image: image}
				_, err := n.Client.Create(t.Context(), p.id, p.config, spec.Config())
				created <- err
			}()
		}
		time.Sleep(time.Duration(round%10) * time.Millisecond) // another moment each time
		must(t, n.Client.RemovePod(t.Context(), p.id))
		for range containers {
			if err := <-created; err != nil && status.Code(err) != codes.FailedPrecondition && status.Code(err) != codes.NotFound {
				t.Errorf("create in a pod that ends: %v", err)
			}
		}
	}
}
