package cluster

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
const stopTimeout = 20 * time.Second

// process is a program of the cluster that writes its own log file. Its methods
// are for one goroutine, ended is for many.
type process struct {
	name  string
	log   string
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended
}

// startProcess starts a program; its log is NAME.log in dir, to which a program
// that is started again appends.
func startProcess(dir, binary string, args ...string) (*process, error) {
	p := &process{name: filepath.Base(binary), ended: make(chan struct{})}
	p.log = filepath.Join(dir, p.name+".log")
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd = exec.Command(binary, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// A group of its own: Ctrl-C in a terminal is for the caller, who then ends
	// the cluster in order.
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

// pid is the process of the program.
func (p *process) pid() int { return p.cmd.Process.Pid }

// alive gives an error with the end of the log when the program has ended.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended: %v; the end of its log:\n%s", p.name, p.cmd.ProcessState, p.tail(20))
	default:
		return nil
	}
}

// stop ends the program with SIGTERM, or else with SIGKILL. It may have ended
// already, or never been started.
func (p *process) stop() error {
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

// kill ends the program with SIGKILL.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.ended
	return nil
}

func (p *process) tail(lines int) string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
