package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Push writes every image under all of its names below a registry, such as
// registry.example/team. insecure means plain http.
func Push(ctx context.Context, to string, insecure bool, all []Image) error {
	var options []name.Option
	if insecure {
		options = append(options, name.Insecure)
	}
	for _, img := range all {
		for _, n := range img.Names {
			ref, err := name.NewTag(to+"/"+n, options...)
			if err != nil {
				return fmt.Errorf("name %s: %w", n, err)
			}
			if err := remote.WriteIndex(ref, img.Index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
				return fmt.Errorf("push %s: %w", ref, err)
			}
		}
	}
	return nil
}

// Registry is a registry in memory with plain http. Safe for concurrent use.
type Registry struct {
	addr   string
	server *http.Server
	served chan error
}

// Serve starts a registry at host:port that holds all. Port 0 picks one.
func Serve(ctx context.Context, addr string, all []Image) (*Registry, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve images: %w", err)
	}
	silent := log.New(io.Discard, "", 0)
	r := &Registry{
		addr:   l.Addr().String(),
		server: &http.Server{Handler: registry.New(registry.Logger(silent)), ErrorLog: silent},
		served: make(chan error, 1),
	}
	go func() { r.served <- r.server.Serve(l) }()
	if err := Push(ctx, r.addr, true, all); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Host is the registry's address as it stands in image names.
func (r *Registry) Host() string { return r.addr }

// Close stops the registry and waits for its goroutine.
func (r *Registry) Close() error {
	err := r.server.Close()
	if served := <-r.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// mirrored are the registries that critest names.
var mirrored = []string{"registry.k8s.io", "gcr.io", "k8s.gcr.io"}

// WriteMirrors writes below dir, which is a server's certs.d, what leads the
// registries of critest to the registry at url.
func WriteMirrors(dir, url string) error {
	_, rest, ok := strings.Cut(url, "://")
	if !ok || strings.Contains(strings.TrimSuffix(rest, "/"), "/") {
		return fmt.Errorf("write mirrors: %q is no url of a registry: give scheme://host:port without a path", url)
	}
	text := fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", url)
	for _, host := range mirrored {
		below := filepath.Join(dir, host)
		if err := os.MkdirAll(below, 0o755); err != nil {
			return fmt.Errorf("write mirrors: %w", err)
		}
		if err := os.WriteFile(filepath.Join(below, "hosts.toml"), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write mirrors: %w", err)
		}
	}
	return nil
}

// WriteLayouts writes every image as an OCI layout below dir.
func WriteLayouts(dir string, all []Image) error {
	for _, img := range all {
		below := filepath.Join(dir, strings.NewReplacer("/", "_", ":", "_").Replace(img.Names[0]))
		if _, err := layout.Write(below, img.Index); err != nil {
			return fmt.Errorf("write layout %s: %w", below, err)
		}
	}
	return nil
}
