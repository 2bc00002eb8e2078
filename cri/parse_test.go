//lint:file-ignore SA1019 older kubelets send nothing else

package cri

import (
	"errors"
	"slices"
	"testing"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

func podWith(change func(*runtimev1.PodSandboxConfig, *runtimev1.LinuxSandboxSecurityContext)) *runtimev1.PodSandboxConfig {
	s := &runtimev1.LinuxSandboxSecurityContext{NamespaceOptions: &runtimev1.NamespaceOption{}}
	c := &runtimev1.PodSandboxConfig{
		Metadata: &runtimev1.PodSandboxMetadata{Name: "p", Namespace: "n", Uid: "u"},
		Linux:    &runtimev1.LinuxPodSandboxConfig{SecurityContext: s},
	}
	change(c, s)
	return c
}

func containerWith(change func(*runtimev1.ContainerConfig, *runtimev1.LinuxContainerSecurityContext)) *runtimev1.ContainerConfig {
	s := &runtimev1.LinuxContainerSecurityContext{NamespaceOptions: &runtimev1.NamespaceOption{}}
	c := &runtimev1.ContainerConfig{
		Metadata: &runtimev1.ContainerMetadata{Name: "c"}, Image: &runtimev1.ImageSpec{Image: "i"},
		Linux: &runtimev1.LinuxContainerConfig{SecurityContext: s},
	}
	change(c, s)
	return c
}

type (
	podConfig     = runtimev1.PodSandboxConfig
	podSecurity   = runtimev1.LinuxSandboxSecurityContext
	configuration = runtimev1.ContainerConfig
	security      = runtimev1.LinuxContainerSecurityContext
)

const unknown = 99 // of every enumeration

func profile(kind runtimev1.SecurityProfile_ProfileType, ref string) *runtimev1.SecurityProfile {
	return &runtimev1.SecurityProfile{ProfileType: kind, LocalhostRef: ref}
}

func TestPodsThatCannotBeAsAskedAreRefused(t *testing.T) {
	port := func(m *runtimev1.PortMapping) func(*podConfig, *podSecurity) {
		return func(c *podConfig, _ *podSecurity) { c.PortMappings = []*runtimev1.PortMapping{m} }
	}
	for name, tc := range map[string]struct {
		change func(*podConfig, *podSecurity)
		kind   error
	}{
		"no metadata":      {func(c *podConfig, _ *podSecurity) { c.Metadata = nil }, sandbox.ErrInvalid},
		"unknown protocol": {func(c *podConfig, _ *podSecurity) { c.PortMappings = []*runtimev1.PortMapping{{Protocol: unknown}} }, sandbox.ErrInvalid},
		"high host port":   {port(&runtimev1.PortMapping{HostPort: 65536, ContainerPort: 80}), sandbox.ErrInvalid},
		"low host port":    {port(&runtimev1.PortMapping{HostPort: -1, ContainerPort: 80}), sandbox.ErrInvalid},
		"high port":        {port(&runtimev1.PortMapping{HostPort: 80, ContainerPort: 65536}), sandbox.ErrInvalid},
		"low port":         {port(&runtimev1.PortMapping{ContainerPort: -1}), sandbox.ErrInvalid},
		"no port":          {port(&runtimev1.PortMapping{HostPort: 80}), sandbox.ErrInvalid},
		"name for host IP": {port(&runtimev1.PortMapping{HostPort: 80, ContainerPort: 80, HostIp: "localhost"}), sandbox.ErrInvalid},
		"zone of host IP":  {port(&runtimev1.PortMapping{HostPort: 80, ContainerPort: 80, HostIp: "fe80::1%eth0"}), sandbox.ErrInvalid},
		"unknown network":  {func(_ *podConfig, s *podSecurity) { s.NamespaceOptions.Network = unknown }, sandbox.ErrInvalid},
		"unknown pid":      {func(_ *podConfig, s *podSecurity) { s.NamespaceOptions.Pid = unknown }, sandbox.ErrInvalid},
		"unknown ipc":      {func(_ *podConfig, s *podSecurity) { s.NamespaceOptions.Ipc = unknown }, sandbox.ErrInvalid},
		"network of a container": {func(_ *podConfig, s *podSecurity) {
			s.NamespaceOptions.Network = runtimev1.NamespaceMode_CONTAINER
		}, sandbox.ErrInvalid},
		"ipc of a target": {func(_ *podConfig, s *podSecurity) { s.NamespaceOptions.Ipc = runtimev1.NamespaceMode_TARGET }, sandbox.ErrInvalid},
		"pid of a target": {func(_ *podConfig, s *podSecurity) { s.NamespaceOptions.Pid = runtimev1.NamespaceMode_TARGET }, sandbox.ErrInvalid},
		"unknown users": {func(_ *podConfig, s *podSecurity) {
			s.NamespaceOptions.UsernsOptions = &runtimev1.UserNamespace{Mode: unknown}
		}, sandbox.ErrInvalid},
		"unknown policy":       {func(_ *podConfig, s *podSecurity) { s.SupplementalGroupsPolicy = unknown }, sandbox.ErrInvalid},
		"unknown seccomp":      {func(_ *podConfig, s *podSecurity) { s.Seccomp = profile(unknown, "") }, sandbox.ErrInvalid},
		"unknown seccomp path": {func(_ *podConfig, s *podSecurity) { s.SeccompProfilePath = "what" }, sandbox.ErrInvalid},
		"nameless AppArmor":    {func(_ *podConfig, s *podSecurity) { s.Apparmor = profile(2, "") }, sandbox.ErrInvalid},
		"unknown AppArmor":     {func(_ *podConfig, s *podSecurity) { s.Apparmor = profile(unknown, "p") }, sandbox.ErrInvalid},
		"SELinux role":         {func(_ *podConfig, s *podSecurity) { s.SelinuxOptions = &runtimev1.SELinuxOption{Role: "r\nr"} }, sandbox.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parsePod(podWith(tc.change), ""); !errors.Is(err, tc.kind) {
				t.Errorf("got %v, want %v", err, tc.kind)
			}
		})
	}
}

func TestContainersThatCannotBeAsAskedAreRefused(t *testing.T) {
	mount := func(m *runtimev1.Mount) func(*configuration, *security) {
		return func(c *configuration, _ *security) { c.Mounts = []*runtimev1.Mount{m} }
	}
	one := &runtimev1.Int64Value{Value: 1}
	for name, tc := range map[string]struct {
		change func(*configuration, *security)
		kind   error
	}{
		"no metadata":         {func(c *configuration, _ *security) { c.Metadata = nil }, sandbox.ErrInvalid},
		"name of a variable":  {func(c *configuration, _ *security) { c.Envs = []*runtimev1.KeyValue{{Key: "a=b"}} }, sandbox.ErrInvalid},
		"unknown signal":      {func(c *configuration, _ *security) { c.StopSignal = 9999 }, sandbox.ErrInvalid},
		"CDI device":          {func(c *configuration, _ *security) { c.CDIDevices = []*runtimev1.CDIDevice{{Name: "v/c=d"}} }, sandbox.ErrUnsupported},
		"unknown propagation": {mount(&runtimev1.Mount{HostPath: "/x", ContainerPath: "/x", Propagation: unknown}), sandbox.ErrInvalid},
		"mount of nothing":    {mount(&runtimev1.Mount{ContainerPath: "/x"}), sandbox.ErrInvalid},
		"mount of two things": {mount(&runtimev1.Mount{HostPath: "/x", ContainerPath: "/x", Image: &runtimev1.ImageSpec{Image: "i"}}), sandbox.ErrInvalid},
		"two users":           {func(_ *configuration, s *security) { s.RunAsUser, s.RunAsUsername = one, "baker" }, sandbox.ErrInvalid},
		"unknown policy":      {func(_ *configuration, s *security) { s.SupplementalGroupsPolicy = unknown }, sandbox.ErrInvalid},
		"unknown network":     {func(_ *configuration, s *security) { s.NamespaceOptions.Network = unknown }, sandbox.ErrInvalid},
		"ipc of its own":      {func(_ *configuration, s *security) { s.NamespaceOptions.Ipc = runtimev1.NamespaceMode_CONTAINER }, sandbox.ErrInvalid},
		"unknown seccomp":     {func(_ *configuration, s *security) { s.Seccomp = profile(unknown, "") }, sandbox.ErrInvalid},
		"seccomp without a file": {func(_ *configuration, s *security) {
			s.Seccomp = profile(runtimev1.SecurityProfile_Localhost, "relative.json")
		}, sandbox.ErrInvalid},
		"unknown seccomp path": {func(_ *configuration, s *security) { s.SeccompProfilePath = "localhosts/x" }, sandbox.ErrInvalid},
		"nameless AppArmor":    {func(_ *configuration, s *security) { s.Apparmor = profile(2, "") }, sandbox.ErrInvalid},
		"unknown AppArmor":     {func(_ *configuration, s *security) { s.ApparmorProfile = "p" }, sandbox.ErrInvalid},
		"SELinux type":         {func(_ *configuration, s *security) { s.SelinuxOptions = &runtimev1.SELinuxOption{Type: "t:s0"} }, sandbox.ErrInvalid},
		"SELinux level":        {func(_ *configuration, s *security) { s.SelinuxOptions = &runtimev1.SELinuxOption{Level: "s0 s1"} }, sandbox.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parseContainer(containerWith(tc.change)); !errors.Is(err, tc.kind) {
				t.Errorf("got %v, want %v", err, tc.kind)
			}
		})
	}
}

func TestSELinuxOptions(t *testing.T) {
	o := &runtimev1.SELinuxOption{User: "u", Role: "r", Type: "t", Level: "s0:c1,c2"}
	want := sandbox.SELinuxOptions{User: "u", Role: "r", Type: "t", Level: "s0:c1,c2"}
	c, err := parseContainer(containerWith(func(_ *configuration, s *security) { s.SelinuxOptions = o }))
	if err != nil || c.Security.SELinux != want {
		t.Errorf("container: got %v, %v, want %v", c.Security.SELinux, err, want)
	}
	p, err := parsePod(podWith(func(_ *podConfig, s *podSecurity) { s.SelinuxOptions = o }), "")
	if err != nil || p.SELinux != want {
		t.Errorf("pod: got %v, %v, want %v", p.SELinux, err, want)
	}
}

func TestAppArmorProfiles(t *testing.T) {
	for want, change := range map[string]func(*configuration, *security){
		"by-type": func(_ *configuration, s *security) { s.Apparmor = profile(2, "by-type") },
		"by-path": func(_ *configuration, s *security) { s.ApparmorProfile = "localhost/by-path" },
		"by-both": func(_ *configuration, s *security) { s.Apparmor = profile(2, "localhost/by-both") },
		"type": func(_ *configuration, s *security) {
			s.Apparmor, s.ApparmorProfile = profile(2, "type"), "localhost/path"
		},
		"": func(_ *configuration, s *security) { s.Apparmor, s.ApparmorProfile = profile(1, ""), "localhost/path" },
	} {
		c, err := parseContainer(containerWith(change))
		if err != nil || c.Security.AppArmor != want {
			t.Errorf("got %q, %v, want %q", c.Security.AppArmor, err, want)
		}
	}
	p, err := parsePod(podWith(func(_ *podConfig, s *podSecurity) { s.Apparmor = profile(2, "p") }), "")
	if err != nil || p.AppArmor != "p" {
		t.Errorf("got %q, %v, want p", p.AppArmor, err)
	}
}

func TestProfilesThatAskForNothingAreTaken(t *testing.T) {
	for _, c := range []*runtimev1.ContainerConfig{
		containerWith(func(_ *configuration, s *security) { s.Apparmor = profile(0, "") }),
		containerWith(func(_ *configuration, s *security) { s.Apparmor = profile(1, "") }),
		containerWith(func(_ *configuration, s *security) { s.ApparmorProfile = "runtime/default" }),
		containerWith(func(_ *configuration, s *security) { s.SelinuxOptions = &runtimev1.SELinuxOption{} }),
	} {
		if _, err := parseContainer(c); err != nil {
			t.Error(err)
		}
	}
}

func TestSeccompProfiles(t *testing.T) {
	for name, tc := range map[string]struct {
		profile *runtimev1.SecurityProfile
		path    string
		mode    sandbox.SeccompMode
		file    string
	}{
		"nothing":                  {mode: sandbox.SeccompUnconfined},
		"unconfined":               {profile: profile(1, ""), mode: sandbox.SeccompUnconfined},
		"default":                  {profile: profile(0, ""), mode: sandbox.SeccompDefault},
		"a file":                   {profile: profile(2, "/p.json"), mode: sandbox.SeccompLocalhost, file: "/p.json"},
		"a file with its prefix":   {profile: profile(2, "localhost//p.json"), mode: sandbox.SeccompLocalhost, file: "/p.json"},
		"unconfined by its path":   {path: "unconfined", mode: sandbox.SeccompUnconfined},
		"default by its path":      {path: "runtime/default", mode: sandbox.SeccompDefault},
		"docker's default":         {path: "docker/default", mode: sandbox.SeccompDefault},
		"a file by its path":       {path: "localhost//p.json", mode: sandbox.SeccompLocalhost, file: "/p.json"},
		"the profile before paths": {profile: profile(0, ""), path: "unconfined", mode: sandbox.SeccompDefault},
	} {
		if mode, file, err := parseSeccomp(tc.profile, tc.path); mode != tc.mode || file != tc.file || err != nil {
			t.Errorf("%s: got %q %q %v, want %q %q", name, mode, file, err, tc.mode, tc.file)
		}
	}
}

func TestStatusListsHugePagesInOneOrder(t *testing.T) {
	r := sandbox.Resources{HugepageLimits: map[string]uint64{"2MB": 5, "1GB": 6, "64KB": 7}}
	for range 20 {
		var got []string
		for _, h := range showResources(&r).HugepageLimits {
			got = append(got, h.PageSize)
		}
		if want := []string{"1GB", "2MB", "64KB"}; !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
}
