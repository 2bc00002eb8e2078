package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// process implements sandbox.Process. Safe for concurrent use.
type process struct {
	launcher *Launcher
	ref      sandbox.ProcessRef
	dir      string
	isChild  bool // of this daemon: its wait status is ours
	ended    chan struct{}
	done     chan struct{}
	socket   *os.File // on which a command tells how it ended; nil: none

	mu    sync.Mutex
	pidfd int           // -1 once the process is reaped
	exit  *sandbox.Exit // nil before ended
}

func newProcess(l *Launcher, pidfd int) *process {
	return &process{launcher: l, pidfd: pidfd, ended: make(chan struct{}), done: make(chan struct{})}
}

func (p *process) Ref() sandbox.ProcessRef { return p.ref }

func (p *process) Ended() <-chan struct{} { return p.ended }

func (p *process) Done() <-chan struct{} { return p.done }

func (p *process) Exit() sandbox.Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *p.exit
}

func (p *process) Signal(sig int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 {
		return nil
	}
	err := unix.PidfdSendSignal(p.pidfd, unix.Signal(sig), nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}

// hold keeps the pidfd from being closed until release.
func (p *process) hold() (release func(), fd int, err error) {
	fd, err = p.dup()
	if err != nil {
		return nil, -1, err
	}
	return func() { unix.Close(fd) }, fd, nil
}

func (p *process) dup() (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 {
		return -1, fmt.Errorf("process %d has ended: %w", p.ref.PID, sandbox.ErrPrecondition)
	}
	fd, err := unix.FcntlInt(uintptr(p.pidfd), unix.F_DUPFD_CLOEXEC, 3)
	return fd, os.NewSyscallError("dup", err)
}

// Root implements sandbox.Process. The process is checked after the open: as
// long as its pidfd is alive, its pid was its own.
func (p *process) Root() (*os.File, error) {
	ended := fmt.Errorf("process %d has ended: %w", p.ref.PID, sandbox.ErrPrecondition)
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/root", p.ref.PID), unix.O_PATH|unix.O_DIRECTORY, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil, ended
	}
	if err != nil {
		return nil, err
	}
	select {
	case <-p.done:
		return nil, errors.Join(ended, f.Close())
	default:
		return f, nil
	}
}

// InnerPID implements sandbox.Process: the last number of NSpid, see proc(5).
func (p *process) InnerPID() (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.ref.PID))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), "\nNSpid:")
	line, _, _ := strings.Cut(rest, "\n")
	numbers := strings.Fields(line)
	if len(numbers) == 0 {
		return 0, fmt.Errorf("status of process %d has no NSpid: %w", p.ref.PID, sandbox.ErrUnsupported)
	}
	return strconv.Atoi(numbers[len(numbers)-1])
}

// Close implements sandbox.Process.
func (p *process) Close() error {
	if p.socket != nil {
		p.socket.Close() // ends hear; it may have closed it
	}
	return p.launcher.reaper.forget(p)
}

// hear waits for the word of a command that it ends, or for the end of its
// process without one.
func (p *process) hear() {
	defer p.socket.Close()
	b := make([]byte, workerv1.MaxExitRecord)
	n, err := p.socket.Read(b)
	if err != nil {
		return
	}
	if r, err := workerv1.DecodeExitRecord(b[:n]); err == nil {
		p.end(fromRecord(r))
	}
}

// end publishes how the guest ended, unless that is known.
func (p *process) end(exit sandbox.Exit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exit == nil {
		p.exit = &exit
		close(p.ended)
	}
}

// finish publishes that the process has ended, and how. Called once.
func (p *process) finish(exit sandbox.Exit) {
	p.end(exit)
	p.mu.Lock()
	if p.pidfd >= 0 {
		unix.Close(p.pidfd)
		p.pidfd = -1
	}
	p.mu.Unlock()
	close(p.done)
}

// startTime is field 22 of /proc/PID/stat: what makes a pid unique in a boot.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat has a strange form", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

func readBootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func tail(path string, most int64) string {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		return ""
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	b := make([]byte, min(st.Size(), most))
	n, _ := f.ReadAt(b, st.Size()-int64(len(b)))
	return strings.TrimSpace(string(b[:n]))
}

func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func le64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
