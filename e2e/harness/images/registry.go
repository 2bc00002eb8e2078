package images

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Registry is an OCI registry on loopback that holds everything in memory. A
// Fault can stand between it and its clients. Safe for concurrent use.
type Registry struct {
	server *httptest.Server
	store  http.Handler

	mu       sync.Mutex
	fault    Fault
	requests []string
}

// NewRegistry starts a registry that speaks plain http.
func NewRegistry() (*Registry, error) {
	return newRegistry((*httptest.Server).Start)
}

// NewTLSRegistry starts a registry that speaks https with a certificate of its
// own; CA gives what a client must trust.
func NewTLSRegistry() (*Registry, error) {
	return newRegistry((*httptest.Server).StartTLS)
}

func newRegistry(start func(*httptest.Server)) (*Registry, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start registry: %w", err)
	}
	silent := log.New(io.Discard, "", 0)
	r := &Registry{store: registry.New(registry.Logger(silent), registry.WithReferrersSupport(true))}
	r.server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: r, ErrorLog: silent}}
	start(r.server)
	return r, nil
}

// Close stops the registry.
func (r *Registry) Close() {
	r.server.CloseClientConnections()
	r.server.Close()
}

// Host is the address of the registry as it stands in an image name.
func (r *Registry) Host() string { return r.server.Listener.Addr().String() }

// URL is the base of the registry.
func (r *Registry) URL() string { return r.server.URL }

// CA is the certificate of a registry with https, in PEM.
func (r *Registry) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.server.Certificate().Raw})
}

// Requests gives all requests so far as "METHOD /path", and forgets them.
func (r *Registry) Requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.requests
	r.requests = nil
	return list
}

// SetFault puts f between the registry and its clients from now on; nil ends
// it.
func (r *Registry) SetFault(f Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = f
}

// ServeHTTP answers one request of a client.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.requests = append(r.requests, req.Method+" "+req.URL.Path)
	fault := r.fault
	r.mu.Unlock()
	if fault == nil {
		r.store.ServeHTTP(w, req)
		return
	}
	fault(w, req, r.store)
}

// Push stores a as repository:tag and gives the digest of its manifest. Faults
// do not touch it.
func (r *Registry) Push(repository, tag string, a Artifact) (string, error) {
	if err := r.pushBlobs(repository, a); err != nil {
		return "", err
	}
	return r.pushManifest(repository, tag, a.MediaType, a.Manifest())
}

// PushIndex stores x with all its children as repository:tag and gives the
// digest of the index.
func (r *Registry) PushIndex(repository, tag string, x Index) (string, error) {
	for _, c := range x.Children {
		if _, err := r.Push(repository, c.Artifact.Digest(), c.Artifact); err != nil {
			return "", err
		}
	}
	return r.pushManifest(repository, tag, x.MediaType, x.Manifest())
}

func (r *Registry) pushBlobs(repository string, a Artifact) error {
	for _, blob := range append([]Blob{a.Config}, a.Layers...) {
		target := "/v2/" + repository + "/blobs/uploads/?digest=" + url.QueryEscape(blob.Digest())
		if err := r.put(http.MethodPost, target, "application/octet-stream", blob.Data); err != nil {
			return fmt.Errorf("push blob %s of %s: %w", blob.Digest(), repository, err)
		}
	}
	return nil
}

func (r *Registry) pushManifest(repository, tag, mediaType string, data []byte) (string, error) {
	target := "/v2/" + repository + "/manifests/" + tag
	if err := r.put(http.MethodPut, target, mediaType, data); err != nil {
		return "", fmt.Errorf("push manifest %s:%s: %w", repository, tag, err)
	}
	return Digest(data), nil
}

// put hands a request straight to the store.
func (r *Registry) put(method, target, contentType string, body []byte) error {
	req := httptest.NewRequestWithContext(context.Background(), method, target, bytes.NewReader(body))
	req.Header.Set("Content-Type", contentType)
	rec := httptest.NewRecorder()
	r.store.ServeHTTP(rec, req)
	if rec.Code/100 != 2 {
		return fmt.Errorf("registry answers %d: %s", rec.Code, strings.TrimSpace(rec.Body.String()))
	}
	return nil
}

// ErrNotTLS says that a registry without https was asked for its certificate.
var ErrNotTLS = errors.New("the registry speaks plain http")

// ClientConfig trusts the registry; for tests of the registry itself.
func (r *Registry) ClientConfig() (*tls.Config, error) {
	t, ok := r.server.Client().Transport.(*http.Transport)
	if !ok || t.TLSClientConfig == nil {
		return nil, ErrNotTLS
	}
	return t.TLSClientConfig, nil
}
