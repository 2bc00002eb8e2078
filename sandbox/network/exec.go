package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/cri-wasmer/cri-wasmer/internal/bounded"
)

const (
	maxPluginStdout = 4 << 20
	maxPluginStderr = 64 << 10
	// waitDelay is how long output may stay open after a plugin ended or was
	// killed: a child of its own may hold it, or one of ours that is between fork
	// and exec, for long where hundreds of plugins want to run.
	waitDelay = 2 * time.Second
	// busyRetries is how often a plugin that is just being written is tried
	// again, every busyPause.
	busyRetries = 20
	busyPause   = 100 * time.Millisecond
)

// executor runs plugins for libcni. Unlike libcni's own it ends a plugin with
// all its children, and bounds what one may print. Safe for concurrent use.
type executor struct {
	version.PluginDecoder
	log *slog.Logger
}

// pluginError is what a plugin said when it failed.
type pluginError struct {
	plugin string
	msg    string
	err    error // types.Error, or how the process ended
}

func (e *pluginError) Error() string { return e.msg }
func (e *pluginError) Unwrap() error { return e.err }

// ExecPlugin runs one plugin and returns what it printed. The error holds the
// plugin's own message.
func (x *executor) ExecPlugin(ctx context.Context, path string, stdin []byte, env []string) ([]byte, error) {
	for try := 0; ; try++ {
		out, err := x.exec(ctx, path, stdin, env)
		if !errors.Is(err, syscall.ETXTBSY) || try == busyRetries {
			return out, err
		}
		select {
		case <-time.After(busyPause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (x *executor) exec(ctx context.Context, path string, stdin []byte, env []string) ([]byte, error) {
	stdout := bounded.New(maxPluginStdout)
	stderr := bounded.New(maxPluginStderr)
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = env
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	// A plugin that outlived a killed daemon would go on beside the DEL of the
	// next one. The signal comes with the end of the thread, which must
	// therefore be kept until then.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = waitDelay

	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; that somebody else holds its output open is not its fault
	}
	if stdout.Dropped() && err == nil {
		err = fmt.Errorf("printed more than %d bytes", maxPluginStdout)
	}
	if err != nil {
		return nil, failure(ctx, path, err, stdout.Bytes(), stderr.Bytes())
	}
	if len(stderr.Bytes()) > 0 {
		x.log.Debug("CNI plugin said", "plugin", path, "stderr", stderr.String())
	}
	return stdout.Bytes(), nil
}

// failure finds the best words for why a plugin failed.
func failure(ctx context.Context, path string, err error, stdout, stderr []byte) error {
	e := &pluginError{plugin: filepath.Base(path), err: err}
	var said types.Error
	switch {
	case ctx.Err() != nil:
		e.msg = fmt.Sprintf("%s did not end in time and was killed: %v", path, context.Cause(ctx))
		e.err = ctx.Err()
	case json.Unmarshal(stdout, &said) == nil && said.Msg != "":
		e.msg, e.err = said.Error(), &said
		return e
	case errors.Is(err, fs.ErrPermission):
		e.msg = fmt.Sprintf("%s cannot be executed: %v", path, err)
	case len(stdout) > 0:
		e.msg = fmt.Sprintf("%s: %v, and its output is no CNI error: %q", path, err, head(stdout))
	default:
		e.msg = fmt.Sprintf("%s: %v", path, err)
	}
	if len(stderr) > 0 {
		e.msg += fmt.Sprintf("; stderr: %q", head(stderr))
	}
	return e
}

// head shortens output for an error message.
func head(b []byte) string {
	const max = 1024
	s := strings.TrimSpace(string(b))
	if len(s) > max {
		return s[:max] + "..."
	}
	return s
}

// FindInPath returns the file of a plugin. A plugin that is there but cannot be
// executed is not found.
func (x *executor) FindInPath(plugin string, dirs []string) (string, error) {
	return findPlugin(plugin, dirs)
}

// findPlugin returns a *MissingPluginError when there is none.
func findPlugin(plugin string, dirs []string) (string, error) {
	if plugin == "" || plugin != filepath.Base(plugin) {
		return "", fmt.Errorf("%q is no name of a CNI plugin", plugin)
	}
	missing := &MissingPluginError{Plugin: plugin, Dirs: dirs}
	for _, dir := range dirs {
		path := filepath.Join(dir, plugin)
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if info.Mode().Perm()&0o111 != 0 {
			return path, nil
		}
		missing.NotExecutable = path
	}
	return "", missing
}
