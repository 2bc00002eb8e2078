package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// LayerUsage is what a writable layer takes on disk.
type LayerUsage struct {
	Bytes, Inodes uint64
	Time          time.Time // of the measurement
}

const (
	// layerFresh is how long a measurement is taken for the truth. One that is
	// older is given out once more while the next is made.
	layerFresh = 10 * time.Second
	// layerStale is the age from which the caller waits for the next.
	layerStale = time.Minute
)

// layerUsage measures the writable layer of a container, or gives what a recent
// measurement found: to walk a layer takes as long as it has files.
func (m *Manager) layerUsage(c *Container) (LayerUsage, error) {
	c.mu.Lock()
	u, age := c.layer, time.Since(c.layer.Time)
	still := c.rec.Phase == PhaseExited && c.rec.Exit != nil && u.Time.After(c.rec.Exit.Time) // nothing writes any more
	begin := !still && age >= layerFresh && age < layerStale && !c.measuring
	c.measuring = c.measuring || begin
	c.mu.Unlock()
	switch {
	case begin:
		m.watches.Go(func() { m.remeasure(c) })
		return u, nil
	case still, age < layerStale:
		return u, nil
	}
	return m.measureLayer(c)
}

// remeasure is one walk at a time, behind the caller's back.
func (m *Manager) remeasure(c *Container) {
	m.walk.Lock()
	defer m.walk.Unlock()
	select {
	case <-m.closing:
		return
	default:
	}
	if _, err := m.measureLayer(c); err != nil && !errors.Is(err, ErrNotFound) {
		m.Logger.Warn("measure writable layer", "container", c.id, "error", err)
	}
	c.mu.Lock()
	c.measuring = false
	c.mu.Unlock()
}

func (m *Manager) measureLayer(c *Container) (LayerUsage, error) {
	u := LayerUsage{Time: time.Now()}
	var err error
	if u.Bytes, u.Inodes, err = m.RootFS.Usage(c.id); err != nil {
		return u, goneAs(fmt.Errorf("writable layer of %s: %w", c.name(), err))
	}
	c.mu.Lock()
	c.layer = u
	c.mu.Unlock()
	return u, nil
}

// LayersUsage sums up the writable layers of all containers.
func (m *Manager) LayersUsage() (LayerUsage, error) {
	sum := LayerUsage{Time: time.Now()}
	for _, c := range m.Containers() {
		u, err := m.layerUsage(c)
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
			continue
		}
		if err != nil {
			return sum, err
		}
		sum.Bytes, sum.Inodes = sum.Bytes+u.Bytes, sum.Inodes+u.Inodes
	}
	return sum, nil
}
