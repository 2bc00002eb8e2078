package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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

// ExecSync runs a command in a running container and waits for its end. The
// command is a WebAssembly file of the container's root filesystem, found
// through PATH, or the container's own program when it has that name. With a
// timeout of 0 it may run for ever; when it runs longer than the timeout, it
// is killed and the error is of kind ErrTimeout.
func (m *Manager) ExecSync(ctx context.Context, id string, command []string, timeout time.Duration) (*ExecResult, error) {
	c, err := m.Container(id)
	if err != nil {
		return nil, err
	}
	if len(command) == 0 {
		return nil, fmt.Errorf("exec needs a command: %w", ErrInvalid)
	}
	target, err := c.process()
	if err != nil {
		return nil, err
	}
	out, err := newCapture()
	if err != nil {
		return nil, err
	}
	defer out.close()
	proc, err := m.exec(ctx, c, target, command, out)
	if err != nil {
		return nil, err
	}
	return m.awaitExec(ctx, proc, out, command, timeout)
}

// exec starts a guest in the sandbox of a running container.
func (m *Manager) exec(ctx context.Context, c *Container, target Process, command []string, out *capture) (Process, error) {
	c.mu.Lock()
	rec := c.rec
	c.mu.Unlock()
	root, err := target.Root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	program, file, err := m.lookPath(root, execProgram(&rec, command[0]), &rec)
	if err != nil {
		return nil, fmt.Errorf("exec: %w", err)
	}
	defer file.Close()
	code, err := m.compiled(ctx, file, "", program)
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
	spec.Dir = filepath.Join(m.containerDir(c.id), "exec-"+spec.ID[:16])
	if err := os.Mkdir(spec.Dir, 0o711); err != nil {
		return nil, fmt.Errorf("make exec directory: %w", err)
	}
	defer os.RemoveAll(spec.Dir) // the exec holds its files open; nobody else needs them
	spec.Code, spec.Target = code.File, target
	spec.Program, spec.Args, spec.Env, spec.Cwd = program, command, rec.Env, rec.Cwd
	spec.Stdout, spec.Stderr = out.stdout.w, out.stderr.w
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

func (m *Manager) awaitExec(ctx context.Context, proc Process, out *capture, command []string, timeout time.Duration) (*ExecResult, error) {
	out.closeWriters()
	limit := ctx
	if timeout > 0 {
		var cancel context.CancelFunc
		limit, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	select {
	case <-proc.Done():
	case <-limit.Done():
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err := endProcess(bound, proc)
		out.wait()
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), err)
		}
		return nil, errors.Join(fmt.Errorf("command %q did not end within %s and was killed: %w", command[0], timeout, ErrTimeout), err)
	}
	out.wait()
	return &ExecResult{Stdout: out.stdout.data, Stderr: out.stderr.data, Code: proc.Exit().Code}, nil
}

// capture reads the two output streams of a process.
type capture struct{ stdout, stderr *drain }

func newCapture() (*capture, error) {
	stdout, err := newDrain()
	if err != nil {
		return nil, err
	}
	stderr, err := newDrain()
	if err != nil {
		stdout.close()
		return nil, err
	}
	return &capture{stdout, stderr}, nil
}

// closeWriters leaves the process as the only writer, so that its end is the
// end of the streams.
func (c *capture) closeWriters() {
	c.stdout.w.Close()
	c.stderr.w.Close()
}

func (c *capture) wait() {
	<-c.stdout.done
	<-c.stderr.done
}

func (c *capture) close() {
	c.stdout.close()
	c.stderr.close()
}

// drain keeps the beginning of what is written to w, and reads the rest.
type drain struct {
	r, w *os.File
	data []byte // valid after done
	done chan struct{}
}

func newDrain() (*drain, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	d := &drain{r: r, w: w, done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.data, _ = io.ReadAll(io.LimitReader(r, MaxExecOutput)) // an error ends the stream as well
		io.Copy(io.Discard, r)
	}()
	return d, nil
}

func (d *drain) close() {
	d.w.Close()
	d.r.Close() // ends the reader, if it still reads
	<-d.done
}
