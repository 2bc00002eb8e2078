package workerv1

import (
	"encoding/binary"
	"fmt"
)

// Step is one thing that a process does on its way into the sandbox. The order
// of the steps in a plan is the order in which they happen.
type Step uint16

const (
	StepNone       Step = iota
	StepCgroup          // write "0" to the file: join a cgroup
	StepSetNS           // u32 CLONE_NEW* flags: setns of the fd, a namespace or a pidfd
	StepProc            // mount proc on /proc; data: mount flags u32
	StepMask            // cover a path below /proc: a file with /dev/null, a directory with an empty read-only tmpfs; data: path, NUL, mount options of the tmpfs
	StepReadonly        // make a path below /proc read-only; data: path
	StepOOMScore        // s32: /proc/self/oom_score_adj, clamped to what the kernel permits
	_                   // was the hostname: a pod's namespace has it already
	_                   // was a sysctl: likewise
	StepRlimit          // u32 resource, u64 soft, u64 hard
	StepBounding        // u64 mask of the capabilities that stay in the bounding set
	StepGroups          // u32 each: supplementary groups
	StepIDs             // u32 uid, u32 gid: real, effective, saved
	StepCaps            // u64 effective and permitted, u64 inheritable, u64 ambient
	StepNoNewPrivs      // prctl(PR_SET_NO_NEW_PRIVS)
	StepSeccomp         // struct sock_filter[]: must be the last one but StepName
	StepStdio           // u32 target 0, 1 or 2
	StepFD              // u32 target: keep the fd under this number
	StepName            // data: comm of the process, at most 15 bytes
	StepTerminal        // stdin becomes the controlling terminal: after StepStdio
	StepTitle           // data: the arguments that /proc/PID/cmdline shows, each with a NUL, at most MaxTitle; where the kernel cannot be told of another place, cut to TitleRoom
	StepAppArmor        // data: profile to be confined by from here on; must come after all that it might not allow
	StepSELinux         // data: label that the process has from here on; as StepAppArmor
	stepEnd

	// Steps that stand only in a Status.
	StepPlan  Step = 100 // receiving or decoding the plan
	StepLoad  Step = 101 // loading the compiled code
	StepStart Step = 102 // the engine and the WASI host
	StepReady Step = 200 // no failure: the guest runs
)

var stepNames = [...]string{ // not a map, which would cost each worker its making
	StepCgroup: "join cgroup", StepSetNS: "enter namespace", StepProc: "mount /proc",
	StepMask: "mask path", StepReadonly: "make path read-only", StepOOMScore: "set oom_score_adj",
	StepRlimit: "set rlimit", StepBounding: "limit capability bounding set",
	StepGroups: "set supplementary groups", StepIDs: "set user and group", StepCaps: "set capabilities",
	StepNoNewPrivs: "set no_new_privs", StepSeccomp: "install seccomp filter", StepStdio: "set up stdio",
	StepFD: "keep file descriptor", StepName: "set process name",
	StepTerminal: "take controlling terminal", StepTitle: "set process title",
	StepAppArmor: "enter AppArmor profile", StepSELinux: "enter SELinux label",
	StepPlan: "receive plan", StepLoad: "load compiled code", StepStart: "start guest", StepReady: "ready",
}

func (s Step) String() string {
	if int(s) < len(stepNames) && stepNames[s] != "" {
		return stepNames[s]
	}
	return fmt.Sprintf("step %d", uint16(s))
}

const (
	planMagic  = 0x31505743 // "CWP1"
	planHeader = 24
	opHeader   = 8
	noFD       = 0xffff
	// MaxFDs is how many descriptors one plan can carry (SCM_MAX_FD less the plan's own memfd).
	MaxFDs = 252
	// MaxPlan bounds the whole message in bytes.
	MaxPlan = 64 << 20
)

// Plan is the way of one process into its sandbox, and what it then runs. It
// is built once, by one goroutine.
//
//	| magic u32 | version u16 | steps u16 | length u32 | payload offset u32 |
//	| payload length u32 | fds u32 |
//	| step u16 | fd u16 | length u32 | data, padded to 8 | ... | payload |
//
// The descriptors travel beside the message, in the order of their numbers.
type Plan struct {
	ops   []byte
	steps uint16
	fds   []int
}

// Add appends a step without a descriptor.
func (p *Plan) Add(s Step, data []byte) { p.add(s, noFD, data) }

// AddFD appends a step with a descriptor, which the caller keeps open until
// the plan is sent.
func (p *Plan) AddFD(s Step, fd int, data []byte) {
	p.add(s, uint16(len(p.fds)), data)
	p.fds = append(p.fds, fd)
}

// AddU32 appends a step whose data are 32-bit numbers.
func (p *Plan) AddU32(s Step, v ...uint32) { p.Add(s, u32s(v)) }

// AddFDU32 appends a step with a descriptor and 32-bit numbers.
func (p *Plan) AddFDU32(s Step, fd int, v ...uint32) { p.AddFD(s, fd, u32s(v)) }

// AddU64 appends a step whose data are 64-bit numbers.
func (p *Plan) AddU64(s Step, v ...uint64) {
	e := encoder{}
	for _, x := range v {
		e.u64(x)
	}
	p.Add(s, e.b)
}

func u32s(v []uint32) []byte {
	e := encoder{}
	for _, x := range v {
		e.u32(x)
	}
	return e.b
}

func (p *Plan) add(s Step, fd uint16, data []byte) {
	e := encoder{b: p.ops}
	e.u16(uint16(s))
	e.u16(fd)
	e.u32(uint32(len(data)))
	e.b = append(e.b, data...)
	for len(e.b)%8 != 0 {
		e.b = append(e.b, 0)
	}
	p.ops = e.b
	p.steps++
}

// FDs are the descriptors in the order in which they must be sent.
func (p *Plan) FDs() []int { return p.fds }

// Encode gives the message with the payload for the Go side of the worker.
func (p *Plan) Encode(payload []byte) ([]byte, error) {
	n := planHeader + len(p.ops) + len(payload)
	if n > MaxPlan {
		return nil, fmt.Errorf("spawn plan of %d bytes exceeds %d: arguments and environment are too large", n, MaxPlan)
	}
	if len(p.fds) > MaxFDs {
		return nil, fmt.Errorf("spawn plan has %d file descriptors, at most %d can be handed over", len(p.fds), MaxFDs)
	}
	e := encoder{b: make([]byte, 0, n)}
	e.u32(planMagic)
	e.u16(Version)
	e.u16(p.steps)
	e.u32(uint32(n))
	e.u32(uint32(planHeader + len(p.ops)))
	e.u32(uint32(len(payload)))
	e.u32(uint32(len(p.fds)))
	e.b = append(e.b, p.ops...)
	return append(e.b, payload...), nil
}

// Status is the one answer of a process that was given a plan.
type Status struct {
	Step  Step   // StepReady, or the step that failed
	Index uint32 // of the step in the plan
	Errno uint32
	Text  string // more about it, may be empty
}

const (
	statusMagic = 0x31535743 // "CWS1"
	// MaxStatus bounds an encoded Status in bytes.
	MaxStatus = 1024
)

// Encode gives the message. A longer text is cut.
func (s Status) Encode() []byte {
	e := encoder{}
	e.u32(statusMagic)
	e.u32(uint32(s.Step))
	e.u32(s.Index)
	e.u32(s.Errno)
	if len(s.Text) > MaxStatus-16 {
		s.Text = s.Text[:MaxStatus-16]
	}
	e.b = append(e.b, s.Text...)
	return e.b
}

// DecodeStatus reads what Encode or the C side of the worker wrote.
func DecodeStatus(b []byte) (Status, error) {
	if len(b) < 16 || binary.LittleEndian.Uint32(b) != statusMagic {
		return Status{}, fmt.Errorf("%w: not a status", ErrMalformed)
	}
	return Status{
		Step:  Step(binary.LittleEndian.Uint32(b[4:])),
		Index: binary.LittleEndian.Uint32(b[8:]),
		Errno: binary.LittleEndian.Uint32(b[12:]),
		Text:  string(b[16:]),
	}, nil
}
