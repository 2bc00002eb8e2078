package process

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// reaper waits on the pidfds of all processes in one loop: a pid 1 cannot be
// reaped before the execs in its namespace are, so that no process may be
// waited for alone. Safe for concurrent use.
type reaper struct {
	log   *slog.Logger
	epoll int
	wake  int // eventfd: close
	ended chan struct{}

	mu    sync.Mutex
	procs map[int32]*process // by pidfd
}

func newReaper(log *slog.Logger) (*reaper, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("eventfd", err), unix.Close(ep))
	}
	r := &reaper{log: log, epoll: ep, wake: wake, ended: make(chan struct{}), procs: make(map[int32]*process)}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}); err != nil {
		return nil, errors.Join(os.NewSyscallError("epoll_ctl", err), unix.Close(wake), unix.Close(ep))
	}
	go r.loop()
	return r, nil
}

func (r *reaper) close() error {
	if _, err := unix.Write(r.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		return os.NewSyscallError("write", err)
	}
	<-r.ended
	return errors.Join(unix.Close(r.wake), unix.Close(r.epoll))
}

func (r *reaper) watch(p *process) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	fd := int32(p.pidfd)
	r.procs[fd] = p
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: fd}); err != nil {
		delete(r.procs, fd)
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

// forget stops watching a process that lives on, and closes its pidfd.
func (r *reaper) forget(p *process) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 {
		return nil
	}
	delete(r.procs, int32(p.pidfd))
	fd := p.pidfd
	p.pidfd = -1
	return os.NewSyscallError("close", unix.Close(fd))
}

func (r *reaper) loop() {
	defer close(r.ended)
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(r.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			r.log.Error("wait for processes", "error", err)
			return
		}
		for _, e := range events[:max(n, 0)] {
			if e.Fd == int32(r.wake) {
				return
			}
			r.reap(e.Fd)
		}
	}
}

func (r *reaper) reap(fd int32) {
	r.mu.Lock()
	p := r.procs[fd]
	delete(r.procs, fd)
	r.mu.Unlock()
	if p == nil {
		return
	}
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_DEL, int(fd), nil); err != nil {
		r.log.Error("stop watching process", "pid", p.ref.PID, "error", err)
	}
	var status *waitStatus
	if p.isChild {
		s, err := waitChild(int(fd))
		if err != nil {
			r.log.Error("reap process", "pid", p.ref.PID, "error", err)
		} else {
			status = &s
		}
	}
	p.finish(p.launcher.exitOf(p, status))
}

// waitStatus is how the kernel says that a process ended.
type waitStatus struct {
	signal int // that killed it, else 0
	code   int
}

// waitChild reaps a child by its pidfd; it has ended or is about to.
func waitChild(pidfd int) (waitStatus, error) {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PIDFD, pidfd, &info, unix.WEXITED, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return waitStatus{}, os.NewSyscallError("waitid", err)
		}
		break
	}
	const exited = 1                                           // CLD_EXITED
	status := *(*int32)(unsafe.Add(unsafe.Pointer(&info), 24)) // si_status on 64-bit Linux
	if info.Code == exited {
		return waitStatus{code: int(status)}, nil
	}
	return waitStatus{signal: int(status)}, nil
}

// pidfdInfo is struct pidfd_info of linux/pidfd.h, its first version.
type pidfdInfo struct {
	mask     uint64
	cgroupID uint64
	_        [11]uint32 // pids and ids
	exitCode int32
}

const (
	pidfdGetInfo  = 0xc040ff0b // PIDFD_GET_INFO for 64 bytes
	pidfdInfoExit = 1 << 3
)

// rememberedExit asks the kernel how a process ended that was not our child
// (Linux 6.15), nil when it does not know. The answer is there once somebody
// has reaped the process, which its new parent does at once.
func rememberedExit(pidfd int) *waitStatus {
	const tries, pause = 40, 5 * time.Millisecond
	for range tries {
		info := pidfdInfo{mask: pidfdInfoExit}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
		if errno != 0 && errno != unix.ESRCH {
			return nil // an older kernel
		}
		if errno == 0 && info.mask&pidfdInfoExit != 0 {
			return newWaitStatus(unix.WaitStatus(info.exitCode))
		}
		time.Sleep(pause)
	}
	return nil
}

func newWaitStatus(s unix.WaitStatus) *waitStatus {
	if s.Signaled() {
		return &waitStatus{signal: int(s.Signal())}
	}
	return &waitStatus{code: s.ExitStatus()}
}

// exitOf joins what the worker wrote with what the kernel knows.
func (l *Launcher) exitOf(p *process, status *waitStatus) sandbox.Exit {
	if b, err := os.ReadFile(filepath.Join(p.dir, fileExit)); err == nil {
		if r, err := workerv1.DecodeExitRecord(b); err == nil {
			return fromRecord(r)
		}
	}
	if status == nil && p.pidfd >= 0 {
		status = rememberedExit(p.pidfd)
	}
	e := sandbox.Exit{Time: time.Now(), Reason: sandbox.ReasonError}
	switch {
	case status == nil && p.ref.BootID == l.bootID:
		// Whatever can be caught is in the record: it was SIGKILL.
		e.Code, e.Signal = int32(128+unix.SIGKILL), int(unix.SIGKILL)
	case status == nil:
		e.Code, e.Reason = 255, sandbox.ReasonUnknown
		e.Message = "the process is gone and left no exit record: the node was rebooted"
	case status.signal != 0:
		e.Code, e.Signal = int32(128+status.signal), status.signal
		switch unix.Signal(status.signal) {
		case unix.SIGKILL:
		case unix.SIGSYS:
			e.Message = "killed for a system call that its seccomp profile forbids"
		default:
			e.Reason = sandbox.ReasonEngine
			e.Message = fmt.Sprintf("the worker died of %s%s", unix.SignalName(unix.Signal(status.signal)), words(p.dir))
		}
	default:
		e.Code, e.Reason = int32(status.code), sandbox.ReasonEngine
		e.Message = fmt.Sprintf("the worker ended with status %d and no exit record%s", status.code, words(p.dir))
	}
	return e
}

func words(dir string) string {
	if s := tail(filepath.Join(dir, fileStderr), 2048); s != "" {
		return ": " + s
	}
	return ""
}

var reasons = map[workerv1.ExitKind]string{
	workerv1.ExitTrap:   sandbox.ReasonTrap,
	workerv1.ExitSignal: sandbox.ReasonError,
	workerv1.ExitEngine: sandbox.ReasonEngine,
}

func fromRecord(r workerv1.ExitRecord) sandbox.Exit {
	e := sandbox.Exit{Code: int32(r.Code), Time: r.Time, Message: r.Message, Reason: reasons[r.Kind]}
	switch {
	case e.Reason != "":
	case r.Code == 0:
		e.Reason = sandbox.ReasonCompleted
	default:
		e.Reason = sandbox.ReasonError
	}
	return e
}
