package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// startTimeout bounds the way from fork to a running guest: far more than it
// takes on a loaded node, so that nothing hangs for ever.
const startTimeout = 2 * time.Minute

// child is a worker that has not said yet how it fares.
type child struct {
	pid, pidfd int
	stderr     string // file with what it said
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(fds[1], false); err != nil { // the worker's end blocks
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fds[0]), "spawn"), os.NewFile(uintptr(fds[1]), "spawn-peer"), nil
}

// spawn starts the worker binary in its new namespaces. It then waits for its
// plan.
func (l *Launcher) spawn(mode string, b *builder, sock *os.File) (*child, error) {
	c := &child{stderr: b.stderr}
	attr := l.procAttr(sock, b.spec.Code, b.spec.MaxProcs)
	attr.Sys.Cloneflags = cloneFlags(b.spec)
	fork := func() error { return l.exec(c, workerArgs(mode), attr) }
	if err := inPIDNamespace(b.spec, fork); err != nil {
		return nil, err
	}
	return c, nil
}

func (l *Launcher) procAttr(sock, code *os.File, maxProcs int) *syscall.ProcAttr {
	null := l.devNull.Fd()
	files := []uintptr{null, null, null, sock.Fd()}
	if code != nil {
		files = append(files, code.Fd())
	}
	return &syscall.ProcAttr{Dir: "/", Env: workerEnv(maxProcs), Files: files, Sys: &syscall.SysProcAttr{Setsid: true}}
}

func (l *Launcher) exec(c *child, argv []string, attr *syscall.ProcAttr) (err error) {
	c.pidfd = -1
	attr.Sys.PidFD = &c.pidfd
	if c.pid, err = syscall.ForkExec(l.worker, argv, attr); err != nil {
		return err
	}
	if c.pidfd < 0 {
		return fmt.Errorf("%w: the kernel gives no pidfd: it must be 5.4 or newer", sandbox.ErrUnsupported)
	}
	return nil
}

// workerArgs leave room for the guest's arguments, which take their place.
func workerArgs(mode string) []string {
	return []string{"cri-wasmer-worker", mode, strings.Repeat(" ", workerv1.TitleRoom)}
}

// workerEnv is the environment of the worker, not of its guest. Everything is
// bound at start, since libraries are out of reach after the pivot.
func workerEnv(maxProcs int) []string {
	env := []string{"LD_BIND_NOW=1"}
	if maxProcs > 0 {
		env = append(env, "GOMAXPROCS="+strconv.Itoa(maxProcs))
	}
	return env
}

func cloneFlags(spec *sandbox.ProcessSpec) uintptr {
	var f uintptr
	if spec.PIDNS.New {
		f |= unix.CLONE_NEWPID
	}
	return f
}

// pidNamespaceOf is the process whose pid namespace the new one joins, or nil.
func pidNamespaceOf(spec *sandbox.ProcessSpec) sandbox.Process {
	if spec.Target != nil {
		return spec.Target
	}
	return spec.PIDNS.Join
}

// inPIDNamespace runs fork on a thread whose children are born in the pid
// namespace that the spec joins, if any.
func inPIDNamespace(spec *sandbox.ProcessSpec, fork func() error) error {
	join := pidNamespaceOf(spec)
	if join == nil {
		return fork()
	}
	target, ok := join.(*process)
	if !ok {
		return fmt.Errorf("join the pid namespace of a foreign process (%T)", join)
	}
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := forkIn(target, fork)
		if err == nil || !errors.Is(err, errThreadSpoilt) {
			runtime.UnlockOSThread() // else the thread ends with this goroutine
		}
		errc <- err
	}()
	return <-errc
}

var errThreadSpoilt = errors.New("thread cannot return to its pid namespace")

func forkIn(target *process, fork func() error) error {
	own, err := unix.Open("/proc/self/ns/pid", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open own pid namespace", err)
	}
	defer unix.Close(own)
	release, fd, err := target.hold()
	if err != nil {
		return err
	}
	defer release()
	if err := unix.Setns(fd, unix.CLONE_NEWPID); err != nil {
		return fmt.Errorf("enter pid namespace of process %d: %w", target.ref.PID, err)
	}
	err = fork()
	if e := unix.Setns(own, unix.CLONE_NEWPID); e != nil {
		return errors.Join(err, errThreadSpoilt, e)
	}
	return err
}

// sendPlan hands a plan and its descriptors to the worker.
func sendPlan(sock *os.File, message []byte, fds []int) error {
	fd, err := unix.MemfdCreate("spawn-plan", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "spawn-plan")
	defer f.Close()
	if _, err := f.Write(message); err != nil {
		return err
	}
	return sendWith(sock, []byte{1}, append([]int{fd}, fds...))
}

// sendWith sends a message with descriptors, up to the deadline of the socket.
func sendWith(sock *os.File, message []byte, fds []int) error {
	raw, err := sock.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Write(func(fd uintptr) bool {
		sent = unix.Sendmsg(int(fd), message, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
		return !errors.Is(sent, unix.EAGAIN)
	})
	return errors.Join(err, os.NewSyscallError("sendmsg", sent))
}

// awaitStatus reads the worker's answer; io.EOF when it died without one.
func awaitStatus(ctx context.Context, sock *os.File) (workerv1.Status, error) {
	if err := sock.SetReadDeadline(time.Now().Add(startTimeout)); err != nil {
		return workerv1.Status{}, err
	}
	stop := context.AfterFunc(ctx, func() { sock.SetReadDeadline(time.Now()) })
	defer sock.SetReadDeadline(time.Time{})
	defer stop()
	buf := make([]byte, workerv1.MaxStatus)
	n, err := sock.Read(buf)
	switch {
	case ctx.Err() != nil && err != nil && !errors.Is(err, io.EOF):
		return workerv1.Status{}, context.Cause(ctx)
	case errors.Is(err, unix.ECONNRESET):
		return workerv1.Status{}, io.EOF
	case err != nil:
		return workerv1.Status{}, err
	}
	return workerv1.DecodeStatus(buf[:n])
}

// lastWords is what a worker that died said, to stand behind an error.
func (c *child) lastWords() string {
	if s := tail(c.stderr, 2048); s != "" {
		return ": " + s
	}
	return ""
}
