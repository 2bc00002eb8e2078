// Package images makes container images byte by byte, in every shape in which
// WebAssembly is published, and serves them from a registry on loopback that
// can be told to misbehave.
//
// An Artifact is one manifest with its blobs; an Index lists artifacts by
// platform. Nothing goes through a library that would tidy up what is odd: the
// odd shapes are the point.
package images

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Media types of manifests, configs and layers.
const (
	OCIManifest      = "application/vnd.oci.image.manifest.v1+json"
	OCIIndex         = "application/vnd.oci.image.index.v1+json"
	OCIConfig        = "application/vnd.oci.image.config.v1+json"
	OCILayer         = "application/vnd.oci.image.layer.v1.tar"
	OCILayerGzip     = "application/vnd.oci.image.layer.v1.tar+gzip"
	OCILayerZstd     = "application/vnd.oci.image.layer.v1.tar+zstd"
	DockerManifest   = "application/vnd.docker.distribution.manifest.v2+json"
	DockerIndex      = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfig     = "application/vnd.docker.container.image.v1+json"
	DockerLayerGzip  = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	WasmConfigV0     = "application/vnd.wasm.config.v0+json"
	WasmConfigV1     = "application/vnd.wasm.config.v1+json"
	WasmLayer        = "application/wasm"
	WasmContentLayer = "application/vnd.wasm.content.layer.v1+wasm"
	RunwasiLayer     = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"
	TitleAnnotation  = "org.opencontainers.image.title"
)

// Blob is content with the type that a manifest gives it.
type Blob struct {
	MediaType   string
	Data        []byte
	Annotations map[string]string
}

// Digest is the content's address.
func (b Blob) Digest() string { return Digest(b.Data) }

// Digest is the address of data.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Artifact is one manifest and what it points to.
type Artifact struct {
	MediaType string // of the manifest, sent as Content-Type
	// Bare leaves the mediaType field out of the manifest, as wasm-to-oci does.
	Bare         bool
	ArtifactType string
	Config       Blob
	Layers       []Blob
	Annotations  map[string]string
	Subject      *Artifact // what it refers to
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *Platform         `json:"platform,omitempty"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        *descriptor       `json:"config,omitempty"`
	Layers        []descriptor      `json:"layers,omitempty"`
	Manifests     []descriptor      `json:"manifests,omitempty"`
	Subject       *descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Manifest is the JSON document.
func (a Artifact) Manifest() []byte {
	config := a.Config.descriptor()
	m := manifest{
		SchemaVersion: 2,
		MediaType:     a.MediaType,
		ArtifactType:  a.ArtifactType,
		Config:        &config,
		Annotations:   a.Annotations,
	}
	if a.Subject != nil {
		data := a.Subject.Manifest()
		m.Subject = &descriptor{MediaType: a.Subject.MediaType, Digest: Digest(data), Size: len(data)}
	}
	if a.Bare {
		m.MediaType = ""
	}
	for _, l := range a.Layers {
		m.Layers = append(m.Layers, l.descriptor())
	}
	return mustJSON(m)
}

func (b Blob) descriptor() descriptor {
	return descriptor{MediaType: b.MediaType, Digest: b.Digest(), Size: len(b.Data), Annotations: b.Annotations}
}

// Digest is the address of the manifest.
func (a Artifact) Digest() string { return Digest(a.Manifest()) }

// Platform is what an index says of a child.
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant,omitempty"`
}

// Child is one entry of an index.
type Child struct {
	Artifact    Artifact
	Platform    Platform
	Annotations map[string]string
}

// Index is a list of manifests by platform.
type Index struct {
	MediaType string
	Children  []Child
}

// Manifest is the JSON document.
func (x Index) Manifest() []byte {
	m := manifest{SchemaVersion: 2, MediaType: x.MediaType}
	for _, c := range x.Children {
		data := c.Artifact.Manifest()
		m.Manifests = append(m.Manifests, descriptor{
			MediaType:   c.Artifact.MediaType,
			Digest:      Digest(data),
			Size:        len(data),
			Annotations: c.Annotations,
			Platform:    &c.Platform,
		})
	}
	return mustJSON(m)
}

// Digest is the address of the index.
func (x Index) Digest() string { return Digest(x.Manifest()) }

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // only plain structs come here
	}
	return data
}
