package imageservice

import (
	"slices"
	"time"

	"github.com/cri-wasmer/cri-wasmer/imageservice/format"
	"github.com/cri-wasmer/cri-wasmer/imageservice/signature"
)

// Image is a snapshot of one image. It is never changed after it was handed
// out and is shared: treat it as read-only.
type Image struct {
	ID          string    `json:"id"`                    // sha256:HEX
	RepoTags    []string  `json:"repoTags,omitempty"`    // sorted
	RepoDigests []string  `json:"repoDigests,omitempty"` // sorted; digests of what was asked for, not of the platform's manifest
	Manifest    string    `json:"manifest"`              // digest of the platform's manifest
	Size        int64     `json:"size"`                  // bytes on disk of its layers and blobs
	UID         *int64    `json:"uid,omitempty"`         // when the configuration names a number
	Username    string    `json:"username,omitempty"`    // when it names a name
	Pinned      bool      `json:"pinned"`
	PulledAt    time.Time `json:"pulledAt"`

	Format         format.Kind       `json:"format"`
	Platform       format.Platform   `json:"platform"`       // as the configuration says, or the index
	PlatformReason string            `json:"platformReason"` // why it was chosen
	Config         RunConfig         `json:"config"`
	Annotations    map[string]string `json:"annotations,omitempty"` // of the manifest

	// Layers are the directories to stack under a container, lowest first.
	// They are read-only by convention and stay as long as somebody holds the
	// image.
	Layers []string `json:"layers,omitempty"`
	// Artifact says that the image carries a bare module, which appears as
	// Module in a root filesystem that holds nothing else.
	Artifact bool   `json:"artifact"`
	Module   string `json:"module,omitempty"` // path in the root filesystem, of artifacts
	// Function is what follows "#" in an entrypoint of the form file#function.
	Function string  `json:"function,omitempty"`
	Program  Program `json:"program"`
	// Signature tells who vouched for the image when it was last pulled; nil
	// when the policy wanted nothing.
	Signature *signature.Verdict `json:"signature,omitempty"`
}

// RunConfig is how the image wants to be run.
type RunConfig struct {
	Entrypoint []string          `json:"entrypoint,omitempty"`
	Cmd        []string          `json:"cmd,omitempty"`
	Env        []string          `json:"env,omitempty"`
	WorkingDir string            `json:"workingDir,omitempty"`
	User       string            `json:"user,omitempty"` // user[:group]
	StopSignal string            `json:"stopSignal,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
}

// ProgramState says what became of the image's program at pull.
type ProgramState string

// States of a program.
const (
	ProgramReady       ProgramState = "ready"       // compiled
	ProgramRefused     ProgramState = "refused"     // can not run here; Reason says why
	ProgramFailed      ProgramState = "failed"      // compiling failed for a reason that may pass
	ProgramNone        ProgramState = "none"        // the image names no program
	ProgramNotCompiled ProgramState = "notCompiled" // no compiler is configured
)

// Program is what is known about the module that the image starts by default.
// It is advice: a container may start another file, and CreateContainer looks
// again.
type Program struct {
	State  ProgramState `json:"state"`
	Path   string       `json:"path,omitempty"`   // in the root filesystem, links resolved
	Digest string       `json:"digest,omitempty"` // sha256:HEX of the module
	Size   int64        `json:"size,omitempty"`
	ABI    string       `json:"abi,omitempty"`
	Unmet  []string     `json:"unmet,omitempty"` // imports that we lack
	Reason string       `json:"reason,omitempty"`
}

func (r *record) image(s *Service) *Image {
	img := &Image{
		ID: r.ID, RepoTags: slices.Clone(r.Tags), RepoDigests: slices.Clone(r.Digests), Manifest: r.Manifest,
		Size: r.Size, PulledAt: r.PulledAt, Format: r.Kind, Platform: r.Platform, PlatformReason: r.PlatformReason,
		Annotations: r.Annotations, Artifact: r.Module != "", Module: r.Module, Function: r.Function, Program: r.Program, Signature: r.Verdict,
		Config: RunConfig{
			Entrypoint: r.Config.Entrypoint, Cmd: r.Config.Cmd, Env: r.Config.Env, WorkingDir: r.Config.WorkingDir,
			User: r.Config.User, StopSignal: r.Config.StopSignal, Labels: r.Config.Labels,
		},
	}
	slices.Sort(img.RepoTags)
	slices.Sort(img.RepoDigests)
	img.UID, img.Username = format.Identity(r.Config.User)
	for _, key := range r.Layers {
		img.Layers = append(img.Layers, s.store.layerDir(key))
	}
	for _, t := range append(img.RepoTags, img.RepoDigests...) {
		img.Pinned = img.Pinned || s.pinned[t]
	}
	return img
}
