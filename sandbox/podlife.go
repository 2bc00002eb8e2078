package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cri-wasmer/cri-wasmer/internal/undo"
)

// netnsDir is where network namespaces are bound, below the state directory.
const netnsDir = "netns"

// NetNSPath is where the network namespace of a pod is bound.
func (m *Manager) netnsPath(id string) string { return filepath.Join(m.StateDir, netnsDir, id) }

// RunPod makes a pod, which is ready when RunPod returns. On failure nothing
// is left, and the name is free again; where something cannot be taken back, the
// pod stays, not ready, for whoever removes it.
func (m *Manager) RunPod(ctx context.Context, c PodConfig) (*Pod, error) {
	if err := m.checkPod(&c); err != nil {
		return nil, err
	}
	rec := podRecord{ID: newID(), Config: c, Phase: PhaseCreating, CreatedAt: time.Now()}
	if err := m.reserve(podKey(&c), rec.ID); err != nil {
		return nil, err
	}
	p := &Pod{id: rec.ID, created: rec.CreatedAt, rec: rec}
	var err error
	if p.rec.Label, err = m.Labels.Pod(c.SELinux); err != nil {
		m.unreserve(podKey(&c))
		return nil, err
	}
	var u undo.Stack
	if err := m.setUpPod(ctx, p, &u); err != nil {
		return nil, errors.Join(err, m.takeBack(p, &u))
	}
	m.Logger.Info("pod is ready", "pod", p.id, "name", c.Name, "namespace", c.Namespace)
	return p, nil
}

// takeBack undoes the making of a pod that nobody has seen.
func (m *Manager) takeBack(p *Pod, u *undo.Stack) error {
	err := u.Run()
	if err == nil {
		m.Labels.Release(p.rec.Label)
		m.unreserve(podKey(&p.rec.Config))
		return nil
	}
	m.Logger.Warn("pod that failed is not wholly undone and stays until it is removed", "pod", p.id, "error", err)
	p.rec.Phase, p.rec.Result = PhaseNotReady, nil
	if e := m.PodRecords.Save(p.id, &p.rec); e != nil {
		err = errors.Join(err, e)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pods[p.id] = p
	return err
}

// setUpPod does the steps and pushes the inverse of each. It works on a pod
// that nobody else can see.
func (m *Manager) setUpPod(ctx context.Context, p *Pod, u *undo.Stack) error {
	rec := &p.rec
	if err := m.choosePodNames(rec); err != nil {
		return err
	}
	dir := m.podDir(rec.ID)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("make pod directory: %w", err)
	}
	u.Push(func(context.Context) error { return os.RemoveAll(dir) })
	// From here on a crash is cleaned up by the record.
	if err := m.PodRecords.Save(rec.ID, rec); err != nil {
		return err
	}
	u.Push(func(context.Context) error { return m.PodRecords.Delete(rec.ID) })
	if err := m.makeNamespaces(ctx, rec, u); err != nil {
		return err
	}
	if err := m.connect(ctx, rec, u); err != nil {
		return err
	}
	if err := m.setSysctls(rec); err != nil {
		return err
	}
	if err := m.writePodFiles(rec); err != nil {
		return err
	}
	if err := m.startInit(ctx, p, u); err != nil {
		return err
	}
	rec.Phase = PhaseReady
	if err := m.PodRecords.Save(rec.ID, rec); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // the client is gone and will not learn the id
		return err
	}
	p.op.Lock() // whoever sees the pod now comes after its events
	defer p.op.Unlock()
	m.mu.Lock()
	m.pods[p.id] = p
	m.mu.Unlock()
	m.announce(EventCreated, p.id, p)
	m.announce(EventStarted, p.id, p)
	return nil
}

func (m *Manager) choosePodNames(rec *podRecord) error {
	c := &rec.Config
	rec.Hostname = c.Hostname
	if rec.Hostname == "" || c.Namespaces.Network == NamespaceNode {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("read hostname: %w", err)
		}
		rec.Hostname = name
	}
	if c.Namespaces.Network == NamespaceNode {
		return nil
	}
	rec.Network = &PodNetwork{
		ID: rec.ID, Name: c.Name, Namespace: c.Namespace, UID: c.UID, NetNS: m.netnsPath(rec.ID),
		Hostname: rec.Hostname, Ports: c.Ports, DNS: c.DNS, Annotations: c.Annotations, CgroupPath: c.CgroupParent,
		Made: c.UserNS != nil,
	}
	return nil
}

// makeNamespaces makes what the containers share. The host's /dev/shm goes with
// its ipc namespace.
func (m *Manager) makeNamespaces(ctx context.Context, rec *podRecord, u *undo.Stack) (err error) {
	c := &rec.Config
	rec.Kept, err = m.Namespaces.Make(ctx, NamespaceSpec{
		ID: rec.ID, User: c.UserNS, Net: rec.Network != nil, IPC: c.Namespaces.IPC != NamespaceNode,
		UTS: rec.Network != nil, Hostname: rec.Hostname, Label: rec.Label.Mount,
	})
	if err != nil {
		return err
	}
	id := rec.ID
	u.Push(func(context.Context) error { return m.Namespaces.Remove(id) })
	return nil
}

func (m *Manager) setSysctls(rec *podRecord) error {
	list, err := sysctlsOf(&rec.Config)
	if err != nil {
		return err
	}
	netns := ""
	if rec.Network != nil {
		netns = rec.Network.NetNS
	}
	return m.Namespaces.SetSysctls(rec.Kept, Sysctls{List: list, NetNS: netns, User: rec.Config.UserNS})
}

func (m *Manager) connect(ctx context.Context, rec *podRecord, u *undo.Stack) error {
	if rec.Network == nil {
		return nil
	}
	network := *rec.Network
	result, err := m.Network.Setup(ctx, network)
	if err == nil || errors.Is(err, ErrLeftBehind) {
		u.Push(func(ctx context.Context) error {
			err := m.Network.Teardown(ctx, network)
			rec.Disconnected = err == nil
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("set up pod network: %w", err)
	}
	rec.Result = result
	return nil
}

// startInit starts pid 1 where the containers of the pod share a pid namespace.
func (m *Manager) startInit(ctx context.Context, p *Pod, u *undo.Stack) error {
	if p.rec.Config.Namespaces.PID != NamespacePod {
		return nil
	}
	user, err := initUser(&p.rec.Config)
	if err != nil {
		return err
	}
	cg, err := m.Cgroups.Create(ctx, p.rec.Config.CgroupParent, p.id, Resources{})
	if err != nil {
		return fmt.Errorf("make cgroup of the pod: %w", err)
	}
	u.Push(cg.Delete)
	p.rec.Cgroup = cg.Path()
	init, err := m.Launcher.LaunchInit(ctx, ProcessSpec{
		ID: p.id, Dir: m.podDir(p.id), PIDNS: PIDNamespace{New: true}, IPCNS: p.rec.Kept.IPC, UTSNS: p.rec.Kept.UTS,
		Cgroup: cg, User: user, UserNS: p.rec.Kept.User, NoNewPrivs: true, Label: p.rec.Label, Args: []string{"pod-init"},
	})
	if err != nil {
		return fmt.Errorf("start pod init: %w", err)
	}
	u.Push(func(ctx context.Context) error { return endProcess(ctx, init) })
	ref := init.Ref()
	p.init, p.rec.Init = init, &ref
	return nil
}

// initUser is as whom the init process runs: as the pod says, else as nobody.
func initUser(c *PodConfig) (User, error) {
	const nobody = 65534
	if c.User.UID == nil {
		u := User{UID: nobody, GID: nobody}
		if c.UserNS.checkUser(u) != nil { // not mapped: root of the namespace, who is nobody on the host
			return User{}, nil
		}
		return u, nil
	}
	var u User
	for _, id := range []struct {
		value *int64
		to    *uint32
	}{{c.User.UID, &u.UID}, {c.User.GID, &u.GID}} {
		if id.value == nil {
			continue
		}
		if *id.value < 0 || *id.value >= 1<<32-1 {
			return u, fmt.Errorf("user or group %d of the pod is not an id: %w", *id.value, ErrInvalid)
		}
		*id.to = uint32(*id.value)
	}
	for _, g := range c.User.SupplementalGroups {
		if g < 0 || g >= 1<<32-1 {
			return u, fmt.Errorf("group %d of the pod is not an id: %w", g, ErrInvalid)
		}
		u.Groups = append(u.Groups, uint32(g))
	}
	return u, c.UserNS.checkUser(u)
}

// endProcess kills a process and waits until it is gone.
func endProcess(ctx context.Context, p Process) error {
	if err := p.Signal(sigkill); err != nil {
		return err
	}
	select {
	case <-p.Done():
		return p.Close()
	case <-ctx.Done():
		return fmt.Errorf("process %d does not end: %w", p.Ref().PID, ctx.Err())
	}
}

// StopPod kills the containers of a pod and takes its network. It succeeds on
// what is unknown or stopped already, and can be called again after an error.
func (m *Manager) StopPod(ctx context.Context, id string) error {
	p, err := m.Pod(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return m.stopPod(ctx, p)
}

func (m *Manager) stopPod(ctx context.Context, p *Pod) error {
	if err := m.markNotReady(p); err != nil { // no container can be made from here on
		return err
	}
	for _, c := range m.containersOf(p.id) {
		if err := m.stopContainer(ctx, c, 0); err != nil {
			return fmt.Errorf("stop container %s: %w", c.id, err)
		}
	}
	p.op.Lock()
	defer p.op.Unlock()
	if err := m.endInit(ctx, p); err != nil {
		return err
	}
	if err := m.disconnect(ctx, p); err != nil {
		return err
	}
	if err := m.Namespaces.Remove(p.id); err != nil {
		return fmt.Errorf("remove namespaces of the pod: %w", err)
	}
	if p.stopTold {
		return nil
	}
	p.stopTold = true
	m.announce(EventStopped, p.id, p)
	return nil
}

func (m *Manager) markNotReady(p *Pod) error {
	p.op.Lock()
	defer p.op.Unlock()
	if p.phase() == PhaseRemoved { // by somebody else, just now
		return nil
	}
	if err := p.phase().To(PhaseNotReady, p.name()); err != nil {
		return err
	}
	m.recordEnding(p, func(rec *podRecord) { rec.Phase = PhaseNotReady })
	return nil
}

// recordEnding is updatePod for a pod that ends. It ends also where that cannot be
// written: on a full disk, above all, as its end is to make room. A daemon that finds
// the record of before looks whether the pod lives. The caller holds op.
func (m *Manager) recordEnding(p *Pod, change func(*podRecord)) {
	err := m.updatePod(p, func(rec *podRecord) error { change(rec); return nil })
	if err == nil {
		return
	}
	m.Logger.Error("record the end of a pod", "pod", p.id, "error", err)
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.rec)
}

// updatePod changes the record on disk, then in memory. The caller holds op.
func (m *Manager) updatePod(p *Pod, change func(*podRecord) error) error {
	p.mu.Lock()
	rec := p.rec
	p.mu.Unlock()
	if err := change(&rec); err != nil {
		return err
	}
	if err := m.PodRecords.Save(rec.ID, &rec); err != nil {
		return err
	}
	p.mu.Lock()
	p.rec = rec
	p.mu.Unlock()
	return nil
}

func (m *Manager) endInit(ctx context.Context, p *Pod) error {
	p.mu.Lock()
	init, cgroup := p.init, p.rec.Cgroup
	p.mu.Unlock()
	if init != nil {
		if err := endProcess(ctx, init); err != nil {
			return err
		}
	}
	if cgroup == "" {
		return nil
	}
	cg, err := m.Cgroups.Open(cgroup)
	if err != nil {
		return err
	}
	return cg.Delete(ctx)
}

func (m *Manager) disconnect(ctx context.Context, p *Pod) error {
	p.mu.Lock()
	network, done := p.rec.Network, p.rec.Disconnected || p.rec.Phase == PhaseRemoved
	p.mu.Unlock()
	if network == nil || done {
		return nil
	}
	if err := m.Network.Teardown(ctx, *network); err != nil {
		return fmt.Errorf("tear down pod network: %w", err)
	}
	m.recordEnding(p, func(rec *podRecord) {
		rec.Result = nil // its addresses are free for others
		rec.Disconnected = true
	})
	return nil
}

// RemovePod stops a pod, and removes it with its containers. It succeeds on
// what is unknown.
func (m *Manager) RemovePod(ctx context.Context, id string) error {
	p, err := m.Pod(id)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := m.stopPod(ctx, p); err != nil {
		return err
	}
	for _, c := range m.containersOf(p.id) {
		if err := m.removeContainer(ctx, c); err != nil {
			return fmt.Errorf("remove container %s: %w", c.id, err)
		}
	}
	return m.forgetPod(p)
}

func (m *Manager) forgetPod(p *Pod) error {
	p.op.Lock()
	defer p.op.Unlock()
	if p.phase() == PhaseRemoved {
		return nil
	}
	if err := os.RemoveAll(m.podDir(p.id)); err != nil {
		return fmt.Errorf("remove pod directory: %w", err)
	}
	if err := m.PodRecords.Delete(p.id); err != nil {
		return err
	}
	p.mu.Lock()
	p.rec.Phase = PhaseRemoved
	key, label := podKey(&p.rec.Config), p.rec.Label
	p.mu.Unlock()
	m.Labels.Release(label)
	m.mu.Lock()
	delete(m.pods, p.id)
	delete(m.names, key)
	m.mu.Unlock()
	m.announce(EventDeleted, p.id, p)
	m.Logger.Info("pod is removed", "pod", p.id)
	return nil
}
