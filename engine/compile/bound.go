package compile

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// nobody is the user as whom modules are compiled.
const nobody = 65534

// maxFiles is how many files this process can have open; it has all it needs.
const maxFiles = 64

// bound gives up what compiling does not need, for good: priority, memory, the
// right to be root, and most system calls. The module comes from a stranger,
// and the compiler is of 2021.
func (j Job) bound() error {
	if j.Nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, j.Nice); err != nil {
			return fmt.Errorf("set priority: %w", err)
		}
	}
	limits := map[int]uint64{unix.RLIMIT_NOFILE: maxFiles, unix.RLIMIT_CORE: 0}
	if j.MemoryLimit > 0 {
		limits[unix.RLIMIT_DATA], limits[unix.RLIMIT_FSIZE] = j.MemoryLimit, j.MemoryLimit
	}
	for what, n := range limits {
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: n, Max: n}); err != nil {
			return fmt.Errorf("set limit: %w", err)
		}
	}
	if os.Geteuid() == 0 {
		if err := becomeNobody(); err != nil {
			return err
		}
	}
	return install(j.Filter)
}

// becomeNobody leaves root, and with it all capabilities, on all threads.
func becomeNobody() error {
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("give up groups: %w", err)
	}
	if err := syscall.Setresgid(nobody, nobody, nobody); err != nil {
		return fmt.Errorf("give up group root: %w", err)
	}
	if err := syscall.Setresuid(nobody, nobody, nobody); err != nil {
		return fmt.Errorf("give up user root: %w", err)
	}
	return nil
}

// install puts the filter on all threads of this process, and with it that no
// program can regain privileges.
func install(filter []byte) error {
	const size = int(unsafe.Sizeof(unix.SockFilter{}))
	if len(filter) == 0 {
		return nil
	}
	if len(filter)%size != 0 || len(filter)/size > unix.BPF_MAXINSNS {
		return fmt.Errorf("system call filter of %d bytes", len(filter))
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(filter) / size), Filter: (*unix.SockFilter)(unsafe.Pointer(&filter[0]))}
	failed, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("install system call filter: %w", errno)
	}
	if failed != 0 {
		return fmt.Errorf("install system call filter: thread %d has another", failed)
	}
	return nil
}
