package seccomp

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func simulate(t *testing.T, program []byte) func(name string, args ...uint64) action {
	t.Helper()
	s, err := newSimulator(program)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPolicy(0)
	if err != nil {
		t.Fatal(err)
	}
	return func(name string, args ...uint64) action {
		t.Helper()
		nr, ok := p.number(name)
		if !ok {
			t.Fatalf("no system call %q", name)
		}
		c := call{arch: uint32(p.arch.ID), number: nr}
		copy(c.args[:], args)
		a, err := s.run(c)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
}

func TestDefaultForEverySystemCall(t *testing.T) {
	for _, denied := range []Denied{DeniedErrno, DeniedKill, DeniedLog} {
		program, err := DefaultWith(denied)
		if err != nil {
			t.Fatal(err)
		}
		p, err := defaultPolicy(denied)
		if err != nil {
			t.Fatal(err)
		}
		s, err := newSimulator(program)
		if err != nil {
			t.Fatal(err)
		}
		conditional := []string{"clone", "prctl", "ioctl", "socket"}
		for nr := range uint32(1024) {
			got, err := s.run(call{arch: uint32(p.arch.ID), number: nr})
			if err != nil {
				t.Fatal(err)
			}
			name := p.arch.SyscallNumbers[int(nr)]
			want := p.otherwise
			switch {
			case name == "clone3":
				want = fail(uint32(unix.ENOSYS))
			case slices.Contains(needed, name), slices.Contains(byDesign, name):
				want = allow
			case slices.Contains(conditional, name): // argument 0 fits none
			}
			if got != want {
				t.Errorf("%d %s: got %#x, want %#x", nr, name, got, want)
			}
		}
	}
}

func TestDefaultLooksAtArguments(t *testing.T) {
	program, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	do := simulate(t, program)
	eperm := fail(uint32(unix.EPERM))
	const signal = uint64(unix.SIGCHLD)
	tests := []struct {
		name string
		args []uint64
		want action
	}{
		{"prctl", []uint64{unix.PR_SET_VMA}, allow},
		{"prctl", []uint64{unix.PR_SET_NAME}, allow},
		{"prctl", []uint64{unix.PR_SET_SECCOMP}, eperm},
		{"prctl", []uint64{unix.PR_SET_VMA | 1<<32}, eperm},
		{"clone", []uint64{threadFlags}, allow},
		{"clone", []uint64{signal}, eperm},
		{"clone", []uint64{unix.CLONE_VM | unix.CLONE_VFORK | signal}, eperm},
		{"clone", []uint64{threadFlags | unix.CLONE_NEWUSER}, eperm},
		{"clone", []uint64{threadFlags | unix.CLONE_NEWNET}, eperm},
		{"socket", []uint64{unix.AF_INET}, allow},
		{"socket", []uint64{unix.AF_INET6}, allow},
		{"socket", []uint64{unix.AF_UNIX}, allow},
		{"socket", []uint64{unix.AF_NETLINK}, eperm},
		{"socket", []uint64{unix.AF_ALG}, eperm},
		{"socket", []uint64{unix.AF_PACKET}, eperm},
		{"ioctl", []uint64{0, unix.TIOCGWINSZ}, allow},
		{"ioctl", []uint64{0, unix.TIOCSTI}, eperm},
		{"execve", nil, eperm},
		{"io_uring_setup", nil, eperm},
		{"unshare", []uint64{unix.CLONE_NEWUSER}, eperm},
		{"ptrace", nil, eperm},
		{"kill", nil, eperm},
		{"bpf", nil, eperm},
	}
	for _, tt := range tests {
		if got := do(tt.name, tt.args...); got != tt.want {
			t.Errorf("%s%#x: got %#x, want %#x", tt.name, tt.args, got, tt.want)
		}
	}
}

func TestDefaultKillsOtherArchitectures(t *testing.T) {
	program, err := DefaultWith(DeniedLog)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSimulator(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []uint32{0x40000003, 0, 0xffffffff} { // i386, none, none
		if got, err := s.run(call{arch: id}); err != nil || got != killProcess {
			t.Errorf("architecture %#x: got %#x, %v, want the process killed", id, got, err)
		}
	}
}

func TestX32IsNotAWayRound(t *testing.T) {
	p, err := defaultPolicy(DeniedErrno)
	if err != nil {
		t.Fatal(err)
	}
	if p.arch.Name != "x86_64" {
		t.Skip("only amd64 has the x32 ABI")
	}
	p.otherwise = allow // as a deny-list has it
	program, err := p.compile()
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSimulator(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, nr := range []uint32{0, 1, 59, 0x3fffffff} {
		got, err := s.run(call{arch: uint32(p.arch.ID), number: x32Bit | nr})
		if want := fail(uint32(unix.ENOSYS)); err != nil || got != want {
			t.Errorf("number %#x: got %#x, %v, want %#x", x32Bit|nr, got, err, want)
		}
	}
}

func TestDefaultIsTheCallers(t *testing.T) {
	a, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	clear(a)
	b, err := Default()
	if err != nil {
		t.Fatal(err)
	}
	if slices.Equal(a, b) {
		t.Error("changing one program changed the next")
	}
	if len(b)/8 > 255 {
		t.Errorf("got %d instructions, want a small program", len(b)/8)
	}
	t.Logf("%d instructions", len(b)/8)
}

func TestDefaultDeniesNothingNeeded(t *testing.T) {
	for _, d := range []Denied{DeniedErrno, DeniedKill} {
		program, err := DefaultWith(d)
		if err != nil {
			t.Fatal(err)
		}
		if denied, err := Denies(program); err != nil || denied != nil {
			t.Errorf("got %v, %v, want none", denied, err)
		}
	}
}

func BenchmarkCompileDefault(b *testing.B) {
	for b.Loop() {
		p, err := defaultPolicy(DeniedErrno)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.compile(); err != nil {
			b.Fatal(err)
		}
	}
}
