package format

import (
	"fmt"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
)

// Choose takes the child of an index that fits best, and says why. Attestations
// are no candidates; a single candidate is taken whatever it says it is for;
// otherwise wasi before wasm on Linux before the host's own architecture
// (whose entrypoint may be a module all the same). js/wasm needs a browser and
// never fits. Errors: ErrUnsupported with the platforms on offer.
func Choose(index *Document, hostArch string) (Descriptor, string, error) {
	var candidates []Descriptor
	for _, c := range index.Children {
		if !isAttestation(c) {
			candidates = append(candidates, c)
		}
	}
	switch len(candidates) {
	case 0:
		return Descriptor{}, "", &imgerr.Error{Kind: imgerr.ErrUnsupported, Text: "the index holds no image", Remedy: "push an image for wasi/wasm"}
	case 1:
		return candidates[0], "the only image of the index", nil
	}
	best, bestRank := -1, -1
	var offered []string
	for i, c := range candidates {
		offered = append(offered, platformOf(c).String())
		if r := rank(platformOf(c), hostArch); r >= 0 && (best < 0 || r < bestRank) {
			best, bestRank = i, r
		}
	}
	if best < 0 {
		return Descriptor{}, "", &imgerr.Error{
			Kind: imgerr.ErrUnsupported, Text: "the image is for " + strings.Join(bound(offered), ", ") + " only",
			Remedy: "build it for wasi/wasm",
		}
	}
	return candidates[best], fmt.Sprintf("%s is preferred among %s", platformOf(candidates[best]), strings.Join(bound(offered), ", ")), nil
}

func bound(list []string) []string {
	if len(list) > 20 {
		return append(list[:20:20], "...")
	}
	return list
}

func platformOf(d Descriptor) Platform {
	if d.Platform == nil {
		return Platform{}
	}
	return *d.Platform
}

func isAttestation(d Descriptor) bool {
	p := platformOf(d)
	return d.Annotations["vnd.docker.reference.type"] != "" || (lower(p.OS) == "unknown" && lower(p.Architecture) == "unknown")
}

// rank orders platforms, lower is better, negative is never.
func rank(p Platform, hostArch string) int {
	os, arch := lower(p.OS), lower(p.Architecture)
	wasm := arch == "wasm" || arch == "wasm32"
	switch {
	case os == "js":
		return -1
	case wasm && (os == "wasi" || os == "wasip1"):
		n := 0
		if os == "wasip1" {
			n++
		}
		if arch == "wasm32" {
			n += 2
		}
		return n
	case wasm && strings.HasPrefix(os, "wasi") && os != "wasip2" && os != "wasip3":
		return 4
	case wasm && os == "":
		return 5
	case wasm && strings.HasPrefix(os, "wasi"): // components
		return 6
	case wasm && os == "linux":
		return 7
	case os == "linux" && arch == hostArch:
		if p.Variant == "" || lower(p.Variant) == "v1" || lower(p.Variant) == "v8" {
			return 8
		}
		return 9
	case os == "" && arch == "":
		return 10
	}
	return -1
}
