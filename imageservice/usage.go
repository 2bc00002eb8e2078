package imageservice

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is the disk space that images take.
type Usage struct {
	Timestamp  time.Time
	Mountpoint string // a directory on the filesystem that holds the images
	Bytes      uint64
	Inodes     uint64
}

// Usage measures what the store takes on disk: blobs, layers, code and
// metadata. Layers were measured when they were made, the rest is looked at
// now.
func (s *Service) Usage(ctx context.Context) (Usage, error) {
	if err := ctx.Err(); err != nil {
		return Usage{}, context.Cause(ctx)
	}
	u := Usage{Timestamp: time.Now(), Mountpoint: s.cfg.Root}
	entries, err := os.ReadDir(filepath.Join(s.store.root, "layers"))
	if err != nil {
		return Usage{}, fmt.Errorf("measure images: %w", err)
	}
	for _, e := range entries {
		if info, ok := s.layerSize(e.Name()); ok {
			u.Bytes += uint64(info.Bytes)
			u.Inodes += uint64(info.Inodes)
		}
	}
	for _, dir := range []string{filepath.Join(s.store.root, "blobs"), s.store.tmp()} {
		b, n, err := diskUsage(dir, nil)
		if err != nil {
			return Usage{}, fmt.Errorf("measure images: %w", err)
		}
		u.Bytes += uint64(b)
		u.Inodes += uint64(n)
	}
	for _, p := range []string{s.store.root, filepath.Join(s.store.root, "layers"), filepath.Join(s.store.root, "meta.db")} {
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return Usage{}, fmt.Errorf("measure images: %w", err)
		}
		u.Bytes += uint64(st.Blocks * 512)
		u.Inodes++
	}
	if s.cfg.Code != nil {
		b, n := s.cfg.Code.Usage()
		u.Bytes += uint64(b)
		u.Inodes += uint64(n)
	}
	return u, nil
}

func (s *Service) layerSize(key string) (layerInfo, bool) {
	s.mu.RLock()
	info, ok := s.sizes[key]
	s.mu.RUnlock()
	if ok {
		return info, true
	}
	read, ok := s.store.layer(key)
	if !ok {
		return layerInfo{}, false
	}
	return *read, true
}
