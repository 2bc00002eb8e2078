package signature

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/imageservice/format"
	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
	"github.com/cri-wasmer/cri-wasmer/imageservice/registry"
	verifyv1 "github.com/cri-wasmer/cri-wasmer/proto/verify/v1"
)

// Source is the repository of the image. registry.Session is the real one.
type Source interface {
	Manifest(ctx context.Context, target string) (*registry.Manifest, error)
	Blob(ctx context.Context, digest string, size int64) (io.ReadCloser, error)
	Referrers(ctx context.Context, digest string) (*registry.Manifest, error)
}

const (
	maxSignatures = 64      // of one image
	maxPayload    = 1 << 20 // bytes of one
)

// Media and artifact types of signatures.
const (
	typeSimple       = "application/vnd.dev.cosign.simplesigning.v1+json"
	typeCosignObject = "application/vnd.dev.cosign.artifact.sig.v1+json"
	typeBundle       = "application/vnd.dev.sigstore.bundle"
	typeNotation     = "application/vnd.cncf.notary.signature"
	typeEmpty        = "application/vnd.oci.empty.v1+json"
	typeConfig       = "application/vnd.oci.image.config.v1+json"
)

// gather collects the signatures of the digest that may be of the kind that
// the rule wants. Nothing found is no error.
func gather(ctx context.Context, src Source, require, digest string) ([]verifyv1.Signature, error) {
	g := &gatherer{src: src}
	if require == Cosign {
		if err := g.tag(ctx, strings.Replace(digest, ":", "-", 1)+".sig"); err != nil {
			return nil, err
		}
	}
	return g.found, g.referrers(ctx, require, digest)
}

type gatherer struct {
	src   Source
	found []verifyv1.Signature
}

// tag reads cosign's classic place.
func (g *gatherer) tag(ctx context.Context, tag string) error {
	m, err := g.src.Manifest(ctx, tag)
	if errors.Is(err, imgerr.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("signatures under tag %s: %w", tag, err)
	}
	return g.layers(ctx, m, "tag "+tag)
}

// referrers reads what the registry lists as referring to the digest.
func (g *gatherer) referrers(ctx context.Context, require, digest string) error {
	m, err := g.src.Referrers(ctx, digest)
	if err != nil || m == nil {
		return err
	}
	doc, err := format.Parse(m.MediaType, m.Data)
	if err != nil {
		return fmt.Errorf("list of referrers: %w", err)
	}
	for _, d := range doc.Children {
		if !wanted(require, d) {
			continue
		}
		m, err := g.src.Manifest(ctx, d.Digest)
		if errors.Is(err, imgerr.ErrNotFound) {
			continue // removed since
		}
		if err != nil {
			return fmt.Errorf("signature %s: %w", d.Digest, err)
		}
		if err := g.layers(ctx, m, "referrer "+d.Digest); err != nil {
			return err
		}
	}
	return nil
}

// wanted says whether a referrer may be a signature of the kind. Not every list
// has the type: it may be missing, or be that of an empty configuration.
func wanted(require string, d format.Descriptor) bool {
	t := d.ArtifactType
	if t == "" || t == typeEmpty || t == typeConfig {
		return true
	}
	if require == Notation {
		return t == typeNotation
	}
	return t == typeCosignObject || t == typeSimple || strings.HasPrefix(t, typeBundle)
}

// layers takes the signatures out of one manifest. What does not parse is no
// signature.
func (g *gatherer) layers(ctx context.Context, m *registry.Manifest, origin string) error {
	doc, err := format.Parse(m.MediaType, m.Data)
	if err != nil || doc.Index {
		return nil
	}
	for _, l := range doc.Layers {
		kind := kindOf(doc, l)
		if kind == "" {
			continue
		}
		if len(g.found) >= maxSignatures {
			return &imgerr.Error{Kind: imgerr.ErrSignature, Text: fmt.Sprintf("more than %d signatures", maxSignatures), Remedy: "remove those of no use from the repository"}
		}
		if l.Size > maxPayload {
			continue
		}
		data, err := g.read(ctx, l)
		if errors.Is(err, imgerr.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("signature %s: %w", l.Digest, err)
		}
		g.found = append(g.found, verifyv1.Signature{Kind: kind, Origin: origin, MediaType: l.MediaType, Payload: data, Annotations: l.Annotations})
	}
	return nil
}

func kindOf(doc *format.Document, l format.Descriptor) string {
	switch {
	case l.MediaType == typeSimple:
		return verifyv1.KindSimple
	case strings.HasPrefix(l.MediaType, typeBundle):
		return verifyv1.KindBundle
	case doc.ArtifactType == typeNotation || doc.Config.MediaType == typeNotation:
		return verifyv1.KindNotation
	}
	return ""
}

func (g *gatherer) read(ctx context.Context, d format.Descriptor) ([]byte, error) {
	r, err := g.src.Blob(ctx, d.Digest, d.Size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, maxPayload+1))
}
