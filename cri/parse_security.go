package cri

import (
	"strings"

	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// parseSandboxSecurity takes what a pod itself can be told: as whom its init
// process runs. Profiles confine no guest here, but must make sense.
func parseSandboxSecurity(c *runtimev1.LinuxSandboxSecurityContext, p *sandbox.PodConfig) (err error) {
	if p.Namespaces, err = parseNamespaces(c.GetNamespaceOptions()); err != nil {
		return err
	}
	if p.Namespaces.PID == sandbox.NamespaceTarget {
		return invalid("a pod sandbox cannot take the pid namespace of a target container")
	}
	if p.UserNS, _, err = parseUserNS(c.GetNamespaceOptions().GetUsernsOptions()); err != nil {
		return err
	}
	if c == nil {
		return nil
	}
	if p.User, err = parseUser(c); err != nil {
		return err
	}
	//lint:ignore SA1019 older kubelets send nothing else
	if _, _, err := parseSeccomp(c.Seccomp, c.SeccompProfilePath); err != nil {
		return err
	}
	if p.AppArmor, err = parseAppArmor(c.Apparmor, ""); err != nil {
		return err
	}
	p.SELinux, err = parseSELinux(c.SelinuxOptions)
	return err
}

// unasked are the namespaces of a container whose config has none.
var unasked = sandbox.Namespaces{Network: sandbox.NamespacePod, IPC: sandbox.NamespacePod}

func parseSecurity(c *runtimev1.LinuxContainerSecurityContext) (sandbox.Security, error) {
	if c == nil {
		return sandbox.Security{Namespaces: unasked}, nil
	}
	s := sandbox.Security{
		Privileged: c.Privileged, ReadonlyRoot: c.ReadonlyRootfs, NoNewPrivs: c.NoNewPrivs,
		AddCapabilities: c.GetCapabilities().GetAddCapabilities(), DropCapabilities: c.GetCapabilities().GetDropCapabilities(),
		AddAmbient: c.GetCapabilities().GetAddAmbientCapabilities(), MaskedPaths: c.MaskedPaths, ReadonlyPaths: c.ReadonlyPaths,
	}
	var err error
	if s.User, err = parseUser(c); err != nil {
		return s, err
	}
	if s.User.Username = c.RunAsUsername; s.User.Username != "" && s.User.UID != nil {
		return s, invalid("run_as_user and run_as_username are both set")
	}
	//lint:ignore SA1019 older kubelets send nothing else
	if s.Seccomp, s.SeccompProfile, err = parseSeccomp(c.Seccomp, c.SeccompProfilePath); err != nil {
		return s, err
	}
	//lint:ignore SA1019 likewise
	if s.AppArmor, err = parseAppArmor(c.Apparmor, c.ApparmorProfile); err != nil {
		return s, err
	}
	if s.SELinux, err = parseSELinux(c.SelinuxOptions); err != nil {
		return s, err
	}
	if s.Namespaces = unasked; c.NamespaceOptions != nil {
		s.Namespaces, err = parseNamespaces(c.NamespaceOptions)
	}
	if err != nil {
		return s, err
	}
	s.UserNS, s.HostUsers, err = parseUserNS(c.NamespaceOptions.GetUsernsOptions())
	return s, err
}

// identity is what the security contexts of pod and container have in common.
type identity interface {
	GetRunAsUser() *runtimev1.Int64Value
	GetRunAsGroup() *runtimev1.Int64Value
	GetSupplementalGroups() []int64
	GetSupplementalGroupsPolicy() runtimev1.SupplementalGroupsPolicy
}

func parseUser(c identity) (sandbox.UserSpec, error) {
	u := sandbox.UserSpec{SupplementalGroups: c.GetSupplementalGroups()}
	if v := c.GetRunAsUser(); v != nil {
		u.UID = &v.Value
	}
	if v := c.GetRunAsGroup(); v != nil {
		u.GID = &v.Value
	}
	switch policy := c.GetSupplementalGroupsPolicy(); policy {
	case runtimev1.SupplementalGroupsPolicy_Merge:
	case runtimev1.SupplementalGroupsPolicy_Strict:
		u.StrictGroups = true
	default:
		return u, invalid("supplemental groups policy %s is not known", policy)
	}
	return u, nil
}

// localhost begins the names of profiles of the node where they have no type. Some
// clients leave it there with a type as well.
const localhost = "localhost/"

// parseSeccomp takes a profile, or the path by which older kubelets name one.
func parseSeccomp(p *runtimev1.SecurityProfile, path string) (sandbox.SeccompMode, string, error) {
	if p == nil {
		return parseSeccompPath(path)
	}
	switch p.ProfileType {
	case runtimev1.SecurityProfile_Unconfined:
		return sandbox.SeccompUnconfined, "", nil
	case runtimev1.SecurityProfile_RuntimeDefault:
		return sandbox.SeccompDefault, "", nil
	case runtimev1.SecurityProfile_Localhost:
		return seccompFile(strings.TrimPrefix(p.LocalhostRef, localhost))
	}
	return "", "", invalid("seccomp profile type %s is not known", p.ProfileType)
}

func parseSeccompPath(path string) (sandbox.SeccompMode, string, error) {
	switch path {
	case "", "unconfined":
		return sandbox.SeccompUnconfined, "", nil
	case "runtime/default", "docker/default":
		return sandbox.SeccompDefault, "", nil
	}
	if file, ok := strings.CutPrefix(path, localhost); ok {
		return seccompFile(file)
	}
	return "", "", invalid("seccomp profile %q is not known", path)
}

func seccompFile(path string) (sandbox.SeccompMode, string, error) {
	if !strings.HasPrefix(path, "/") {
		return "", "", invalid("seccomp profile Localhost needs the absolute path of a file, not %q", path)
	}
	return sandbox.SeccompLocalhost, path, nil
}

// parseAppArmor takes a profile of the node, or the name by which older kubelets
// gave it. This server has no default one: RuntimeDefault asks for nothing.
func parseAppArmor(p *runtimev1.SecurityProfile, name string) (string, error) {
	if p == nil {
		if profile, ok := strings.CutPrefix(name, localhost); ok {
			return localAppArmor(profile)
		}
		if name == "" || name == "runtime/default" || name == "unconfined" {
			return "", nil
		}
		return "", invalid("AppArmor profile %q is not known", name)
	}
	switch p.ProfileType {
	case runtimev1.SecurityProfile_RuntimeDefault, runtimev1.SecurityProfile_Unconfined:
		return "", nil
	case runtimev1.SecurityProfile_Localhost:
		return localAppArmor(strings.TrimPrefix(p.LocalhostRef, localhost))
	}
	return "", invalid("AppArmor profile type %s is not known", p.ProfileType)
}

func localAppArmor(profile string) (string, error) {
	if profile == "" {
		return "", invalid("AppArmor profile Localhost needs a name")
	}
	return profile, nil
}

// parseSELinux takes the parts of a label. Only a level has colons of its own.
func parseSELinux(o *runtimev1.SELinuxOption) (sandbox.SELinuxOptions, error) {
	s := sandbox.SELinuxOptions{User: o.GetUser(), Role: o.GetRole(), Type: o.GetType(), Level: o.GetLevel()}
	if strings.ContainsAny(s.User+s.Role+s.Type, ": \x00\n") || strings.ContainsAny(s.Level, " \x00\n") {
		return s, invalid("SELinux label %q: user, role and type are names, and the level is as s0:c1,c2", s)
	}
	return s, nil
}
