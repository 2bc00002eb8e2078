// Package process starts workers, watches them, and finds them again.
//
// A Launcher builds the spawn plan of a process (proto/worker/v1), starts the
// worker binary, hands the plan over, and waits for its one answer. From then
// on the process depends on nobody: it writes its own log and exit record. One
// reaper loop holds a pidfd for each process, of this daemon's making or
// adopted from an earlier one, and learns from it that the process ended; how
// it ended, the exit record says, else the wait status, else the kernel's
// memory of it (PIDFD_GET_INFO).
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// Config says how processes are made.
type Config struct {
	Worker string // path of the worker binary
	// Zygotes is how many modules are kept loaded for quick starts; 0: none,
	// and every worker loads its module itself.
	Zygotes int
	// Observe is told which way a worker was started: zygote or scratch; nil:
	// nobody.
	Observe func(way string)
	Labels  Labels
	Logger  *slog.Logger
}

// Labels lets a worker that has an SELinux label use what is opened for it.
type Labels interface {
	Own(f *os.File, label sandbox.Label) error
	OwnLog(f *os.File, label sandbox.Label) error
}

// Launcher implements sandbox.Launcher. Safe for concurrent use.
type Launcher struct {
	worker  string
	observe func(way string)
	labels  Labels
	log     *slog.Logger
	bootID  string
	reaper  *reaper
	devNull *os.File
	zygotes *zygotes // nil: every worker starts from scratch
}

var _ sandbox.Launcher = (*Launcher)(nil)

// New starts the reaper. The caller closes the launcher; processes go on.
func New(c Config) (*Launcher, error) {
	if _, err := os.Stat(c.Worker); err != nil {
		return nil, fmt.Errorf("worker binary: %w: it is installed beside cri-wasmer, or named by the option worker", err)
	}
	boot, err := readBootID()
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	r, err := newReaper(c.Logger)
	if err != nil {
		return nil, errors.Join(err, null.Close())
	}
	if c.Observe == nil {
		c.Observe = func(string) {}
	}
	l := &Launcher{worker: c.Worker, observe: c.Observe, labels: c.Labels, log: c.Logger, bootID: boot, reaper: r, devNull: null}
	if c.Zygotes > 0 {
		l.zygotes = newZygotes(l, c.Zygotes)
	}
	return l, nil
}

// Close stops watching, and ends the zygotes. Containers and execs go on.
func (l *Launcher) Close() error {
	if l.zygotes != nil {
		l.zygotes.close()
	}
	return errors.Join(l.reaper.close(), l.devNull.Close())
}

// Names of the files in ProcessSpec.Dir.
const (
	fileControl = "control"
	fileExit    = "exit"
	fileStderr  = "stderr"
)

// Launch implements sandbox.Launcher.
func (l *Launcher) Launch(ctx context.Context, spec sandbox.ProcessSpec) (sandbox.Process, error) {
	b := &builder{spec: &spec, devNull: l.devNull, labels: l.labels}
	defer b.close()
	if err := b.build(); err != nil {
		return nil, err
	}
	return l.start(ctx, "run", b, startPayload(&spec).Encode())
}

// LaunchInit implements sandbox.Launcher.
func (l *Launcher) LaunchInit(ctx context.Context, spec sandbox.ProcessSpec) (sandbox.Process, error) {
	b := &builder{spec: &spec, bare: true, devNull: l.devNull, labels: l.labels}
	defer b.close()
	if err := b.build(); err != nil {
		return nil, err
	}
	return l.start(ctx, "init", b, nil)
}

// fork gives a worker that waits for its plan at the other end of sock: from the
// zygote of its module where that can be had, else from scratch.
func (l *Launcher) fork(mode string, b *builder, sock *os.File) (*child, error) {
	if mode == "run" && l.zygotes != nil {
		c, err := l.zygotes.fork(b, sock)
		if err == nil {
			l.observe("zygote")
			return c, nil
		}
		l.log.Warn("zygote failed, the worker is started without it", "id", b.spec.ID, "error", err)
	}
	c, err := l.spawn(mode, b, sock)
	if err == nil {
		l.observe("scratch")
	}
	return c, err
}

// Zygotes counts the modules that are kept loaded.
func (l *Launcher) Zygotes() int {
	if l.zygotes == nil {
		return 0
	}
	l.zygotes.mu.Lock()
	defer l.zygotes.mu.Unlock()
	return len(l.zygotes.byCode)
}

func (l *Launcher) start(ctx context.Context, mode string, b *builder, payload []byte) (sandbox.Process, error) {
	message, err := b.plan.Encode(payload)
	if err != nil {
		return nil, err
	}
	sock, peer, err := socketPair()
	if err != nil {
		return nil, err
	}
	p, err := l.startOn(ctx, mode, b, message, sock, peer)
	if err != nil {
		return nil, errors.Join(err, sock.Close())
	}
	if !b.isCommand() {
		return p, sock.Close()
	}
	p.socket = sock
	go p.hear()
	return p, nil
}

// startOn starts a worker that has the other end of sock, which it closes here.
func (l *Launcher) startOn(ctx context.Context, mode string, b *builder, message []byte, sock, peer *os.File) (*process, error) {
	if b.join == nil { // the worker finds its plan there
		if err := sendPlan(sock, message, b.plan.FDs()); err != nil {
			return nil, errors.Join(fmt.Errorf("hand over spawn plan: %w", err), peer.Close())
		}
	}
	child, err := l.fork(mode, b, peer)
	if e := peer.Close(); err == nil {
		err = e
	}
	if err != nil {
		return nil, fmt.Errorf("start worker: %w", err)
	}
	p, err := l.handOver(ctx, sock, child, b, message)
	if err != nil {
		l.discard(child)
		return nil, err
	}
	return p, nil
}

// handOver waits until a worker runs. One that must join its cgroup by its pid
// is given its plan only then.
func (l *Launcher) handOver(ctx context.Context, sock *os.File, c *child, b *builder, message []byte) (*process, error) {
	if b.join != nil {
		if err := b.join.Join(ctx, c.pid); err != nil {
			return nil, fmt.Errorf("join cgroup: %w", err)
		}
		if err := sendPlan(sock, message, b.plan.FDs()); err != nil {
			return nil, fmt.Errorf("hand over spawn plan: %w%s", err, c.lastWords())
		}
	}
	status, err := awaitStatus(ctx, sock)
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("worker ended before its guest ran%s", c.lastWords())
	}
	if err != nil {
		return nil, fmt.Errorf("wait for worker: %w", err)
	}
	if status.Step != workerv1.StepReady {
		return nil, &StepError{Status: status}
	}
	start, err := startTime(c.pid)
	if err != nil { // it has ended already, unreaped: its stat is still there unless something is wrong
		return nil, fmt.Errorf("identify worker: %w", err)
	}
	p := newProcess(l, c.pidfd)
	p.dir, p.isChild, p.ref = b.spec.Dir, true, sandbox.ProcessRef{PID: c.pid, StartTime: start, BootID: l.bootID}
	return p, l.reaper.watch(p)
}

// StepError says at which step a process failed on its way into the sandbox.
type StepError struct{ Status workerv1.Status }

func (e *StepError) Error() string {
	text := e.Status.Step.String()
	if e.Status.Text != "" {
		text += ": " + e.Status.Text
	}
	if e.Status.Errno != 0 {
		text += ": " + unix.Errno(e.Status.Errno).Error()
	}
	return text
}

// Unwrap gives the errno.
func (e *StepError) Unwrap() error {
	if e.Status.Errno == 0 {
		return nil
	}
	return unix.Errno(e.Status.Errno)
}

// discard ends a worker that never became a process of ours, and reaps it.
func (l *Launcher) discard(c *child) {
	if err := unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		l.log.Error("kill worker that failed to start", "pid", c.pid, "error", err)
	}
	if _, err := waitChild(c.pidfd); err != nil {
		l.log.Error("reap worker that failed to start", "pid", c.pid, "error", err)
	}
	unix.Close(c.pidfd)
}

// Adopt implements sandbox.Launcher.
func (l *Launcher) Adopt(ref sandbox.ProcessRef, dir string) (sandbox.Process, error) {
	p := newProcess(l, -1)
	p.ref, p.dir = ref, dir
	fd, err := l.reopen(ref)
	if errors.Is(err, unix.ESRCH) {
		p.finish(l.exitOf(p, nil))
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("adopt process %d: %w", ref.PID, err)
	}
	p.pidfd = fd
	return p, l.reaper.watch(p)
}

// reopen gives a pidfd of the very process, or ESRCH.
func (l *Launcher) reopen(ref sandbox.ProcessRef) (int, error) {
	if ref.PID <= 0 || ref.BootID != l.bootID {
		return -1, unix.ESRCH
	}
	fd, err := unix.PidfdOpen(ref.PID, 0)
	if err != nil {
		return -1, err
	}
	if start, err := startTime(ref.PID); err != nil || start != ref.StartTime {
		return -1, errors.Join(unix.ESRCH, unix.Close(fd))
	}
	return fd, nil
}

func openIn(dir, name string, flags int) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, name), flags, 0o600)
}
