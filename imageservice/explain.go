package imageservice

import (
	"context"
	"os"

	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
)

// Explanation tells all about an image that helps to understand why it runs or
// does not.
type Explanation struct {
	Image    *Image
	Module   *codecache.Report // nil when there is no program file
	Code     []codecache.Tier  // what is compiled, the best first
	WouldRun bool
	Why      string // why not
}

// Explain looks at an image anew, with the engine as it is now. The kind is
// ErrNotFound when there is none.
func (s *Service) Explain(ctx context.Context, ref string) (*Explanation, error) {
	img, err := s.Status(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := &Explanation{Image: img, Why: img.Program.Reason}
	if s.cfg.Code == nil || img.Program.Path == "" {
		return e, nil
	}
	f, real, err := layerFS{img.Layers}.open(img.Program.Path)
	if err != nil {
		e.Why = "entrypoint " + err.Error()
		return e, nil
	}
	defer f.Close()
	if err := s.explainModule(e, f); err != nil {
		e.Why = "entrypoint " + real + " " + err.Error()
	}
	return e, nil
}

func (s *Service) explainModule(e *Explanation, f *os.File) error {
	var err error
	e.Module, err = s.cfg.Code.Preflight(f)
	if e.Module != nil {
		e.Code = s.cfg.Code.Tiers(e.Module.Module)
	}
	if err != nil {
		return err
	}
	e.WouldRun = e.Image.Program.State == ProgramReady
	return nil
}
