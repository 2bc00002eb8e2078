package sandbox

import (
	"fmt"
	"strconv"
	"strings"
)

// signals is signal(7) for amd64 and arm64, in the order of its numbers.
var signals = strings.Fields(`- HUP INT QUIT ILL TRAP ABRT BUS FPE KILL USR1 SEGV USR2 PIPE ALRM TERM STKFLT CHLD CONT STOP
	TSTP TTIN TTOU URG XCPU XFSZ VTALRM PROF WINCH IO PWR SYS`)

const (
	sigkill   = 9
	maxSignal = 64
)

// signalNumber takes SIGTERM, TERM, 15, SIGRTMIN+3 or nothing, which is
// SIGTERM. The error is of kind ErrInvalid.
func signalNumber(name string) (int, error) {
	const sigterm, sigrtmin, sigrtmax = 15, 34, 64
	short := strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if short == "" && name == "" {
		return sigterm, nil
	}
	if n, err := strconv.Atoi(short); err == nil && n > 0 && n <= maxSignal {
		return n, nil
	}
	for n, s := range signals {
		if n > 0 && s == short {
			return n, nil
		}
	}
	base := sigrtmin
	rest, ok := strings.CutPrefix(short, "RTMIN")
	if !ok {
		rest, ok = strings.CutPrefix(short, "RTMAX")
		base = sigrtmax
	}
	if off, err := strconv.Atoi(rest); ok && (err == nil || rest == "") && base+off >= sigrtmin && base+off <= sigrtmax {
		return base + off, nil
	}
	return 0, fmt.Errorf("signal %q is unknown: %w", name, ErrInvalid)
}
