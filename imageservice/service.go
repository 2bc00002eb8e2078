package imageservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
	"github.com/cri-wasmer/cri-wasmer/imageservice/flight"
	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
	"github.com/cri-wasmer/cri-wasmer/imageservice/registry"
	"github.com/cri-wasmer/cri-wasmer/imageservice/signature"
	"github.com/cri-wasmer/cri-wasmer/imageservice/unpack"
)

// Codes compiles modules and keeps the result. codecache.Cache is the real
// one.
type Codes interface {
	// Preflight says what the file is and whether it can run here from the
	// exported function on; empty means _start. The error is a
	// *codecache.Refusal when it can not.
	Preflight(module *os.File, function string) (*codecache.Report, error)
	// Code gives the compiled form, made now when it is missing.
	Code(ctx context.Context, module *os.File) (*codecache.Code, error)
	// Own marks a module (sha256:HEX) as one of an image: its code stays.
	Own(digest string)
	// OwnOnly replaces all marks, and deletes the code of modules that had
	// one until now.
	OwnOnly(digests map[string]bool)
	// Tiers lists the code that there is, and that is being made, of a module.
	Tiers(digest string) []codecache.Tier
	// Usage measures the disk space in use.
	Usage() (bytes, inodes int64)
}

// Config configures a Service. Only Root is needed.
type Config struct {
	Root         string        // directory of the store, owned by the service
	CertsDirs    []string      // hosts.toml directories (certs.d), in order
	DockerConfig string        // docker config.json with the node's own credentials
	MaxDownloads int           // blobs at a time over all pulls; 0 means 4
	StallTimeout time.Duration // a download without data for so long is resumed anew; 0 means 30 s
	RetryBackoff time.Duration // first wait between retries; 0 means 100 ms
	SyncDelay    time.Duration // content is brought to disk so long after a pull; 0 means 5 s
	// FailedKept is how long the content that a failed pull has fetched waits
	// for the next try; 0 means 10 minutes, twice the kubelet's longest back-off.
	FailedKept time.Duration
	Limits     unpack.Limits // of one layer
	Pinned     []string      // names of images that the kubelet must not collect
	Code       Codes         // nil: nothing is compiled at pull
	Signatures signature.Config
	HostArch   string // GOARCH for which native platforms count; empty means this one
	UserAgent  string
	// Pulled is told how long a pull took and how it ended; nil: nobody.
	Pulled func(took time.Duration, err error)
	Logger *slog.Logger
}

// Service is the image store. Safe for concurrent use.
//
// Locks, in this order: collecting (one collection at a time, over its whole
// I/O), commit (the right to change records, spans the write to
// disk), content (pins and what is collected, spans renames), mu (maps, never
// over I/O).
type Service struct {
	cfg    Config
	log    *slog.Logger
	store  *store
	meta   *meta
	client *registry.Client
	signed *signature.Verifier // nil without a policy
	pinned map[string]bool     // canonical names
	boot   string              // of the machine

	pulls  flight.Group[*Image]
	layers flight.Group[*layerInfo]
	blobs  flight.Group[struct{}]

	progress progressTable // of pulls, for those who look; its lock is a leaf

	collecting sync.Mutex

	commit sync.Mutex

	content sync.Mutex
	pins    map[string]int // content of pulls that run

	mu      sync.RWMutex
	records map[string]*record // by id; a record is replaced, never changed
	images  map[string]*Image  // their snapshots, without the removed ones
	names   map[string]string  // tag or digest -> id
	holders map[string]map[string]bool
	sizes   map[string]layerInfo // of layers on disk, by key
	dirty   map[string]bool      // content that may not be on disk yet
	closed  bool

	collectWanted chan struct{} // cap 1
	collectFailed *time.Timer   // wants a collection when no failed pull is tried again
	syncWanted    chan struct{} // cap 1
	quit          chan struct{} // closed by Close
	wg            sync.WaitGroup
}

// Open opens or creates the store, removes what a crash left, and starts
// collecting. An image whose content is gone is dropped, with a warning. Errors
// are about the disk, names in Config that do not parse, or another daemon on
// the same root.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Root == "" {
		return nil, errors.New("open image service: no root directory")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.SyncDelay <= 0 {
		cfg.SyncDelay = 5 * time.Second
	}
	if cfg.FailedKept <= 0 {
		cfg.FailedKept = 10 * time.Minute
	}
	if cfg.HostArch == "" {
		cfg.HostArch = runtime.GOARCH
	}
	s := &Service{
		cfg: cfg, log: cfg.Logger, pinned: map[string]bool{}, pins: map[string]int{},
		records: map[string]*record{}, images: map[string]*Image{}, names: map[string]string{},
		holders: map[string]map[string]bool{}, sizes: map[string]layerInfo{}, dirty: map[string]bool{},
		collectWanted: make(chan struct{}, 1), syncWanted: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	for _, name := range cfg.Pinned {
		ref, err := ParseReference(name)
		if err != nil {
			return nil, fmt.Errorf("pinned images: %w", err)
		}
		s.pinned[ref.String()] = true
	}
	var err error
	if s.boot, err = bootID(); err != nil {
		return nil, fmt.Errorf("open image service: %w", err)
	}
	if s.signed, err = signature.New(cfg.Signatures); err != nil {
		return nil, fmt.Errorf("open image service: %w", err)
	}
	if err := os.MkdirAll(cfg.Root, 0o700); err != nil {
		return nil, fmt.Errorf("open image service: %w", err)
	}
	// The metadata is opened first: its lock keeps a second daemon from
	// emptying the temporary directory of the first.
	if s.meta, err = openMeta(filepath.Join(cfg.Root, "meta.db")); err != nil {
		return nil, fmt.Errorf("open image service: %w", err)
	}
	if err := s.load(); err != nil {
		s.meta.close()
		return nil, fmt.Errorf("open image service: %w", err)
	}
	s.client = registry.NewClient(registry.Options{
		CertsDirs: cfg.CertsDirs, DockerConfig: cfg.DockerConfig, MaxDownloads: cfg.MaxDownloads,
		StallTimeout: cfg.StallTimeout, Backoff: cfg.RetryBackoff, UserAgent: cfg.UserAgent, Logger: cfg.Logger,
	})
	// What no record refers to may have been torn by a loss of power: it goes
	// before anything could make use of it.
	trash, err := s.sweep()
	if err != nil {
		s.meta.close()
		return nil, fmt.Errorf("open image service: collect unused content: %w", err)
	}
	if err := emptyTrash(ctx, trash); err != nil {
		s.log.Warn("image store: collecting unused content", "error", err)
	}
	s.collectFailed = time.AfterFunc(cfg.FailedKept, s.wantCollect)
	s.wantSync()
	s.wg.Add(2)
	go s.syncer()
	go s.janitor()
	return s, nil
}

// load reads the records and checks that their content is there.
func (s *Service) load() error {
	var err error
	if s.store, err = openStore(s.cfg.Root); err != nil {
		return err
	}
	s.store.wrote = s.wrote
	records, bad, err := s.meta.load()
	if err != nil {
		return err
	}
	for _, id := range bad {
		s.log.Warn("image record does not parse, dropped; pull the image again", "image", id)
	}
	for _, r := range records {
		if s.doubtful(r) {
			s.log.Warn("image content may have been lost with the machine's power, verifying it", "image", r.ID, "tags", r.Tags)
			if err := s.verifyContent(r); err != nil {
				s.log.Warn("image content was lost, image dropped; pull it again", "image", r.ID, "tags", r.Tags, "error", err)
				bad = append(bad, r.ID)
				continue
			}
		}
		if missing := s.missing(r); missing != "" {
			s.log.Warn("image content is missing, image dropped; pull it again", "image", r.ID, "tags", r.Tags, "missing", missing)
			bad = append(bad, r.ID)
			continue
		}
		s.publish(r)
	}
	if len(bad) > 0 {
		return s.meta.write(nil, bad)
	}
	return nil
}

// missing gives the first piece of content that the record needs and the disk
// lacks, and remembers the sizes of its layers.
func (s *Service) missing(r *record) string {
	for _, b := range r.Blobs {
		if !s.store.hasBlob(b.Digest, b.Size) {
			return "blob " + b.Digest
		}
	}
	for _, key := range r.Layers {
		info, ok := s.store.layer(key)
		if !ok || s.store.damaged(key, false) != nil {
			return "layer " + key
		}
		s.remember(key, info)
	}
	return ""
}

func (s *Service) remember(key string, info *layerInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sizes[key] = *info
}

// publish makes a record visible, after it was written.
func (s *Service) publish(r *record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publishLocked(r)
}

func (s *Service) publishLocked(r *record) {
	s.unpublishLocked(r.ID)
	s.records[r.ID] = r
	if r.Removed {
		return
	}
	s.images[r.ID] = r.image(s)
	for _, n := range slices.Concat(r.Tags, r.Digests) {
		s.names[n] = r.ID
	}
}

func (s *Service) unpublishLocked(id string) {
	old := s.records[id]
	if old == nil {
		return
	}
	for _, n := range slices.Concat(old.Tags, old.Digests) {
		if s.names[n] == id {
			delete(s.names, n)
		}
	}
	delete(s.records, id)
	delete(s.images, id)
}

// Close ends running pulls and waits for them. Content that containers use
// stays where it is.
func (s *Service) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.quit)
	s.pulls.Close()
	s.layers.Close()
	s.blobs.Close()
	s.collectFailed.Stop() // a pull that has just ended may have set it
	s.wg.Wait()
	return errors.Join(s.client.Close(), s.meta.close())
}

// Status finds an image by tag, by name without tag (which means latest), by
// name and digest, by id with or without "sha256:", or by a beginning of an id
// that no other image has. The kind is ErrNotFound when there is none.
func (s *Service) Status(ctx context.Context, ref string) (*Image, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if img := s.findLocked(ref); img != nil {
		return img, nil
	}
	return nil, &imgerr.Error{Kind: imgerr.ErrNotFound, Image: printable(ref), Text: "not on this node", Remedy: "pull it first"}
}

func (s *Service) findLocked(ref string) *Image {
	if img := s.images[ref]; img != nil {
		return img
	}
	hex := strings.TrimPrefix(ref, "sha256:")
	if img := s.images["sha256:"+hex]; img != nil {
		return img
	}
	if r, err := ParseReference(ref); err == nil {
		if img := s.images[s.names[r.String()]]; img != nil {
			return img
		}
	}
	if !hexRE.MatchString(hex) {
		return nil
	}
	var found *Image
	for id, img := range s.images {
		if strings.HasPrefix(id, "sha256:"+hex) {
			if found != nil {
				return nil
			}
			found = img
		}
	}
	return found
}

// List gives all images in the order of their ids.
func (s *Service) List(ctx context.Context) ([]*Image, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	ids := slices.Sorted(maps.Keys(s.images))
	list := make([]*Image, 0, len(ids))
	for _, id := range ids {
		list = append(list, s.images[id])
	}
	return list, nil
}
