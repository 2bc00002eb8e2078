package main

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"time"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/procstat"
)

// bulk is the image whose pull is measured: so many layers of so many packed
// bytes, and of twice as many unpacked ones.
const (
	bulk        = "bulk"
	bulkLayers  = 8
	bulkLayer   = 25 << 20
	bulkFile    = 128 << 10
	settledSize = 20 << 20 // what a server may hold beside it
)

const (
	pullRow       = "PullImage, 200 MB in 8 layers, loopback"
	pullCPURow    = "daemon's CPU time for that pull"
	pullMemoryRow = "daemon's peak RSS during that pull"
)

// publishBulk pushes it. Both servers pull the same one: layers of files that
// compress to half, as programs do.
func publishBulk(r *images.Registry) (string, error) {
	random := rand.NewChaCha8([32]byte{1})
	image := images.LinuxHost(images.Rootfs{Entrypoint: []string{"/layer-0/file-0"}})
	for l := range bulkLayers {
		var files []images.File
		for f := range 2 * bulkLayer / bulkFile {
			data := make([]byte, bulkFile)
			for at := 0; at < len(data); at += 1024 {
				_, _ = random.Read(data[at : at+512]) // the other half is zero
			}
			files = append(files, images.File{Name: fmt.Sprintf("layer-%d/file-%d", l, f), Data: data})
		}
		image.Layers = append(image.Layers, files)
	}
	return push(r, bulk, image)
}

// pullBulk pulls the image onto a server that has nothing of it.
func pullBulk(ctx context.Context, f *fixture) (float64, error) {
	if err := f.forget(ctx); err != nil {
		return 0, err
	}
	start := time.Now()
	if _, err := f.client.Pull(ctx, f.images[bulk]); err != nil {
		return 0, err
	}
	return ms(start), nil
}

// pullCPU is the processor time that the daemon takes for such a pull, which
// other load on the machine does not change.
func pullCPU(ctx context.Context, f *fixture) (float64, error) {
	if err := f.forget(ctx); err != nil {
		return 0, err
	}
	before, err := procstat.CPU(f.pid)
	if err != nil {
		return 0, err
	}
	if _, err := f.client.Pull(ctx, f.images[bulk]); err != nil {
		return 0, err
	}
	after, err := procstat.CPU(f.pid)
	return float64((after - before).Milliseconds()), err
}

// pullMemory is the most memory that the daemon has during such a pull.
func pullMemory(ctx context.Context, f *fixture) (float64, error) {
	if err := f.forget(ctx); err != nil {
		return 0, err
	}
	if err := procstat.ForgetPeak(f.pid); err != nil {
		return 0, err
	}
	if _, err := f.client.Pull(ctx, f.images[bulk]); err != nil {
		return 0, err
	}
	peak, err := procstat.PeakRSS(f.pid)
	return float64(peak) / (1 << 20), err
}

// forget removes the image and waits until its space is free.
func (f *fixture) forget(ctx context.Context) error {
	spec := &runtime.ImageSpec{Image: f.images[bulk]}
	if _, err := f.client.Images.RemoveImage(ctx, &runtime.RemoveImageRequest{Image: spec}); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); f.space() > settledSize+f.idleSpace; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("the space of the removed image is not freed: %d bytes", f.space())
		}
	}
	return nil
}

// space is the size of all files of the server.
func (s *server) space() (sum int64) {
	_ = filepath.WalkDir(s.dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // what goes away meanwhile takes no space
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

// withBulk notes what the server holds without the image.
func withBulk(_ context.Context, s *server) (*fixture, error) {
	return &fixture{server: s, idleSpace: s.space()}, nil
}
