package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

// MaxExecOutput is how much of each stream ExecSync keeps, in bytes; what
// comes after it is read and dropped.
const MaxExecOutput = 16 << 20

// ExecResult is what a command printed and how it ended.
type ExecResult struct {
	Stdout, Stderr []byte
	Code           int32
}

// ExecStreams is a command and the streams that it is given.
type ExecStreams struct {
	Command []string
	// Stdin is nil for a command whose input is at its end. A Read that is
	// under way when the command ends is not waited for: it must end with the
	// connection behind it.
	Stdin io.Reader
	// Stdout and Stderr may be nil, and lose what is written when they fail: a
	// command does not end because nobody listens.
	Stdout, Stderr io.Writer
	// TTY gives the command a terminal, whose output all goes to Stdout.
	TTY    bool
	Resize <-chan WindowSize // of the terminal; may be nil
}

// Exec runs a command in a running container with the streams given, waits for
// its end and gives its exit code. The command is a WebAssembly file of the
// container's root filesystem, found through PATH, or the container's own
// program when it has that name. A slow Stdout makes the command wait. When ctx
// ends first, the command is killed.
func (m *Manager) Exec(ctx context.Context, id string, s ExecStreams) (int32, error) {
	e, err := m.startExec(ctx, id, s)
	if err != nil {
		return 0, err
	}
	return e.wait(ctx)
}

// ExecSync runs a command as Exec does and gives what it printed. With a timeout
// of 0 it may run for ever; when it runs longer than the timeout, it is killed
// and the error is of kind ErrTimeout.
func (m *Manager) ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (*ExecResult, error) {
	var stdout, stderr capture
	e, err := m.startExec(ctx, id, ExecStreams{Command: command, Stdout: &stdout, Stderr: &stderr})
	if err != nil {
		return nil, err
	}
	limit := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		limit, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	code, err := e.wait(limit)
	switch {
	case err == nil:
		return &ExecResult{Stdout: stdout.kept, Stderr: stderr.kept, Code: code}, nil
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("command %q did not end within %s and was killed: %w: %w", command[0], timeout, ErrTimeout, err)
	}
	return nil, err
}

// capture keeps the beginning of what is written to it.
type capture struct{ kept []byte }

func (c *capture) Write(p []byte) (int, error) {
	c.kept = append(c.kept, p[:min(len(p), MaxExecOutput-len(c.kept))]...)
	return len(p), nil
}

// execution is a command that runs.
type execution struct {
	proc     Process
	streams  execPipes
	observer Observer
	begin    time.Time
}

func (m *Manager) startExec(ctx context.Context, id string, s ExecStreams) (*execution, error) {
	c, err := m.Container(id)
	if err != nil {
		return nil, err
	}
	if len(s.Command) == 0 {
		return nil, fmt.Errorf("exec needs a command: %w", ErrInvalid)
	}
	target, err := c.process()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	pipes, err := m.openExecPipes(&s)
	if err != nil {
		return nil, err
	}
	proc, err := m.launchExec(ctx, c, target, &s, pipes)
	if err != nil {
		m.Observer.ExecEnded(time.Since(begin), err)
		return nil, errors.Join(err, pipes.close())
	}
	pipes.start(&s)
	return &execution{proc, pipes, m.Observer, begin}, nil
}

// wait gives the exit code once the command has ended and its output is
// delivered. A command that is still there when ctx ends is killed.
func (e *execution) wait(ctx context.Context) (code int32, err error) {
	defer func() { e.observer.ExecEnded(time.Since(e.begin), err) }()
	defer e.streams.close()
	select {
	case <-e.proc.Ended():
	case <-ctx.Done():
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return 0, errors.Join(ctx.Err(), endProcess(bound, e.proc))
	}
	select {
	case <-e.streams.delivered():
		return e.proc.Exit().Code, nil
	case <-ctx.Done(): // whoever reads the output does not
		return 0, ctx.Err()
	}
}

// launchExec starts a guest in the sandbox of a running container.
func (m *Manager) launchExec(ctx context.Context, c *Container, target Process, s *ExecStreams, pipes execPipes) (Process, error) {
	c.mu.Lock()
	rec := c.rec
	c.mu.Unlock()
	root, err := target.Root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	program, file, err := m.lookPath(root, execProgram(&rec, s.Command[0]), &rec)
	if err != nil {
		return nil, fmt.Errorf("exec: %w", err)
	}
	defer file.Close()
	code, err := m.compiled(ctx, file, "", ProgramError{Path: program})
	if err != nil {
		return nil, fmt.Errorf("exec: %w", err)
	}
	defer code.File.Close()
	spec, err := m.confinement(&rec)
	if err != nil {
		return nil, err
	}
	if spec.Cgroup, err = m.Cgroups.Open(rec.Cgroup); err != nil {
		return nil, err
	}
	spec.ID = newID()
	if p, err := m.Pod(c.podID); err == nil {
		spec.UserNS = p.Status().Kept.User
	}
	spec.Code, spec.Target = code.File, target
	spec.Program, spec.Args, spec.Env, spec.Cwd = program, s.Command, execEnv(&rec, s.TTY), rec.Cwd
	if spec.Dirs, err = m.targetRoot(&rec); err != nil {
		return nil, err
	}
	defer closeDirs(spec.Dirs)
	spec.Trace = m.traceFile(&rec, "exec "+spec.ID[:12])
	pipes.give(&spec)
	proc, err := m.Launcher.Launch(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("exec: %w", err)
	}
	return proc, nil
}

// execProgram is the file that a command names. The container's own program
// goes by the name under which it was started.
func execProgram(rec *containerRecord, name string) string {
	own := len(rec.Args) > 0 && name == rec.Args[0]
	if own || (rec.Artifact && name == filepath.Base(rec.Program)) {
		return rec.Program
	}
	return name
}

// execEnv is the environment of the container, in which a terminal has a type.
func execEnv(rec *containerRecord, tty bool) []EnvVar {
	if !tty {
		return rec.Env
	}
	env := newEnvironment()
	env.add("TERM", []byte("xterm"))
	for _, kv := range rec.Env {
		env.add(kv.Key, kv.Value)
	}
	return env.list
}
