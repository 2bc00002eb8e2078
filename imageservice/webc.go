package imageservice

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/cri-wasmer/cri-wasmer/imageservice/format"
	"github.com/cri-wasmer/cri-wasmer/imageservice/unpack"
	"github.com/cri-wasmer/cri-wasmer/imageservice/webc"
)

// webc makes a layer of a Wasmer package and takes its command as entrypoint. A
// package that cannot be started is kept as it is, with the reason.
func (p *pull) webc(ctx context.Context, entry int) error {
	d := p.doc.Layers[entry]
	if err := p.blob(ctx, d); err != nil {
		return layerError(entry, d, err)
	}
	f, err := p.s.store.openBlob(d.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	pkg, err := webc.Open(f, d.Size)
	if err != nil {
		return layerError(entry, d, err)
	}
	start, problem := pkg.Start()
	if problem != "" {
		p.rec.Program = Program{State: ProgramRefused, Reason: problem}
		return nil
	}
	key := "w-" + layerKey(d.Digest)
	p.pin("layer/" + key)
	_, err = shared(ctx, &p.s.layers, key, func(ctx context.Context) (*layerInfo, error) {
		if info, ok := p.s.store.layer(key); ok {
			return info, nil
		}
		return p.s.store.makeLayer(key, func(dir string) (filled, error) { return p.unpackPackage(ctx, pkg, f, dir) })
	})
	if err != nil {
		return layerError(entry, d, err)
	}
	p.rec.Layers = []string{key}
	p.command(start)
	return nil
}

// unpackPackage unpacks a package as the archive that it would be.
func (p *pull) unpackPackage(ctx context.Context, pkg *webc.Package, f *os.File, dir string) (filled, error) {
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := pkg.WriteTar(w, f)
		w.CloseWithError(err) // nil means io.EOF
		written <- err
	}()
	res, err := unpack.Layer(ctx, r, dir, p.s.cfg.Limits)
	r.CloseWithError(errors.New("unpacking ended")) // so that the writer does, too
	if e := <-written; err == nil {
		err = e
	}
	if err != nil {
		return filled{}, err
	}
	return filled{sums: res.Sums}, nil
}

// command lets the package say what the image's configuration does not.
func (p *pull) command(start webc.Start) {
	c := &p.rec.Config
	if len(c.Entrypoint)+len(c.Cmd) == 0 {
		c.Entrypoint = start.Argv
	}
	c.Env = slices.Concat(start.Env, c.Env)
	if c.WorkingDir == "" {
		c.WorkingDir = start.Cwd
	}
}

// packageContents describes the Wasmer package of an image.
func (s *Service) packageContents(doc *format.Document) ([]string, error) {
	for _, l := range doc.Layers {
		f, err := s.store.openBlob(l.Digest)
		if err != nil {
			return nil, err
		}
		pkg, err := webc.Open(f, l.Size)
		f.Close()
		if err == nil {
			return pkg.Describe(), nil
		}
	}
	return nil, nil
}
