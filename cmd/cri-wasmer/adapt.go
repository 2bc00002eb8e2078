package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cri-wasmer/cri-wasmer/imageservice"
	"github.com/cri-wasmer/cri-wasmer/imageservice/codecache"
	"github.com/cri-wasmer/cri-wasmer/imageservice/format"
	"github.com/cri-wasmer/cri-wasmer/imageservice/imgerr"
	"github.com/cri-wasmer/cri-wasmer/sandbox"
	"github.com/cri-wasmer/cri-wasmer/sandbox/process"
	"github.com/cri-wasmer/cri-wasmer/sandbox/rootfs"
	"github.com/cri-wasmer/cri-wasmer/sandbox/rootfs/users"
	"github.com/cri-wasmer/cri-wasmer/sandbox/seccomp"
)

// images gives sandboxes what the image service holds.
type images struct {
	service *imageservice.Service
	log     *slog.Logger
}

var _ sandbox.Images = images{}

func (i images) Acquire(ctx context.Context, ref, holder string) (*sandbox.Image, error) {
	image, err := i.service.Acquire(ctx, ref, holder)
	if errors.Is(err, imgerr.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", err, sandbox.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	ref = image.ID
	if len(image.RepoDigests) > 0 {
		ref = image.RepoDigests[0]
	}
	problem := ""
	if image.Program.State == imageservice.ProgramRefused && (len(image.Layers) == 0 || image.Format == format.Spin) {
		problem = image.Program.Reason // its format is not one of programs in files
	}
	return &sandbox.Image{
		Problem: problem, ID: image.ID, Ref: ref, Layers: image.Layers, Entrypoint: image.Config.Entrypoint, Cmd: image.Config.Cmd, Env: image.Config.Env,
		WorkingDir: image.Config.WorkingDir, User: image.Config.User, StopSignal: image.Config.StopSignal, Module: image.Module, Function: image.Function,
	}, nil
}

func (i images) Release(holder string) error { return i.service.Release(holder) }

func (i images) Settle(holds map[string][]string) error {
	for holder, ids := range holds {
		for _, id := range ids {
			if _, err := i.service.Readopt(holder, id); err != nil {
				i.log.Warn("image of a container is gone", "container", holder, "image", id, "error", err)
			}
		}
	}
	return i.service.Reclaim()
}

// programs gives sandboxes compiled code.
type programs struct{ cache *codecache.Cache }

var _ sandbox.Programs = programs{}

func (p programs) Code(ctx context.Context, module *os.File, function string) (*sandbox.Code, error) {
	report, err := p.cache.Preflight(module, function)
	if err != nil {
		return nil, refused(err)
	}
	code, err := p.cache.Code(ctx, module)
	if err != nil {
		return nil, refused(err)
	}
	const page = 64 << 10
	return &sandbox.Code{File: code.File, MinMemory: report.MemoryMin * page}, nil
}

func refused(err error) error {
	if r := (*codecache.Refusal)(nil); errors.As(err, &r) {
		return &sandbox.ProgramError{Text: r.Error()}
	}
	return err
}

// inspector looks into root filesystems.
type inspector struct{}

var _ sandbox.Inspector = inspector{}

func (inspector) LookupUser(root *os.File, image string, spec sandbox.UserSpec) (sandbox.User, error) {
	policy := users.GroupsMerge
	if spec.StrictGroups {
		policy = users.GroupsStrict
	}
	u, err := users.LookupUser(root, users.UserSpec{
		RunAsUser: spec.UID, RunAsUsername: spec.Username, RunAsGroup: spec.GID, ImageUser: image,
		SupplementalGroups: spec.SupplementalGroups, Policy: policy,
	})
	if err != nil {
		return sandbox.User{}, fmt.Errorf("%w: %w", err, sandbox.ErrInvalid)
	}
	return sandbox.User{UID: u.UID, GID: u.GID, Groups: u.Groups, Home: u.Home}, nil
}

func (inspector) LookPath(root *os.File, name, cwd, path string) (string, *os.File, error) {
	return rootfs.LookPath(root, name, cwd, path)
}

func (inspector) OpenFiles(pid int) (sandbox.OpenFiles, error) { return process.OpenFiles(pid) }

// filters builds system call filters.
type filters struct{}

var _ sandbox.Filters = filters{}

func (filters) Default() ([]byte, error) { return seccomp.Default() }

// Localhost reads a profile, which a pod may name, but not what else there is.
func (filters) Localhost(path string) ([]byte, error) {
	profile, err := readProfile(path)
	if err != nil {
		return nil, fmt.Errorf("profile: %w: %w", err, sandbox.ErrInvalid)
	}
	filter, err := seccomp.FromOCI(profile, seccomp.AllowWorker())
	if err != nil {
		return nil, fmt.Errorf("profile %s: %w: %w", path, err, sandbox.ErrInvalid)
	}
	return filter, nil
}

const maxProfile = 4 << 20 // bytes

func readProfile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe must not wait for its writer
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	case info.Size() > maxProfile:
		return nil, &os.PathError{Op: "read", Path: path, Err: fmt.Errorf("it has %d bytes, at most %d are read", info.Size(), maxProfile)}
	}
	return io.ReadAll(io.LimitReader(f, maxProfile))
}
