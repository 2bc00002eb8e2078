package codecache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/internal/bounded"
	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

const (
	probeTimeout = 20 * time.Second
	maxOutput    = 1 << 20 // of a worker's answer
)

// probe asks the worker what it is.
func probe(ctx context.Context, cfg Config) (*workerv1.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, cfg.Worker, "probe")
	cmd.Env = workerEnv(cfg)
	out, errs := bounded.New(maxOutput), bounded.New(4096)
	cmd.Stdout, cmd.Stderr = out, errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("probe worker %s: %w%s", cfg.Worker, err, stderrText(errs))
	}
	var info workerv1.Info
	if err := json.Unmarshal(out.Bytes(), &info); err != nil {
		return nil, fmt.Errorf("probe worker %s: its answer does not parse: %w", cfg.Worker, err)
	}
	if info.Protocol != workerv1.Version {
		return nil, fmt.Errorf("worker %s speaks protocol %d, this daemon %d: install both from one release", cfg.Worker, info.Protocol, workerv1.Version)
	}
	if len(info.Compilers) == 0 {
		return nil, fmt.Errorf("worker %s offers no compiler", cfg.Worker)
	}
	for _, name := range info.Compilers {
		if name == "" || strings.ContainsAny(name, "/-. ") {
			return nil, fmt.Errorf("worker %s offers a compiler of the strange name %q", cfg.Worker, name)
		}
	}
	return &info, nil
}

func workerEnv(cfg Config) []string {
	return append([]string{"LANG=C", "PATH=/usr/bin:/bin"}, cfg.WorkerEnv...)
}

func stderrText(b *bounded.Buffer) string {
	s := oneLine(b.String())
	if len(s) > 200 { // a crash prints pages; its first words say what it was
		s = s[:200] + "..."
	}
	if s != "" {
		s = ": " + s
	}
	return s
}

// run runs one compile process: module in, code out.
func (c *Cache) run(ctx context.Context, module, out *os.File, compiler string, nice int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, errTimeout)
	defer cancel()
	in, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", module.Fd()))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCompile, err)
	}
	defer in.Close()
	cmd := exec.CommandContext(ctx, c.cfg.Worker, "compile", "--compiler", compiler, "--memory-limit", strconv.FormatInt(c.cfg.MemoryLimit, 10))
	cmd.Env = workerEnv(c.cfg)
	cmd.ExtraFiles = []*os.File{in, out} // descriptors 3 and 4
	if len(c.cfg.Filter) > 0 {
		filter, err := memoryFile("filter", bytes.NewReader(c.cfg.Filter))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCompile, err)
		}
		defer filter.Close()
		cmd.Args = append(cmd.Args, "--filter")
		cmd.ExtraFiles = append(cmd.ExtraFiles, filter) // 5
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	stdout, stderr := bounded.New(maxOutput), bounded.New(4096)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	gate, err := cmd.StdinPipe() // the worker begins when it is closed
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCompile, err)
	}
	defer gate.Close()
	// The kernel sends the death signal when the thread ends that forked.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: start worker: %w", ErrCompile, err)
	}
	free, jailErr := c.confine(ctx, cmd.Process.Pid, nice)
	if jailErr != nil {
		cmd.Process.Kill()
	}
	gate.Close()
	if err = cmd.Wait(); errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; another child, between fork and exec, held its output open
	}
	free()
	if jailErr != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: confine the compiler: %w", ErrCompile, jailErr)
	}
	if ctx.Err() != nil {
		if errors.Is(context.Cause(ctx), errTimeout) {
			return &Refusal{TooBig, fmt.Sprintf("takes longer than %s to compile", c.cfg.Timeout), "raise the limit for compilations"}
		}
		return context.Cause(ctx)
	}
	if err == nil {
		return nil
	}
	return c.failure(err, stdout, stderr)
}

var errTimeout = errors.New("compilation takes too long")

// overhead is the memory of a compilation that is not the compiler's data: the
// program, its library, and files in the page cache.
const overhead = 256 << 20

// confine puts a compilation that waits to begin into its jail and lowers its
// priority.
func (c *Cache) confine(ctx context.Context, pid, nice int) (free func(), err error) {
	if nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, pid, nice); err != nil {
			c.log.Debug("priority of a compilation", "error", err)
		}
	}
	if c.cfg.Jail == nil {
		return func() {}, nil
	}
	free, err = c.cfg.Jail.Confine(ctx, pid, Bounds{Memory: c.cfg.MemoryLimit + overhead, Background: nice != 0})
	if err != nil {
		return func() {}, err
	}
	return free, nil
}

// failure says why a compile process ended without success.
func (c *Cache) failure(err error, stdout, stderr *bounded.Buffer) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("%w: %w", ErrCompile, err)
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		text := fmt.Sprintf("the compiler was ended by signal %d (%s)", int(ws.Signal()), ws.Signal())
		if ws.Signal() == syscall.SIGKILL {
			text += ", most likely for lack of memory"
		}
		return fmt.Errorf("%w: %s%s", ErrCompile, text, stderrText(stderr))
	}
	var ce workerv1.CompileError
	if json.Unmarshal(stdout.Bytes(), &ce) != nil || ce.Text == "" {
		return fmt.Errorf("%w: %w%s", ErrCompile, err, stderrText(stderr))
	}
	text := oneLine(ce.Text)
	switch ce.Kind {
	case "invalid":
		return &Refusal{Invalid, "does not compile: " + text, "build it again with a current toolchain"}
	case "unsupported":
		return &Refusal{Unsupported, "needs what this engine lacks: " + text, "build it without that proposal"}
	case "limit":
		return &Refusal{TooBig, "exceeds a limit of compilation: " + text, "raise the limits for compilations"}
	}
	return fmt.Errorf("%w: %s", ErrCompile, text)
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > 500 {
		s = s[:500] + "..."
	}
	return s
}
