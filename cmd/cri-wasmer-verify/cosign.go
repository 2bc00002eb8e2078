package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	_ "crypto/sha512" // of ways
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"

	"github.com/cri-wasmer/cri-wasmer/cmd/cri-wasmer-verify/verifyv1"
)

// Annotations of cosign's classic signatures.
const (
	noteSignature = "dev.cosignproject.cosign/signature"
	noteBundle    = "dev.sigstore.cosign/bundle"
)

// payloadType is what a classic payload says that it is.
const payloadType = "cosign container image signature"

// predicateType is what the statement in a bundle says that it is. The same key
// may sign others about the same image: that it has a flaw, for example.
const predicateType = "https://sigstore.dev/cosign/sign/v1"

// cosign judges cosign's signatures, classic and as bundles.
type cosign struct {
	digest string
	keys   []trusted
	log    bool
}

// trusted is one key with a verifier that believes in it; there may be several
// of a key.
type trusted struct {
	name     string
	verifier *verify.Verifier
	hash     crypto.Hash // of what is signed
}

func newCosign(req *verifyv1.Request) (*cosign, error) {
	d := req.Demand.Cosign
	logs, err := logsOf(d.LogKeys)
	if err != nil {
		return nil, err
	}
	c := &cosign{digest: req.Target.Digest, log: len(logs) > 0}
	for _, k := range d.Keys {
		ways, err := waysOf(k)
		if err != nil {
			return nil, err
		}
		for _, w := range ways {
			v, err := keyVerifier(w.verifier, logs)
			if err != nil {
				return nil, fmt.Errorf("key %s: %w", k.Name, err)
			}
			c.keys = append(c.keys, trusted{k.Name, v, w.hash})
		}
	}
	return c, nil
}

// logMaterial trusts logs.
type logMaterial struct {
	root.BaseTrustedMaterial
	logs map[string]*root.TransparencyLog
}

func (m *logMaterial) RekorLogs() map[string]*root.TransparencyLog { return m.logs }

// logsOf names logs as Rekor does: by the sha256 of their key.
func logsOf(keys []verifyv1.Key) (map[string]*root.TransparencyLog, error) {
	logs := map[string]*root.TransparencyLog{}
	for _, k := range keys {
		pub, err := cryptoutils.UnmarshalPEMToPublicKey(k.PEM)
		if err != nil {
			return nil, fmt.Errorf("log key %s: %w", k.Name, err)
		}
		der, err := x509.MarshalPKIXPublicKey(pub)
		if err != nil {
			return nil, fmt.Errorf("log key %s: %w", k.Name, err)
		}
		id := sha256.Sum256(der)
		logs[hex.EncodeToString(id[:])] = &root.TransparencyLog{
			BaseURL: "https://rekor.sigstore.dev", ID: id[:], HashFunc: crypto.SHA256, PublicKey: pub, SignatureHashFunc: crypto.SHA256,
			ValidityPeriodStart: time.Unix(0, 0),
		}
	}
	return logs, nil
}

// waysOf gives the ways in which cosign signs with a key: older versions sign the
// SHA-256 whatever the curve, and with Ed25519 the text itself; newer ones the
// hash that goes with the curve, and with Ed25519 the SHA-512 (Ed25519ph).
func waysOf(k verifyv1.Key) ([]way, error) {
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(k.PEM)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", k.Name, err)
	}
	old, err := signature.LoadVerifier(pub, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", k.Name, err)
	}
	ways := []way{{old, crypto.SHA256}}
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if pub.Curve == elliptic.P256() {
			return ways, nil
		}
	case ed25519.PublicKey:
	default:
		return ways, nil
	}
	algorithm, err := signature.GetDefaultAlgorithmDetails(pub, options.WithED25519ph())
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", k.Name, err)
	}
	now, err := signature.LoadVerifierFromAlgorithmDetails(pub, algorithm, options.WithED25519ph())
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", k.Name, err)
	}
	return append(ways, way{now, algorithm.GetHashType()}), nil
}

// way is one in which a key signs.
type way struct {
	verifier signature.Verifier
	hash     crypto.Hash
}

func keyVerifier(v signature.Verifier, logs map[string]*root.TransparencyLog) (*verify.Verifier, error) {
	key := root.NewExpiringKey(v, time.Time{}, time.Time{})
	material := root.TrustedMaterialCollection{
		root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) { return key, nil }),
	}
	want := []verify.VerifierOption{verify.WithNoObserverTimestamps()}
	if len(logs) > 0 {
		material = append(material, &logMaterial{logs: logs})
		want = append(want, verify.WithTransparencyLog(1))
	}
	return verify.NewVerifier(material, want...)
}

// check gives the name of the key that made the signature.
func (c *cosign) check(s verifyv1.Signature) (string, error) {
	switch s.Kind {
	case verifyv1.KindSimple:
		return c.simple(s)
	case verifyv1.KindBundle:
		return c.bundle(s)
	}
	return "", fmt.Errorf("a signature of kind %q, not of cosign", s.Kind)
}

// simple judges a classic signature: first whether the payload is signed, then
// what it says.
func (c *cosign) simple(s verifyv1.Signature) (string, error) {
	by, _, err := c.any(func(k trusted) (*bundle.Bundle, error) { return classicBundle(s, k.hash, c.log) }, func() verify.ArtifactPolicyOption {
		return verify.WithArtifact(bytes.NewReader(s.Payload))
	})
	if err != nil {
		return "", err
	}
	return by, c.says(s.Payload)
}

// says checks that a payload is about the target.
func (c *cosign) says(payload []byte) error {
	var p struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return fmt.Errorf("its payload does not parse: %w", err)
	}
	if p.Critical.Type != payloadType {
		return fmt.Errorf("its payload is a %q", p.Critical.Type)
	}
	if p.Critical.Image.Digest != c.digest {
		return fmt.Errorf("it is of %q", p.Critical.Image.Digest)
	}
	return nil
}

// bundle judges a Sigstore bundle, which says in itself what it is about.
func (c *cosign) bundle(s verifyv1.Signature) (string, error) {
	b := &bundle.Bundle{Bundle: &protobundle.Bundle{}}
	if err := b.UnmarshalJSON(s.Payload); err != nil {
		return "", fmt.Errorf("its bundle does not parse: %w", err)
	}
	digest, err := hex.DecodeString(strings.TrimPrefix(c.digest, "sha256:"))
	if err != nil {
		return "", err
	}
	by, result, err := c.any(func(trusted) (*bundle.Bundle, error) { return b, nil }, func() verify.ArtifactPolicyOption {
		return verify.WithArtifactDigest("sha256", digest)
	})
	if err != nil {
		return "", err
	}
	if s := result.Statement; s != nil && s.GetPredicateType() != predicateType {
		return "", fmt.Errorf("it is an attestation of type %q", s.GetPredicateType())
	}
	return by, nil
}

// any gives the first key that accepts the bundle, and what it accepted.
func (c *cosign) any(bundleFor func(trusted) (*bundle.Bundle, error), artifact func() verify.ArtifactPolicyOption) (string, *verify.VerificationResult, error) {
	var errs []error
	said := map[string]bool{}
	for _, k := range c.keys {
		b, err := bundleFor(k)
		if err != nil {
			return "", nil, err
		}
		result, err := k.verifier.Verify(b, verify.NewPolicy(artifact(), verify.WithKey()))
		if err == nil {
			return k.name, result, nil
		}
		if err = fmt.Errorf("key %s: %w", k.name, err); !said[err.Error()] {
			errs = append(errs, err)
		}
		said[err.Error()] = true
	}
	return "", nil, errors.Join(errs...)
}

// hashes are those of ways as bundles name them.
var hashes = map[crypto.Hash]protocommon.HashAlgorithm{
	crypto.SHA256: protocommon.HashAlgorithm_SHA2_256, crypto.SHA384: protocommon.HashAlgorithm_SHA2_384, crypto.SHA512: protocommon.HashAlgorithm_SHA2_512,
}

// classicBundle writes a classic signature as a bundle: of the hash that was
// signed, as the entry of a log names it.
func classicBundle(s verifyv1.Signature, hash crypto.Hash, log bool) (*bundle.Bundle, error) {
	sig, err := base64.StdEncoding.DecodeString(s.Annotations[noteSignature])
	if err != nil || len(sig) == 0 {
		return nil, errors.New("it has no annotation with a signature")
	}
	sum := hash.New()
	sum.Write(s.Payload)
	pb := &protobundle.Bundle{
		MediaType: "application/vnd.dev.sigstore.bundle+json;version=0.1",
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: hashes[hash], Digest: sum.Sum(nil)},
			Signature:     sig,
		}},
		VerificationMaterial: &protobundle.VerificationMaterial{
			Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{Hint: "key"}},
		},
	}
	if !log {
		return bundle.NewBundle(pb)
	}
	entry, err := logEntry(s.Annotations[noteBundle])
	if err != nil {
		return nil, err
	}
	pb.VerificationMaterial.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	return bundle.NewBundle(pb)
}

// logEntry reads the offline bundle of a classic signature: the log's signed
// promise to enter it.
func logEntry(note string) (*protorekor.TransparencyLogEntry, error) {
	if note == "" {
		return nil, errors.New("it has no annotation with the entry of a log")
	}
	var b struct {
		SignedEntryTimestamp []byte
		Payload              struct {
			Body           string `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"`
		}
	}
	if err := json.Unmarshal([]byte(note), &b); err != nil {
		return nil, fmt.Errorf("the entry of a log does not parse: %w", err)
	}
	id, err := hex.DecodeString(b.Payload.LogID)
	if err != nil {
		return nil, fmt.Errorf("the entry of a log does not parse: %w", err)
	}
	body, err := base64.StdEncoding.DecodeString(b.Payload.Body)
	if err != nil {
		return nil, fmt.Errorf("the entry of a log does not parse: %w", err)
	}
	var kind struct {
		Kind    string `json:"kind"`
		Version string `json:"apiVersion"`
	}
	if err := json.Unmarshal(body, &kind); err != nil {
		return nil, fmt.Errorf("the entry of a log does not parse: %w", err)
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex:          b.Payload.LogIndex,
		LogId:             &protocommon.LogId{KeyId: id},
		KindVersion:       &protorekor.KindVersion{Kind: kind.Kind, Version: kind.Version},
		IntegratedTime:    b.Payload.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: b.SignedEntryTimestamp},
		CanonicalizedBody: body,
	}, nil
}
