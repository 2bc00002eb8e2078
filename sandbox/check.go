package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// What pods and containers ask for is checked before anything is made.

func (m *Manager) checkPod(c *PodConfig) error {
	if c.Name == "" || c.UID == "" || c.Namespace == "" {
		return fmt.Errorf("pod sandbox metadata needs name, namespace and uid: %w", ErrInvalid)
	}
	if err := errors.Join(checkHostname(c.Hostname), checkDNS(c.DNS)); err != nil {
		return err
	}
	if !m.handlerServed(c.Handler) {
		return fmt.Errorf("runtime handler %q is not served, only %q and the default: correct the handler of the RuntimeClass: %w", c.Handler, strings.Join(m.Handlers, ", "), ErrInvalid)
	}
	if err := checkAnnotations(c.Annotations); err != nil {
		return err
	}
	if c.User.GID != nil && c.User.UID == nil {
		return fmt.Errorf("run_as_group of the pod is set without run_as_user: %w", ErrInvalid)
	}
	if _, err := initUser(c); err != nil {
		return err
	}
	if err := checkUserNS(c.UserNS); err != nil {
		return err
	}
	if c.UserNS != nil && m.NoUserNS != nil {
		return fmt.Errorf("this node has no user namespaces for pods: %w: set hostUsers of the pod to true: %w", m.NoUserNS, ErrUnsupported)
	}
	if err := m.checkAppArmor(c.AppArmor); err != nil {
		return err
	}
	if _, err := m.Cgroups.OfParent(c.CgroupParent); err != nil { // its containers would say so
		return err
	}
	_, err := sysctlsOf(c)
	return err
}

// checkHostname refuses what the kernel does not take, and what would be several
// words or lines in the pod's files.
func checkHostname(name string) error {
	const longest = 64
	if len(name) > longest {
		return fmt.Errorf("hostname %q of the pod is longer than %d bytes: %w", name, longest, ErrInvalid)
	}
	if name != "" && !isWord(name) {
		return fmt.Errorf("hostname %q of the pod has spaces or control characters: %w", name, ErrInvalid)
	}
	return nil
}

// checkDNS refuses what would be another line of resolv.conf, or none.
func checkDNS(d *DNS) error {
	if d == nil {
		return nil
	}
	for _, word := range slices.Concat(d.Servers, d.Searches, d.Options) {
		if !isWord(word) {
			return fmt.Errorf("DNS configuration of the pod: %q is not one word: %w", word, ErrInvalid)
		}
	}
	return nil
}

func isWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
}

func checkContainer(c *ContainerConfig) error {
	if c.Name == "" {
		return fmt.Errorf("container metadata needs a name: %w", ErrInvalid)
	}
	if c.Image == "" {
		return fmt.Errorf("container %q names no image: %w", c.Name, ErrInvalid)
	}
	u := &c.Security.User
	if u.GID != nil && u.UID == nil && u.Username == "" {
		return fmt.Errorf("run_as_group is set without run_as_user or run_as_username: %w", ErrInvalid)
	}
	for _, mt := range c.Mounts {
		if err := checkMount(&mt); err != nil {
			return err
		}
	}
	if _, err := signalNumber(c.StopSignal); err != nil {
		return err
	}
	_, err := capsOf(&c.Security, 0, ^uint64(0))
	return err
}

func checkMount(mt *Requested) error {
	if mt.IDMap != nil {
		if err := checkMappings(mt.IDMap); err != nil {
			return fmt.Errorf("mount %s: %w", mt.ContainerPath, err)
		}
	}
	switch {
	case mt.ContainerPath == "":
		return fmt.Errorf("mount of %q has no container path: %w", mt.HostPath, ErrInvalid)
	case mt.RecursiveReadonly && !mt.Readonly:
		return fmt.Errorf("mount %s: recursive_read_only needs readonly: %w", mt.ContainerPath, ErrInvalid)
	case mt.RecursiveReadonly && mt.Propagation != PropagationPrivate:
		return fmt.Errorf("mount %s: recursive_read_only needs propagation PRIVATE: %w", mt.ContainerPath, ErrInvalid)
	case mt.Image != "" && !mt.Readonly:
		return fmt.Errorf("%s: mount %s: an image volume must be readonly: %w", imageVolumeFailed, mt.ContainerPath, ErrInvalid)
	}
	return nil
}

// checkContainerUserNS refuses users that are not the pod's: all containers of a
// pod live in its user namespace.
func checkContainerUserNS(s *Security, pod *UserNS) error {
	switch {
	case s.HostUsers && pod != nil:
		return fmt.Errorf("container asks for the host's users, but its pod has a user namespace: %w", ErrInvalid)
	case s.UserNS != nil && !s.UserNS.Equal(pod):
		return fmt.Errorf("container asks for another user namespace than its pod has: %w", ErrInvalid)
	}
	return nil
}

func (m *Manager) checkAppArmor(profile string) error {
	if profile == "" {
		return nil
	}
	return m.CheckAppArmor(profile)
}
