package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"
)

// Start runs a created container. It returns when the guest runs; when it
// cannot, the container has exited with reason StartError.
func (m *Manager) Start(ctx context.Context, id string) error {
	c, err := m.Container(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	if err := c.phase().To(PhaseRunning, c.name()); err != nil {
		return err
	}
	p, err := m.Pod(c.podID)
	if err != nil {
		return err
	}
	if phase := p.phase(); phase != PhaseReady {
		return fmt.Errorf("%s is %s: %w", p.name(), phase, ErrPrecondition)
	}
	at, oom := time.Now(), m.parentOOMKills(c.cgroupPath())
	proc, err := m.launch(ctx, p, c)
	m.Observer.ContainerStarted(time.Since(at), err)
	if err != nil {
		err = m.explainStart(c, err)
		return errors.Join(err, m.recordStartFailure(c, err))
	}
	return m.recordStart(c, proc, at, oom)
}

// explainStart says that a start failed for want of memory, where it did.
func (m *Manager) explainStart(c *Container, err error) error {
	cg, e := m.cgroupOf(c)
	if e != nil {
		return err
	}
	if n, e := cg.OOMKills(); e != nil || n == 0 {
		return err
	}
	return fmt.Errorf("the kernel killed the container for memory before its program ran: raise its memory limit of %d bytes, or that of its pod: %w: %w",
		c.Status().Config.Resources.MemoryLimit, ErrPrecondition, err)
}

func (m *Manager) launch(ctx context.Context, p *Pod, c *Container) (Process, error) {
	if err := m.prepareStart(ctx, c); err != nil {
		return nil, err
	}
	spec, err := m.processSpec(p, c)
	if err != nil {
		return nil, err
	}
	defer closeDirs(spec.Dirs)
	if spec.Listeners, err = m.openListeners(ctx, &spec, p.Status().Config.UserNS, c.listen()); err != nil {
		return nil, err
	}
	defer closeFiles(spec.Listeners) // the worker has its own
	if c.Status().Config.TTY {
		t, err := m.Launcher.OpenTerminal()
		if err != nil {
			return nil, err
		}
		defer t.Close() // the worker has its own
		defer t.CloseSlave()
		slave := t.Slave()
		spec.Terminal, spec.Master, spec.Stdin, spec.Stdout, spec.Stderr = true, t.Master(), slave, slave, slave
	}
	proc, err := m.Launcher.Launch(ctx, spec)
	if err != nil {
		return nil, fmt.Errorf("start container: %w", err)
	}
	return proc, nil
}

// prepareStart makes again what Create made and a restart of the daemon lost.
func (m *Manager) prepareStart(ctx context.Context, c *Container) error {
	c.mu.Lock()
	defer c.mu.Unlock() // the caller holds op; nobody waits long
	if c.root == nil {
		root, err := m.RootFS.Build(ctx, c.rec.Root)
		if err != nil {
			return fmt.Errorf("build root filesystem: %w", err)
		}
		c.root = root
	}
	if err := m.restoreCgroup(ctx, c); err != nil {
		return err
	}
	if c.code != nil {
		return nil
	}
	_, file, err := m.lookPath(c.root.Dir, c.rec.Program, &c.rec)
	if err != nil {
		return err
	}
	defer file.Close()
	c.code, err = m.Programs.Code(ctx, file, c.rec.Function)
	return err
}

// restoreCgroup makes the cgroup of a container that a restart found created:
// with systemd, nothing but the daemon's memory held its limits. The caller
// holds c.mu.
func (m *Manager) restoreCgroup(ctx context.Context, c *Container) error {
	if c.cgroup != nil {
		return nil
	}
	p, err := m.Pod(c.podID)
	if err != nil {
		return err
	}
	c.cgroup, err = m.Cgroups.Create(ctx, p.Status().Config.CgroupParent, c.id, c.rec.Config.Resources)
	if err != nil {
		return fmt.Errorf("make cgroup: %w", err)
	}
	return nil
}

func (m *Manager) processSpec(p *Pod, c *Container) (ProcessSpec, error) {
	pod := p.Status()
	c.mu.Lock()
	rec, root, code, cgroup := c.rec, c.root, c.code, c.cgroup
	c.mu.Unlock()
	spec, err := m.confinement(&rec)
	if err != nil {
		return spec, err
	}
	spec.ID, spec.Dir, spec.Code, spec.Cgroup = rec.ID, m.containerDir(rec.ID), code.File, cgroup
	spec.Root, spec.NetNS, spec.MountProc = root, pod.NetNS, true
	spec.UTSNS, spec.UserNS = pod.Kept.UTS, pod.Kept.User
	if rec.Config.Security.Namespaces.IPC != NamespaceNode {
		spec.IPCNS = pod.Kept.IPC
	}
	if spec.PIDNS, err = m.pidNamespace(p, &rec); err != nil {
		return spec, err
	}
	spec.Program, spec.Function, spec.Args, spec.Env, spec.Cwd, spec.LogPath = rec.Program, rec.Function, rec.Args, rec.Env, rec.Cwd, rec.LogPath
	spec.FedStdin, spec.StdinOnce = rec.Config.Stdin, rec.Config.StdinOnce
	spec.Env, spec.Trace = listenEnv(rec.Env, rec.Listen), m.traceFile(&rec, "")
	spec.Dirs, err = m.targetRoot(&rec)
	return spec, err
}

// confinement is what container and exec have in common: as whom they run and
// what they may do.
func (m *Manager) confinement(rec *containerRecord) (ProcessSpec, error) {
	s := &rec.Config.Security
	caps, err := capsOf(s, rec.User.UID, m.HeldCaps)
	if err != nil {
		return ProcessSpec{}, err
	}
	filter, err := m.filter(rec)
	if err != nil {
		return ProcessSpec{}, fmt.Errorf("seccomp: %w", err)
	}
	spec := ProcessSpec{
		User: rec.User, Caps: caps, NoNewPrivs: s.NoNewPrivs, Seccomp: filter, AppArmor: s.AppArmor, Label: rec.Label,
		OOMScoreAdj: rec.Config.Resources.OOMScoreAdj, MaxProcs: maxProcs(&rec.Config.Resources),
		Rlimits: m.Rlimits,
	}
	if !s.Privileged {
		spec.MaskedPaths, _ = splitProc(s.MaskedPaths)
		spec.ReadonlyPaths, _ = splitProc(s.ReadonlyPaths)
	}
	return spec, nil
}

func (m *Manager) filter(rec *containerRecord) ([]byte, error) {
	s := &rec.Config.Security
	switch {
	case s.Privileged:
		return nil, nil
	case s.Seccomp == SeccompLocalhost && rec.Filter != nil:
		return rec.Filter, nil
	case s.Seccomp == SeccompLocalhost: // made by an older daemon
		return m.Filters.Localhost(s.SeccompProfile)
	case s.Seccomp == SeccompDefault:
		return m.Filters.Default()
	}
	return nil, nil
}

// readFilter reads the profile of a container. Its commands are confined as it is,
// also when the file has changed or gone since.
func (m *Manager) readFilter(s *Security) ([]byte, error) {
	if s.Privileged || s.Seccomp != SeccompLocalhost {
		return nil, nil
	}
	filter, err := m.Filters.Localhost(s.SeccompProfile)
	if err != nil {
		return nil, fmt.Errorf("seccomp: %w", err)
	}
	return filter, nil
}

// maxProcs is how many threads of the worker may run Go code at once: the
// guest has one, and its host's collector another if there is CPU for it.
func maxProcs(r *Resources) int {
	n := min(2, runtime.NumCPU())
	if r.CPUQuota > 0 && r.CPUPeriod > 0 {
		n = min(n, int((r.CPUQuota+r.CPUPeriod-1)/r.CPUPeriod))
	}
	return max(n, 1)
}

func (m *Manager) pidNamespace(p *Pod, rec *containerRecord) (PIDNamespace, error) {
	ns := rec.Config.Security.Namespaces
	switch ns.PID {
	case NamespaceNode:
		return PIDNamespace{}, nil
	case NamespaceTarget:
		target, err := m.targetOf(rec.PodID, &rec.Config)
		if err != nil {
			return PIDNamespace{}, err
		}
		proc, err := target.process()
		return PIDNamespace{Join: proc}, err
	case NamespacePod:
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.init == nil {
			return PIDNamespace{}, fmt.Errorf("container asks for the pod's pid namespace, but the pod was made without one: %w", ErrInvalid)
		}
		return PIDNamespace{Join: p.init}, nil
	}
	return PIDNamespace{New: true}, nil
}

func (m *Manager) recordStart(c *Container, proc Process, at time.Time, oom *uint64) error {
	ref := proc.Ref()
	err := m.update(c, func(rec *containerRecord) error {
		rec.Phase, rec.StartedAt, rec.Process, rec.ParentOOMKills = PhaseRunning, at, &ref, oom
		return nil
	})
	if err != nil { // a process without a record would be lost: it must not run
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return errors.Join(err, endProcess(ctx, proc), m.recordStartFailure(c, err))
	}
	c.mu.Lock()
	c.proc = proc
	c.mu.Unlock()
	if err := c.releaseStart(); err != nil {
		m.Logger.Warn("close what the start needed", "container", c.id, "error", err)
	}
	m.announceContainer(EventStarted, c)
	m.watch(c, proc)
	m.Logger.Info("container is running", "container", c.id, "pid", ref.PID)
	return nil
}

func (m *Manager) recordStartFailure(c *Container, why error) error {
	const startFailed = 128 // as the field's other runtimes have it
	err := m.update(c, func(rec *containerRecord) error {
		now := time.Now()
		rec.Phase, rec.StartedAt = PhaseExited, now
		rec.Exit = &Exit{Code: startFailed, Reason: ReasonStart, Message: why.Error(), Time: now}
		return nil
	})
	if err == nil {
		close(c.exited)
		m.announceContainer(EventStopped, c)
	}
	return errors.Join(err, c.releaseStart())
}

// watch waits for the end of a running container.
func (m *Manager) watch(c *Container, proc Process) {
	m.watches.Add(1)
	go func() {
		defer m.watches.Done()
		select {
		case <-proc.Done():
			m.recordExit(c, proc.Exit())
		case <-m.closing:
		}
	}()
}

// recordExit publishes how a container ended. The worker has written its log
// before it ended.
func (m *Manager) recordExit(c *Container, exit Exit) {
	c.op.Lock()
	defer c.op.Unlock()
	if c.phase() != PhaseRunning {
		return
	}
	if exit.Signal == sigkill && m.ranOutOfMemory(c) {
		exit.Reason, exit.Message = ReasonOOMKilled, "the kernel killed the container because its pod or the node had no memory left"
		if limit := c.Status().Config.Resources.MemoryLimit; limit > 0 {
			exit.Message = fmt.Sprintf("the container used more than its memory limit of %d bytes and was killed by the kernel", limit)
		}
	}
	err := m.update(c, func(rec *containerRecord) error {
		rec.Phase, rec.Exit = PhaseExited, &exit
		return nil
	})
	if err != nil { // it has ended all the same; the facts are still in its exit record
		m.Logger.Error("record the end of a container", "container", c.id, "error", err)
		c.mu.Lock()
		c.rec.Phase, c.rec.Exit = PhaseExited, &exit
		c.mu.Unlock()
	}
	close(c.exited)
	m.announceContainer(EventStopped, c)
	m.Observer.ContainerExited(exit.Reason)
	m.Logger.Info("container has exited", "container", c.id, "code", exit.Code, "reason", exit.Reason)
}

// Stop ends a container: by its stop signal, and after the grace by SIGKILL. It
// succeeds on what is unknown, or has not started, or has ended.
func (m *Manager) Stop(ctx context.Context, id string, grace time.Duration) error {
	c, err := m.Container(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return m.stopContainer(ctx, c, grace)
}

func (m *Manager) stopContainer(ctx context.Context, c *Container, grace time.Duration) error {
	c.op.Lock() // a start that is under way comes first
	c.mu.Lock()
	phase, proc, name := c.rec.Phase, c.proc, c.rec.StopSignal
	c.mu.Unlock()
	c.op.Unlock()
	if phase != PhaseRunning {
		return nil
	}
	if grace > 0 {
		sig, err := signalNumber(name)
		if err != nil {
			return err
		}
		err = proc.Signal(sig)
		if err == nil {
			stopped, err := awaitExit(ctx, c, grace)
			if stopped || err != nil {
				return err
			}
		} else { // an AppArmor profile need not let it through
			m.Logger.Warn("the stop signal cannot be sent", "container", c.id, "signal", name, "error", err)
		}
	}
	return m.kill(ctx, c, proc)
}

func awaitExit(ctx context.Context, c *Container, d time.Duration) (bool, error) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.exited:
		return true, nil
	case <-t.C:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// kill ends the container and everything in its cgroup.
func (m *Manager) kill(ctx context.Context, c *Container, proc Process) error {
	c.mu.Lock()
	path := c.rec.Cgroup
	c.killed = true
	c.mu.Unlock()
	refused := proc.Signal(sigkill)
	cg, err := m.Cgroups.Open(path)
	if err == nil {
		err = cg.Kill(ctx) // which asks no security module on cgroup v2
	}
	switch {
	case err == nil:
	case refused == nil:
		m.Logger.Warn("kill the rest of the cgroup", "container", c.id, "error", err)
	default:
		return fmt.Errorf("kill: %w", errors.Join(refused, err))
	}
	select {
	case <-c.exited:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s does not end after SIGKILL: %w", c.name(), ctx.Err())
	}
}

// Remove removes a container, killing it first if it runs. It succeeds on what
// is unknown.
func (m *Manager) Remove(ctx context.Context, id string) error {
	c, err := m.Container(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return m.removeContainer(ctx, c)
}

func (m *Manager) removeContainer(ctx context.Context, c *Container) error {
	if err := m.stopContainer(ctx, c, 0); err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	if c.phase() == PhaseRemoved {
		return nil
	}
	if err := c.phase().To(PhaseRemoved, c.name()); err != nil {
		return err
	}
	if err := m.discard(ctx, c); err != nil {
		return err
	}
	c.mu.Lock()
	c.rec.Phase = PhaseRemoved
	key, label := containerKey(c.podID, &c.rec.Config), c.rec.Label
	c.mu.Unlock()
	m.Labels.Release(label)
	m.mu.Lock()
	delete(m.containers, c.id)
	delete(m.names, key)
	m.mu.Unlock()
	m.announceContainer(EventDeleted, c)
	m.Logger.Info("container is removed", "container", c.id)
	return nil
}

// discard removes all that belongs to a container that does not run. Each part
// may be gone already.
func (m *Manager) discard(ctx context.Context, c *Container) error {
	if err := c.letGo(); err != nil {
		return err
	}
	if c.rec.Cgroup != "" {
		cg, err := m.Cgroups.Open(c.rec.Cgroup)
		if err != nil {
			return err
		}
		if err := cg.Kill(ctx); err != nil { // an exec may have outlived the container
			return fmt.Errorf("end what is left in the cgroup: %w", err)
		}
		if err := cg.Delete(ctx); err != nil {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
	if err := m.RootFS.Remove(ctx, c.id); err != nil {
		return fmt.Errorf("remove writable layer: %w", err)
	}
	if err := removeTrace(c.rec.Trace); err != nil {
		return fmt.Errorf("remove trace: %w", err)
	}
	if err := os.RemoveAll(m.containerDir(c.id)); err != nil {
		return fmt.Errorf("remove container directory: %w", err)
	}
	if err := m.Images.Release(c.id); err != nil {
		return fmt.Errorf("release image: %w", err)
	}
	return m.ContainerRecords.Delete(c.id)
}

// ReopenLog makes a running container write to a new log file.
func (m *Manager) ReopenLog(ctx context.Context, id string) error {
	c, err := m.Container(id)
	if err != nil {
		return err
	}
	proc, err := c.process()
	if err != nil {
		return err
	}
	s := c.Status()
	if s.LogPath == "" {
		return nil
	}
	return proc.ReopenLog(ctx, s.LogPath, s.Label)
}
