package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/criclient"
	"github.com/cri-wasmer/cri-wasmer/e2e/harness/images"
)

// signedNode is a node with a policy over the repositories cosign, logged,
// notary, rejected and free of its registry.
type signedNode struct {
	*node
	key, log  images.Key
	authority *images.Authority
}

func newSignedNode(t *testing.T) *signedNode {
	requireServer(t)
	dir := t.TempDir()
	s := &signedNode{}
	var err error
	s.key, err = images.NewKey()
	must(t, err)
	s.log, err = images.NewKey()
	must(t, err)
	s.authority, err = images.NewAuthority("authority")
	must(t, err)
	for name, data := range map[string][]byte{"team.pub": s.key.Public(), "log.pub": s.log.Public(), "ca.pem": s.authority.Certificate()} {
		must(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	policy := filepath.Join(dir, "policy.toml")
	must(t, os.WriteFile(policy, nil, 0o644))
	s.node, err = startNode(t, nodeOptions{flags: map[string]string{"image-signature-policy": policy}})
	must(t, err)
	t.Cleanup(s.close)
	s.watch(t)
	host := s.registry.Host()
	must(t, os.WriteFile(policy, fmt.Appendf(nil, `
rule = [
  { prefix = "*", require = "none" },
  { prefix = "%[1]s/cosign", require = "cosign", keys = ["team.pub"] },
  { prefix = "%[1]s/logged", require = "cosign", keys = ["team.pub"], log_keys = ["log.pub"] },
  { prefix = "%[1]s/notary", require = "notation", authorities = ["ca.pem"], identities = ["x509.subject: C=CH, ST=ZH, O=cri-wasmer, CN=signer"] },
  { prefix = "%[1]s/rejected", require = "reject" },
]`, host), 0o644)) // it is read again for each pull
	return s
}

// image is a new image in the repository, with its name.
func (s *signedNode) fresh(t *testing.T, repository string) (images.Artifact, string) {
	a := freshImage(t, s.node)
	return a, s.push(t, repository, a)
}

func (s *signedNode) sign(t *testing.T, repository, tag string, sig images.Artifact) {
	t.Helper()
	_, err := s.registry.Push(repository, tag, sig)
	must(t, err)
}

// refer stores a signature as a referrer of the image.
func (s *signedNode) refer(t *testing.T, repository string, to, sig images.Artifact) {
	t.Helper()
	sig.Subject = &to
	s.sign(t, repository, sig.Digest(), sig)
}

func TestSignedImagesArePulled(t *testing.T) {
	s := newSignedNode(t)
	for name, sign := range map[string]func(t *testing.T) string{
		"no rule": func(t *testing.T) string {
			_, ref := s.fresh(t, "free/app")
			return ref
		},
		"cosign": func(t *testing.T) string {
			a, ref := s.fresh(t, "cosign/app")
			s.sign(t, "cosign/app", images.CosignTag(a.Digest()), images.Cosign(images.CosignPayload(ref, a.Digest()), s.key, nil))
			return ref
		},
		"cosign as referrer": func(t *testing.T) string {
			a, ref := s.fresh(t, "cosign/referred")
			sig := images.Cosign(images.CosignPayload(ref, a.Digest()), s.key, nil)
			sig.ArtifactType = "application/vnd.dev.cosign.artifact.sig.v1+json"
			s.refer(t, "cosign/referred", a, sig)
			return ref
		},
		"cosign bundle": func(t *testing.T) string {
			a, ref := s.fresh(t, "cosign/bundle")
			s.refer(t, "cosign/bundle", a, images.CosignBundle(a.Digest(), s.key))
			return ref
		},
		"cosign in a log": func(t *testing.T) string {
			a, ref := s.fresh(t, "logged/app")
			s.sign(t, "logged/app", images.CosignTag(a.Digest()), images.Cosign(images.CosignPayload(ref, a.Digest()), s.key, &s.log))
			return ref
		},
		"notation": func(t *testing.T) string {
			a, ref := s.fresh(t, "notary/app")
			sig, err := s.authority.Notation("signer", a)
			must(t, err)
			s.refer(t, "notary/app", a, sig)
			return ref
		},
		"one good signature among bad ones": func(t *testing.T) string {
			a, ref := s.fresh(t, "cosign/many")
			other, err := images.NewKey()
			must(t, err)
			both := images.Cosign(images.CosignPayload(ref, a.Digest()), other, nil)
			both.Layers = append(both.Layers, images.Cosign(images.CosignPayload(ref+"x", a.Digest()), s.key, nil).Layers...)
			s.sign(t, "cosign/many", images.CosignTag(a.Digest()), both)
			return ref
		},
	} {
		t.Run(name, func(t *testing.T) {
			ref := sign(t)
			id, err := s.Client.Pull(t.Context(), ref)
			must(t, err)
			info := s.verbose(t, id)
			if named := strings.Contains(info, `"signature":{`); named != (name != "no rule") {
				t.Errorf("the image's status tells of a signature: %v: %s", named, info)
			}
		})
	}
	p := s.hostPod(t)
	c := p.run(criclient.ContainerSpec{Image: s.ref("cosign/app:v1")})
	c.wantExit(c.wait(), 0, "Completed")
}

// verbose gives what ImageStatus tells in detail.
func (n *node) verbose(t *testing.T, ref string) string {
	t.Helper()
	r, err := n.Client.Images.ImageStatus(t.Context(), &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: ref}, Verbose: true})
	must(t, err)
	return r.Info["info"]
}

func TestUnsignedAndWronglySignedImagesAreRefused(t *testing.T) {
	s := newSignedNode(t)
	other, err := images.NewKey()
	must(t, err)
	foreign, err := images.NewAuthority("foreign")
	must(t, err)
	// payload signs by tag what make says of the image and its name.
	payload := func(repository string, make func(a images.Artifact, ref string) images.Artifact) func(t *testing.T) string {
		return func(t *testing.T) string {
			a, ref := s.fresh(t, repository)
			s.sign(t, repository, images.CosignTag(a.Digest()), make(a, ref))
			return ref
		}
	}
	notary := func(by *images.Authority, name string, of func(images.Artifact) images.Artifact) func(t *testing.T) string {
		return func(t *testing.T) string {
			a, ref := s.fresh(t, "notary/bad")
			sig, err := by.Notation(name, of(a))
			must(t, err)
			s.refer(t, "notary/bad", a, sig)
			return ref
		}
	}
	itself := func(a images.Artifact) images.Artifact { return a }
	another := func(images.Artifact) images.Artifact { return freshImage(t, s.node) }
	for name, tc := range map[string]struct {
		make  func(t *testing.T) string
		parts []string
	}{
		"unsigned":           {func(t *testing.T) string { _, ref := s.fresh(t, "cosign/unsigned"); return ref }, []string{"has none", "cosign", "policy.toml"}},
		"unsigned, notation": {func(t *testing.T) string { _, ref := s.fresh(t, "notary/unsigned"); return ref }, []string{"has none", "notation"}},
		"rejected":           {func(t *testing.T) string { _, ref := s.fresh(t, "rejected/app"); return ref }, []string{"rejects it"}},
		"another key": {payload("cosign/other", func(a images.Artifact, ref string) images.Artifact {
			return images.Cosign(images.CosignPayload(ref, a.Digest()), other, nil)
		}), []string{"team.pub"}},
		"another image": {payload("cosign/another", func(_ images.Artifact, ref string) images.Artifact {
			return images.Cosign(images.CosignPayload(ref, "sha256:"+strings.Repeat("0", 64)), s.key, nil)
		}), []string{"000000"}},
		"payload changed": {payload("cosign/changed", func(a images.Artifact, ref string) images.Artifact {
			sig := images.Cosign(images.CosignPayload(ref, "sha256:"+strings.Repeat("0", 64)), s.key, nil)
			sig.Layers[0].Data = images.CosignPayload(ref, a.Digest())
			return sig
		}), []string{"team.pub"}},
		"no signature in it": {payload("cosign/none", func(a images.Artifact, ref string) images.Artifact {
			sig := images.Cosign(images.CosignPayload(ref, a.Digest()), s.key, nil)
			sig.Layers[0].Annotations = nil
			return sig
		}), []string{"no annotation"}},
		"not in a log": {payload("logged/not", func(a images.Artifact, ref string) images.Artifact {
			return images.Cosign(images.CosignPayload(ref, a.Digest()), s.key, nil)
		}), []string{"entry of a log"}},
		"in another log": {payload("logged/other", func(a images.Artifact, ref string) images.Artifact {
			return images.Cosign(images.CosignPayload(ref, a.Digest()), s.key, &other)
		}), []string{"log"}},
		"bundle of another key": {func(t *testing.T) string {
			a, ref := s.fresh(t, "cosign/otherbundle")
			s.refer(t, "cosign/otherbundle", a, images.CosignBundle(a.Digest(), other))
			return ref
		}, []string{"team.pub"}},
		"attestation": {func(t *testing.T) string {
			a, ref := s.fresh(t, "cosign/attested")
			s.refer(t, "cosign/attested", a, images.CosignAttestation(a.Digest(), "https://cosign.sigstore.dev/attestation/vuln/v1", s.key))
			return ref
		}, []string{"attestation of type", "vuln"}},
		"bundle of another image": {func(t *testing.T) string {
			a, ref := s.fresh(t, "cosign/anotherbundle")
			s.refer(t, "cosign/anotherbundle", a, images.CosignBundle("sha256:"+strings.Repeat("0", 64), s.key))
			return ref
		}, []string{"digest"}},
		"notation by another authority": {notary(foreign, "signer", itself), []string{"ca.pem"}},
		"notation by somebody else":     {notary(s.authority, "stranger", itself), []string{"trusted identities"}},
		"notation of another image":     {notary(s.authority, "signer", another), []string{"notation"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := files(t, s.Root())
			ref := tc.make(t)
			_, err := s.Client.Pull(t.Context(), ref)
			t.Log(err)
			wantCode(t, "pull", err, codes.Unknown) // with the text that the kubelet knows
			wantError(t, "pull", err, append([]string{"SignatureValidationFailed", ref}, tc.parts...)...)
			if i := s.image(t, ref); i != nil {
				t.Errorf("the image is there: %v", i)
			}
			wantNoMoreFiles(t, s.Root(), before)
		})
	}
}

// The name leads to the signed image while it is judged, and to another one
// afterwards: what was judged is what is pulled.
func TestWhatWasVerifiedIsWhatIsPulled(t *testing.T) {
	s := newSignedNode(t)
	signed, ref := s.fresh(t, "cosign/moving")
	s.sign(t, "cosign/moving", images.CosignTag(signed.Digest()), images.Cosign(images.CosignPayload(ref, signed.Digest()), s.key, nil))
	evil := freshImage(t, s.node)
	s.registry.SetFault(images.After("/manifests/sha256-", func() { s.push(t, "cosign/moving", evil) }))
	defer s.registry.SetFault(nil)
	_, err := s.Client.Pull(t.Context(), ref)
	must(t, err)
	if i := s.image(t, ref); i == nil || !strings.HasSuffix(i.RepoDigests[0], signed.Digest()) {
		t.Errorf("pulled %v, want the image with digest %s", i, signed.Digest())
	}
	_, err = s.Client.Pull(t.Context(), ref)
	wantError(t, "pull of the moved name", err, "SignatureValidationFailed")
}
