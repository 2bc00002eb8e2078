package images

import "time"

// created is the same for all images, so that equal content has equal digests.
var created = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Krustlet is the shape of webassembly.azurecr.io/hello-wasm:v1: the manifest
// and config types of Docker, an empty object as the config, and one layer with
// the module.
func Krustlet(module []byte) Artifact {
	return Artifact{
		MediaType: DockerManifest,
		Config:    Blob{MediaType: DockerConfig, Data: []byte("{}")},
		Layers:    []Blob{titled(WasmContentLayer, module)},
	}
}

// WasmToOCI is what the wasm-to-oci command pushes: a manifest that does not
// name its own type, and an empty config.
func WasmToOCI(module []byte) Artifact {
	return Artifact{
		MediaType: OCIManifest,
		Bare:      true,
		Config:    Blob{MediaType: WasmConfigV1, Data: []byte("{}")},
		Layers:    []Blob{titled(WasmContentLayer, module)},
	}
}

// CNCF is the Wasm OCI artifact of the CNCF, layout version 0, for a module.
func CNCF(module []byte) Artifact {
	return Artifact{
		MediaType: OCIManifest,
		Config: Blob{MediaType: WasmConfigV0, Data: mustJSON(map[string]any{
			"created":      created,
			"architecture": "wasm",
			"os":           "wasip1",
			"layerDigests": []string{Digest(module)},
		})},
		Layers: []Blob{{MediaType: WasmLayer, Data: module}},
	}
}

// Runwasi is an OCI image whose one layer is the bare module.
func Runwasi(module []byte) Artifact {
	return Artifact{
		MediaType: OCIManifest,
		Config: Blob{MediaType: OCIConfig, Data: mustJSON(map[string]any{
			"architecture": "wasm",
			"os":           "wasip1",
			"config":       map[string]any{},
			"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{}},
		})},
		Layers: []Blob{{MediaType: RunwasiLayer, Data: module}},
	}
}

func titled(mediaType string, module []byte) Blob {
	return Blob{MediaType: mediaType, Data: module, Annotations: map[string]string{TitleAnnotation: "module.wasm"}}
}

// WithAttestation is the index that docker buildx makes: the image under its
// platform, and a build attestation that is no image.
func WithAttestation(image Artifact, p Platform) Index {
	statement := Artifact{
		MediaType: OCIManifest,
		Config:    Blob{MediaType: OCIConfig, Data: []byte(`{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:0000000000000000000000000000000000000000000000000000000000000000"]}}`)},
		Layers:    []Blob{{MediaType: "application/vnd.in-toto+json", Data: []byte(`{"_type":"https://in-toto.io/Statement/v0.1"}`)}},
	}
	return Index{
		MediaType: OCIIndex,
		Children: []Child{
			{Artifact: image, Platform: p},
			{
				Artifact: statement,
				Platform: Platform{OS: "unknown", Architecture: "unknown"},
				Annotations: map[string]string{
					"vnd.docker.reference.type":   "attestation-manifest",
					"vnd.docker.reference.digest": image.Digest(),
				},
			},
		},
	}
}
