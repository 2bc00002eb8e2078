// Package isolate runs a test binary in namespaces of its own: network, mounts, IPC
// and processes. What the tests start cannot outlive them, and the bridges and
// addresses that they make are nobody else's.
//
//	test binary  ──> init (pid 1: mounts, loopback, reaps orphans) ──> test binary
//
// The init plays the part of a real machine's: orphans go to it, as they do when
// a daemon dies and its children go on. /sys stays that of the host, so the
// control groups are shared; Group names the one that belongs to this run, and
// it is removed at the end.
package isolate

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	stageVariable = "E2E_STAGE"
	groupVariable = "E2E_GROUP"

	driverVariable = "E2E_CGROUP_DRIVER"
	stageInit      = "init"
	stageInside    = "inside"
)

// privateDirs are places outside the daemon's own directories in which it, or
// network plugins, keep state; each run has its own.
var privateDirs = []string{"/run/netns", "/run/cri-wasmer.locks", "/var/lib/cni"}

// Group is the name of the control group, in every hierarchy, below which
// everything of this run belongs. Empty outside of Run.
func Group() string { return os.Getenv(groupVariable) }

// Parent names a control group of this run as the driver wants it that the
// variable E2E_CGROUP_DRIVER names: a path, or a slice of systemd, for which a
// dash means another level.
func Parent(name string) string {
	if os.Getenv(driverVariable) == "systemd" {
		return strings.ReplaceAll(Group(), "-", "") + "-" + strings.ReplaceAll(name, "-", "_") + ".slice"
	}
	return "/" + Group() + "/" + name
}

// Inside says whether the namespaces are there: false without root.
func Inside() bool { return os.Getenv(stageVariable) == stageInside }

// Outside says whether Run will make the namespaces: this is the process that was
// started, by root, and not one of those that Run starts.
func Outside() bool { return os.Getenv(stageVariable) == "" && os.Geteuid() == 0 }

// Run calls main in fresh namespaces and gives its result. Without root it calls
// main right here; tests then see that Inside is false. It is meant for TestMain
// and for main functions: the process starts itself again.
func Run(main func() int) int {
	return RunTelling(main, func(int) {})
}

// RunTelling is Run that calls started, outside of the namespaces, with the
// process that is their init.
func RunTelling(main func() int, started func(pid int)) int {
	switch {
	case os.Getenv(stageVariable) == stageInit:
		return runInit()
	case Inside() || os.Geteuid() != 0:
		return main()
	}
	code, err := runOutside(started)
	if err != nil {
		fmt.Fprintln(os.Stderr, "isolate:", err)
		return 1
	}
	return code
}

// runOutside starts the init and waits for it.
func runOutside(started func(pid int)) (int, error) {
	runtime.LockOSThread() // Pdeathsig watches the thread
	defer runtime.UnlockOSThread()
	group := fmt.Sprintf("cri-wasmer-e2e-%d", os.Getpid())
	defer removeGroups(group)
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), stageVariable+"="+stageInit, groupVariable+"="+group)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC,
		Pdeathsig:  unix.SIGKILL,
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start in new namespaces: %w", err)
	}
	stop := forwardSignals(func(s os.Signal) { _ = cmd.Process.Signal(s) })
	defer stop()
	started(cmd.Process.Pid)
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	return exitCode(unix.WaitStatus(cmd.ProcessState.Sys().(syscall.WaitStatus))), nil
}

// runInit is process 1 of the new namespaces.
func runInit() int {
	if pid := os.Getpid(); pid != 1 {
		fmt.Fprintf(os.Stderr, "isolate: %s=%s is set, but this is process %d and not 1\n", stageVariable, stageInit, pid)
		return 1
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "isolate: prepare namespaces:", err)
		return 1
	}
	// Not by os/exec: its Wait and the reaper would fight over the child.
	err := os.Setenv(stageVariable, stageInside)
	if err != nil {
		fmt.Fprintln(os.Stderr, "isolate:", err)
		return 1
	}
	child, err := os.StartProcess("/proc/self/exe", os.Args, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "isolate:", err)
		return 1
	}
	stop := forwardSignals(func(s os.Signal) { _ = child.Signal(s) })
	defer stop()
	return reapUntil(child.Pid)
}

// reapUntil reaps every orphan and returns when pid has ended.
func reapUntil(pid int) int {
	for {
		var status unix.WaitStatus
		got, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			fmt.Fprintln(os.Stderr, "isolate: wait:", err)
			return 1
		case got == pid:
			return exitCode(status)
		}
	}
}

func exitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

func forwardSignals(send func(os.Signal)) (stop func()) {
	c := make(chan os.Signal, 4)
	done := make(chan struct{})
	signal.Notify(c, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT, unix.SIGHUP)
	go func() {
		for {
			select {
			case s := <-c:
				send(s)
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(c)
		close(done)
	}
}

// prepare cuts the mounts off from the host's, shows the processes of the new namespace,
// and brings loopback up.
func prepare() error {
	// Private cuts the tie to the host; shared, among the namespaces that are
	// made from this one, is how systemd leaves a machine.
	for _, propagation := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", unix.MS_REC|propagation, ""); err != nil {
			return fmt.Errorf("set the propagation of mounts: %w", err)
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, dir := range privateDirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	return nil
}

// CgroupRoots gives the mount points of all cgroup hierarchies.
func CgroupRoots() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var roots []string
	for line := range strings.Lines(string(data)) {
		before, after, ok := strings.Cut(line, " - ")
		if !ok || !strings.HasPrefix(after, "cgroup") {
			continue
		}
		if fields := strings.Fields(before); len(fields) > 4 {
			roots = append(roots, fields[4])
		}
	}
	return roots, nil
}

// RemoveTree unmounts everything below dir, the innermost first, and then
// removes it. It removes nothing when a mount stays: it might hold what is not
// ours.
func RemoveTree(dir string) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	lines := strings.Split(string(data), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		fields := strings.Fields(lines[i])
		if len(fields) < 5 || !strings.HasPrefix(fields[4], dir+"/") {
			continue
		}
		// One mount above may take this one along.
		if err := unix.Unmount(fields[4], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", fields[4], err)
		}
	}
	return os.RemoveAll(dir)
}

// removeGroups removes the control groups of a run whose processes have ended.
func removeGroups(group string) {
	roots, err := CgroupRoots()
	if err != nil {
		fmt.Fprintln(os.Stderr, "isolate: remove control groups:", err)
		return
	}
	for _, root := range roots {
		if err := removeTree(filepath.Join(root, group)); err != nil {
			fmt.Fprintln(os.Stderr, "isolate: remove control group:", err)
		}
	}
}

// removeTree removes nested control groups, the innermost first. The kernel may
// call a group busy for a moment after its last process has ended.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("rmdir %s: %w", dir, err)
		}
	}
}
