package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/cri-wasmer/cri-wasmer/internal/undo"
)

// recover reads what an earlier daemon left, asks each process whether it
// lives, and removes what belongs to nobody.
func (m *Manager) recover(ctx context.Context) error {
	if err := m.PodRecords.Load(m.loadPod); err != nil {
		return err
	}
	if err := m.ContainerRecords.Load(m.loadContainer); err != nil {
		return err
	}
	if err := m.keepLabels(); err != nil {
		m.Logger.Error("SELinux labels of pods may be given twice", "error", err)
	}
	if err := m.Images.Settle(m.holds()); err != nil {
		return fmt.Errorf("settle references to images: %w", err)
	}
	// What fails for one object is left for its removal, and stops nobody else.
	m.recoverPods(ctx)
	for _, c := range m.Containers() {
		if err := m.recoverContainer(ctx, c); err != nil {
			m.Logger.Error("container is not recovered", "container", c.id, "error", err)
			m.giveUp(c, err)
		}
	}
	if err := m.removeOrphans(ctx); err != nil {
		m.Logger.Error("not all that belongs to nobody is removed", "error", err)
	}
	return nil
}

// recoverPods goes on with all pods. Those that were never ready are undone at the same
// time, with as much patience as for any undoing: plugins of the network that hang
// must not keep the daemon from serving.
func (m *Manager) recoverPods(ctx context.Context) {
	var abandoning sync.WaitGroup
	defer abandoning.Wait()
	for _, p := range m.Pods() {
		if p.rec.Phase == PhaseCreating {
			abandoning.Go(func() { m.settlePod(p, m.abandonPod(ctx, p)) })
			continue
		}
		m.settlePod(p, m.recoverPod(p))
	}
}

// settlePod leaves a pod that cannot be recovered to whoever removes it.
func (m *Manager) settlePod(p *Pod, err error) {
	if err == nil {
		return
	}
	m.Logger.Error("pod is not recovered", "pod", p.id, "error", err)
	p.rec.Phase = PhaseNotReady
}

// giveUp shows a container that cannot be recovered as one that has exited.
func (m *Manager) giveUp(c *Container, why error) {
	if c.rec.Phase != PhaseExited { // else its channel is closed already
		close(c.exited)
	}
	c.rec.Phase = PhaseExited
	if c.rec.Exit == nil {
		c.rec.Exit = &Exit{Code: 255, Reason: ReasonUnknown, Message: why.Error(), Time: time.Now()}
	}
}

func (m *Manager) loadPod(id string, data []byte) error {
	p := &Pod{}
	if err := json.Unmarshal(data, &p.rec); err != nil {
		return err
	}
	if p.rec.ID != id {
		return fmt.Errorf("record of %q under the name of %q", p.rec.ID, id)
	}
	p.id, p.created = p.rec.ID, p.rec.CreatedAt
	m.pods[p.id] = p
	m.names[podKey(&p.rec.Config)] = p.id
	return nil
}

func (m *Manager) loadContainer(id string, data []byte) error {
	c := &Container{exited: make(chan struct{})}
	if err := json.Unmarshal(data, &c.rec); err != nil {
		return err
	}
	if c.rec.ID != id {
		return fmt.Errorf("record of %q under the name of %q", c.rec.ID, id)
	}
	c.id, c.podID, c.created = c.rec.ID, c.rec.PodID, c.rec.CreatedAt
	m.containers[c.id] = c
	m.names[containerKey(c.podID, &c.rec.Config)] = c.id
	return nil
}

// holds lists the images that each container uses.
func (m *Manager) holds() map[string][]string {
	holds := make(map[string][]string, len(m.containers))
	for id, c := range m.containers {
		if c.rec.ImageID == "" { // it was never created
			continue
		}
		holds[id] = append(holds[id], c.rec.ImageID)
		for i := range c.rec.Config.Mounts {
			if image := c.rec.Config.Mounts[i].ImageID; image != "" {
				holds[id] = append(holds[id], image)
			}
		}
	}
	return holds
}

// recoverPod looks whether a pod lives: one whose network or init is gone is not
// ready.
func (m *Manager) recoverPod(p *Pod) error {
	if p.rec.Init != nil {
		init, err := m.Launcher.Adopt(*p.rec.Init, m.podDir(p.id))
		if err != nil {
			return err
		}
		p.init = init
	}
	if p.rec.Phase != PhaseReady || m.podAlive(p) {
		return nil
	}
	m.Logger.Warn("pod did not survive and is not ready", "pod", p.id)
	return m.markNotReady(p)
}

func (m *Manager) podAlive(p *Pod) bool {
	if p.init != nil {
		select {
		case <-p.init.Done():
			return false
		default:
		}
	}
	if !m.Namespaces.Alive(p.rec.Kept) {
		return false
	}
	if p.rec.Network == nil {
		return true
	}
	_, err := os.Stat(p.rec.Network.NetNS)
	return err == nil
}

// abandonPod finishes what a crash cut off: a pod that was never ready goes.
func (m *Manager) abandonPod(ctx context.Context, p *Pod) error {
	ctx, cancel := context.WithTimeout(ctx, undo.Timeout)
	defer cancel()
	m.Logger.Info("remove pod that was never ready", "pod", p.id)
	if err := m.endInitUnrecorded(ctx, p); err != nil {
		return err
	}
	if p.rec.Network != nil {
		if err := m.Network.Teardown(ctx, *p.rec.Network); err != nil {
			return err
		}
	}
	if err := m.Namespaces.Remove(p.id); err != nil {
		return err
	}
	p.rec.Phase = PhaseNotReady
	return m.forgetPod(p)
}

// endInitUnrecorded ends the init that an earlier daemon may have started without
// living long enough to record it: it is in the cgroup that has the pod's name.
func (m *Manager) endInitUnrecorded(ctx context.Context, p *Pod) error {
	cg, err := m.Cgroups.Find(p.rec.Config.CgroupParent, p.id)
	if err != nil {
		return fmt.Errorf("find cgroup of an unfinished pod: %w", err)
	}
	return errors.Join(cg.Kill(ctx), cg.Delete(ctx))
}

func (m *Manager) recoverContainer(ctx context.Context, c *Container) error {
	switch c.rec.Phase {
	case PhaseCreating:
		m.Logger.Info("remove container that was never created", "container", c.id)
		return m.removeContainer(ctx, c)
	case PhaseExited:
		close(c.exited)
		return nil
	case PhaseRunning:
		return m.adopt(c)
	}
	return m.adoptUnrecordedStart(c)
}

// adopt takes over a running container, or records how it ended meanwhile.
func (m *Manager) adopt(c *Container) error {
	if c.rec.Process == nil {
		return errors.New("running without a process in its record")
	}
	proc, err := m.Launcher.Adopt(*c.rec.Process, m.containerDir(c.id))
	if err != nil {
		return err
	}
	c.proc = proc
	m.watch(c, proc)
	return nil
}

// adoptUnrecordedStart handles a daemon that died between the start of a
// process and its record: the process is in the container's cgroup, and cannot
// be told from a stranger in any other way, so that it is ended.
func (m *Manager) adoptUnrecordedStart(c *Container) error {
	cg, err := m.Cgroups.Open(c.rec.Cgroup)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return cg.Kill(ctx)
}

// removeOrphans removes what has our names and no record.
func (m *Manager) removeOrphans(ctx context.Context) error {
	pods, containers, cgroups := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, p := range m.Pods() {
		pods[p.id] = true
		cgroups[p.Status().Cgroup] = true
	}
	for _, c := range m.Containers() {
		containers[c.id] = true
		cgroups[c.cgroupPath()] = true // under the lock: it may end just now
	}
	return errors.Join(
		m.Cgroups.Orphans(ctx, cgroups),
		m.Network.Orphans(ctx, pods),
		m.Namespaces.Orphans(pods),
		m.RootFS.Orphans(ctx, containers),
		removeStrangers(m.podDir(""), pods),
		removeStrangers(m.containerDir(""), containers),
	)
}

func removeStrangers(dir string, keep map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if !keep[e.Name()] {
			errs = append(errs, os.RemoveAll(dir+"/"+e.Name()))
		}
	}
	return errors.Join(errs...)
}
