package seccomp

import (
	"encoding/binary"
	"fmt"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// call is a system call as a program sees it.
type call struct {
	arch   uint32
	number uint32
	args   [6]uint64
}

// simulator runs a program without installing it. It is not safe for concurrent
// use.
type simulator struct{ vm *bpf.VM }

func newSimulator(program []byte) (*simulator, error) {
	if len(program) == 0 || len(program)%8 != 0 {
		return nil, fmt.Errorf("seccomp: a program of %d bytes", len(program))
	}
	code := make([]bpf.Instruction, 0, len(program)/8)
	for i := 0; i < len(program); i += 8 {
		raw := bpf.RawInstruction{
			Op: binary.LittleEndian.Uint16(program[i:]),
			Jt: program[i+2],
			Jf: program[i+3],
			K:  binary.LittleEndian.Uint32(program[i+4:]),
		}
		code = append(code, raw.Disassemble())
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	return &simulator{vm: vm}, nil
}

// run gives what the program says of a call. The machine loads words in network
// order, the kernel in its own, so the words of the input are swapped.
func (s *simulator) run(c call) (action, error) {
	var data [64]byte
	binary.BigEndian.PutUint32(data[offNumber:], c.number)
	binary.BigEndian.PutUint32(data[offArch:], c.arch)
	for i, a := range c.args {
		binary.BigEndian.PutUint32(data[offArgs+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[offArgs+8*i+4:], uint32(a>>32))
	}
	n, err := s.vm.Run(data[:])
	return action(uint32(n)), err
}

// Denies lists the system calls that a worker cannot do without and that a
// program forbids; threads count as "clone". A container would not get far under
// a program that denies any: give FromOCI the option AllowWorker, or refuse the
// profile.
func Denies(program []byte) ([]string, error) {
	info, err := arch.GetInfo("")
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	s, err := newSimulator(program)
	if err != nil {
		return nil, err
	}
	var denied []string
	for _, name := range needed {
		nr, ok := info.SyscallNames[name]
		if !ok {
			continue
		}
		a, err := s.run(call{arch: uint32(info.ID), number: uint32(nr)})
		if err != nil {
			return nil, fmt.Errorf("seccomp: run program: %w", err)
		}
		if !permits(a) {
			denied = append(denied, name)
		}
	}
	ok, err := s.threads(info)
	if err != nil {
		return nil, fmt.Errorf("seccomp: run program: %w", err)
	}
	if !ok {
		denied = append(denied, "clone")
	}
	return denied, nil
}

// threads says whether the C library can make one: by clone3, or by clone where
// there is no clone3.
func (s *simulator) threads(info *arch.Info) (bool, error) {
	id := uint32(info.ID)
	a, err := s.run(call{arch: id, number: uint32(info.SyscallNames["clone3"])})
	if err != nil || permits(a) {
		return err == nil, err
	}
	if a != fail(uint32(unix.ENOSYS)) {
		return false, nil
	}
	a, err = s.run(call{arch: id, number: uint32(info.SyscallNames["clone"]), args: [6]uint64{threadFlags}})
	return permits(a), err
}

// threadFlags are those of clone in pthread_create.
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD |
	unix.CLONE_SYSVSEM | unix.CLONE_SETTLS | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID
