package images

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

var module = []byte("\x00asm\x01\x00\x00\x00")

func startRegistry(t *testing.T) *Registry {
	t.Helper()
	r, err := NewRegistry()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestKrustletShapeIsThePublishedOne(t *testing.T) {
	var got struct {
		SchemaVersion int
		MediaType     string
		Config        struct{ MediaType, Digest string }
		Layers        []struct {
			MediaType   string
			Annotations map[string]string
		}
	}
	if err := json.Unmarshal(Krustlet(module).Manifest(), &got); err != nil {
		t.Fatal(err)
	}
	const emptyObject = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
	if got.SchemaVersion != 2 || got.MediaType != DockerManifest || got.Config.MediaType != DockerConfig || got.Config.Digest != emptyObject {
		t.Errorf("manifest is %+v", got)
	}
	if len(got.Layers) != 1 || got.Layers[0].MediaType != WasmContentLayer || got.Layers[0].Annotations[TitleAnnotation] != "module.wasm" {
		t.Errorf("layers are %+v", got.Layers)
	}
}

func TestPushedImagesAreReadByAnotherClient(t *testing.T) {
	r := startRegistry(t)
	image := Program(module)
	for repository, a := range map[string]Artifact{
		"gzip":        image.Artifact(),
		"zstd":        Rootfs{Layers: image.Layers, Compression: Zstd}.Artifact(),
		"plain":       Rootfs{Layers: image.Layers, Compression: Uncompressed}.Artifact(),
		"docker":      Rootfs{Layers: image.Layers, Docker: true}.Artifact(),
		"krustlet":    Krustlet(module),
		"wasm-to-oci": WasmToOCI(module),
		"cncf":        CNCF(module),
		"runwasi":     Runwasi(module),
	} {
		digest, err := r.Push(repository, "v1", a)
		if err != nil {
			t.Errorf("%s: %v", repository, err)
			continue
		}
		got, err := crane.Digest(r.Host()+"/"+repository+":v1", crane.Insecure)
		if err != nil || got != digest {
			t.Errorf("%s: digest is %s (%v), want %s", repository, got, err, digest)
		}
	}
	img, err := crane.Pull(r.Host()+"/gzip:v1", crane.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Errorf("the rootfs image is not valid: %v", err)
	}
}

func TestIndexLeadsToTheImageOfThePlatform(t *testing.T) {
	r := startRegistry(t)
	image := Program(module).Artifact()
	if _, err := r.PushIndex("app", "v1", WithAttestation(image, Platform{OS: "wasi", Architecture: "wasm"})); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(r.Host()+"/app:v1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithPlatform(v1.Platform{OS: "wasi", Architecture: "wasm"}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := img.Digest()
	if err != nil || got.String() != image.Digest() {
		t.Errorf("got image %s (%v), want %s", got, err, image.Digest())
	}
}

// once keeps crane from trying again.
func once(o *crane.Options) {
	o.Remote = append(o.Remote, remote.WithRetryStatusCodes(), remote.WithRetryPredicate(func(error) bool { return false }))
}

func TestFaultsReachTheClient(t *testing.T) {
	for name, tc := range map[string]struct {
		fault Fault
		want  string // part of the error of crane; empty: no error
	}{
		"down":               {Down, "EOF"},
		"server error":       {Status(500), "500"},
		"unauthorized":       {BasicAuth("user", "secret"), "UNAUTHORIZED"},
		"truncated blobs":    {OnBlobs(Truncate), "EOF"},
		"wrong blobs":        {OnBlobs(Lie), "error verifying sha256"},
		"wrong manifest":     {OnManifests(Lie), "digest"},
		"fault that is over": {Times(0, Down), ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRegistry(t)
			digest, err := r.Push("app", "v1", Krustlet(module))
			if err != nil {
				t.Fatal(err)
			}
			r.SetFault(tc.fault)
			img, err := crane.Pull(r.Host()+"/app@"+digest, crane.Insecure, once)
			if err == nil {
				var layers []v1.Layer
				layers, err = img.Layers()
				for _, l := range layers {
					rc, e := l.Compressed()
					if e == nil {
						_, e = io.Copy(io.Discard, rc)
						_ = rc.Close()
					}
					if e != nil {
						err = e
					}
				}
			}
			if tc.want == "" {
				if err != nil {
					t.Errorf("got %v, want none", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestRequestsAreSeenOnce(t *testing.T) {
	r := startRegistry(t)
	if _, err := http.Get(r.URL() + "/v2/"); err != nil {
		t.Fatal(err)
	}
	if got, want := r.Requests(), []string{"GET /v2/"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := r.Requests(); len(got) != 0 {
		t.Errorf("got %q again", got)
	}
}

func TestTLSRegistryIsTrustedByItsCertificate(t *testing.T) {
	r, err := NewTLSRegistry()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if !strings.Contains(string(r.CA()), "BEGIN CERTIFICATE") {
		t.Errorf("CA is %q", r.CA())
	}
	config, err := r.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", r.Host(), config)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}
