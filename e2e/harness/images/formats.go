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

// Media types of formats that are not ours to run.
const (
	ModuleLayer      = "application/vnd.module.wasm.content.layer.v1+wasm"
	SpinConfig       = "application/vnd.fermyon.spin.application.v1+config"
	SpinData         = "application/vnd.wasm.content.layer.v1+data"
	HelmConfig       = "application/vnd.cncf.helm.config.v1+json"
	HelmLayer        = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	CosignLayer      = "application/vnd.dev.cosign.simplesigning.v1+json"
	NotationArtifact = "application/vnd.cncf.notary.signature"
	InTotoLayer      = "application/vnd.in-toto+json"
	EmptyConfig      = "application/vnd.oci.empty.v1+json"
)

// CNCFComponent is the CNCF's artifact for a component of WASI 0.2.
func CNCFComponent(component []byte) Artifact {
	a := CNCF(component)
	a.Config.Data = mustJSON(map[string]any{
		"created": created, "architecture": "wasm", "os": "wasip2", "layerDigests": []string{Digest(component)},
		"component": map[string]any{"exports": []string{"wasi:http/incoming-handler@0.2.0"}, "imports": []string{"wasi:io/streams@0.2.0"}},
	})
	return a
}

// Module is the layout of wasmCloud 1, solo.io and func-e: configType is what
// tells them apart.
func Module(configType string, module []byte) Artifact {
	return Artifact{MediaType: OCIManifest, Config: Blob{MediaType: configType, Data: []byte("{}")}, Layers: []Blob{titled(ModuleLayer, module)}}
}

// Single is an artifact of one layer under any media types.
func Single(configType, layerType string, data []byte) Artifact {
	return Artifact{MediaType: OCIManifest, Config: Blob{MediaType: configType, Data: []byte("{}")}, Layers: []Blob{titled(layerType, data)}}
}

// Spin is an application as `spin registry push` stores it: its component, a
// static file, and the locked application that ties them.
func Spin(component []byte) Artifact {
	file := []byte("<h1>hello</h1>")
	locked := mustJSON(map[string]any{
		"spin_lock_version": 1,
		"metadata":          map[string]any{"name": "shop", "version": "1.2.0"},
		"triggers": []any{map[string]any{
			"id": "trigger--front", "trigger_type": "http",
			"trigger_config": map[string]any{"component": "front", "route": "/shop/..."},
		}},
		"components": []any{map[string]any{
			"id":     "front",
			"source": map[string]any{"content_type": "application/wasm", "digest": Digest(component)},
			"files":  []any{map[string]any{"digest": Digest(file), "path": "index.html"}},
		}},
	})
	return Artifact{
		MediaType: OCIManifest,
		Config: Blob{MediaType: OCIConfig, Data: mustJSON(map[string]any{
			"architecture": "wasm", "os": "Wasip1",
			"config": map[string]any{"Labels": map[string]string{"com.fermyon.spin.lockedAppDigest": Digest(locked)}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{}},
		})},
		Layers: []Blob{{MediaType: WasmContentLayer, Data: component}, {MediaType: SpinData, Data: file}, {MediaType: SpinConfig, Data: locked}},
	}
}
