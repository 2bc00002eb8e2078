package images

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox/programs"
)

const toolboxPackage = "github.com/cri-wasmer/cri-wasmer/e2e/guests/toolbox"

// Image is a built image.
type Image struct {
	Names []string // repository:tag, without the registry
	ID    v1.Hash  // digest of the config
	Index v1.ImageIndex
}

// ReadModule reads the toolbox's module at file, or builds it with the go
// command when file is "". Errors are those of either.
func ReadModule(ctx context.Context, file string) ([]byte, error) {
	if file != "" {
		return os.ReadFile(file)
	}
	dir, err := os.MkdirTemp("", "toolbox-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "toolbox.wasm")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, toolboxPackage)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the toolbox: %w\n%s", err, text)
	}
	return os.ReadFile(out)
}

// Build makes all images around a module; the first is the toolbox.
func Build(module []byte) ([]Image, error) {
	base, err := layerOf(toolboxLayer(module, programs.Names()))
	if err != nil {
		return nil, err
	}
	var all []Image
	for _, s := range specs(module) {
		img, err := buildOne(s, base)
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", s.names[0], err)
		}
		all = append(all, img)
	}
	return all, nil
}

func buildOne(s spec, base v1.Layer) (Image, error) {
	layers := []v1.Layer{base}
	if len(s.extra) > 0 {
		layer, err := layerOf(s.extra)
		if err != nil {
			return Image{}, err
		}
		layers = append(layers, layer)
	}
	img, err := assemble(s, layers)
	if err != nil {
		return Image{}, err
	}
	id, err := img.ConfigName()
	if err != nil {
		return Image{}, fmt.Errorf("digest config: %w", err)
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add:        img,
		Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: platformOS, Architecture: platformArch}},
	})
	return Image{Names: s.names, ID: id, Index: index}, nil
}

func assemble(s spec, layers []v1.Layer) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	var history []mutate.Addendum
	for _, l := range layers {
		history = append(history, mutate.Addendum{Layer: l, History: v1.History{Created: v1.Time{Time: made}, CreatedBy: "images"}})
	}
	img, err := mutate.Append(img, history...)
	if err != nil {
		return nil, fmt.Errorf("append layers: %w", err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("make config: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = platformOS, platformArch, v1.Time{Time: made}
	config.Config = v1.Config{Env: []string{searchPath}, Entrypoint: s.entrypoint, Cmd: s.cmd, User: s.user}
	if s.port != "" {
		config.Config.ExposedPorts = map[string]struct{}{s.port: {}}
	}
	return mutate.ConfigFile(img, config)
}
