package sandbox

import (
	"fmt"
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

// capBit takes NET_ADMIN, CAP_NET_ADMIN or ALL in any case.
func capBit(name string) (uint64, error) {
	short := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	if short == "ALL" {
		return 1<<len(capNames) - 1, nil
	}
	for i, n := range capNames {
		if n == short {
			return 1 << i, nil
		}
	}
	return 0, fmt.Errorf("capability %q is unknown: %w", name, ErrInvalid)
}

// capsOf settles the capability sets of a process that runs as uid. held is
// what the daemon itself can give.
func capsOf(s *Security, uid uint32, held uint64) (Caps, error) {
	mask := defaultCaps
	if s.Privileged {
		mask = held
	}
	add, err := capMask(s.AddCapabilities)
	if err != nil {
		return Caps{}, err
	}
	drop, err := capMask(s.DropCapabilities)
	if err != nil {
		return Caps{}, err
	}
	ambient, err := capMask(s.AddAmbient)
	if err != nil {
		return Caps{}, err
	}
	if all, _ := capBit("ALL"); drop == all { // what is added by name survives
		mask, drop = 0, 0
	}
	mask = (mask | add | ambient) &^ drop & held
	c := Caps{Bounding: mask, Permitted: mask, Ambient: ambient & mask, Inheritable: ambient & mask}
	if uid != 0 { // as after an execve by another user than root
		c.Permitted = c.Ambient
	}
	return c, nil
}

func capMask(names []string) (mask uint64, err error) {
	for _, n := range names {
		bit, err := capBit(n)
		if err != nil {
			return 0, err
		}
		mask |= bit
	}
	return mask, nil
}
