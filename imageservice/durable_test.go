package imageservice

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// marks lists the images whose content may not be on disk.
func marks(s *Service) (n int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, r := range s.records {
		if r.Unsynced != "" {
			n++
		}
	}
	return n
}

func awaitNoMarks(t *testing.T, s *Service) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); marks(s) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("content is never synced")
		}
	}
}

func TestAPulledImageReachesTheDiskLater(t *testing.T) {
	f := newFixture(t)
	refs := pushBoth(f)
	s := openService(t, nil)
	onStep(s, func(name string) error {
		if name == "synced" {
			return errCrash
		}
		return nil
	})
	for _, ref := range refs {
		mustPull(t, s, ref)
	}
	if n := marks(s); n != 2 {
		t.Errorf("%d images are marked before anything was synced, want 2", n)
	}
	s.Close()
	s = openService(t, func(c *Config) { c.Root = s.cfg.Root }) // in the same boot: nothing is lost
	awaitNoMarks(t, s)
	check(t, s)
	s.Close()
	s = openService(t, func(c *Config) { c.Root = s.cfg.Root })
	if n := marks(s); n != 0 {
		t.Errorf("%d marks came back", n)
	}
}

// A loss of power is imitated by a record of another boot and by content as
// file systems leave it: files of zeros, or of no length.
func TestWhatALossOfPowerTookIsFound(t *testing.T) {
	for name, damage := range map[string]func(s *Service, rootfs, artifact *Image) error{
		"nothing": func(*Service, *Image, *Image) error { return nil },
		"a file of a layer": func(_ *Service, rootfs, _ *Image) error {
			return os.WriteFile(filepath.Join(rootfs.Layers[0], "etc/x"), make([]byte, 9000), 0o755)
		},
		"the end of a file": func(_ *Service, rootfs, _ *Image) error {
			return os.Truncate(filepath.Join(rootfs.Layers[0], "etc/x"), 10)
		},
		"an entry": func(_ *Service, rootfs, _ *Image) error { return os.Remove(filepath.Join(rootfs.Layers[0], "etc/x")) },
		"a fact file": func(_ *Service, rootfs, _ *Image) error {
			return os.Truncate(filepath.Join(rootfs.Layers[0], "../layer.json"), 0)
		},
		"a manifest":           func(s *Service, rootfs, _ *Image) error { return os.Truncate(s.store.blobPath(rootfs.Manifest), 0) },
		"a manifest's content": func(s *Service, rootfs, _ *Image) error { return zero(s.store.blobPath(rootfs.Manifest)) },
		"a module": func(_ *Service, _, artifact *Image) error {
			return zero(filepath.Join(artifact.Layers[0], artifact.Module))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			refs := pushBoth(f)
			s := openService(t, nil)
			rootfs, artifact := mustPull(t, s, refs[0]), mustPull(t, s, refs[1])
			awaitNoMarks(t, s)
			s.mu.RLock()
			var lost []*record
			for _, r := range s.records {
				c := *r
				c.Unsynced = "another boot"
				lost = append(lost, &c)
			}
			s.mu.RUnlock()
			if err := s.meta.write(lost, nil); err != nil {
				t.Fatal(err)
			}
			s.Close()
			if err := damage(s, rootfs, artifact); err != nil {
				t.Fatal(err)
			}
			s = openService(t, func(c *Config) { c.Root = s.cfg.Root })
			list, err := s.List(context.Background())
			if want := map[bool]int{true: 2, false: 1}[name == "nothing"]; err != nil || len(list) != want {
				t.Errorf("%d images are left, %v, want %d", len(list), err, want)
			}
			awaitNoMarks(t, s)
			for _, ref := range refs {
				mustPull(t, s, ref)
			}
			check(t, s)
			if r := mustCheck(t, CheckConfig{Root: s.cfg.Root, Deep: true}); !r.Clean() {
				t.Errorf("problems: %v", r.Problems)
			}
		})
	}
}

// zero overwrites a file with zeros.
func zero(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(make([]byte, info.Size()))
	return err
}
