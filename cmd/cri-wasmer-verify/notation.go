package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cri-wasmer/cri-wasmer/cmd/cri-wasmer-verify/verifyv1"
)

// storeName is the one trust store that there is.
const storeName = "policy"

// notary judges signatures of the Notary Project.
type notary struct {
	verifier notation.Verifier
	target   ocispec.Descriptor
	artifact string
}

// store is a trust store in memory.
type store []*x509.Certificate

// GetCertificates implements truststore.X509TrustStore.
func (s store) GetCertificates(_ context.Context, kind truststore.Type, name string) ([]*x509.Certificate, error) {
	if kind != truststore.TypeCA || name != storeName {
		return nil, fmt.Errorf("there is no trust store %s of type %s", name, kind)
	}
	return s, nil
}

func newNotation(req *verifyv1.Request) (*notary, error) {
	d := req.Demand.Notation
	certs, err := certificates(d.Authorities)
	if err != nil {
		return nil, err
	}
	policy := &trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{{
		Name: storeName, RegistryScopes: []string{"*"}, TrustStores: []string{"ca:" + storeName}, TrustedIdentities: d.Identities,
		SignatureVerification: trustpolicy.SignatureVerification{
			VerificationLevel: d.Level,
			// There is no network here to ask whether a certificate was revoked.
			Override: map[trustpolicy.ValidationType]trustpolicy.ValidationAction{trustpolicy.TypeRevocation: trustpolicy.ActionSkip},
		},
	}}}
	v, err := verifier.New(policy, certs, nil)
	if err != nil {
		return nil, fmt.Errorf("trust policy: %w", err)
	}
	return &notary{
		verifier: v, artifact: req.Repository + "@" + req.Target.Digest,
		target: ocispec.Descriptor{MediaType: req.Target.MediaType, Digest: digest.Digest(req.Target.Digest), Size: req.Target.Size},
	}, nil
}

func certificates(files []verifyv1.Key) (store, error) {
	var s store
	for _, f := range files {
		rest := f.PEM
		for {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if block.Type != "CERTIFICATE" {
				continue
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("authority %s: %w", f.Name, err)
			}
			s = append(s, c)
		}
	}
	if len(s) == 0 {
		return nil, errors.New("the policy names no authority")
	}
	return s, nil
}

// check gives the subject of the certificate that signed.
func (n *notary) check(s verifyv1.Signature) (string, error) {
	if s.Kind != verifyv1.KindNotation {
		return "", fmt.Errorf("a signature of kind %q, not of notation", s.Kind)
	}
	outcome, err := n.verifier.Verify(context.Background(), n.target, s.Payload, notation.VerifierVerifyOptions{
		ArtifactReference: n.artifact, SignatureMediaType: s.MediaType,
	})
	if err != nil {
		return "", err
	}
	if outcome.EnvelopeContent == nil || len(outcome.EnvelopeContent.SignerInfo.CertificateChain) == 0 {
		return "", errors.New("it names no certificate")
	}
	return outcome.EnvelopeContent.SignerInfo.CertificateChain[0].Subject.String(), nil
}
