package cgroup

import (
	"testing"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

// What ListContainerStats costs for one container, and metrics.
func BenchmarkV1Usage(b *testing.B) {
	m := newV1(b)
	g := m.mustCreate(b, "bench", sandbox.Resources{MemoryLimit: 64 << 20})
	for name, read := range map[string]func() error{
		"usage": func() error { _, err := g.Usage(); return err },
		"stats": func() error { _, err := g.Stats(); return err },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
