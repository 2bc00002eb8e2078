package sandbox

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Sysctl is a setting of a namespace.
type Sysctl struct {
	Name  string // as it was asked for
	Path  string // below /proc/sys, as net/ipv4/ip_forward
	Value string
}

// Sysctls are settings of the namespaces of a pod.
type Sysctls struct {
	List  []Sysctl
	NetNS string  // path; empty: the host's
	User  *UserNS // of the pod
}

// swapSeparators turns the form with dots into the one with slashes, and back.
var swapSeparators = strings.NewReplacer(".", "/", "/", ".")

// sysctlPath gives the path of a sysctl below /proc/sys. As with sysctl(8), the
// first dot or slash of a name tells which of them separates its parts; the other
// is a dot in a part: net.ipv4.conf.eth0/100.forwarding.
func sysctlPath(name string) (string, error) {
	path := name
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' {
		path = swapSeparators.Replace(name)
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." { // would lead to another one than it seems
			return "", fmt.Errorf("%q is not the name of a sysctl: %w", name, ErrInvalid)
		}
	}
	return path, nil
}

// sysctlsOf gives the sysctls of a pod, in the order of their names. It refuses
// what would change the node rather than the pod.
func sysctlsOf(c *PodConfig) ([]Sysctl, error) {
	var list []Sysctl
	for _, name := range slices.Sorted(maps.Keys(c.Sysctls)) {
		path, err := sysctlPath(name)
		if err != nil {
			return nil, err
		}
		if err := checkSysctl(name, path, &c.Namespaces); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list, func(s Sysctl) bool { return s.Path == path }) {
			return nil, fmt.Errorf("sysctl %q is given twice: %w", name, ErrInvalid)
		}
		if c.Sysctls[name] == "" {
			return nil, fmt.Errorf("sysctl %q has no value: %w", name, ErrInvalid)
		}
		list = append(list, Sysctl{Name: name, Path: path, Value: c.Sysctls[name]})
	}
	return list, nil
}

func checkSysctl(name, path string, ns *Namespaces) error {
	switch {
	case strings.HasPrefix(path, "net/"):
		if ns.Network == NamespaceNode {
			return fmt.Errorf("sysctl %q is not allowed with host network: %w", name, ErrInvalid)
		}
	case strings.HasPrefix(path, "kernel/shm"), strings.HasPrefix(path, "kernel/msg"), path == "kernel/sem", strings.HasPrefix(path, "fs/mqueue/"):
		if ns.IPC == NamespaceNode {
			return fmt.Errorf("sysctl %q is not allowed with host IPC: %w", name, ErrInvalid)
		}
	default:
		return fmt.Errorf("sysctl %q has no namespace of its own and would change the node: %w", name, ErrInvalid)
	}
	return nil
}
