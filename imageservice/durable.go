package imageservice

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A pull does not wait for the disk. Content gets its name when it is complete
// and verified, which is enough whatever happens to the daemon; what a loss of
// power takes is told apart afterwards. The record of an image, which is always
// on disk, says during which boot content was written that may not be. A moment
// later everything is synced and the record says no more. When Open finds a
// record of another boot, it reads all content of that image and compares it
// with its digests and checksums.

// bootID names this boot of the machine.
func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// wrote notes content that may not be on disk.
func (s *Service) wrote(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty[key] = true
}

// contentOf lists the keys of a record's content.
func contentOf(r *record) []string {
	var keys []string
	for _, b := range r.Blobs {
		keys = append(keys, "blob/"+b.Digest)
	}
	for _, k := range r.Layers {
		keys = append(keys, "layer/"+k)
	}
	return keys
}

// unsynced says whether some of the image's content may not be on disk.
func (s *Service) unsynced(r *record) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, k := range contentOf(r) {
		if s.dirty[k] {
			return true
		}
	}
	return false
}

func (s *Service) wantSync() {
	select {
	case s.syncWanted <- struct{}{}:
	default:
	}
}

// syncer brings content to disk in the background until Close.
func (s *Service) syncer() {
	defer s.wg.Done()
	for {
		select {
		case <-s.quit:
			return
		case <-s.syncWanted:
			if !s.pause(s.cfg.SyncDelay) {
				return
			}
			if err := s.sync(); err != nil {
				s.log.Warn("image store: bringing content to disk", "error", err)
			}
		}
	}
}

// pause waits, so that pulls that follow each other are synced together and do
// not wait for the disk that this keeps busy. It gives false when Close ends it.
func (s *Service) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-s.quit:
		return false
	case <-timer.C:
		return true
	}
}

// sync brings everything written so far to disk and says so in the records.
func (s *Service) sync() error {
	s.mu.RLock()
	var keys []string
	for k := range s.dirty {
		keys = append(keys, k)
	}
	s.mu.RUnlock()
	if slices.ContainsFunc(keys, s.store.has) {
		if err := syncFS(s.cfg.Root); err != nil {
			return err
		}
	}
	if err := s.store.step("synced"); err != nil {
		return err
	}
	for _, k := range keys {
		if key, ok := strings.CutPrefix(k, "layer/"); ok {
			s.measureAgain(key)
		}
	}
	s.mu.Lock()
	for _, k := range keys {
		delete(s.dirty, k)
	}
	s.mu.Unlock()
	return s.noteSynced()
}

// has says whether there is content of this key.
func (s *store) has(key string) bool {
	path := s.layerPath(strings.TrimPrefix(key, "layer/"))
	if digest, ok := strings.CutPrefix(key, "blob/"); ok {
		path = s.blobPath(digest)
	}
	_, err := os.Lstat(path)
	return err == nil
}

// noteSynced clears the mark of records whose content is on disk.
func (s *Service) noteSynced() error {
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.RLock()
	var marked []*record
	for _, r := range s.records {
		if r.Unsynced != "" {
			marked = append(marked, r)
		}
	}
	s.mu.RUnlock()
	var put []*record
	for _, r := range marked {
		if !s.unsynced(r) {
			c := *r
			c.Unsynced = ""
			put = append(put, &c)
		}
	}
	if len(put) == 0 {
		return nil
	}
	if err := s.meta.write(put, nil); err != nil {
		return err
	}
	for _, r := range put {
		s.publish(r)
	}
	return nil
}

// measureAgain corrects the size of a layer: some file systems allocate blocks
// when they write them. Layers that show a module take no space of their own.
func (s *Service) measureAgain(key string) {
	info, ok := s.store.layer(key)
	if !ok || strings.HasPrefix(key, "m-") {
		return
	}
	bytes, inodes, err := diskUsage(s.store.layerPath(key), nil)
	if err != nil || (bytes == info.Bytes && inodes == info.Inodes) {
		return
	}
	info.Bytes, info.Inodes = bytes, inodes
	if err := s.store.replaceInfo(key, info); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("image store: size of a layer", "layer", key, "error", err)
		}
		return
	}
	s.remember(key, info)
}

// replaceInfo writes the fact file of a layer anew.
func (s *store) replaceInfo(key string, info *layerInfo) error {
	f, err := os.CreateTemp(s.tmp(), "info-*")
	if err != nil {
		return err
	}
	f.Close()
	defer os.Remove(f.Name()) // gone already when all went well
	if err := writeInfo(f.Name(), info); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(s.layerPath(key), "layer.json"))
}

// doubtful says whether a record's content may have been lost with the power.
// What the running kernel has in memory is not lost: it is still to be synced.
func (s *Service) doubtful(r *record) bool {
	switch r.Unsynced {
	case "":
		return false
	case s.boot:
		s.mu.Lock()
		for _, k := range contentOf(r) {
			s.dirty[k] = true
		}
		s.mu.Unlock()
		return false
	}
	return true
}

// verifyContent reads all content of an image. What is damaged is deleted, so
// that no other image finds it; sound content is synced like new one.
func (s *Service) verifyContent(r *record) error {
	var errs []error
	for _, b := range r.Blobs {
		if err := s.store.verifyBlob(b.Digest, b.Size); err != nil {
			errs = append(errs, fmt.Errorf("blob %s: %w", b.Digest, err), s.store.drop(s.store.blobPath(b.Digest)))
		}
		s.dirty["blob/"+b.Digest] = true
	}
	for _, k := range r.Layers {
		if err := s.store.damaged(k, true); err != nil {
			errs = append(errs, fmt.Errorf("layer %s: %w", k, err), s.store.drop(s.store.layerPath(k)))
		}
		s.dirty["layer/"+k] = true
	}
	return errors.Join(errs...)
}

// drop deletes content for good.
func (s *store) drop(path string) error {
	trash, err := s.discard(path)
	if err != nil {
		return err
	}
	return os.RemoveAll(trash)
}
