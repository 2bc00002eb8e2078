package format

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

// MaxLayers bounds the layers of one image: more than an overlay mount takes,
// and more than any producer makes.
const MaxLayers = 500

const maxChildren = 1000 // of an index

var digestRE = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// Platform is what an index or a configuration says it is for. All fields may
// be empty.
type Platform struct {
	OS           string `json:"os,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	Variant      string `json:"variant,omitempty"`
}

// String gives os/architecture[/variant], "unspecified" when all is empty.
func (p Platform) String() string {
	if p == (Platform{}) {
		return "unspecified"
	}
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// Descriptor points to content.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Platform     *Platform         `json:"platform,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// Title is the name that the producer gave the content, or "".
func (d Descriptor) Title() string { return d.Annotations["org.opencontainers.image.title"] }

// Document is a manifest or an index: exactly one of Layers with Config, and
// Children is meant.
type Document struct {
	Index        bool
	MediaType    string
	ArtifactType string
	Config       Descriptor
	Layers       []Descriptor
	Children     []Descriptor
	Annotations  map[string]string
}

// Parse reads what a registry served as a manifest. mediaType is that of the
// answer, for documents that carry none. Errors: ErrMalformed, ErrUnsupported
// (docker schema 1), ErrLimit.
func Parse(mediaType string, data []byte) (*Document, error) {
	var raw struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		ArtifactType  string            `json:"artifactType"`
		Config        *Descriptor       `json:"config"`
		Layers        *[]Descriptor     `json:"layers"`
		Manifests     *[]Descriptor     `json:"manifests"`
		FSLayers      json.RawMessage   `json:"fsLayers"`
		Annotations   map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, malformed("manifest is not valid JSON: %v", err)
	}
	if raw.SchemaVersion == 1 || raw.FSLayers != nil {
		return nil, &imgerr.Error{Kind: imgerr.ErrUnsupported, Text: "the manifest is of docker's schema 1, which nobody can verify safely", Remedy: "push the image again with a current tool"}
	}
	if raw.MediaType != "" {
		mediaType = raw.MediaType
	}
	d := &Document{MediaType: mediaType, ArtifactType: raw.ArtifactType, Annotations: raw.Annotations}
	switch {
	case raw.Manifests != nil && (raw.Layers != nil || raw.Config != nil):
		return nil, malformed("manifest is an index and an image at once")
	case raw.Manifests != nil:
		d.Index, d.Children = true, *raw.Manifests
		return d, d.checkIndex()
	case raw.Config == nil && raw.Layers == nil:
		return nil, malformed("manifest has neither layers nor children (%s)", orNone(mediaType))
	case raw.Config == nil:
		return nil, malformed("manifest has no config")
	}
	d.Config = *raw.Config
	if raw.Layers != nil {
		d.Layers = *raw.Layers
	}
	return d, d.checkImage()
}

func (d *Document) checkIndex() error {
	if len(d.Children) > maxChildren {
		return &imgerr.Error{Kind: imgerr.ErrLimit, Text: fmt.Sprintf("index has %d children, at most %d are allowed", len(d.Children), maxChildren)}
	}
	for i, c := range d.Children {
		if err := c.check(); err != nil {
			return fmt.Errorf("child %d of the index: %w", i, err)
		}
	}
	return nil
}

func (d *Document) checkImage() error {
	if len(d.Layers) > MaxLayers {
		return &imgerr.Error{Kind: imgerr.ErrLimit, Text: fmt.Sprintf("image has %d layers, at most %d are allowed", len(d.Layers), MaxLayers)}
	}
	if err := d.Config.check(); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	for i, l := range d.Layers {
		if err := l.check(); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return nil
}

func (d Descriptor) check() error {
	if !digestRE.MatchString(d.Digest) {
		if len(d.Digest) > 80 {
			d.Digest = d.Digest[:80]
		}
		return malformed("%q is not a sha256 digest", d.Digest)
	}
	if d.Size < 0 {
		return malformed("size %d", d.Size)
	}
	return nil
}

func malformed(format string, args ...any) error {
	return &imgerr.Error{Kind: imgerr.ErrMalformed, Text: fmt.Sprintf(format, args...)}
}

func orNone(s string) string {
	if s == "" {
		return "no media type"
	}
	return s
}

func lower(s string) string { return strings.ToLower(strings.TrimSpace(s)) }
