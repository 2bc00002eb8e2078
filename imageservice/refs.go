package imageservice

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

// Acquire finds an image as Status does and keeps its content (layers and
// code) for the holder, a container, until Release, even if the image is
// removed meanwhile. A holder can hold several images; acquiring one twice is
// one hold.
//
// Holders live in memory, so that creating a container costs no write to disk:
// after a restart the caller holds again with Readopt what its containers use,
// and then calls Reclaim. Until then everything that was held when the daemon
// ended is kept.
func (s *Service) Acquire(ctx context.Context, ref, holder string) (*Image, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	img := s.findLocked(ref)
	if img == nil {
		return nil, &imgerr.Error{Kind: imgerr.ErrNotFound, Image: printable(ref), Text: "not on this node", Remedy: "pull it first"}
	}
	s.holdLocked(holder, img.ID)
	return img, nil
}

func (s *Service) holdLocked(holder, id string) {
	if s.holders[holder] == nil {
		s.holders[holder] = map[string]bool{}
	}
	s.holders[holder][id] = true
}

// Readopt holds an image by its full id after a restart of the daemon, also
// one that was removed while it was held. The kind is ErrNotFound when its
// content is gone.
func (s *Service) Readopt(holder, id string) (*Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[id]
	if r == nil {
		return nil, &imgerr.Error{Kind: imgerr.ErrNotFound, Image: printable(id), Text: "content of a container's image is gone", Remedy: "remove the container and pull its image again"}
	}
	s.holdLocked(holder, id)
	return r.image(s), nil
}

// Reclaim drops what was removed earlier and nobody holds. It is called once,
// after all containers have been readopted; Release does the same from then on.
func (s *Service) Reclaim() error { return s.dropUnheld() }

// Release gives up everything that the holder holds; nil when it holds
// nothing.
func (s *Service) Release(holder string) error {
	s.mu.Lock()
	ids := s.holders[holder]
	delete(s.holders, holder)
	orphan := false
	for id := range ids {
		if r := s.records[id]; r != nil && r.Removed {
			orphan = true
		}
	}
	s.mu.Unlock()
	if !orphan {
		return nil
	}
	return s.dropUnheld()
}

// dropUnheld deletes the records of removed images that nobody holds.
func (s *Service) dropUnheld() error {
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.RLock()
	var del []string
	for id, r := range s.records {
		if r.Removed && !s.heldLocked(id) {
			del = append(del, id)
		}
	}
	s.mu.RUnlock()
	if len(del) == 0 {
		return nil
	}
	if err := s.meta.write(nil, del); err != nil {
		return err
	}
	s.mu.Lock()
	for _, id := range del {
		// Readopt may have come in between: then the record stays in memory
		// and with it the content, for as long as this daemon lives.
		if !s.heldLocked(id) {
			s.unpublishLocked(id)
		}
	}
	s.mu.Unlock()
	s.wantCollect()
	return nil
}

func (s *Service) heldLocked(id string) bool {
	for _, ids := range s.holders {
		if ids[id] {
			return true
		}
	}
	return false
}

// Remove takes an image away with all its names, at once for every other
// method; its space follows when nothing uses it. An unknown or unparsable name
// is no error.
func (s *Service) Remove(ctx context.Context, ref string) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.RLock()
	img := s.findLocked(ref)
	var r *record
	if img != nil {
		r = s.records[img.ID]
	}
	s.mu.RUnlock()
	if r == nil {
		return nil
	}
	gone := *r
	gone.Tags, gone.Digests, gone.Removed = nil, nil, true
	// The record is kept as removed, and deleted only when nobody holds it: a
	// container may acquire the image until the moment it is unpublished.
	if err := s.meta.write([]*record{&gone}, nil); err != nil {
		return imgerr.About(printable(ref), err)
	}
	s.publish(&gone)
	s.log.Info("image removed", "image", r.ID, "tags", r.Tags)
	s.mu.RLock()
	held := s.heldLocked(r.ID)
	s.mu.RUnlock()
	if held {
		return nil
	}
	if err := s.meta.write(nil, []string{r.ID}); err != nil {
		return imgerr.About(printable(ref), err)
	}
	s.mu.Lock()
	s.unpublishLocked(r.ID)
	s.mu.Unlock()
	s.wantCollect()
	return nil
}

// pin keeps content from being collected although no record refers to it yet.
func (s *Service) pin(key string) {
	s.content.Lock()
	defer s.content.Unlock()
	s.pins[key]++
}

func (s *Service) unpin(keys []string) {
	s.content.Lock()
	defer s.content.Unlock()
	for _, k := range keys {
		if s.pins[k]--; s.pins[k] <= 0 {
			delete(s.pins, k)
		}
	}
}

func (s *Service) wantCollect() {
	select {
	case s.collectWanted <- struct{}{}:
	default:
	}
}

// collectAfter has the content of a pull that failed collected: after a while,
// since the next try may want it, but at once when the disk is full.
func (s *Service) collectAfter(failure error) {
	s.collectFailed.Reset(s.cfg.FailedKept)
	if imgerr.KindOf(failure) == imgerr.ErrNoSpace {
		s.wantCollect()
	}
}

// janitor collects in the background until Close.
func (s *Service) janitor() {
	defer s.wg.Done()
	for {
		select {
		case <-s.quit:
			return
		case <-s.collectWanted:
			if err := s.Collect(context.Background()); err != nil {
				s.log.Warn("image store: collecting unused content", "error", err)
			}
		}
	}
}

// Collect deletes content that no image, container or running pull needs, and
// returns when the space is free.
func (s *Service) Collect(ctx context.Context) error {
	s.collecting.Lock()
	defer s.collecting.Unlock()
	trash, err := s.sweep()
	return errors.Join(err, emptyTrash(ctx, trash))
}

func emptyTrash(ctx context.Context, trash []string) (err error) {
	for _, t := range trash {
		if ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx)) // the next Open empties the rest
		}
		err = errors.Join(err, os.RemoveAll(t))
	}
	return err
}

// sweep takes unreferenced content out of the store and gives what is to be
// deleted.
func (s *Service) sweep() (trash []string, err error) {
	s.content.Lock()
	defer s.content.Unlock()
	used := map[string]bool{}
	modules := map[string]bool{}
	for k := range s.pins {
		used[k] = true
		if d, ok := strings.CutPrefix(k, "code/"); ok {
			modules[d] = true
		}
	}
	s.mu.RLock()
	for _, r := range s.records {
		for _, b := range r.Blobs {
			used["blob/"+b.Digest] = true
		}
		for _, k := range r.Layers {
			used["layer/"+k] = true
		}
		if r.Program.Digest != "" {
			modules[r.Program.Digest] = true
		}
	}
	s.mu.RUnlock()
	sweepDir := func(dir, prefix string, path func(string) string) []string {
		var gone []string
		entries, e := os.ReadDir(dir)
		err = errors.Join(err, e)
		for _, entry := range entries {
			if used[prefix+entry.Name()] {
				continue
			}
			t, e := s.store.discard(path(entry.Name()))
			if e != nil {
				err = errors.Join(err, e)
				continue
			}
			trash, gone = append(trash, t), append(gone, entry.Name())
		}
		return gone
	}
	sweepDir(filepath.Join(s.store.root, "blobs", "sha256"), "blob/sha256:", s.store.blobPath)
	gone := sweepDir(filepath.Join(s.store.root, "layers"), "layer/", s.store.layerPath)
	s.mu.Lock()
	for _, k := range gone {
		delete(s.sizes, k)
	}
	s.mu.Unlock()
	if s.cfg.Code != nil {
		s.cfg.Code.OwnOnly(modules)
	}
	return trash, err
}

// with gives the list with the element added, without its old duplicates.
func with(list []string, e string) []string {
	if e == "" || slices.Contains(list, e) {
		return slices.Clone(list)
	}
	return append(slices.Clone(list), e)
}

func without(list []string, e string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(x string) bool { return x == e })
}
