package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
	"github.com/cri-wasmer/cri-wasmer/sandbox/cgroup"
)

// jail gives each compilation a cgroup beside those of pods. One that a crash
// leaves is removed with other orphans at the next start.
type jail struct {
	cgroups *cgroup.Manager
	log     *slog.Logger
}

var _ codecache.Jail = jail{}

var compilations atomic.Uint64

const (
	compilerTasks    = 1024 // processes and threads
	backgroundShares = 2    // of the CPU: the least there is
	freeTimeout      = 10 * time.Second
)

// Confine implements codecache.Jail.
func (j jail) Confine(ctx context.Context, pid int, b codecache.Bounds) (free func(), err error) {
	res := sandbox.Resources{MemoryLimit: b.Memory, MemorySwap: b.Memory, PidsLimit: compilerTasks}
	if b.Background {
		res.CPUShares = backgroundShares
	}
	id := fmt.Sprintf("compile-%d", compilations.Add(1))
	g, err := j.cgroups.Create(ctx, "", id, res)
	var missing *cgroup.MissingError
	if errors.As(err, &missing) { // a machine without swap accounting, or without pids
		g, err = j.cgroups.Create(ctx, "", id, sandbox.Resources{MemoryLimit: b.Memory, CPUShares: res.CPUShares})
	}
	if err != nil {
		return nil, err
	}
	free = func() {
		ctx, cancel := context.WithTimeout(context.Background(), freeTimeout)
		defer cancel()
		if err := errors.Join(g.Kill(ctx), g.Delete(ctx)); err != nil {
			j.log.Warn("cgroup of a compilation stays", "cgroup", g.Path(), "error", err)
		}
	}
	if err := g.Join(ctx, pid); err != nil {
		free()
		return nil, err
	}
	return free, nil
}
