package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// terminal implements sandbox.Terminal by a pseudo terminal of the host: its
// guest never opens a path to reach it.
type terminal struct {
	master *os.File
	mu     sync.Mutex
	slave  *os.File // nil once closed
}

// OpenTerminal implements sandbox.Launcher.
func (l *Launcher) OpenTerminal() (sandbox.Terminal, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open pseudo terminal: %w", err)
	}
	master := os.NewFile(uintptr(fd), "ptmx")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, errors.Join(fmt.Errorf("unlock pseudo terminal: %w", err), master.Close())
	}
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, errors.Join(fmt.Errorf("open guest's side of pseudo terminal: %w", errno), master.Close())
	}
	return &terminal{master: master, slave: os.NewFile(peer, "tty")}, nil
}

// Read implements sandbox.Terminal. The kernel's word for the end is EIO.
func (t *terminal) Read(p []byte) (int, error) {
	n, err := t.master.Read(p)
	if errors.Is(err, unix.EIO) {
		err = io.EOF
	}
	return n, err
}

func (t *terminal) Write(p []byte) (int, error) { return t.master.Write(p) }

func (t *terminal) Close() error { return t.master.Close() }

func (t *terminal) Resize(size sandbox.WindowSize) error {
	raw, err := t.master.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
	})
	return errors.Join(err, os.NewSyscallError("ioctl", set))
}

func (t *terminal) Master() *os.File { return t.master }

func (t *terminal) Slave() *os.File {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.slave
}

func (t *terminal) CloseSlave() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.slave == nil {
		return nil
	}
	err := t.slave.Close()
	t.slave = nil
	return err
}
