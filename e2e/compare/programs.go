package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

// programs are the guests: name-c and name-go.
var programs = []string{"hello-c", "hello-go", "top-c", "tool-go", "exit-c", "bigoutput-c"}

// publish pushes an image of each program for both servers. An image holds
// exit-c and tool-go, too, as what is executed beside.
func publish(ctx context.Context, o options, dir string, r *images.Registry) (ours, peers map[string]string, err error) {
	ours, peers = map[string]string{}, map[string]string{}
	native := filepath.Join(dir, "native")
	if err := os.MkdirAll(native, 0o755); err != nil {
		return nil, nil, err
	}
	for _, p := range programs {
		if err := build(ctx, o, p, filepath.Join(native, p)); err != nil {
			return nil, nil, fmt.Errorf("build %s for this machine: %w", p, err)
		}
	}
	for _, p := range programs {
		wasm, err := image(p, func(name string) string { return filepath.Join(o.guests, name+".wasm") })
		if err != nil {
			return nil, nil, err
		}
		if ours[p], err = push(r, p, wasm); err != nil {
			return nil, nil, err
		}
		machine, err := image(p, func(name string) string { return filepath.Join(native, name) })
		if err != nil {
			return nil, nil, err
		}
		if peers[p], err = push(r, "native-"+p, images.LinuxHost(machine)); err != nil {
			return nil, nil, err
		}
	}
	return ours, peers, nil
}

func image(program string, file func(name string) string) (images.Rootfs, error) {
	r := images.Rootfs{Entrypoint: []string{"/app"}, Env: []string{"PATH=/bin"}}
	if program == "tool-go" {
		r.Cmd = []string{"top"}
	}
	var layer []images.File
	for path, name := range map[string]string{"app": program, "bin/exit-c": "exit-c", "bin/true": "tool-go"} {
		data, err := os.ReadFile(file(name))
		if err != nil {
			return r, fmt.Errorf("%w: make guests", err)
		}
		layer = append(layer, images.File{Name: path, Data: data})
	}
	r.Layers = [][]images.File{layer}
	return r, nil
}

func push(r *images.Registry, repository string, i images.Rootfs) (string, error) {
	_, err := r.Push(repository, "v1", i.Artifact())
	return r.Host() + "/" + repository + ":v1", err
}

// build makes a program for this machine from the sources of the guest.
func build(ctx context.Context, o options, program, out string) error {
	name, language, _ := strings.Cut(program, "-")
	if language == "c" {
		return command(ctx, "", "gcc", "-O2", "-static", "-o", out, filepath.Join(o.sources, "c", name+".c"))
	}
	dir := out + ".src"
	if err := copyGo(filepath.Join(o.sources, "go", name), dir); err != nil {
		return err
	}
	return command(ctx, dir, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
}

// copyGo copies a guest, which is for wasip1 only, as a module for any system.
func copyGo(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(from, "*.go"))
	if err != nil {
		return err
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		data = bytes.TrimPrefix(data, []byte("//go:build wasip1\n"))
		if err := os.WriteFile(filepath.Join(to, filepath.Base(f)), data, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(to, "go.mod"), []byte("module guest\n\ngo 1.26\n"), 0o644)
}

func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, text)
	}
	return nil
}

// pause is the image of containerd's own container in each pod.
func pause(peers map[string]string) string { return peers["top-c"] }
