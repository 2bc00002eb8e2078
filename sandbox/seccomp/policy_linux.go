package seccomp

import (
	"fmt"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// action is what the kernel does with a system call: a SECCOMP_RET value with
// its data.
type action uint32

const (
	allow       action = unix.SECCOMP_RET_ALLOW
	logAndAllow action = unix.SECCOMP_RET_LOG
	trap        action = unix.SECCOMP_RET_TRAP
	killThread  action = unix.SECCOMP_RET_KILL_THREAD
	killProcess action = unix.SECCOMP_RET_KILL_PROCESS
)

// maxErrno is the highest number that the kernel gives back.
const maxErrno = 4095

func fail(errno uint32) action { return action(unix.SECCOMP_RET_ERRNO | errno&0xffff) }

func trace(data uint32) action { return action(unix.SECCOMP_RET_TRACE | data&0xffff) }

// op compares an argument.
type op int

const (
	equal op = iota
	notEqual
	less
	lessOrEqual
	greater
	greaterOrEqual
	maskedEqual // arg & mask == value
)

// condition holds for an argument of a system call, as 64 bits without sign.
type condition struct {
	arg   uint
	op    op
	value uint64
	mask  uint64
}

// rule applies an action where all its conditions hold.
type rule struct {
	conditions []condition
	action     action
}

// policy says what happens to each system call of one architecture. The first
// rule that fits decides.
type policy struct {
	arch      *arch.Info
	byNumber  map[uint32][]rule
	otherwise action
}

// newPolicy makes a policy for the machine's architecture.
func newPolicy(otherwise action) (*policy, error) {
	info, err := arch.GetInfo("")
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	return &policy{arch: info, byNumber: map[uint32][]rule{}, otherwise: otherwise}, nil
}

// number looks a name up; ok is false when this architecture has no such call.
func (p *policy) number(name string) (nr uint32, ok bool) {
	n, ok := p.arch.SyscallNames[name]
	return uint32(n), ok
}

// add appends a rule for each of the names that this architecture has.
func (p *policy) add(r rule, names ...string) {
	for _, name := range names {
		if nr, ok := p.number(name); ok {
			p.byNumber[nr] = append(p.byNumber[nr], r)
		}
	}
}

// prepend puts r before the rules of the names.
func (p *policy) prepend(r rule, names ...string) {
	for _, name := range names {
		if nr, ok := p.number(name); ok {
			p.byNumber[nr] = append([]rule{r}, p.byNumber[nr]...)
		}
	}
}
