package imageservice

import (
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
	"github.com/cri-wasmer/cri-wasmer/imageservice/format"
)

// PullPhase says what a pull is about.
type PullPhase string

// Phases of a pull.
const (
	PullResolving   PullPhase = "resolving"   // from the name to a manifest
	PullDownloading PullPhase = "downloading" // and unpacking
	PullCompiling   PullPhase = "compiling"
)

// PullProgress is how far a pull has come. A snapshot, as JSON a part of what
// ImageStatus shows: fields are added, never changed.
type PullProgress struct {
	Ref       string            `json:"ref"`
	Phase     PullPhase         `json:"phase"`
	StartedAt time.Time         `json:"startedAt"`
	Content   []ContentProgress `json:"content,omitempty"` // in the order of the manifest
	Code      []codecache.Tier  `json:"code,omitempty"`    // of the program that is compiled
}

// ContentState says how far one blob is.
type ContentState string

// States of a blob.
const (
	ContentWaiting     ContentState = "waiting"
	ContentDownloading ContentState = "downloading"
	ContentDone        ContentState = "done"
)

// ContentProgress is how far one blob of a pull is.
type ContentProgress struct {
	Digest string       `json:"digest"`
	Size   int64        `json:"size"`
	Done   int64        `json:"done"`
	State  ContentState `json:"state"`
}

// progress follows one pull. Safe for concurrent use.
type progress struct {
	table *progressTable

	mu     sync.Mutex
	state  PullProgress
	module string // that is compiled
}

// progressTable holds what pulls under way have to tell. Blobs are counted once
// for all pulls that wait for them. The zero value is ready. Safe for concurrent
// use.
type progressTable struct {
	mu        sync.Mutex
	pulls     []*progress
	transfers map[string]*transfer // by digest

	total atomic.Int64 // bytes that were read since the beginning
}

// Downloaded counts the bytes of layers and configurations that were read from
// registries since Open.
func (s *Service) Downloaded() int64 { return s.progress.total.Load() }

// transfer counts what came of one blob.
type transfer struct{ done atomic.Int64 }

func (t *progressTable) begin(ref string) *progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &progress{table: t, state: PullProgress{Ref: ref, Phase: PullResolving, StartedAt: time.Now().UTC()}}
	t.pulls = append(t.pulls, p)
	return p
}

func (p *progress) end() {
	p.table.mu.Lock()
	defer p.table.mu.Unlock()
	p.table.pulls = slices.DeleteFunc(p.table.pulls, func(q *progress) bool { return q == p })
}

func (p *progress) enter(phase PullPhase) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Phase = phase
}

func (p *progress) compiling(module string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state.Phase, p.module = PullCompiling, module
}

// want adds a blob that the pull needs.
func (p *progress) want(d format.Descriptor) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.find(d.Digest) == nil {
		p.state.Content = append(p.state.Content, ContentProgress{Digest: d.Digest, Size: d.Size, State: ContentWaiting})
	}
}

// have notes that a blob is here.
func (p *progress) have(digest string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.find(digest); c != nil {
		c.State, c.Done = ContentDone, c.Size
	}
}

func (p *progress) find(digest string) *ContentProgress {
	for i := range p.state.Content {
		if p.state.Content[i].Digest == digest {
			return &p.state.Content[i]
		}
	}
	return nil
}

// count notes what is read of a blob, until it is closed.
func (t *progressTable) count(digest string, r io.ReadCloser) io.ReadCloser {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.transfers == nil {
		t.transfers = map[string]*transfer{}
	}
	c := &counted{ReadCloser: r, table: t, digest: digest, transfer: &transfer{}}
	t.transfers[digest] = c.transfer
	return c
}

// counted is a blob that is counted while it is read.
type counted struct {
	io.ReadCloser
	table    *progressTable
	digest   string
	transfer *transfer
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.transfer.done.Add(int64(n))
	c.table.total.Add(int64(n))
	return n, err
}

func (c *counted) Close() error {
	c.table.mu.Lock()
	if c.table.transfers[c.digest] == c.transfer {
		delete(c.table.transfers, c.digest)
	}
	c.table.mu.Unlock()
	return c.ReadCloser.Close()
}

// snapshot copies the state of the pulls of a name, with what was counted.
func (t *progressTable) snapshot(ref string) (list []PullProgress, modules []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.pulls {
		p.mu.Lock()
		if p.state.Ref == ref {
			s := p.state
			s.Content = slices.Clone(s.Content)
			list, modules = append(list, s), append(modules, p.module)
		}
		p.mu.Unlock()
	}
	for _, s := range list {
		for i := range s.Content {
			c := &s.Content[i]
			if tr := t.transfers[c.Digest]; tr != nil && c.State == ContentWaiting {
				c.State, c.Done = ContentDownloading, min(tr.done.Load(), c.Size)
			}
		}
	}
	return list, modules
}

// Progress tells how far the pulls of a name have come that are under way, one
// for each set of credentials. It is empty when there is none, also when the
// name does not parse.
func (s *Service) Progress(ref string) []PullProgress {
	r, err := ParseReference(ref)
	if err != nil {
		return nil
	}
	list, modules := s.progress.snapshot(r.String())
	for i, module := range modules {
		if module != "" && s.cfg.Code != nil {
			list[i].Code = s.cfg.Code.Tiers(module)
		}
	}
	return list
}
