package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// builder turns a spec into a plan. It owns the files that the plan needs
// until the plan is sent.
type builder struct {
	spec *sandbox.ProcessSpec
	bare bool // an init process: no streams, no records
	plan workerv1.Plan
	own  []*os.File
	join sandbox.Cgroup // must be joined by pid, before the plan is sent

	devNull *os.File
	labels  Labels
	stderr  string // path of the file with what the worker said
}

func (b *builder) isCommand() bool { return b.spec.Target != nil }

func (b *builder) close() {
	for _, f := range b.own {
		f.Close()
	}
}

func (b *builder) keep(f *os.File) int {
	b.own = append(b.own, f)
	return int(f.Fd())
}

// build adds the steps in the order in which they work; see the rules at each.
func (b *builder) build() error {
	for _, step := range []func() error{
		b.stdio, b.records, b.directories, // descriptors first: nothing is in the way yet
		b.cgroups,    // while the cgroup files' filesystem is as it was opened
		b.namespaces, // root of the host until here
		b.proc,       // in the new pid namespace and root
		b.limits,     // privileges are still there
		b.identity,   // gives them up
		b.hardening,  // seccomp is the last: it forbids the rest
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// stdio gives the worker its streams. Where the guest has none, stderr is where
// a crashing engine says why.
func (b *builder) stdio() error {
	words, err := b.openWords()
	if err != nil {
		return err
	}
	b.keep(words)
	if err := b.labels.Own(words, b.spec.Label); err != nil {
		return err
	}
	if b.spec.Terminal {
		if err := b.labels.Own(b.spec.Stdin, b.spec.Label); err != nil {
			return err
		}
	}
	for target, f := range []*os.File{b.spec.Stdin, b.spec.Stdout, b.spec.Stderr} {
		switch {
		case f != nil:
		case target == 0:
			f = b.devNull
		default:
			f = words
		}
		b.plan.AddFDU32(workerv1.StepStdio, int(f.Fd()), uint32(target))
	}
	if b.spec.Terminal {
		b.plan.Add(workerv1.StepTerminal, nil)
	}
	return nil
}

// openWords opens where the worker speaks when its guest has no stderr: a file,
// in which a later daemon finds it; for a command, which no later daemon knows, a
// file without a name.
func (b *builder) openWords() (*os.File, error) {
	if !b.isCommand() {
		words, err := openIn(b.spec.Dir, fileStderr, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND)
		if err == nil {
			b.stderr = words.Name()
		}
		return words, err
	}
	fd, err := unix.MemfdCreate("stderr", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	b.stderr = fmt.Sprintf("/proc/self/fd/%d", fd)
	return os.NewFile(uintptr(fd), "stderr"), nil
}

func (b *builder) records() error {
	if b.bare {
		return nil
	}
	if b.isCommand() {
		return b.traces()
	}
	exit, err := openExitRecord(b.spec.Dir)
	if err != nil {
		return err
	}
	b.plan.AddFDU32(workerv1.StepFD, b.keep(exit), workerv1.FDExitRecord)
	if err := b.labels.Own(exit, b.spec.Label); err != nil {
		return err
	}
	if err := b.traces(); err != nil {
		return err
	}
	for i, f := range b.spec.Listeners {
		b.plan.AddFDU32(workerv1.StepFD, int(f.Fd()), uint32(workerv1.FDFirstFree+i))
	}
	control, err := listenControl(b.spec.Dir)
	if err != nil {
		return fmt.Errorf("open control socket: %w", err)
	}
	b.plan.AddFDU32(workerv1.StepFD, b.keep(control), workerv1.FDControl)
	if b.spec.Master != nil {
		b.plan.AddFDU32(workerv1.StepFD, int(b.spec.Master.Fd()), workerv1.FDTerminal)
	}
	if b.spec.LogPath == "" {
		return nil
	}
	log, err := openLog(b.spec.LogPath)
	if err != nil {
		return err
	}
	b.plan.AddFDU32(workerv1.StepFD, b.keep(log), workerv1.FDLog)
	return b.labels.OwnLog(log, b.spec.Label)
}

// openExitRecord makes the file with room for the record, so that it can be written
// when the disk has become full. Filesystems that reserve no room are taken as well.
func openExitRecord(dir string) (*os.File, error) {
	f, err := openIn(dir, fileExit, os.O_CREATE|os.O_WRONLY|os.O_TRUNC)
	if err != nil {
		return nil, fmt.Errorf("open exit record: %w", err)
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, workerv1.MaxExitRecord)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, errors.Join(fmt.Errorf("reserve room for the exit record %s: %w", f.Name(), err), f.Close())
	}
	return f, nil
}

// directories opens each anew: a descriptor of the spec may not be made for
// reading.
func (b *builder) directories() error {
	for i, d := range b.spec.Dirs {
		fd, err := unix.Openat(int(d.File.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: d.Path, Err: err}
		}
		b.plan.AddFDU32(workerv1.StepFD, b.keep(os.NewFile(uintptr(fd), d.Path)), uint32(workerv1.FDFirstFree+len(b.spec.Listeners)+i))
	}
	return nil
}

// traces opens the file for the WASI calls, and the one to which its contents
// move when it has grown too long.
func (b *builder) traces() error {
	if b.spec.Trace == nil {
		return nil
	}
	for _, t := range []struct {
		path   string
		flags  int
		target uint32
	}{{b.spec.Trace.Path, os.O_APPEND, workerv1.FDTrace}, {sandbox.OldTrace(b.spec.Trace.Path), 0, workerv1.FDOldTrace}} {
		f, err := openTrace(t.path, t.flags)
		if err != nil {
			return err
		}
		b.plan.AddFDU32(workerv1.StepFD, b.keep(f), t.target)
		if err := b.labels.Own(f, b.spec.Label); err != nil {
			return err
		}
	}
	return nil
}

// openTrace opens a file that only root may read: it quotes what the guest reads
// and writes.
func openTrace(path string, flags int) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make directory of the trace: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open trace: %w", err)
	}
	return f, nil
}

// openLog opens a container's log for appending, and makes its directory. Pods that
// have /var/log can put something else in its place: a link would lead to any file of
// the host, and the open of a pipe waits for its reader, for ever.
func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make log directory: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o640)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return nil, notRegular(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open container log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = notRegular(path)
	}
	if err == nil {
		err = unix.SetNonblock(int(f.Fd()), false)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func notRegular(path string) error {
	return fmt.Errorf("container log %s is there and is no regular file: remove it", path)
}

func (b *builder) cgroups() error {
	if b.spec.Cgroup == nil {
		return nil
	}
	files, err := b.spec.Cgroup.JoinFiles()
	if err != nil {
		return fmt.Errorf("open cgroup: %w", err)
	}
	if len(files) == 0 {
		b.join = b.spec.Cgroup
	}
	for _, f := range files {
		b.plan.AddFD(workerv1.StepCgroup, b.keep(f), nil)
	}
	return nil
}

func (b *builder) namespaces() error {
	if b.isCommand() {
		return b.enterTarget()
	}
	for _, ns := range []struct {
		path string
		flag uint32
	}{{b.spec.NetNS, unix.CLONE_NEWNET}, {b.spec.IPCNS, unix.CLONE_NEWIPC}, {b.spec.UTSNS, unix.CLONE_NEWUTS}} {
		if err := b.enter(ns.path, ns.flag); err != nil {
			return err
		}
	}
	if b.spec.Root != nil {
		b.plan.AddFDU32(workerv1.StepSetNS, int(b.spec.Root.NS.Fd()), unix.CLONE_NEWNS)
	}
	return nil
}

// enter joins the namespace that is bound to path, if any.
func (b *builder) enter(path string, flag uint32) error {
	if path == "" {
		return nil
	}
	ns, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open namespace of the pod: %w", err)
	}
	b.plan.AddFDU32(workerv1.StepSetNS, b.keep(ns), flag)
	return nil
}

// enterTarget joins all of a running container but its pid namespace, which
// the fork already did.
func (b *builder) enterTarget() error {
	target, ok := b.spec.Target.(*process)
	if !ok {
		return fmt.Errorf("exec into a foreign process (%T)", b.spec.Target)
	}
	fd, err := target.dup()
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "target")
	b.plan.AddFDU32(workerv1.StepSetNS, b.keep(f), unix.CLONE_NEWNET|unix.CLONE_NEWIPC|unix.CLONE_NEWUTS|unix.CLONE_NEWNS)
	return nil
}

func (b *builder) proc() error {
	if b.spec.MountProc {
		b.plan.AddU32(workerv1.StepProc, 0)
	}
	if b.spec.MountProc || b.spec.Target != nil { // which has it mounted
		b.plan.AddU32(workerv1.StepOOMScore, uint32(int32(b.spec.OOMScoreAdj)))
	}
	if !b.spec.MountProc {
		return nil
	}
	for _, p := range b.spec.ReadonlyPaths {
		b.plan.Add(workerv1.StepReadonly, []byte(p))
	}
	options := sandbox.LabelledMount("size=0", b.spec.Label.Mount)
	for _, p := range b.spec.MaskedPaths {
		b.plan.Add(workerv1.StepMask, []byte(p+"\x00"+options))
	}
	return nil
}

func (b *builder) limits() error {
	for _, r := range b.spec.Rlimits {
		data := append(le32(r.Resource), append(le64(r.Soft), le64(r.Hard)...)...)
		b.plan.Add(workerv1.StepRlimit, data)
	}
	return nil
}

// identity leaves root's power over the host with the user namespace, in which
// the ids and capabilities after it are.
func (b *builder) identity() error {
	if err := b.enter(b.spec.UserNS, unix.CLONE_NEWUSER); err != nil {
		return err
	}
	u, c := b.spec.User, b.spec.Caps
	b.plan.AddU64(workerv1.StepBounding, c.Bounding)
	b.plan.AddU32(workerv1.StepGroups, u.Groups...)
	b.plan.AddU32(workerv1.StepIDs, u.UID, u.GID)
	if b.spec.NoNewPrivs || b.spec.Seccomp != nil { // a filter needs it, and a worker never executes anything
		b.plan.Add(workerv1.StepNoNewPrivs, nil)
	}
	b.plan.AddU64(workerv1.StepCaps, c.Permitted, c.Inheritable, c.Ambient)
	return nil
}

func (b *builder) hardening() error {
	if len(b.spec.Args) > 0 {
		b.plan.Add(workerv1.StepName, comm(b.spec.Args[0]))
		b.plan.Add(workerv1.StepTitle, title(b.spec.Args))
	}
	if b.spec.AppArmor != "" {
		b.plan.Add(workerv1.StepAppArmor, []byte(b.spec.AppArmor))
	}
	if b.spec.Label.Process != "" {
		b.plan.Add(workerv1.StepSELinux, []byte(b.spec.Label.Process))
	}
	if b.spec.Seccomp != nil {
		b.plan.Add(workerv1.StepSeccomp, b.spec.Seccomp)
	}
	return nil
}

// title is what /proc/PID/cmdline shows.
func title(args []string) []byte {
	t := strings.Join(args, "\x00") + "\x00"
	return []byte(t[:min(len(t), workerv1.MaxTitle)])
}

// comm is the name of the process, as the kernel keeps it: 15 bytes.
func comm(arg0 string) []byte {
	name := filepath.Base(arg0)
	name = strings.ReplaceAll(name[:min(len(name), 15)], "\x00", "?")
	if name == "" || name == "." {
		name = "wasm"
	}
	return []byte(name)
}

// listenControl makes the socket at which a running container is reached. The
// path goes through the directory's descriptor, since it may be too long for
// an address.
func listenControl(dir string) (*os.File, error) {
	var fd int
	err := withShortPath(dir, func(path string) error {
		if err := unix.Unlink(path); err != nil && !errors.Is(err, unix.ENOENT) {
			return os.NewSyscallError("unlink", err)
		}
		s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		if err := unix.Bind(s, &unix.SockaddrUnix{Name: path}); err != nil {
			return errors.Join(os.NewSyscallError("bind", err), unix.Close(s))
		}
		if err := unix.Listen(s, 8); err != nil {
			return errors.Join(os.NewSyscallError("listen", err), unix.Close(s))
		}
		fd = s
		return nil
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), fileControl), nil
}

// withShortPath gives a path of the control socket that fits in an address.
func withShortPath(dir string, use func(path string) error) error {
	d, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(d)
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", d, fileControl))
}

func startPayload(spec *sandbox.ProcessSpec) *workerv1.Start {
	s := &workerv1.Start{ID: spec.ID, Cwd: spec.Cwd, Program: spec.Program, EntryPoint: spec.Function, MaxProcs: uint32(spec.MaxProcs), Terminal: spec.Terminal, StdinOnce: spec.StdinOnce, Command: spec.Target != nil}
	s.Listeners = uint32(len(spec.Listeners))
	if spec.Trace != nil {
		s.TraceSize, s.TraceMark = uint64(spec.Trace.Size), spec.Trace.Mark
	}
	for _, a := range spec.Args {
		s.Args = append(s.Args, []byte(a))
	}
	for _, e := range spec.Env {
		s.Env = append(s.Env, append(append([]byte(e.Key), '='), e.Value...))
	}
	for _, d := range spec.Dirs {
		s.Dirs = append(s.Dirs, d.Path)
	}
	s.Stdin = stream(spec.Stdin, "")
	if spec.Stdin == nil && spec.FedStdin {
		s.Stdin = workerv1.StdioPipe
	}
	s.Stdout = stream(spec.Stdout, spec.LogPath)
	s.Stderr = stream(spec.Stderr, spec.LogPath)
	return s
}

func stream(f *os.File, log string) workerv1.Stdio {
	switch {
	case f != nil:
		return workerv1.StdioFD
	case log != "":
		return workerv1.StdioLog
	}
	return workerv1.StdioNull
}
