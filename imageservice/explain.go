package imageservice

import (
	"context"
	"os"
	"slices"

	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
)

// Explanation tells all about an image that helps to understand why it runs or
// does not. As JSON it is what ImageStatus shows when it is verbose: fields are
// added, never changed.
type Explanation struct {
	Image *Image `json:"image"`
	// FormatText says in words what the format is.
	FormatText string            `json:"formatText"`
	Module     *codecache.Report `json:"module,omitempty"` // nil when there is no program file
	Code       []codecache.Tier  `json:"code,omitempty"`   // what is compiled or being compiled, the best first
	WouldRun   bool              `json:"wouldRun"`
	Why        string            `json:"why,omitempty"` // why not
	// Contents says in words what else the image holds: components and triggers
	// of a Spin application.
	Contents []string `json:"contents,omitempty"`
	// HeldBy are the containers that keep the image's content.
	HeldBy []string `json:"heldBy,omitempty"`
}

// Explain looks at an image anew, with the engine as it is now. The kind is
// ErrNotFound when there is none.
func (s *Service) Explain(ctx context.Context, ref string) (*Explanation, error) {
	img, err := s.Status(ctx, ref)
	if err != nil {
		return nil, err
	}
	e := &Explanation{Image: img, FormatText: img.Format.Describe(), Why: img.Program.Reason, HeldBy: s.holdersOf(img.ID)}
	if img.Program.State == ProgramNotCompiled {
		e.Why = "no compiler is configured"
	}
	if e.Contents, err = s.contents(img); err != nil {
		return nil, err
	}
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
	e.Module, err = s.cfg.Code.Preflight(f, e.Image.Function)
	if e.Module != nil {
		e.Code = s.cfg.Code.Tiers(e.Module.Module)
	}
	if err != nil {
		return err
	}
	e.WouldRun = e.Image.Program.State == ProgramReady
	return nil
}

// holdersOf lists who holds an image, sorted.
func (s *Service) holdersOf(id string) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []string
	for holder, ids := range s.holders {
		if ids[id] {
			list = append(list, holder)
		}
	}
	slices.Sort(list)
	return list
}
