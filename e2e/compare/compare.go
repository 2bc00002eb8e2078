package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
)

func compare(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("/tmp", "cmp") // short, for the sockets
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, isolate.RemoveTree(dir)) }()
	if err := errors.Join(privateRun(), writeNetwork(filepath.Join(dir, "net.d"))); err != nil {
		return err
	}
	registry, err := images.NewRegistry()
	if err != nil {
		return err
	}
	defer registry.Close()
	ours, peers, err := publish(ctx, o, dir, registry)
	if err != nil {
		return err
	}
	a, err := startOurs(ctx, o, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.end()) }()
	b, err := startPeer(ctx, o, dir, pause(peers))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.end()) }()
	a.images, b.images = ours, peers
	if o.rows.MatchString(pullRow) || o.rows.MatchString(pullCPURow) || o.rows.MatchString(pullMemoryRow) {
		if ours[bulk], err = publishBulk(registry); err != nil {
			return err
		}
		peers[bulk] = ours[bulk]
	}
	both := [2]*server{a, b}
	defer func() { err = errors.Join(err, a.removeAll(), b.removeAll()) }()
	for _, s := range both {
		if err := s.pullAll(ctx); err != nil {
			return err
		}
	}
	return measureAll(ctx, o, both, out)
}

func (s *server) pullAll(ctx context.Context) error {
	for _, p := range programs {
		if _, err := s.client.Pull(ctx, s.images[p]); err != nil {
			return fmt.Errorf("%s: pull %s: %w", s.name, s.images[p], err)
		}
		if err := s.life(ctx); err != nil { // compiles and warms up
			return fmt.Errorf("%s: first pod: %w", s.name, err)
		}
	}
	return nil
}

// measureAll goes through the stages, and prints each row when it is there.
func measureAll(ctx context.Context, o options, both [2]*server, out io.Writer) error {
	t := table{out}
	t.head(both)
	for _, st := range stages() {
		var wanted []row
		for _, r := range st.rows {
			if o.rows.MatchString(r.name) {
				wanted = append(wanted, r)
			}
		}
		if len(wanted) == 0 {
			continue
		}
		if err := st.measure(ctx, o, both, wanted, t); err != nil {
			return err
		}
	}
	return nil
}

func (st stage) measure(ctx context.Context, o options, both [2]*server, rows []row, t table) error {
	var fixtures [2]*fixture
	for i, s := range both {
		f, err := st.open(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fixtures[i] = f
	}
	for _, r := range rows {
		samples, err := r.measure(ctx, fixtures, max(1, int(math.Round(float64(r.rounds)*o.effort))))
		if err != nil {
			return err
		}
		t.row(r, samples)
	}
	return errors.Join(both[0].removeAll(), both[1].removeAll())
}

// measure takes samples in turns, so that whatever else the machine does meets
// both alike.
func (r row) measure(ctx context.Context, fixtures [2]*fixture, rounds int) (samples [2][]float64, err error) {
	for n := range rounds + 1 {
		for k := range fixtures {
			i := (n + k) % 2
			v, err := r.sample(ctx, fixtures[i])
			if err != nil {
				return samples, fmt.Errorf("%s: %s: %w", fixtures[i].name, r.name, err)
			}
			if n > 0 || rounds == 1 { // the first brings what the others find
				samples[i] = append(samples[i], v)
			}
		}
	}
	return samples, nil
}
