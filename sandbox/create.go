package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/cri-wasmer/cri-wasmer/internal/undo"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Create makes a container in a ready pod. Everything that can be wrong with
// its image, program and filesystem is found here; on failure nothing is left
// and the name is free again.
func (m *Manager) Create(ctx context.Context, podID string, config ContainerConfig) (*Container, error) {
	p, err := m.Pod(podID)
	if err != nil {
		return nil, err
	}
	pod := p.Status()
	if pod.Phase != PhaseReady {
		return nil, fmt.Errorf("%s is %s: containers can be made in a ready pod only: %w", p.name(), pod.Phase, ErrPrecondition)
	}
	if err := checkContainer(&config); err != nil {
		return nil, err
	}
	if err := m.checkAppArmor(config.Security.AppArmor); err != nil {
		return nil, err
	}
	if err := checkContainerUserNS(&config.Security, pod.Config.UserNS); err != nil {
		return nil, err
	}
	if config.Security.Privileged && !pod.Config.Privileged && !config.Security.PodPrivileged {
		return nil, fmt.Errorf("container %q is privileged, but its pod was made without privileges: %w", config.Name, ErrInvalid)
	}
	if err := config.Security.Namespaces.settlePID(pod.Config.Namespaces.PID); err != nil {
		return nil, err
	}
	if _, err := m.targetOf(p.id, &config); err != nil {
		return nil, err
	}
	features, err := featuresFor(&config, &pod.Config)
	if err != nil {
		return nil, err
	}
	filter, err := m.readFilter(&config.Security)
	if err != nil {
		return nil, err
	}
	id := newID()
	cgroup, err := m.Cgroups.Find(pod.Config.CgroupParent, id)
	if err != nil {
		return nil, fmt.Errorf("make cgroup: %w", err)
	}
	// The record has the cgroup's place before it is made: after a crash the pod, which
	// says where, may be gone.
	rec := containerRecord{ID: id, PodID: p.id, Config: config, Phase: PhaseCreating, CreatedAt: time.Now(), Cgroup: cgroup.Path(), Filter: filter}
	key := containerKey(p.id, &config)
	if err := m.reserve(key, rec.ID); err != nil {
		return nil, err
	}
	c := &Container{id: rec.ID, podID: p.id, created: rec.CreatedAt, rec: rec, exited: make(chan struct{})}
	var u undo.Stack
	u.Push(func(context.Context) error { m.unreserve(key); return nil })
	b := &creation{m: m, c: c, pod: &pod, rec: &c.rec, features: features, undo: &u}
	if err := b.run(ctx); err != nil {
		return nil, errors.Join(p.explain(err), u.Run())
	}
	if err := m.publish(ctx, p, c); err != nil {
		return nil, errors.Join(err, u.Run())
	}
	u.Release()
	m.Logger.Info("container is created", "container", c.id, "pod", p.id, "name", config.Name, "image", config.UserImage, "program", c.rec.Program)
	return c, nil
}

// explain puts before an error that the pod has ended, where it has: what its
// containers are made of goes with it.
func (p *Pod) explain(err error) error {
	if phase := p.phase(); phase != PhaseReady {
		return fmt.Errorf("%s has become %s: %w: %w", p.name(), phase, ErrPrecondition, err)
	}
	return err
}

// publish makes the container visible unless its pod was stopped meanwhile.
func (m *Manager) publish(ctx context.Context, p *Pod, c *Container) error {
	p.op.Lock()
	defer p.op.Unlock()
	if phase := p.phase(); phase != PhaseReady {
		return fmt.Errorf("%s has become %s: %w", p.name(), phase, ErrPrecondition)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := m.update(c, func(rec *containerRecord) error { rec.Phase = PhaseCreated; return nil })
	if err != nil {
		return err
	}
	c.op.Lock() // whoever sees the container now comes after its event
	defer c.op.Unlock()
	m.mu.Lock()
	m.containers[c.id] = c
	m.mu.Unlock()
	m.announce(EventCreated, c.id, p)
	return nil
}

// imageVolumeFailed starts the texts by which the kubelet knows that an image
// volume was not mounted.
const imageVolumeFailed = "ImageVolumeMountFailed"

// creation is the work of Create on a container that nobody else can see.
type creation struct {
	m        *Manager
	c        *Container
	pod      *PodStatus
	rec      *containerRecord
	features Features
	undo     *undo.Stack
	image    *Image
}

func (b *creation) run(ctx context.Context) error {
	if err := b.directory(ctx); err != nil {
		return err
	}
	cgroup := b.makeCgroup(ctx)
	err := b.steps(ctx, b.acquire, b.label, b.environment, b.buildRoot, b.relabel, b.identity, b.program)
	return errors.Join(err, cgroup())
}

func (b *creation) steps(ctx context.Context, steps ...func(context.Context) error) error {
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *creation) directory(context.Context) error {
	dir := b.m.containerDir(b.rec.ID)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("make container directory: %w", err)
	}
	b.undo.Push(func(context.Context) error { return os.RemoveAll(dir) })
	if err := b.m.ContainerRecords.Save(b.rec.ID, b.rec); err != nil {
		return err
	}
	b.undo.Push(func(context.Context) error { return b.m.ContainerRecords.Delete(b.rec.ID) })
	return nil
}

func (b *creation) acquire(ctx context.Context) error {
	c := &b.rec.Config
	image, err := b.m.Images.Acquire(ctx, c.Image, b.rec.ID)
	switch {
	case err == nil:
	case c.UserImage != c.Image: // the error names the id that the kubelet gave
		return fmt.Errorf("image %s: %w", c.UserImage, err)
	default:
		return err
	}
	b.undo.Push(func(context.Context) error { return b.m.Images.Release(b.rec.ID) })
	if image.Problem != "" {
		return &ProgramError{Image: c.UserImage, Text: image.Problem}
	}
	b.image = image
	b.rec.ImageID, b.rec.ImageRef, b.rec.Artifact = image.ID, image.Ref, image.Module != ""
	return nil
}

// environment settles what the program is given.
func (b *creation) environment(context.Context) error {
	c, rec := &b.rec.Config, b.rec
	rec.Args = arguments(c, b.image)
	if len(c.Command) == 0 && (len(b.image.Entrypoint) > 0 || len(c.Args) == 0) {
		rec.Function = b.image.Function
	}
	rec.Cwd = firstOf(c.WorkingDir, b.image.WorkingDir, "/")
	rec.LogPath = logPath(&b.pod.Config, c)
	if err := b.applyFeatures(b.features); err != nil {
		return err
	}
	rec.StopSignal = firstOf(c.StopSignal, b.image.StopSignal, "SIGTERM")
	if _, err := signalNumber(rec.StopSignal); err != nil {
		rec.StopSignal = "SIGTERM" // an image must not keep its container from stopping
	}
	env := newEnvironment()
	env.add("PATH", []byte(defaultPath))
	env.add("HOSTNAME", []byte(b.pod.Hostname))
	if c.TTY {
		env.add("TERM", []byte("xterm"))
	}
	for _, kv := range b.image.Env {
		key, value, _ := strings.Cut(kv, "=")
		env.add(key, []byte(value))
	}
	for _, kv := range c.Env {
		env.add(kv.Key, kv.Value)
	}
	rec.Env = env.list
	return nil
}

// arguments joins command and args with those of the image, as Kubernetes
// defines it.
func arguments(c *ContainerConfig, image *Image) []string {
	command, args := c.Command, c.Args
	if len(command) == 0 {
		command = image.Entrypoint
		if len(args) == 0 {
			args = image.Cmd
		}
	}
	return append(append([]string{}, command...), args...)
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

func (b *creation) buildRoot(ctx context.Context) error {
	c, rec := &b.rec.Config, b.rec
	spec := RootSpec{
		ID: rec.ID, Layers: b.image.Layers, Readonly: c.Security.ReadonlyRoot, Files: b.m.podFiles(rec.PodID),
		Devices: c.Devices, Privileged: c.Security.Privileged, WorkingDir: rec.Cwd,
		ShmPath: b.shmPath(), UserNS: b.pod.Config.UserNS, UserNSPath: b.pod.Kept.User, Label: rec.Label.Mount,
	}
	for i := range c.Mounts {
		mount, err := b.mount(ctx, &c.Mounts[i])
		if err != nil {
			return err
		}
		spec.Mounts = append(spec.Mounts, mount)
	}
	_, spec.MaskedPaths = splitProc(c.Security.MaskedPaths)
	_, spec.ReadonlyPaths = splitProc(c.Security.ReadonlyPaths)
	root, err := b.m.RootFS.Build(ctx, spec)
	if errors.Is(err, ErrImageVolume) { // the kubelet counts by the start of the text
		return fmt.Errorf("%s: %w", imageVolumeFailed, err)
	}
	if err != nil {
		return fmt.Errorf("build root filesystem: %w", err)
	}
	b.undo.Push(func(ctx context.Context) error {
		return errors.Join(b.c.releaseStart(), b.m.RootFS.Remove(ctx, rec.ID))
	})
	b.c.root, rec.Root = root, spec
	return nil
}

// shmPath is where the container's /dev/shm is on the host: it belongs to the
// ipc namespace. Empty: the container has one of its own.
func (b *creation) shmPath() string {
	if b.rec.Config.Security.Namespaces.IPC == NamespaceNode {
		return "/dev/shm"
	}
	return b.pod.Kept.Shm
}

func (b *creation) mount(ctx context.Context, r *Requested) (Mount, error) {
	mount := Mount{
		HostPath: r.HostPath, ContainerPath: r.ContainerPath, Readonly: r.Readonly,
		RecursiveReadonly: r.RecursiveReadonly, Propagation: r.Propagation, SubPath: r.SubPath, Options: r.Options,
		IDMap: r.IDMap,
	}
	if r.Image == "" {
		return mount, nil
	}
	if r.IDMap != nil && !r.IDMap.Equal(b.pod.Config.UserNS) {
		return mount, fmt.Errorf("%s: mount %s: an image has the ids of its pod's user namespace: %w", imageVolumeFailed, r.ContainerPath, ErrInvalid)
	}
	image, err := b.m.Images.Acquire(ctx, r.Image, b.rec.ID)
	if err != nil {
		return mount, fmt.Errorf("%s: mount %s: %w", imageVolumeFailed, r.ContainerPath, err)
	}
	if len(image.Layers) == 0 {
		return mount, fmt.Errorf("%s: mount %s: image %s has no files: %w", imageVolumeFailed, r.ContainerPath, r.Image, ErrImageVolume)
	}
	r.ImageID, mount.Layers = image.ID, image.Layers
	return mount, nil
}

// splitProc divides paths into those below /proc, which can be covered only
// once the process has mounted it, and the others.
func splitProc(paths []string) (proc, other []string) {
	for _, p := range paths {
		if p = path.Clean(p); p == "/proc" || strings.HasPrefix(p, "/proc/") {
			proc = append(proc, p)
		} else {
			other = append(other, p)
		}
	}
	return proc, other
}

func (b *creation) identity(context.Context) error {
	user, err := b.m.Inspector.LookupUser(b.c.root.Dir, b.image.User, b.rec.Config.Security.User)
	if err != nil {
		return fmt.Errorf("image %s: %w", b.rec.Config.UserImage, err)
	}
	if err := b.pod.Config.UserNS.checkUser(user); err != nil {
		return err
	}
	b.rec.User = user
	env := newEnvironment()
	if user.Home != "" {
		env.add("HOME", []byte(user.Home))
	}
	for _, kv := range b.rec.Env {
		env.add(kv.Key, kv.Value)
	}
	b.rec.Env = env.list
	return nil
}

// program finds the module and has it compiled, so that every reason why it
// cannot run is told now.
func (b *creation) program(ctx context.Context) error {
	rec := b.rec
	resolved, file, err := b.m.findProgram(b.c.root.Dir, rec, b.image)
	if err != nil {
		return fmt.Errorf("image %s: %w", rec.Config.UserImage, err)
	}
	defer file.Close()
	rec.Program = resolved
	code, err := b.m.compiled(ctx, file, rec.Function, ProgramError{Image: rec.Config.UserImage, Path: resolved})
	if err != nil {
		return err
	}
	b.c.code = code
	if limit := rec.Config.Resources.MemoryLimit; limit > 0 && code.MinMemory > uint64(limit) {
		return &ProgramError{Image: rec.Config.UserImage, Path: resolved, Text: fmt.Sprintf(
			"starts with %s of memory, which is more than the limit of %s: raise the memory limit of the container", mebibytes(code.MinMemory), mebibytes(uint64(limit)))}
	}
	return nil
}

func mebibytes(n uint64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}

// compiled gives the code of a program; its errors name the program as about
// does.
func (m *Manager) compiled(ctx context.Context, file *os.File, function string, about ProgramError) (*Code, error) {
	code, err := m.Programs.Code(ctx, file, function)
	if refused := (*ProgramError)(nil); errors.As(err, &refused) {
		about.Text = refused.Text
		return nil, &about
	}
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", about.Path, err)
	}
	return code, nil
}

// findProgram opens the file that the container runs. The caller closes it.
func (m *Manager) findProgram(root *os.File, rec *containerRecord, image *Image) (string, *os.File, error) {
	name := image.Module
	if name == "" {
		if len(rec.Args) == 0 {
			return "", nil, fmt.Errorf("neither the image nor the pod says what to run: set an entrypoint in the image or a command in the pod: %w", ErrProgram)
		}
		return m.findNamed(root, rec)
	}
	if len(rec.Args) == 0 {
		rec.Args = []string{name}
	}
	if file, function, ok := strings.Cut(rec.Args[0], "#"); ok {
		rec.Args[0], rec.Function = file, function
	}
	return m.lookPath(root, name, rec)
}

// findNamed opens the file that the first argument names. One that is not there
// may be of the form file#function, as runwasi has it.
func (m *Manager) findNamed(root *os.File, rec *containerRecord) (string, *os.File, error) {
	path, file, err := m.lookPath(root, rec.Args[0], rec)
	name, function, ok := strings.Cut(rec.Args[0], "#")
	if !errors.Is(err, fs.ErrNotExist) || !ok || name == "" {
		return path, file, err
	}
	path, file, err = m.lookPath(root, name, rec)
	if err == nil {
		rec.Args[0], rec.Function = name, function
	}
	return path, file, err
}

func (m *Manager) lookPath(root *os.File, name string, rec *containerRecord) (string, *os.File, error) {
	resolved, file, err := m.Inspector.LookPath(root, name, rec.Cwd, string(environment{list: rec.Env}.get("PATH")))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", err, ErrProgram)
		}
		return "", nil, err
	}
	return resolved, file, nil
}

// makeCgroup begins to make the cgroup, which takes about as long as the root
// filesystem and has nothing to do with it. The function that it gives waits for
// the end, and must be called.
func (b *creation) makeCgroup(ctx context.Context) (wait func() error) {
	var (
		cg   Cgroup
		err  error
		made = make(chan struct{})
	)
	parent, id, resources := b.pod.Config.CgroupParent, b.rec.ID, b.rec.Config.Resources
	go func() {
		defer close(made)
		cg, err = b.m.Cgroups.Create(ctx, parent, id, resources)
	}()
	return func() error {
		<-made
		if err != nil {
			return fmt.Errorf("make cgroup: %w", err)
		}
		b.undo.Push(cg.Delete)
		b.c.cgroup = cg
		return nil
	}
}
