package rootfs

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cri-wasmer/cri-wasmer/sandbox"
)

var counter atomic.Uint64

func BenchmarkBuild(b *testing.B) {
	f := newFS(b)
	host := tree(b, "hosts", "hostname", "resolv", "sa/token", "log")
	files := []sandbox.BindFile{
		{HostPath: host + "/hosts", ContainerPath: "/etc/hosts"},
		{HostPath: host + "/hostname", ContainerPath: "/etc/hostname"},
		{HostPath: host + "/resolv", ContainerPath: "/etc/resolv.conf"},
	}
	layer := tree(b, "app.wasm", "etc/passwd")
	bench := func(name string, spec sandbox.RootSpec) {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration // of Build alone; ns/op has the removal too
			for b.Loop() {
				spec.ID = fmt.Sprintf("%s-%d", name, len(took))
				start := time.Now()
				r, err := f.Build(context.Background(), spec)
				took = append(took, time.Since(start))
				if err != nil {
					b.Fatal(err)
				}
				r.Close()
				if err := f.Remove(context.Background(), spec.ID); err != nil {
					b.Fatal(err)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "build-us(median)")
			b.ReportMetric(float64(took[len(took)*9/10].Microseconds()), "build-us(p90)")
		})
	}
	bench("empty", sandbox.RootSpec{})
	bench("pod", sandbox.RootSpec{Layers: []string{layer}, Files: files})
	bench("kubelet", sandbox.RootSpec{Layers: []string{layer}, Files: files, Mounts: []sandbox.Mount{
		{HostPath: host + "/sa", ContainerPath: "/var/run/secrets/kubernetes.io/serviceaccount", Readonly: true},
		{HostPath: host + "/log", ContainerPath: "/dev/termination-log"},
	}})
	bench("privileged", sandbox.RootSpec{Layers: []string{layer}, Privileged: true})
}

func BenchmarkBuildParallel(b *testing.B) {
	f := newFS(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			id := fmt.Sprintf("c%d", counter.Add(1))
			r, err := f.Build(context.Background(), sandbox.RootSpec{ID: id})
			if err != nil {
				b.Error(err)
				return
			}
			r.Close()
			if err := f.Remove(context.Background(), id); err != nil {
				b.Error(err)
			}
		}
	})
}
