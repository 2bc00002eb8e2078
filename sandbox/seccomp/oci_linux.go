package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ProfileError says what in a profile cannot be honoured.
type ProfileError struct {
	Field string // such as syscalls[3].args[0].op
	Err   error
}

func (e *ProfileError) Error() string { return fmt.Sprintf("seccomp profile: %s: %v", e.Field, e.Err) }

func (e *ProfileError) Unwrap() error { return e.Err }

func wrong(field, format string, args ...any) error {
	return &ProfileError{Field: field, Err: fmt.Errorf(format, args...)}
}

// profile is what a file may hold: the OCI form, and Docker's with conditions
// on entries. Comments and the map of architectures say nothing to us.
type profile struct {
	specs.LinuxSeccomp
	ArchMap  json.RawMessage `json:"archMap,omitempty"`
	Syscalls []entry         `json:"syscalls,omitempty"`
}

// entry is a rule for some system calls.
type entry struct {
	specs.LinuxSyscall
	Name     string    `json:"name,omitempty"` // old form of names
	Comment  string    `json:"comment,omitempty"`
	Errno    string    `json:"errno,omitempty"` // name of errnoRet
	Includes onlyWhere `json:"includes"`
	Excludes onlyWhere `json:"excludes"`
}

// onlyWhere is a condition on the machine and the container.
type onlyWhere struct {
	Caps      []string `json:"caps,omitempty"`
	Arches    []string `json:"arches,omitempty"`
	MinKernel string   `json:"minKernel,omitempty"`
}

// Option changes how FromOCI reads a profile.
type Option func(*options)

type options struct {
	caps   []string
	worker bool
}

// WithCapabilities names the capabilities of the container ("CAP_SYS_ADMIN" or
// "SYS_ADMIN"), on which entries of profiles in Docker's form depend. Without
// it the container has none.
func WithCapabilities(caps []string) Option {
	return func(o *options) {
		for _, c := range caps {
			o.caps = append(o.caps, capName(c))
		}
	}
}

func capName(c string) string { return strings.TrimPrefix(strings.ToUpper(c), "CAP_") }

// AllowWorker lets the worker make the system calls without which it cannot run
// at all (memory, threads, signals, time, reading and writing, and what it says to
// the daemon), whatever the profile says of them. Use it where a profile is written
// for what the guest does. Files and sockets stay as the profile has them.
func AllowWorker() Option { return func(o *options) { o.worker = true } }

// FromOCI gives the program of a profile in the form of the OCI runtime
// specification or of Docker. The program is an array of struct sock_filter.
//
// A profile applies to the worker, which makes system calls of its own: Denies
// tells whether it can run under the program. Of several rules for one call the
// first that fits decides, those with conditions before the one without. Flags
// are accepted but are no part of a program; SPEC_ALLOW and LOG have no effect.
// Names that this architecture does not have are passed over, unless that would
// let through what the profile wants to stop.
//
// Its errors are *ProfileError.
func FromOCI(data []byte, opts ...Option) ([]byte, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	prof, err := parseProfile(data)
	if err != nil {
		return nil, err
	}
	p, err := prof.policy(&o)
	if err != nil {
		return nil, err
	}
	if o.worker {
		p.needs()
		p.reports()
	}
	program, err := p.compile()
	if err != nil {
		return nil, &ProfileError{Field: "syscalls", Err: err}
	}
	return program, nil
}

func parseProfile(data []byte) (*profile, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var prof profile
	if err := d.Decode(&prof); err != nil {
		return nil, &ProfileError{Field: "file", Err: err}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, wrong("file", "something follows the profile")
	}
	return &prof, nil
}

// policy turns the profile into rules.
func (prof *profile) policy(o *options) (*policy, error) {
	if err := prof.check(); err != nil {
		return nil, err
	}
	otherwise, err := toAction(prof.DefaultAction, prof.DefaultErrnoRet, "defaultAction")
	if err != nil {
		return nil, err
	}
	p, err := newPolicy(otherwise)
	if err != nil {
		return nil, &ProfileError{Field: "architectures", Err: err}
	}
	unconditional := map[uint32]rule{}
	for i := range prof.Syscalls {
		field := fmt.Sprintf("syscalls[%d]", i)
		if err := prof.Syscalls[i].addTo(p, o, field, unconditional); err != nil {
			return nil, err
		}
	}
	for nr, r := range unconditional {
		p.byNumber[nr] = append(p.byNumber[nr], r)
	}
	return p, nil
}

// check refuses what no program can do.
func (prof *profile) check() error {
	if prof.DefaultAction == "" {
		return wrong("defaultAction", "is missing")
	}
	if prof.ListenerPath != "" || prof.ListenerMetadata != "" {
		return wrong("listenerPath", "a listener is not supported")
	}
	for _, a := range prof.Architectures {
		if !strings.HasPrefix(string(a), "SCMP_ARCH_") {
			return wrong("architectures", "%q is not an architecture", a)
		}
	}
	known := []specs.LinuxSeccompFlag{
		"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog,
		specs.LinuxSeccompFlagSpecAllow, specs.LinuxSeccompFlagWaitKillableRecv,
	}
	for _, f := range prof.Flags {
		if !slices.Contains(known, f) {
			return wrong("flags", "%q is not a flag", f)
		}
	}
	return nil
}

// addTo adds the rules of the entry. Those without conditions are collected, as
// they come last and must not contradict each other.
func (e *entry) addTo(p *policy, o *options, field string, unconditional map[uint32]rule) error {
	applies, err := e.applies(o, field)
	if err != nil || !applies {
		return err
	}
	act, err := e.action(field)
	if err != nil {
		return err
	}
	rules, err := e.rules(act, field)
	if err != nil {
		return err
	}
	names, err := e.names(field)
	if err != nil {
		return err
	}
	for _, name := range names {
		nr, ok := p.number(name)
		if !ok {
			if permits(act) || permits(p.otherwise) == permits(act) || knownElsewhere(name) {
				continue
			}
			return wrong(field, "system call %q is not known, so it cannot be stopped", name)
		}
		if len(rules[0].conditions) > 0 {
			p.byNumber[nr] = append(p.byNumber[nr], rules...)
			continue
		}
		if before, ok := unconditional[nr]; ok && before.action != act {
			return wrong(field, "system call %q has another action in an earlier entry", name)
		}
		unconditional[nr] = rules[0]
	}
	return nil
}

// permits says whether a call is made after all.
func permits(a action) bool { return a == allow || a == logAndAllow }

// knownElsewhere says whether another architecture, or an older ABI of this
// one, has a system call of this name.
func knownElsewhere(name string) bool {
	for _, other := range []*arch.Info{arch.X86_64, arch.X32, arch.I386, arch.AARCH64, arch.ARM} {
		if _, ok := other.SyscallNames[name]; ok {
			return true
		}
	}
	return false
}

func (e *entry) names(field string) ([]string, error) {
	names := e.Names
	if e.Name != "" {
		if len(names) > 0 {
			return nil, wrong(field+".name", "is given as well as names")
		}
		names = []string{e.Name}
	}
	if len(names) == 0 {
		return nil, wrong(field+".names", "is empty")
	}
	return names, nil
}

func (e *entry) action(field string) (action, error) {
	ret := e.ErrnoRet
	if e.Errno != "" && ret == nil {
		n, ok := errnoByName(e.Errno)
		if !ok {
			return 0, wrong(field+".errno", "%q is not an error number", e.Errno)
		}
		ret = &n
	}
	return toAction(e.Action, ret, field+".action")
}

// errnoByName looks up names such as EPERM.
func errnoByName(name string) (uint, bool) {
	for n := range uint(200) {
		if unix.ErrnoName(unix.Errno(n)) == name {
			return n, true
		}
	}
	return 0, false
}

func toAction(a specs.LinuxSeccompAction, ret *uint, field string) (action, error) {
	errno := uint32(unix.EPERM)
	if ret != nil {
		if *ret > maxErrno {
			return 0, wrong(field, "error number %d is above %d", *ret, maxErrno)
		}
		errno = uint32(*ret)
	}
	switch a {
	case specs.ActErrno:
		return fail(errno), nil
	case specs.ActTrace:
		return trace(errno), nil
	}
	if ret != nil && *ret != 0 {
		return 0, wrong(field, "action %q takes no error number", a)
	}
	switch a {
	case specs.ActAllow:
		return allow, nil
	case specs.ActLog:
		return logAndAllow, nil
	case specs.ActKill, specs.ActKillThread:
		return killThread, nil
	case specs.ActKillProcess:
		return killProcess, nil
	case specs.ActTrap:
		return trap, nil
	case specs.ActNotify:
		return 0, wrong(field, "action %q needs a listener, which is not supported", a)
	}
	return 0, wrong(field, "%q is not an action", a)
}

// rules gives the rules of the entry. Its conditions must all hold; but several
// on the same argument are alternatives, as runc has them.
func (e *entry) rules(act action, field string) ([]rule, error) {
	if len(e.Args) == 0 {
		return []rule{{action: act}}, nil
	}
	var all []condition
	seen := map[uint]bool{}
	alternatives := false
	for i, a := range e.Args {
		c, err := toCondition(a, fmt.Sprintf("%s.args[%d]", field, i))
		if err != nil {
			return nil, err
		}
		alternatives = alternatives || seen[a.Index]
		seen[a.Index] = true
		all = append(all, c)
	}
	if !alternatives {
		return []rule{{action: act, conditions: all}}, nil
	}
	rules := make([]rule, 0, len(all))
	for _, c := range all {
		rules = append(rules, rule{action: act, conditions: []condition{c}})
	}
	return rules, nil
}

func toCondition(a specs.LinuxSeccompArg, field string) (condition, error) {
	if a.Index > 5 {
		return condition{}, wrong(field+".index", "%d is above 5", a.Index)
	}
	c := condition{arg: a.Index, value: a.Value}
	switch a.Op {
	case specs.OpEqualTo:
		c.op = equal
	case specs.OpNotEqual:
		c.op = notEqual
	case specs.OpLessThan:
		c.op = less
	case specs.OpLessEqual:
		c.op = lessOrEqual
	case specs.OpGreaterThan:
		c.op = greater
	case specs.OpGreaterEqual:
		c.op = greaterOrEqual
	case specs.OpMaskedEqual: // value is the mask
		c.op, c.mask, c.value = maskedEqual, a.Value, a.ValueTwo
	default:
		return condition{}, wrong(field+".op", "%q is not an operator", a.Op)
	}
	return c, nil
}

// applies evaluates includes, of which all must hold, and excludes, of which
// none may.
func (e *entry) applies(o *options, field string) (bool, error) {
	in, out := &e.Includes, &e.Excludes
	for _, c := range in.Caps {
		if !slices.Contains(o.caps, capName(c)) {
			return false, nil
		}
	}
	for _, c := range out.Caps {
		if slices.Contains(o.caps, capName(c)) {
			return false, nil
		}
	}
	if len(in.Arches) > 0 && !slices.ContainsFunc(in.Arches, thisArch) || slices.ContainsFunc(out.Arches, thisArch) {
		return false, nil
	}
	if in.MinKernel != "" {
		if ok, err := kernelAtLeast(in.MinKernel); err != nil || !ok {
			return false, profileError(field+".includes.minKernel", err)
		}
	}
	if out.MinKernel != "" {
		if ok, err := kernelAtLeast(out.MinKernel); err != nil || ok {
			return false, profileError(field+".excludes.minKernel", err)
		}
	}
	return true, nil
}

func profileError(field string, err error) error {
	if err == nil {
		return nil
	}
	return &ProfileError{Field: field, Err: err}
}

// thisArch compares with Docker's names, which are Go's but for x86 and x32.
func thisArch(name string) bool { return name == runtime.GOARCH }

// kernelAtLeast compares "major.minor" with the running kernel.
func kernelAtLeast(want string) (bool, error) {
	wantMajor, wantMinor, err := parseVersion(want)
	if err != nil {
		return false, err
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false, err
	}
	major, minor, err := parseVersion(unix.ByteSliceToString(u.Release[:]))
	if err != nil {
		return false, err
	}
	return major > wantMajor || major == wantMajor && minor >= wantMinor, nil
}

// parseVersion reads the first two numbers of a kernel's version.
func parseVersion(version string) (major, minor int, err error) {
	a, rest, _ := strings.Cut(version, ".")
	b := rest
	if i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		b = rest[:i]
	}
	if major, err = strconv.Atoi(a); err == nil {
		minor, err = strconv.Atoi(b)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("%q is not a kernel version", version)
	}
	return major, minor, nil
}
