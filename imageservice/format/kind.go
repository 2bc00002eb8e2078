package format

import (
	"strings"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

// Kind is the format of an image.
type Kind string

// Formats, by who defined or publishes them.
const (
	Rootfs    Kind = "rootfs"      // layers of files, entrypoint in the configuration
	CNCF      Kind = "cncf-wasm"   // CNCF Wasm OCI artifact layout v0
	WasmToOCI Kind = "wasm-to-oci" // engineerd/wasm-to-oci
	Krustlet  Kind = "krustlet"    // the same layer below a docker config that is {}
	Runwasi   Kind = "runwasi"     // OCI image whose layer is a module
	Module    Kind = "module"      // wasmCloud legacy, solo.io, func-e
	Spin      Kind = "spin"        // Fermyon Spin application
	Webc      Kind = "webc"        // Wasmer container file
	Raw       Kind = "raw-module"  // unknown media type, content is a module
	Unknown   Kind = "unknown"     // to be decided by the content
)

var descriptions = map[Kind]string{
	Rootfs:    "layers of files with a configuration, as a Dockerfile makes them",
	CNCF:      "CNCF Wasm artifact: the module as the only layer",
	WasmToOCI: "bare module, as wasm-to-oci pushes it",
	Krustlet:  "bare module below an empty configuration, as Krustlet wants it",
	Runwasi:   "image whose layer is a bare module, as runwasi builds it",
	Module:    "bare module in the layout of wasmCloud 1, solo.io and func-e",
	Spin:      "Spin application",
	Webc:      "Wasmer package (webc)",
	Raw:       "bare module under a media type that says nothing",
}

// Describe says in words what the format is.
func (k Kind) Describe() string {
	if text, ok := descriptions[k]; ok {
		return text
	}
	return "unknown"
}

// Media types by which formats are told apart.
const (
	typeSpinConfig    = "application/vnd.fermyon.spin.application.v1+config"
	typeWasmConfigV0  = "application/vnd.wasm.config.v0+json"
	typeWasmConfigV1  = "application/vnd.wasm.config.v1+json"
	typeWasm          = "application/wasm"
	typeWasmContent   = "application/vnd.wasm.content.layer.v1+wasm"
	typeRunwasiLayer  = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"
	typeModuleLayer   = "application/vnd.module.wasm.content.layer.v1+wasm"
	typeOCIConfig     = "application/vnd.oci.image.config.v1+json"
	typeDockerConfig  = "application/vnd.docker.container.image.v1+json"
	typeEmpty         = "application/vnd.oci.empty.v1+json"
	defaultModuleName = "module.wasm"
)

// SpinProblem says why Spin applications do not run.
const SpinProblem = "it is a Spin application, which needs the component model and the Spin host; this engine runs preview1 modules: run it on a node with SpinKube"

// Shape is the answer to what a manifest describes.
type Shape struct {
	Kind Kind
	// Entry is the index of the layer that holds the module of an artifact,
	// or negative.
	Entry int
	// Tars are the indexes of the layers that make up a root filesystem.
	Tars []int
	// Problem says why an artifact cannot run although it is sound.
	Problem string
}

// Classify says what the manifest describes, by the table in the order in
// which formats shadow each other. Kind Unknown leaves the decision to the
// content of the layers. Errors: ErrUnsupported for what is no program at all.
func Classify(d *Document) (Shape, error) {
	s := Shape{Entry: -1}
	first := func(mediaType string) int {
		for i, l := range d.Layers {
			if lower(l.MediaType) == mediaType {
				return i
			}
		}
		return -1
	}
	wasmLayer, content := first(typeWasm), first(typeWasmContent)
	switch {
	case first(typeSpinConfig) >= 0:
		s.Kind, s.Problem = Spin, SpinProblem
	case lower(d.Config.MediaType) == typeWasmConfigV0 || wasmLayer >= 0:
		s.Kind = CNCF
		switch {
		case len(d.Layers) != 1:
			s.Problem = "the CNCF artifact format allows one layer only: push the module alone"
		default:
			s.Entry = 0
		}
	case content >= 0:
		s.Kind, s.Entry = WasmToOCI, content
		if lower(d.Config.MediaType) != typeWasmConfigV1 {
			s.Kind = Krustlet
		}
	case first(typeRunwasiLayer) >= 0:
		s.Kind, s.Entry = Runwasi, first(typeRunwasiLayer)
	case first(typeModuleLayer) >= 0:
		s.Kind, s.Entry = Module, first(typeModuleLayer)
	default:
		return classifyTars(d, s)
	}
	return s, nil
}

func classifyTars(d *Document, s Shape) (Shape, error) {
	if what := notAProgram(d); what != "" {
		return s, &imgerr.Error{Kind: imgerr.ErrUnsupported, Text: "it is " + what + ", not a program", Remedy: "check the name of the image"}
	}
	for i, l := range d.Layers {
		if isTar(l.MediaType) {
			s.Tars = append(s.Tars, i)
		}
	}
	s.Kind = Unknown
	if IsImageConfigType(d.Config.MediaType) && len(s.Tars) == len(d.Layers) {
		s.Kind = Rootfs
	}
	return s, nil
}

// isTar knows the media types of docker, OCI and those who call it tar.
func isTar(t string) bool {
	t = lower(t)
	return strings.Contains(t, "diff.tar") || strings.Contains(t, "layer.v1.tar") || strings.Contains(t, "layer.nondistributable.v1.tar") ||
		t == "application/x-tar" || t == "application/tar" || t == "application/tar+gzip" || t == "application/x-gtar"
}

// IsImageConfigType says whether the media type announces an OCI or docker
// image configuration.
func IsImageConfigType(t string) bool {
	t = lower(t)
	return t == typeOCIConfig || t == typeDockerConfig
}

// notAProgram recognises what else lies in registries.
func notAProgram(d *Document) string {
	types := []string{d.ArtifactType, d.Config.MediaType}
	for _, l := range d.Layers {
		types = append(types, l.MediaType)
	}
	for _, t := range types {
		t = lower(t)
		switch {
		case strings.Contains(t, "cncf.helm."):
			return "a Helm chart"
		case strings.Contains(t, "cosign.simplesigning") || strings.Contains(t, "cncf.notary.signature") || strings.Contains(t, "sigstore.bundle"):
			return "a signature"
		case strings.Contains(t, "in-toto"):
			return "an attestation"
		case strings.Contains(t, "spdx") || strings.Contains(t, "cyclonedx"):
			return "a software bill of materials"
		}
	}
	return ""
}

// ModuleName gives the file name under which the module of an artifact appears
// in the container: the base name of the title, made harmless.
func ModuleName(title string) string {
	if i := strings.LastIndexAny(title, `/\`); i >= 0 {
		title = title[i+1:]
	}
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-', r == '+':
			return r
		}
		return -1
	}, title)
	if strings.Trim(name, ".") == "" || len(name) > 128 || strings.HasPrefix(name, ".wh.") {
		return defaultModuleName
	}
	return name
}

// Sniff decides by the first bytes what a layer of unknown media type is.
func Sniff(head []byte) Kind {
	switch {
	case len(head) >= 8 && string(head[:5]) == "\x00webc":
		return Webc
	case len(head) >= 4 && string(head[:4]) == "\x00asm":
		return Raw
	case len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b,
		len(head) >= 4 && string(head[:4]) == "\x28\xb5\x2f\xfd",
		len(head) >= 262 && string(head[257:262]) == "ustar":
		return Rootfs
	}
	return Unknown
}
