package seccomp

import (
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// Denied is what happens to a process that makes a forbidden system call.
type Denied int

const (
	DeniedErrno Denied = iota // the call fails with EPERM
	DeniedKill                // the process is killed with SIGSYS
	DeniedLog                 // the call is made, and logged by the kernel
)

// needed are the system calls without which a worker does not run. Measured by
// dropping each of them in turn, on amd64 with Go 1.26 and glibc 2.36, and what
// rarer paths of the two runtimes use: pread64 is Go looking at its CPU quota
// from time to time.
var needed = []string{
	"read", "write", "close", "pread64", "readv", "writev", "openat", "newfstatat", "fcntl", "pipe2",
	"ppoll", "epoll_create1", "epoll_ctl", "epoll_pwait", "eventfd2",
	"mmap", "munmap", "mprotect", "madvise", "brk", "mremap",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
	"futex", "set_robust_list", "rseq", "gettid", "sched_getaffinity", "prlimit64",
	"nanosleep", "clock_nanosleep", "clock_gettime", "getrandom", "sched_yield",
	"exit", "exit_group", "tgkill", "getpid", "restart_syscall",
}

// byDesign are the system calls that a worker makes for its guest, and for the
// streams and the control socket of its container.
var byDesign = []string{
	// files
	"openat2", "statx", "fstat", "lseek", "pwrite64", "preadv", "pwritev",
	"getdents64", "mkdirat", "unlinkat", "renameat", "renameat2", "linkat", "symlinkat", "readlinkat",
	"utimensat", "ftruncate", "fsync", "fdatasync", "fallocate", "fadvise64", "faccessat", "faccessat2",
	"fstatfs", "dup", "dup3", "copy_file_range", "sendfile", "splice",
	// sockets; the call socket itself has conditions
	"accept4", "recvfrom", "sendto", "recvmsg", "sendmsg", "shutdown", "bind", "listen", "connect",
	"setsockopt", "getsockopt", "getsockname", "getpeername",
	// time, waiting, identity
	"clock_getres", "getrusage", "poll", "pselect6", "epoll_wait", "epoll_pwait2",
	"getuid", "geteuid", "getgid", "getegid", "getppid", "uname", "getcwd",
}

// Arguments that the default program looks at.
const (
	// newNamespaces are the flags of clone that make namespaces.
	newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	thread = unix.CLONE_THREAD | unix.CLONE_VM
)

// ioctls are the requests that a worker makes of a terminal, the size of what can
// be read, and the number of a link, for the address of a name server. TIOCSTI,
// which types into a terminal, is not among them.
var ioctls = []uint64{unix.TCGETS, unix.TCSETS, unix.TIOCGWINSZ, unix.TIOCSWINSZ, unix.TIOCINQ, unix.SIOCGIFINDEX}

// families are the socket families that a container can use. Others are mostly
// attack surface of the kernel: AF_ALG, AF_VSOCK, AF_PACKET, AF_NETLINK.
var families = []uint64{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6}

// named are the options of prctl by which the runtimes name memory and threads.
var named = []uint64{unix.PR_SET_VMA, unix.PR_SET_NAME}

// needs puts what a worker needs to run before the other rules of the policy.
func (p *policy) needs() {
	p.prepend(rule{action: allow}, needed...)
	p.threads()
}

// reports puts before the other rules of the policy what a worker needs to tell the
// daemon that it runs and how it ended, and to be asked things meanwhile: on its own
// descriptors, or in a way in which it never calls for its guest.
func (p *policy) reports() {
	on := func(fd uint64, names ...string) { p.prepend(is(0, fd), names...) }
	on(workerv1.FDControl, "accept4", "getsockopt")
	on(workerv1.FDExitRecord, "pwrite64")
	p.prepend(is(2, unix.MSG_CMSG_CLOEXEC), "recvmsg")
	p.prepend(rule{action: allow, conditions: []condition{ // to whom it is connected; the guest has sendmsg
		{arg: 3, op: equal, value: unix.MSG_NOSIGNAL}, {arg: 4, op: equal, value: 0},
	}}, "sendto")
	p.prepend(rule{action: allow}, "dup", "fstat") // its streams
	for _, request := range ioctls {
		p.prepend(is(1, request), "ioctl") // its terminal
	}
}

// threads lets a process make threads and name them.
func (p *policy) threads() {
	// No clone3 makes the C library call clone, which may make threads here,
	// but neither processes nor namespaces.
	p.prepend(rule{action: fail(uint32(unix.ENOSYS))}, "clone3")
	p.prepend(rule{action: allow, conditions: []condition{
		{arg: 0, op: maskedEqual, mask: thread | newNamespaces, value: thread},
	}}, "clone")
	for _, option := range named {
		p.prepend(is(0, option), "prctl")
	}
}

func is(arg uint, value uint64) rule {
	return rule{action: allow, conditions: []condition{{arg: arg, op: equal, value: value}}}
}

func defaultPolicy(denied Denied) (*policy, error) {
	actions := map[Denied]action{DeniedErrno: fail(uint32(unix.EPERM)), DeniedKill: killProcess, DeniedLog: logAndAllow}
	otherwise, ok := actions[denied]
	if !ok {
		return nil, fmt.Errorf("seccomp: unknown action %d", denied)
	}
	p, err := newPolicy(otherwise)
	if err != nil {
		return nil, err
	}
	p.needs()
	p.add(rule{action: allow}, byDesign...)
	for _, request := range ioctls {
		p.add(is(1, request), "ioctl")
	}
	for _, family := range families {
		p.add(is(0, family), "socket")
	}
	return p, nil
}

var defaults struct {
	mu       sync.Mutex
	programs map[Denied][]byte
}

// Default gives the program of RuntimeDefault: everything that a worker and its
// guest need, and EPERM for the rest. It is an array of struct sock_filter that
// the caller may keep and change. It is safe for concurrent use, and fails only
// on architectures that the package does not know.
func Default() ([]byte, error) { return DefaultWith(DeniedErrno) }

// DefaultWith is Default with another answer to forbidden system calls.
func DefaultWith(denied Denied) ([]byte, error) {
	defaults.mu.Lock()
	defer defaults.mu.Unlock()
	if program, ok := defaults.programs[denied]; ok {
		return slices.Clone(program), nil
	}
	p, err := defaultPolicy(denied)
	if err != nil {
		return nil, err
	}
	program, err := p.compile()
	if err != nil {
		return nil, err
	}
	if defaults.programs == nil {
		defaults.programs = map[Denied][]byte{}
	}
	defaults.programs[denied] = program
	return slices.Clone(program), nil
}
