// Package program runs a program of a test in the background: with its output in
// a file, and an end that is waited for.
package program

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a program may take to end on SIGTERM.
const stopTimeout = time.Minute

// Program is a program that runs, or has ended. Stop is for one goroutine, the
// other methods are for many.
type Program struct {
	name  string
	log   string
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended
}

// Start starts a program; its log is NAME.log in dir, to which a program that is
// started again appends.
func Start(dir, binary string, args ...string) (*Program, error) {
	p := &Program{name: filepath.Base(binary), ended: make(chan struct{})}
	p.log = filepath.Join(dir, p.name+".log")
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(binary, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// A group of its own: Ctrl-C in a terminal is for the caller, who then ends
	// its programs in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		_ = p.cmd.Wait() // it may end in any way
		close(p.ended)
	}()
	return p, nil
}

// PID is the process of the program.
func (p *Program) PID() int { return p.cmd.Process.Pid }

// Alive gives an error with the end of the log when the program has ended.
func (p *Program) Alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended: %v; the end of its log:\n%s", p.name, p.cmd.ProcessState, p.Tail(20))
	default:
		return nil
	}
}

// Stop ends the program with SIGTERM, or else with SIGKILL, which is an error. It
// may have ended already, or never been started.
func (p *Program) Stop() error {
	if p == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTimeout):
	}
	err := fmt.Errorf("%s did not end on SIGTERM within %v", p.name, stopTimeout)
	return errors.Join(err, p.kill())
}

func (p *Program) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.ended
	return nil
}

// Tail is the end of the log.
func (p *Program) Tail(lines int) string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
