package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-core-go/testhelper"
	"github.com/notaryproject/notation-go"
	notationsigner "github.com/notaryproject/notation-go/signer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/rekor/pkg/types"
	"github.com/sigstore/rekor/pkg/types/dsse"
	_ "github.com/sigstore/rekor/pkg/types/dsse/v0.0.1"
	"github.com/sigstore/rekor/pkg/types/hashedrekord"
	_ "github.com/sigstore/rekor/pkg/types/hashedrekord/v0.0.1"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
	sigpayload "github.com/sigstore/sigstore/pkg/signature/payload"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/cri-wasmer/cri-wasmer/cmd/cri-wasmer-verify/verifyv1"
)

// The tests of this file have signatures made by the libraries with which cosign
// and notation make theirs.

const imageName = "registry.example.com/team/app"

// cosignKeys are the keys that cosign makes or imports.
func cosignKeys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	keys := map[string]crypto.Signer{}
	add := func(name string, key crypto.Signer, err error) {
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = key
	}
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		add(name, key, err)
	}
	for _, bits := range []int{2048, 3072} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		add(fmt.Sprint("RSA ", bits), key, err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	add("Ed25519", key, err)
	return keys
}

// cosignLoaders are how versions of cosign load a key.
var cosignLoaders = map[string]func(crypto.PrivateKey) (signature.SignerVerifier, error){
	"by SHA-256": func(key crypto.PrivateKey) (signature.SignerVerifier, error) {
		return signature.LoadSignerVerifier(key, crypto.SHA256)
	},
	"by what goes with the key": func(key crypto.PrivateKey) (signature.SignerVerifier, error) {
		return signature.LoadDefaultSignerVerifier(key, options.WithED25519ph())
	},
}

// cosignPayload is what cosign signs in its classic form.
func cosignPayload(t *testing.T, digest string) []byte {
	t.Helper()
	ref, err := name.NewDigest(imageName + "@" + digest)
	if err != nil {
		t.Fatal(err)
	}
	data, err := sigpayload.Cosign{Image: ref, Annotations: map[string]any{"team": "a"}}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func publicPEM(t *testing.T, key crypto.PublicKey) []byte {
	t.Helper()
	pem, err := cryptoutils.MarshalPublicKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem
}

// wantVerdict has one signature judged by one key.
func wantVerdict(t *testing.T, public []byte, sig verifyv1.Signature, reason string) {
	t.Helper()
	wantVerdictOf(t, request([]signer{{public: public}}, sig), reason)
}

func wantVerdictOf(t *testing.T, req *verifyv1.Request, reason string) {
	t.Helper()
	resp := judge(req)
	reasons := strings.Join(resp.Reasons, "\n")
	if resp.Error != "" || resp.Accepted != (reason == "") || !strings.Contains(reasons, reason) || strings.Count(reasons, "\n") > 0 {
		t.Errorf("%+v, want the reason %q", resp, reason)
	}
}

func TestCosignsOwnClassicSignatures(t *testing.T) {
	for keyName, key := range cosignKeys(t) {
		for how := range cosignLoaders {
			t.Run(keyName+" "+how, func(t *testing.T) {
				for digest, reason := range map[string]string{imageDigest: "", "sha256:" + strings.Repeat("00", 32): "it is of"} {
					payload := cosignPayload(t, digest)
					sig := signed(t, key, how, payload)
					s := verifyv1.Signature{Kind: verifyv1.KindSimple, Payload: payload, Annotations: map[string]string{noteSignature: base64.StdEncoding.EncodeToString(sig)}}
					wantVerdict(t, publicPEM(t, key.Public()), s, reason)
				}
			})
		}
	}
}

// statement is what cosign signs in a bundle.
func statement(digest, predicate string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`,
		strings.TrimPrefix(digest, "sha256:"), predicate)
}

func TestSigstoresOwnBundles(t *testing.T) {
	foreign := "sha256:" + strings.Repeat("00", 32)
	for name, algorithm := range map[string]protocommon.PublicKeyDetails{
		"P-256": protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256, "P-384": protocommon.PublicKeyDetails_PKIX_ECDSA_P384_SHA_384,
		"P-521": protocommon.PublicKeyDetails_PKIX_ECDSA_P521_SHA_512, "RSA": protocommon.PublicKeyDetails_PKIX_RSA_PKCS1V15_3072_SHA256,
		"Ed25519": protocommon.PublicKeyDetails_PKIX_ED25519, "Ed25519ph": protocommon.PublicKeyDetails_PKIX_ED25519_PH,
	} {
		t.Run(name, func(t *testing.T) {
			pair, public := keypair(t, algorithm)
			for text, reason := range map[string]string{
				string(statement(imageDigest, predicateType)):                    "",
				string(statement(foreign, predicateType)):                        "digest",
				string(statement(imageDigest, "https://slsa.dev/provenance/v1")): "attestation of type \"https://slsa.dev/provenance/v1\"",
			} {
				b, err := sign.Bundle(&sign.DSSEData{Data: []byte(text), PayloadType: "application/vnd.in-toto+json"}, pair, sign.BundleOptions{})
				if err != nil {
					t.Fatal(err)
				}
				data, err := protojson.Marshal(b)
				if err != nil {
					t.Fatal(err)
				}
				wantVerdict(t, []byte(public), verifyv1.Signature{Kind: verifyv1.KindBundle, Payload: data}, reason)
			}
		})
	}
}

// rekorEntry is the body of an entry as Rekor makes it.
func rekorEntry(ctx context.Context, kind string, props types.ArtifactProperties) ([]byte, error) {
	proposed, err := types.NewProposedEntry(ctx, kind, "0.0.1", props)
	if err != nil {
		return nil, err
	}
	entry, err := types.CreateVersionedEntry(proposed)
	if err != nil {
		return nil, err
	}
	return types.CanonicalizeEntry(ctx, entry)
}

// classicEntry is that of a classic signature by a key.
func classicEntry(t *testing.T, hash crypto.Hash, payload, sig, public []byte) string {
	t.Helper()
	sum := hash.New()
	sum.Write(payload)
	body, err := rekorEntry(t.Context(), hashedrekord.KIND, types.ArtifactProperties{
		ArtifactHash: hex.EncodeToString(sum.Sum(nil)), SignatureBytes: sig, PublicKeyBytes: [][]byte{public}, PKIFormat: "x509",
	})
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(body)
}

// rekor is a log of the tests of sigstore-go, for bundles.
type rekor struct{ *ca.VirtualSigstore }

// GetTransparencyLogEntry implements sign.Transparency: it enters an envelope
// and proves that it is there.
func (r rekor) GetTransparencyLogEntry(ctx context.Context, public []byte, b *protobundle.Bundle) error {
	e := b.GetDsseEnvelope()
	envelope, err := json.Marshal(map[string]any{
		"payload": e.Payload, "payloadType": e.PayloadType, "signatures": []any{map[string]any{"sig": e.Signatures[0].Sig, "keyid": ""}},
	})
	if err != nil {
		return err
	}
	body, err := rekorEntry(ctx, dsse.KIND, types.ArtifactProperties{ArtifactBytes: envelope, PublicKeyBytes: [][]byte{public}})
	if err != nil {
		return err
	}
	id, err := r.RekorLogID()
	if err != nil {
		return err
	}
	rawID, err := hex.DecodeString(id)
	if err != nil {
		return err
	}
	proof, err := r.GetInclusionProof(body)
	if err != nil {
		return err
	}
	now := time.Now().Unix()
	promise, err := r.RekorSignPayload(tlog.RekorPayload{Body: base64.StdEncoding.EncodeToString(body), IntegratedTime: now, LogIndex: 0, LogID: id})
	if err != nil {
		return err
	}
	root, err := hex.DecodeString(*proof.RootHash)
	if err != nil {
		return err
	}
	b.VerificationMaterial.TlogEntries = append(b.VerificationMaterial.TlogEntries, &protorekor.TransparencyLogEntry{
		LogId: &protocommon.LogId{KeyId: rawID}, KindVersion: &protorekor.KindVersion{Kind: dsse.KIND, Version: "0.0.1"}, IntegratedTime: now, CanonicalizedBody: body,
		InclusionPromise: &protorekor.InclusionPromise{SignedEntryTimestamp: promise},
		InclusionProof:   &protorekor.InclusionProof{RootHash: root, TreeSize: *proof.TreeSize, Checkpoint: &protorekor.Checkpoint{Envelope: *proof.Checkpoint}},
	})
	return nil
}

// logKeys are the keys of a log.
func logKeys(t *testing.T, log *ca.VirtualSigstore) (keys []verifyv1.Key) {
	t.Helper()
	for _, l := range log.RekorLogs() {
		keys = append(keys, verifyv1.Key{Name: "log", PEM: publicPEM(t, l.PublicKey)})
	}
	return keys
}

func newLog(t *testing.T) *ca.VirtualSigstore {
	t.Helper()
	log, err := ca.NewVirtualSigstore()
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// keypair makes a key as sigstore's own signer does, and gives its public half in
// PEM.
func keypair(t *testing.T, algorithm protocommon.PublicKeyDetails) (*sign.EphemeralKeypair, string) {
	t.Helper()
	pair, err := sign.NewEphemeralKeypair(&sign.EphemeralKeypairOptions{Algorithm: algorithm})
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.GetPublicKeyPem()
	if err != nil {
		t.Fatal(err)
	}
	return pair, public
}

func TestRekorsOwnProofInABundle(t *testing.T) {
	log, other := newLog(t), newLog(t)
	for name, algorithm := range map[string]protocommon.PublicKeyDetails{
		// Rekor takes no envelope that is signed by another hash.
		"P-256": protocommon.PublicKeyDetails_PKIX_ECDSA_P256_SHA_256, "RSA": protocommon.PublicKeyDetails_PKIX_RSA_PKCS1V15_3072_SHA256,
	} {
		t.Run(name, func(t *testing.T) {
			pair, public := keypair(t, algorithm)
			content := &sign.DSSEData{Data: statement(imageDigest, predicateType), PayloadType: "application/vnd.in-toto+json"}
			for _, tc := range []struct {
				in     []sign.Transparency
				of     *ca.VirtualSigstore
				reason string
			}{{[]sign.Transparency{rekor{log}}, log, ""}, {[]sign.Transparency{rekor{log}}, other, "log"}, {nil, log, "log"}} {
				b, err := sign.Bundle(content, pair, sign.BundleOptions{TransparencyLogs: tc.in})
				if err != nil {
					t.Fatal(err)
				}
				data, err := protojson.Marshal(b)
				if err != nil {
					t.Fatal(err)
				}
				req := request([]signer{{public: []byte(public)}}, verifyv1.Signature{Kind: verifyv1.KindBundle, Payload: data})
				req.Demand.Cosign.LogKeys = logKeys(t, tc.of)
				wantVerdictOf(t, req, tc.reason)
			}
		})
	}
}

// signed is a payload with the signature of a key in a way of cosign.
func signed(t *testing.T, key crypto.Signer, way string, payload []byte) []byte {
	t.Helper()
	sv, err := cosignLoaders[way](key)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := sv.SignMessage(bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestRekorsOwnPromise(t *testing.T) {
	keys := cosignKeys(t)
	for _, how := range []struct {
		key, way string
		hash     crypto.Hash
	}{{"P-256", "by SHA-256", crypto.SHA256}, {"P-384", "by what goes with the key", crypto.SHA384}, {"Ed25519", "by what goes with the key", crypto.SHA512}} {
		t.Run(how.key, func(t *testing.T) {
			log, key, stranger := newLog(t), keys[how.key], cosignKeys(t)[how.key]
			id, err := log.RekorLogID()
			if err != nil {
				t.Fatal(err)
			}
			payload := cosignPayload(t, imageDigest)
			sig, theirs := signed(t, key, how.way, payload), signed(t, stranger, how.way, payload)
			for name, tc := range map[string]struct {
				before func(*tlog.RekorPayload) // the log signs
				after  func(*tlog.RekorPayload)
				of     *ca.VirtualSigstore
				reason string
			}{
				"as it is":       {nil, nil, log, ""},
				"another time":   {nil, func(e *tlog.RekorPayload) { e.IntegratedTime++ }, log, "log"},
				"another number": {nil, func(e *tlog.RekorPayload) { e.LogIndex++ }, log, "log"},
				"another log":    {nil, nil, newLog(t), "log"},
				"of another key": {func(e *tlog.RekorPayload) {
					e.Body = classicEntry(t, how.hash, payload, theirs, publicPEM(t, stranger.Public()))
				}, nil, log, "log"},
			} {
				t.Run(name, func(t *testing.T) {
					e := tlog.RekorPayload{
						Body: classicEntry(t, how.hash, payload, sig, publicPEM(t, key.Public())), IntegratedTime: time.Now().Unix(), LogIndex: 1234, LogID: id,
					}
					if tc.before != nil {
						tc.before(&e)
					}
					promise, err := log.RekorSignPayload(e)
					if err != nil {
						t.Fatal(err)
					}
					if tc.after != nil {
						tc.after(&e)
					}
					note, err := json.Marshal(map[string]any{"SignedEntryTimestamp": promise, "Payload": e})
					if err != nil {
						t.Fatal(err)
					}
					req := request([]signer{{public: publicPEM(t, key.Public())}}, verifyv1.Signature{Kind: verifyv1.KindSimple, Payload: payload, Annotations: map[string]string{
						noteSignature: base64.StdEncoding.EncodeToString(sig), noteBundle: string(note),
					}})
					req.Demand.Cosign.LogKeys = logKeys(t, tc.of)
					wantVerdictOf(t, req, tc.reason)
				})
			}
		})
	}
}

func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// forge replaces what an envelope says.
func forge(t *testing.T, envelope []byte, old, new string) []byte {
	t.Helper()
	if bytes.Contains(envelope, []byte(old)) { // COSE
		return bytes.ReplaceAll(envelope, []byte(old), []byte(new))
	}
	var jws map[string]any
	if err := json.Unmarshal(envelope, &jws); err != nil {
		t.Fatal(err)
	}
	payload, err := base64.RawURLEncoding.DecodeString(jws["payload"].(string))
	if err != nil || !bytes.Contains(payload, []byte(old)) {
		t.Fatalf("%s, %v: want %s in it", payload, err, old)
	}
	jws["payload"] = base64.RawURLEncoding.EncodeToString(bytes.ReplaceAll(payload, []byte(old), []byte(new)))
	data, err := json.Marshal(jws)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestNotationsOwnSignatures(t *testing.T) {
	target := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(imageDigest), Size: 1234}
	other := target
	other.Digest = digest.Digest("sha256:" + strings.Repeat("00", 32))
	rsaRoot, rsaLeaf := testhelper.GetRSARootCertificate(), testhelper.GetRSALeafCertificate()
	ecRoot, ecLeaf := testhelper.GetECRootCertificate(), testhelper.GetECLeafCertificate()
	self := testhelper.GetRSASelfSignedSigningCertificate()
	for name, tc := range map[string]struct {
		key    crypto.PrivateKey
		chain  []*x509.Certificate
		target ocispec.Descriptor
		opts   notation.SignerSignOptions
		by     *x509.Certificate
		change func(*verifyv1.Notation)
		reason string
	}{
		"RSA":            {rsaLeaf.PrivateKey, []*x509.Certificate{rsaLeaf.Cert, rsaRoot.Cert}, target, notation.SignerSignOptions{}, rsaRoot.Cert, nil, ""},
		"elliptic curve": {ecLeaf.PrivateKey, []*x509.Certificate{ecLeaf.Cert, ecRoot.Cert}, target, notation.SignerSignOptions{}, ecRoot.Cert, nil, ""},
		"self-signed":    {self.PrivateKey, []*x509.Certificate{self.Cert}, target, notation.SignerSignOptions{}, self.Cert, nil, ""},
		"another authority": {rsaLeaf.PrivateKey, []*x509.Certificate{rsaLeaf.Cert, rsaRoot.Cert}, target, notation.SignerSignOptions{}, ecRoot.Cert, nil,
			"does not contain any trusted certificate"},
		"another image": {rsaLeaf.PrivateKey, []*x509.Certificate{rsaLeaf.Cert, rsaRoot.Cert}, other, notation.SignerSignOptions{}, rsaRoot.Cert, nil, "descriptor mismatch"},
		"the right identity": {rsaLeaf.PrivateKey, []*x509.Certificate{rsaLeaf.Cert, rsaRoot.Cert}, target, notation.SignerSignOptions{}, rsaRoot.Cert,
			func(n *verifyv1.Notation) { n.Identities = []string{"x509.subject: C=US, ST=WA, O=Notary"} }, ""},
		"another identity": {rsaLeaf.PrivateKey, []*x509.Certificate{rsaLeaf.Cert, rsaRoot.Cert}, target, notation.SignerSignOptions{}, rsaRoot.Cert,
			func(n *verifyv1.Notation) { n.Identities = []string{"x509.subject: C=CH, ST=ZH, O=Notary"} }, "trusted identities"},
		"with an end to come": {rsaLeaf.PrivateKey, []*x509.Certificate{rsaLeaf.Cert, rsaRoot.Cert}, target, notation.SignerSignOptions{ExpiryDuration: time.Hour}, rsaRoot.Cert, nil, ""},
	} {
		for _, mediaType := range []string{jws.MediaTypeEnvelope, cose.MediaTypeEnvelope} {
			t.Run(name+" "+mediaType, func(t *testing.T) {
				s, err := notationsigner.NewGenericSigner(tc.key, tc.chain)
				if err != nil {
					t.Fatal(err)
				}
				opts := tc.opts
				opts.SignatureMediaType = mediaType
				envelope, _, err := s.Sign(context.Background(), tc.target, opts)
				if err != nil {
					t.Fatal(err)
				}
				req := &verifyv1.Request{
					Version: verifyv1.Version, Repository: imageName, Target: verifyv1.Target{MediaType: target.MediaType, Digest: imageDigest, Size: target.Size},
					Demand: verifyv1.Demand{Notation: &verifyv1.Notation{
						Authorities: []verifyv1.Key{{Name: "ca.pem", PEM: certificatePEM(tc.by)}}, Identities: []string{"*"}, Level: "strict",
					}},
					Signatures: []verifyv1.Signature{{Kind: verifyv1.KindNotation, MediaType: mediaType, Payload: envelope}},
				}
				if tc.change != nil {
					tc.change(req.Demand.Notation)
				}
				wantVerdictOf(t, req, tc.reason)
				if envelope, _, err = s.Sign(context.Background(), other, opts); err != nil {
					t.Fatal(err)
				}
				req.Signatures[0].Payload = forge(t, envelope, string(other.Digest), imageDigest)
				if resp := judge(req); resp.Accepted {
					t.Errorf("a forged envelope is accepted: %+v", resp)
				}
			})
		}
	}
}
