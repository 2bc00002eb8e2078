package sandbox

import (
	"errors"
	"slices"
	"testing"
)

func TestSysctlsAreNamedWithDotsOrSlashes(t *testing.T) {
	for name, want := range map[string]string{
		"net.ipv4.ip_forward":               "net/ipv4/ip_forward",
		"net/ipv4/ip_forward":               "net/ipv4/ip_forward",
		"net.ipv4.conf.eth0/100.forwarding": "net/ipv4/conf/eth0.100/forwarding",
		"net/ipv4/conf/eth0.100/forwarding": "net/ipv4/conf/eth0.100/forwarding",
		"kernel/shm_rmid_forced":            "kernel/shm_rmid_forced",
		"fs.mqueue.msg_max":                 "fs/mqueue/msg_max",
	} {
		got, err := sysctlsOf(&PodConfig{Sysctls: map[string]string{name: "1"}})
		if err != nil || !slices.Equal(got, []Sysctl{{name, want, "1"}}) {
			t.Errorf("%s: got %v, %v, want %s", name, got, err, want)
		}
	}
}

func TestSysctlsOfTheNodeAreRefused(t *testing.T) {
	for name, c := range map[string]PodConfig{
		"of the node":              {Sysctls: map[string]string{"kernel.panic": "1"}},
		"up a directory":           {Sysctls: map[string]string{"net/../kernel/panic": "1"}},
		"up a directory with dots": {Sysctls: map[string]string{"net./../kernel/panic": "1"}},
		"up behind a dot":          {Sysctls: map[string]string{"net.ipv4.//.kernel.panic": "1"}},
		"from the root":            {Sysctls: map[string]string{"/kernel/panic": "1"}},
		"empty":                    {Sysctls: map[string]string{"": "1"}},
		"ends with a dot":          {Sysctls: map[string]string{"net.ipv4.": "1"}},
		"no value":                 {Sysctls: map[string]string{"net.ipv4.ip_forward": ""}},
		"twice":                    {Sysctls: map[string]string{"net.ipv4.ip_forward": "1", "net/ipv4/ip_forward": "0"}},
		"with host network":        {Sysctls: map[string]string{"net/ipv4/ip_forward": "1"}, Namespaces: Namespaces{Network: NamespaceNode}},
		"with host IPC":            {Sysctls: map[string]string{"kernel/sem": "1"}, Namespaces: Namespaces{IPC: NamespaceNode}},
	} {
		if got, err := sysctlsOf(&c); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, %v, want an error of kind ErrInvalid", name, got, err)
		}
	}
}
