package imageservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/imageservice/format"
	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
	"github.com/cri-wasmer/cri-wasmer/imageservice/unpack"
)

func (s *store) openBlob(digest string) (*os.File, error) {
	f, err := os.Open(s.blobPath(digest))
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	return f, nil
}

// linkBlob shows a blob under another name; it is counted as a blob.
func (s *store) linkBlob(digest, name string) (filled, error) {
	if err := os.Link(s.blobPath(digest), name); err != nil {
		return filled{}, err
	}
	var st unix.Stat_t
	err := unix.Lstat(name, &st)
	return filled{shared: map[uint64]bool{st.Ino: true}}, err
}

// fetchBlob brings one blob into the store.
func (p *pull) fetchBlob(ctx context.Context, d format.Descriptor) error {
	if p.s.store.hasBlob(d.Digest, d.Size) {
		return nil
	}
	if most := p.s.cfg.Limits.WithDefaults().MaxBytes; d.Size > most { // as for a layer that is unpacked
		return &imgerr.Error{
			Kind: imgerr.ErrLimit, Text: fmt.Sprintf("blob %s is %d bytes long, at most %d are allowed", d.Digest, d.Size, most),
			Remedy: "raise the limit in the configuration if that is meant",
		}
	}
	return p.retryHosts(d.Digest, func() error {
		r, err := p.download(ctx, d)
		if err != nil {
			return err
		}
		defer r.Close()
		return p.s.store.putBlob(d.Digest, d.Size, r)
	})
}

// rootfs unpacks the layers of an ordinary image.
func (p *pull) rootfs(ctx context.Context, shape format.Shape) error {
	diffs := p.rec.Config.DiffIDs
	if len(diffs) > 0 && len(diffs) != len(shape.Tars) {
		return &imgerr.Error{
			Kind: imgerr.ErrMalformed, Text: fmt.Sprintf("the manifest has %d layers and the configuration lists %d", len(shape.Tars), len(diffs)),
			Remedy: "push the image again with a current tool",
		}
	}
	keys := make([]string, len(shape.Tars))
	for i, n := range shape.Tars {
		keys[i] = "b-" + layerKey(p.doc.Layers[n].Digest) // no diff id: named by its blob
		if len(diffs) > 0 {
			keys[i] = layerKey(diffs[i])
		}
		p.pin("layer/" + keys[i])
		p.prog.want(p.doc.Layers[n])
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, n := range shape.Tars {
		g.Go(func() error {
			diff := ""
			if len(diffs) > 0 {
				diff = diffs[i]
			}
			if err := p.layer(gctx, keys[i], diff, p.doc.Layers[n]); err != nil {
				return layerError(n, p.doc.Layers[n], err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	p.rec.Layers = keys
	p.rec.Described = len(diffs) > 0
	return p.keepAttrs()
}

// layer makes one layer directory unless it is there.
func (p *pull) layer(ctx context.Context, key, diff string, d format.Descriptor) error {
	info, err := shared(ctx, &p.s.layers, key, func(ctx context.Context) (*layerInfo, error) {
		if info, ok := p.s.store.layer(key); ok {
			return info, nil
		}
		var info *layerInfo
		err := p.retryHosts(d.Digest, func() (err error) {
			info, err = p.s.store.makeLayer(key, func(dir string) (filled, error) {
				res, err := p.unpack(ctx, dir, diff, d)
				if err != nil {
					return filled{}, err
				}
				return filled{implicit: res.Implicit, sums: res.Sums}, nil
			})
			return err
		})
		return info, err
	})
	if err != nil {
		return err
	}
	p.s.remember(key, info)
	p.prog.have(d.Digest)
	return nil
}

// unpack streams a layer from the registry, or from the store if it had to be
// kept, into dir. Nothing of it counts before size, digest and diff id are
// verified.
func (p *pull) unpack(ctx context.Context, dir, diff string, d format.Descriptor) (*unpack.Result, error) {
	src, err := p.source(ctx, d)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	res, err := unpack.Layer(ctx, src, dir, p.s.cfg.Limits)
	if errors.Is(err, imgerr.ErrMalformed) {
		// Garbage has one of two causes, and the end of the stream tells them
		// apart.
		if _, e := io.Copy(io.Discard, src); errors.Is(e, imgerr.ErrDigestMismatch) {
			return nil, e
		}
	}
	if err != nil {
		return nil, err
	}
	if diff != "" && res.DiffID != diff {
		return nil, &imgerr.Error{
			Kind: imgerr.ErrDigestMismatch, Text: fmt.Sprintf("unpacked content has digest %s, the configuration says %s", res.DiffID, diff),
			Remedy: "push the image again: it was built wrongly",
		}
	}
	return res, nil
}

func (p *pull) source(ctx context.Context, d format.Descriptor) (io.ReadCloser, error) {
	if p.s.store.hasBlob(d.Digest, d.Size) {
		return p.s.store.openBlob(d.Digest)
	}
	return p.download(ctx, d)
}

// download opens a blob at the registry; what is read of it is counted.
func (p *pull) download(ctx context.Context, d format.Descriptor) (io.ReadCloser, error) {
	r, err := p.session.Blob(ctx, d.Digest, d.Size)
	if err != nil {
		return nil, err
	}
	return p.s.progress.count(d.Digest, r), nil
}

// artifact keeps the module and shows it in a root filesystem of its own.
func (p *pull) artifact(ctx context.Context, entry int) error {
	d := p.doc.Layers[entry]
	if err := p.blob(ctx, d); err != nil {
		return layerError(entry, d, err)
	}
	name := format.ModuleName(d.Title())
	key := moduleKey(d.Digest, name)
	p.pin("layer/" + key)
	_, err := shared(ctx, &p.s.layers, key, func(context.Context) (*layerInfo, error) {
		if info, ok := p.s.store.layer(key); ok {
			return info, nil
		}
		return p.s.store.makeLayer(key, func(dir string) (filled, error) {
			return p.s.store.linkBlob(d.Digest, filepath.Join(dir, name))
		})
	})
	if err != nil {
		return err
	}
	p.rec.Layers = []string{key}
	p.rec.Module = "/" + name
	c := &p.rec.Config
	switch {
	case len(c.Entrypoint) > 0:
		_, p.rec.Function = splitFunction(c.Entrypoint[0])
		c.Entrypoint = append([]string{p.rec.Module}, c.Entrypoint[1:]...)
	case len(c.Cmd) > 0: // its first word is the program
		_, p.rec.Function = splitFunction(c.Cmd[0])
		c.Entrypoint, c.Cmd = []string{p.rec.Module}, c.Cmd[1:]
	default:
		c.Entrypoint = []string{p.rec.Module}
	}
	return nil
}
