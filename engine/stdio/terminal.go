package stdio

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Terminal is the master of a guest's terminal. It carries all that the guest
// prints to one writer. Safe for concurrent use.
type Terminal struct {
	master *os.File
	ending atomic.Bool
	done   chan struct{} // closed when all output is carried
}

// settle is how long a terminal must be silent to have said all, where a guest
// still waits for input.
const settle = 100 * time.Millisecond

// NewTerminal takes ownership of the master, which must not block, and begins to
// carry output.
func NewTerminal(master *os.File, out io.Writer) *Terminal {
	t := &Terminal{master: master, done: make(chan struct{})}
	go t.carry(out)
	return t
}

func (t *Terminal) carry(out io.Writer) {
	defer close(t.done)
	b := make([]byte, 4096) // a terminal gives no more at once
	for {
		n, err := t.master.Read(b)
		if n > 0 {
			out.Write(b[:n])
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
		if t.ending.Load() {
			t.master.SetReadDeadline(time.Now().Add(settle))
		}
	}
}

// Input is the keyboard.
func (t *Terminal) Input(once bool) *Input {
	const endOfTransmission = 4
	return &Input{once: once, to: t.master, end: []byte{endOfTransmission}}
}

// Resize sets the size of the window.
func (t *Terminal) Resize(rows, cols uint16) error {
	raw, err := t.master.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
	return errors.Join(err, set)
}

// Drain carries what the guest has printed; it prints no more, since its side is
// closed but for a read that may be under way.
func (t *Terminal) Drain() {
	t.ending.Store(true)
	t.master.SetReadDeadline(time.Now().Add(settle))
	<-t.done
}
