// Package daemon starts and ends cri-wasmer servers on private directories, as
// a test or an example needs them.
//
// A Daemon is one server process and its directories; the directories outlive
// the process, so that it can be killed and started again on the same state.
// Containers are no children of the process that called Start, and go on when
// the server ends.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// startTimeout is how long a server may take until it answers; recovery of many
// pods on a busy machine included.
const startTimeout = 2 * time.Minute

// Options say how a server is started. Only Binary and Dir are needed.
type Options struct {
	Binary string // bin/cri-wasmer
	// Dir holds everything: keep it short, the path of a unix socket has at
	// most 107 bytes.
	Dir          string
	Root         string            // default Dir/root
	Flags        map[string]string // further flags; the CNI configuration is an empty directory by default
	Env          []string          // added to the environment
	Hosts        map[string]string // registry host to the content of its hosts.toml
	CgroupParent string
}

// Daemon is a server. Its methods are for one goroutine; the Client is for
// many.
type Daemon struct {
	Client  *criclient.Client
	options Options

	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended
}

// Start starts a server and waits until it answers. The error has the end of
// the server's log.
func Start(ctx context.Context, o Options) (*Daemon, error) {
	if o.Root == "" {
		o.Root = filepath.Join(o.Dir, "root")
	}
	d := &Daemon{options: o}
	if err := errors.Join(d.writeConfig(), d.mountState()); err != nil {
		return nil, err
	}
	client, err := criclient.Dial(d.Socket())
	if err != nil {
		return nil, err
	}
	d.Client = client
	if err := d.Start(ctx); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return d, nil
}

// mountState makes the state directory what it is on a machine, a tmpfs. Who
// removes Dir unmounts it, as isolate.RemoveTree does.
func (d *Daemon) mountState() error {
	if !isolate.Inside() {
		return nil
	}
	if err := os.MkdirAll(d.State(), 0o711); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", d.State(), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0711"); err != nil {
		return fmt.Errorf("mount the state directory: %w", err)
	}
	return nil
}

// Socket is where the server listens.
func (d *Daemon) Socket() string { return filepath.Join(d.options.Dir, "cri.sock") }

// Root and State are the directories of the server.
func (d *Daemon) Root() string  { return d.options.Root }
func (d *Daemon) State() string { return filepath.Join(d.options.Dir, "state") }

// HostsDir is where a registry's hosts.toml belongs.
func (d *Daemon) HostsDir() string { return filepath.Join(d.options.Dir, "certs.d") }

// PID is the process of the server.
func (d *Daemon) PID() int { return d.cmd.Process.Pid }

// Log is what all processes of this server have written so far.
func (d *Daemon) Log() string {
	data, err := os.ReadFile(d.logFile())
	if err != nil {
		return err.Error()
	}
	return string(data)
}

func (d *Daemon) logFile() string { return filepath.Join(d.options.Dir, "daemon.log") }

// Tail is the end of Log.
func (d *Daemon) Tail(lines int) string {
	all := strings.Split(strings.TrimRight(d.Log(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Command is the command line that starts the server.
func (d *Daemon) Command() []string {
	args := []string{
		d.options.Binary, "serve",
		"--socket", d.Socket(),
		"--root", d.Root(),
		"--state", d.State(),
		"--config", d.configFile(),
		"--image-certs-dirs", d.HostsDir(),
	}
	if d.options.CgroupParent != "" {
		args = append(args, "--cgroup-parent", d.options.CgroupParent, "--cgroup-driver", driverOf(d.options.CgroupParent))
	}
	for flag, value := range d.options.Flags {
		args = append(args, "--"+flag+"="+value)
	}
	return args
}

// driverOf is the driver that takes a parent of this form: the one that the server
// chooses by itself is that of the machine.
func driverOf(parent string) string {
	if strings.HasSuffix(parent, ".slice") {
		return "systemd"
	}
	return "cgroupfs"
}

func (d *Daemon) configFile() string { return filepath.Join(d.options.Dir, "config.toml") }

// Start starts the server again after Stop or Kill.
func (d *Daemon) Start(ctx context.Context) error {
	log, err := os.OpenFile(d.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	args := d.Command()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), d.options.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: Ctrl-C in a terminal is for the caller, who then
	// stops the server in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", args[0], err)
	}
	ended := make(chan struct{})
	d.cmd, d.ended = cmd, ended
	go func() {
		_ = cmd.Wait() // a server may end in any way
		close(ended)
	}()
	if err := d.waitReady(ctx); err != nil {
		return errors.Join(fmt.Errorf("%w; the end of its log:\n%s", err, d.Tail(30)), d.Kill())
	}
	return nil
}

// Upgrade starts the server again after Stop or Kill, from another binary.
func (d *Daemon) Upgrade(ctx context.Context, binary string) error {
	d.options.Binary = binary
	return d.Start(ctx)
}

func (d *Daemon) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		_, err := d.Client.Version(ctx, &runtime.VersionRequest{})
		if err == nil {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-d.ended:
			return errors.New("the server ended at once")
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", err)
		}
	}
}

// Stop ends the server with SIGTERM and waits for it.
func (d *Daemon) Stop() error { return d.end(syscall.SIGTERM) }

// Kill ends the server with SIGKILL and waits for it.
func (d *Daemon) Kill() error { return d.end(syscall.SIGKILL) }

// Ended is closed when the server has ended.
func (d *Daemon) Ended() <-chan struct{} { return d.ended }

func (d *Daemon) end(s syscall.Signal) error {
	select {
	case <-d.ended:
		return nil
	default:
	}
	if err := d.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to the server: %w", s, err)
	}
	select {
	case <-d.ended:
		return nil
	case <-time.After(startTimeout):
		return errors.Join(fmt.Errorf("the server does not end on %v", s), d.cmd.Process.Kill())
	}
}

// Close ends the server in any way and closes the connection. Pods go on.
func (d *Daemon) Close() error {
	err := d.Stop()
	return errors.Join(err, d.Client.Close())
}

// Destroy is Close, and the end of the directories and of what is mounted there.
// Pods that still run lose the ground under their feet: remove them before.
func (d *Daemon) Destroy() error {
	return errors.Join(d.Close(), isolate.RemoveTree(d.options.Dir))
}

// RemoveAllPods removes every pod of the server, one after the other.
func (d *Daemon) RemoveAllPods(ctx context.Context) error {
	list, err := d.Client.ListPodSandbox(ctx, &runtime.ListPodSandboxRequest{})
	if err != nil {
		return err
	}
	var errs []error
	for _, pod := range list.Items {
		if err := d.Client.RemovePod(ctx, pod.Id); err != nil {
			errs = append(errs, fmt.Errorf("remove pod %s: %w", pod.Id, err))
		}
	}
	return errors.Join(errs...)
}

// writeConfig keeps what the machine has in /etc away from the server.
func (d *Daemon) writeConfig() error {
	cni := filepath.Join(d.options.Dir, "cni")
	if err := os.MkdirAll(cni, 0o755); err != nil {
		return err
	}
	config := fmt.Sprintf("[cni]\nconf_dir = %q\n", cni)
	if err := os.WriteFile(d.configFile(), []byte(config), 0o644); err != nil {
		return err
	}
	for host, content := range d.options.Hosts {
		if err := d.SetHosts(host, content); err != nil {
			return err
		}
	}
	return nil
}

// SetHosts writes the hosts.toml of a registry.
func (d *Daemon) SetHosts(host, content string) error {
	dir := filepath.Join(d.HostsDir(), host)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(content), 0o644)
}

// Mirror is the hosts.toml that sends a registry's requests to url.
func Mirror(url string) string {
	return fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", url)
}

// Server is the hosts.toml that puts url in the place of a registry: nobody else
// is asked, and credentials for the registry go there.
func Server(url string) string { return fmt.Sprintf("server = %q\n", url) }
