package sandbox

import (
	"fmt"
	"slices"
	"strings"
)

// capNames is linux/capability.h, in the order of its numbers.
var capNames = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
	LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
	SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE
	AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)

// defaultCaps is what a container holds that asks for nothing: of the usual
// set, what a WebAssembly program can make use of. Without these, root could
// not write to a volume of another owner, or serve port 80.
var defaultCaps = capBits("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "NET_BIND_SERVICE")

func capBits(names ...string) (mask uint64) {
	for _, n := range names {
		bit, err := capBit(n)
		if err != nil {
			panic(err) // a constant of this package
		}
		mask |= bit
	}
	return mask
}

const allCaps = ^uint64(0) // those of newer kernels, too

// capBit takes NET_ADMIN or CAP_NET_ADMIN in any case.
func capBit(name string) (uint64, error) {
	i := slices.Index(capNames, shortCap(name))
	if i < 0 {
		return 0, fmt.Errorf("capability %q is unknown: %w", name, ErrInvalid)
	}
	return 1 << i, nil
}

func shortCap(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") }

// capsOf settles the capability sets of a process that runs as uid. held is
// what the daemon itself can give. ALL comes before names, and a drop before an
// add of the same.
func capsOf(s *Security, uid uint32, held uint64) (Caps, error) {
	add, addAll, err := capMask(s.AddCapabilities)
	if err != nil {
		return Caps{}, err
	}
	drop, dropAll, err := capMask(s.DropCapabilities)
	if err != nil {
		return Caps{}, err
	}
	ambient, ambientAll, err := capMask(s.AddAmbient)
	if err != nil {
		return Caps{}, err
	}
	if ambientAll {
		ambient = allCaps
	}
	mask := defaultCaps
	switch {
	case dropAll:
		mask = 0
	case addAll, s.Privileged:
		mask = allCaps
	}
	mask = (mask | add | ambient) &^ drop & held
	c := Caps{Bounding: mask, Permitted: mask, Ambient: ambient & mask, Inheritable: ambient & mask}
	if uid != 0 { // as after an execve by another user than root
		c.Permitted = c.Ambient
	}
	return c, nil
}

// capMask gives the capabilities that are named, and whether ALL is among them.
func capMask(names []string) (mask uint64, all bool, err error) {
	for _, n := range names {
		if shortCap(n) == "ALL" {
			all = true
			continue
		}
		bit, err := capBit(n)
		if err != nil {
			return 0, false, err
		}
		mask |= bit
	}
	return mask, all, nil
}
