package process

import (
	"errors"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// A process has no root from its end on, though it is not reaped yet.
func TestTheRootOfAProcessThatHasEnded(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	p := &process{ref: sandbox.ProcessRef{PID: cmd.Process.Pid}, done: make(chan struct{})}
	for _, when := range []string{"before", "after"} {
		if _, err := p.Root(); !errors.Is(err, sandbox.ErrPrecondition) {
			t.Errorf("Root %s it is reaped = %v, want that it has ended", when, err)
		}
		_ = cmd.Wait()
	}
}

func TestUninterruptedCallsAgain(t *testing.T) {
	for _, want := range []error{nil, unix.EPIPE} {
		calls := 0
		err := uninterrupted("read", func() error {
			if calls++; calls < 3 {
				return unix.EINTR
			}
			return want
		})
		if !errors.Is(err, want) || calls != 3 {
			t.Errorf("got %v after %d calls, want %v after 3", err, calls, want)
		}
	}
}
