package imageservice

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cri-wasmer/cri-wasmer/imageservice/flight"
	"github.com/cri-wasmer/cri-wasmer/imageservice/format"
	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
	"github.com/cri-wasmer/cri-wasmer/imageservice/registry"
	"github.com/cri-wasmer/cri-wasmer/imageservice/signature"
	verifyv1 "github.com/cri-wasmer/cri-wasmer/proto/verify/v1"
)

// Auth is the credential of one pull. It prints as nothing but its presence.
type Auth = registry.Auth

// PullRequest asks for an image.
type PullRequest struct {
	Ref  string // name with tag or digest; latest without
	Auth Auth
}

const maxIndexDepth = 4

// Pull makes the image present, as the registry has it now, and its program
// compiled as far as it can be: a program that cannot run here does not fail
// the pull (see Image.Program). Equal pulls at the same time are one. The
// context bounds the wait; work that another pull waits for goes on. Errors are
// *imgerr.Error with the kinds of that package, or carry the context's.
func (s *Service) Pull(ctx context.Context, req PullRequest) (*Image, error) {
	ref, err := ParseReference(req.Ref)
	if err != nil {
		return nil, err
	}
	key, err := pullKey(ref, req.Auth)
	if err != nil {
		return nil, imgerr.About(ref.String(), err)
	}
	img, _, err := s.pulls.Do(ctx, key, func(ctx context.Context) (*Image, error) {
		begin := time.Now()
		img, err := s.pull(ctx, ref, req.Auth)
		if s.cfg.Pulled != nil {
			s.cfg.Pulled(time.Since(begin), err)
		}
		if err != nil {
			s.collectAfter(err)
		} else {
			s.log.Info("image pulled", "ref", ref.String(), "image", img.ID, "format", img.Format, "size", img.Size,
				"program", img.Program.State, "took", time.Since(begin).Round(time.Millisecond))
		}
		return img, err
	})
	if err != nil {
		return nil, imgerr.About(ref.String(), err)
	}
	return img, nil
}

// pullKey tells equal pulls: the same name with the same credentials.
func pullKey(ref Reference, auth Auth) (string, error) {
	type plain Auth // without its methods
	data, err := json.Marshal(plain(auth))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return ref.String() + " " + hex.EncodeToString(sum[:]), nil
}

// pull is one pull at work.
type pull struct {
	s       *Service
	ref     Reference
	session *registry.Session
	pins    []string
	prog    *progress

	top      *registry.Manifest // what the name means
	manifest *registry.Manifest // the platform's
	doc      *format.Document
	verdict  *signature.Verdict // nil: no signature was wanted
	rec      *record
}

func (s *Service) pull(ctx context.Context, ref Reference, auth Auth) (*Image, error) {
	session, err := s.client.Session(ref.Domain, ref.Path, auth)
	if err != nil {
		return nil, err
	}
	p := &pull{s: s, ref: ref, session: session, rec: &record{Version: recordVersion}, prog: s.progress.begin(ref.String())}
	defer p.prog.end()
	defer func() { s.unpin(p.pins) }()
	if err := p.resolve(ctx); err != nil {
		return nil, err
	}
	if r := p.present(); r != nil {
		p.rec = r
	} else if err := p.fetch(ctx); err != nil {
		return nil, err
	}
	if err := p.program(ctx); err != nil {
		return nil, err
	}
	return p.commit(ctx)
}

// verify holds what the name means to the policy of signatures, before anything
// else is fetched. All that follows is named by digests that it lists.
func (p *pull) verify(ctx context.Context) (err error) {
	if p.s.signed == nil {
		return nil
	}
	target := verifyv1.Target{MediaType: p.top.MediaType, Digest: p.top.Digest, Size: int64(len(p.top.Data))}
	p.verdict, err = p.s.signed.Check(ctx, p.session, p.ref.Name(), target)
	if err == nil && p.verdict != nil {
		p.s.log.Info("image signature accepted", "ref", p.ref.String(), "digest", target.Digest, "by", p.verdict.By)
	}
	return err
}

func (p *pull) pin(key string) {
	p.s.pin(key)
	p.pins = append(p.pins, key)
}

// resolve gets from the name to the manifest of one platform.
func (p *pull) resolve(ctx context.Context) error {
	m, err := p.session.Manifest(ctx, p.ref.Target())
	if err != nil {
		return err
	}
	p.top = m
	if err := p.verify(ctx); err != nil {
		return err
	}
	for range maxIndexDepth {
		doc, err := format.Parse(m.MediaType, m.Data)
		if err != nil {
			return err
		}
		if !doc.Index {
			p.manifest, p.doc = m, doc
			return nil
		}
		child, why, err := format.Choose(doc, p.s.cfg.HostArch)
		if err != nil {
			return err
		}
		p.rec.PlatformReason = why
		if child.Platform != nil {
			p.rec.Platform = *child.Platform
		}
		if m, err = p.session.Manifest(ctx, child.Digest); err != nil {
			return fmt.Errorf("manifest for %s: %w", p.rec.Platform, err)
		}
	}
	return &imgerr.Error{Kind: imgerr.ErrLimit, Text: fmt.Sprintf("index within index, more than %d deep", maxIndexDepth)}
}

// present gives the record of the same manifest if this node has it already.
// Its content is pinned.
func (p *pull) present() *record {
	p.s.mu.RLock()
	var found *record
	for _, r := range p.s.records {
		if r.Manifest == p.manifest.Digest {
			found = r
		}
	}
	p.s.mu.RUnlock()
	if found == nil {
		return nil
	}
	for _, b := range found.Blobs {
		p.pin("blob/" + b.Digest)
	}
	for _, k := range found.Layers {
		p.pin("layer/" + k)
	}
	if p.s.missing(found) != "" { // collected before it was pinned, or lost
		return nil
	}
	c := *found
	c.Tags, c.Digests, c.Removed = nil, nil, false
	return &c
}

// fetch brings all content here and fills the record.
func (p *pull) fetch(ctx context.Context) error {
	p.prog.enter(PullDownloading)
	if p.doc.Config.Size > registry.MaxManifest {
		return &imgerr.Error{Kind: imgerr.ErrLimit, Text: fmt.Sprintf("configuration of %d bytes, at most %d are allowed", p.doc.Config.Size, registry.MaxManifest)}
	}
	if err := p.blob(ctx, p.doc.Config); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	data, err := p.s.store.readBlob(p.doc.Config.Digest)
	if err != nil {
		return err
	}
	if p.rec.Config, err = format.ParseConfig(p.doc.Config.MediaType, data); err != nil {
		return err
	}
	p.platform()
	if err := p.putManifest(ctx); err != nil {
		return err
	}
	p.rec.Manifest, p.rec.Annotations, p.rec.PulledAt = p.manifest.Digest, p.doc.Annotations, time.Now().UTC()
	if err := p.content(ctx); err != nil {
		return err
	}
	p.identify()
	return p.measure()
}

// platform lets the configuration say what the index did not.
func (p *pull) platform() {
	if p.rec.Config.Platform != (format.Platform{}) {
		p.rec.Platform = p.rec.Config.Platform
	}
	if p.rec.PlatformReason == "" {
		p.rec.PlatformReason = "the only image under this name"
	}
}

func (p *pull) putManifest(ctx context.Context) error {
	d := format.Descriptor{Digest: p.manifest.Digest, Size: int64(len(p.manifest.Data))}
	p.addBlob(d)
	_, _, err := p.s.blobs.Do(ctx, d.Digest, func(context.Context) (struct{}, error) {
		if p.s.store.hasBlob(d.Digest, d.Size) {
			return struct{}{}, nil
		}
		return struct{}{}, p.s.store.putBlob(d.Digest, d.Size, bytes.NewReader(p.manifest.Data))
	})
	return err
}

// addBlob makes the blob one of the image.
func (p *pull) addBlob(d format.Descriptor) {
	p.pin("blob/" + d.Digest)
	for _, b := range p.rec.Blobs {
		if b.Digest == d.Digest {
			return
		}
	}
	p.rec.Blobs = append(p.rec.Blobs, blobRef{Digest: d.Digest, Size: d.Size})
}

// blob fetches one blob into the store.
func (p *pull) blob(ctx context.Context, d format.Descriptor) error {
	p.addBlob(d)
	return p.join(ctx, d)
}

// join fetches a blob unless another pull does.
func (p *pull) join(ctx context.Context, d format.Descriptor) error {
	p.prog.want(d)
	_, err := shared(ctx, &p.s.blobs, d.Digest, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, p.fetchBlob(ctx, d)
	})
	if err == nil {
		p.prog.have(d.Digest)
	}
	return err
}

// shared joins work that another pull may have begun, and begins it anew when
// that one failed: its credentials or its registry are not ours.
func shared[T any](ctx context.Context, g *flight.Group[T], key string, fn func(context.Context) (T, error)) (T, error) {
	for {
		v, leader, err := g.Do(ctx, key, fn)
		if err == nil || leader || ctx.Err() != nil || errors.Is(err, flight.ErrClosed) {
			return v, err
		}
	}
}

// retryHosts runs fn again as long as it fails because one host lied and
// another one may not.
func (p *pull) retryHosts(digest string, fn func() error) error {
	for {
		err := fn()
		var e *imgerr.Error
		lied := errors.Is(err, imgerr.ErrDigestMismatch) && errors.As(err, &e) && e.Host != ""
		if !lied || !p.session.HasOther(digest) {
			return err
		}
		p.s.log.Warn("registry host served wrong content, trying the next", "blob", digest, "error", err)
	}
}

// content fetches what the format of the image calls for.
func (p *pull) content(ctx context.Context) error {
	shape, err := format.Classify(p.doc)
	if err != nil {
		return err
	}
	if shape.Kind == format.Unknown {
		if shape, err = p.sniff(ctx, shape); err != nil {
			return err
		}
	}
	p.rec.Kind = shape.Kind
	switch {
	case shape.Kind == format.Rootfs:
		return p.rootfs(ctx, shape)
	case shape.Kind == format.Webc:
		return p.webc(ctx, shape.Entry)
	case shape.Problem != "":
		p.rec.Program = Program{State: ProgramRefused, Reason: shape.Problem}
		return p.allBlobs(ctx)
	}
	return p.artifact(ctx, shape.Entry)
}

// sniff decides by the content of layers whose media type says nothing.
func (p *pull) sniff(ctx context.Context, s format.Shape) (format.Shape, error) {
	if len(p.doc.Layers) == 0 {
		return s, &imgerr.Error{Kind: imgerr.ErrUnsupported, Text: "the image has no layers", Remedy: "check the name of the image"}
	}
	if err := p.allBlobs(ctx); err != nil {
		return s, err
	}
	tars := true
	for i, l := range p.doc.Layers {
		kind, err := p.sniffBlob(l.Digest)
		if err != nil {
			return s, err
		}
		switch kind {
		case format.Webc:
			s.Kind, s.Entry = kind, i
			return s, nil
		case format.Raw:
			s.Kind, s.Entry = kind, i
			return s, nil
		case format.Rootfs:
			s.Tars = append(s.Tars[:i:i], i)
		default:
			tars = false
		}
	}
	if tars {
		s.Kind = format.Rootfs
		return s, nil
	}
	return s, &imgerr.Error{
		Kind: imgerr.ErrUnsupported, Text: fmt.Sprintf("layers of media type %q with config %q are of no known format", p.doc.Layers[0].MediaType, p.doc.Config.MediaType),
		Remedy: "push an OCI image with a .wasm entrypoint, or the module as a CNCF Wasm artifact (wkg oci push)",
	}
}

func (p *pull) sniffBlob(digest string) (format.Kind, error) {
	f, err := p.s.store.openBlob(digest)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return "", err
	}
	return format.Sniff(head[:n]), nil
}

// allBlobs keeps the layers as they are.
func (p *pull) allBlobs(ctx context.Context) error {
	for _, l := range p.doc.Layers { // registers them in order; addBlob is not for goroutines
		p.addBlob(l)
		p.prog.want(l)
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, l := range p.doc.Layers {
		g.Go(func() error {
			if err := p.join(ctx, l); err != nil {
				return layerError(i, l, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func layerError(i int, d format.Descriptor, err error) error {
	return fmt.Errorf("layer %d (%s): %w", i, d.Digest, err)
}

// identify gives the image its id: the digest of the configuration where that
// says all about the content, else the digest of the manifest. Configurations
// that are {}, or that list no layer, are the same for many images.
func (p *pull) identify() {
	p.rec.ID = p.manifest.Digest
	if p.rec.Kind == format.Rootfs && p.rec.Config.Image && (p.rec.Described || len(p.rec.Layers) == 0) {
		p.rec.ID = p.doc.Config.Digest
	}
}

// measure sums what the image takes on disk.
func (p *pull) measure() error {
	p.rec.Size = 0
	for _, b := range p.rec.Blobs {
		p.rec.Size += b.Size
	}
	seen := map[string]bool{}
	for _, key := range p.rec.Layers {
		info, ok := p.s.store.layer(key)
		if !ok {
			return fmt.Errorf("layer %s vanished", key)
		}
		if !seen[key] {
			p.rec.Size += info.Bytes
		}
		seen[key] = true
		p.s.remember(key, info)
	}
	return nil
}

// commit writes the record under the name that was asked for and makes it
// visible. A tag that meant another image moves.
func (p *pull) commit(ctx context.Context) (*Image, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	s, r := p.s, p.rec
	tag := ""
	if p.ref.Tag != "" {
		tag = p.ref.String()
	}
	digest := p.ref.Name() + "@" + p.top.Digest
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.RLock()
	if old := s.records[r.ID]; old != nil {
		r.Tags, r.Digests = old.Tags, old.Digests
	}
	var other *record
	if id := s.names[tag]; id != "" && id != r.ID {
		c := *s.records[id]
		c.Tags = without(c.Tags, tag)
		other = &c
	}
	s.mu.RUnlock()
	r.Verdict = p.verdict
	if r.Unsynced = ""; s.unsynced(r) {
		r.Unsynced = s.boot
	}
	r.Tags, r.Digests, r.Removed = with(r.Tags, tag), with(r.Digests, digest), false
	put := []*record{r}
	if other != nil {
		put = append(put, other)
	}
	if err := s.store.step("commit"); err != nil {
		return nil, err
	}
	if err := s.meta.write(put, nil); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other != nil {
		s.publishLocked(other)
	}
	s.publishLocked(r)
	s.wantSync()
	return s.images[r.ID], nil
}

// splitFunction takes "#function" off an entrypoint.
func splitFunction(arg string) (file, function string) {
	file, function, _ = strings.Cut(arg, "#")
	return file, function
}
