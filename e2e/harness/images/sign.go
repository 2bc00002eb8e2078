package images

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Signing writes signatures as cosign and notation publish them, with nothing
// but the standard library: the verifier's own libraries would agree with
// themselves.

// Key is a key pair that signs as cosign does.
type Key struct{ private *ecdsa.PrivateKey }

// NewKey makes a key.
func NewKey() (Key, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return Key{k}, err
}

// Public is the public half in PEM.
func (k Key) Public() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.der()})
}

func (k Key) der() []byte {
	der, err := x509.MarshalPKIXPublicKey(&k.private.PublicKey)
	if err != nil {
		panic(err) // the key is ours
	}
	return der
}

func (k Key) sign(data []byte) []byte {
	sum := sha256.Sum256(data)
	sig, err := ecdsa.SignASN1(rand.Reader, k.private, sum[:])
	if err != nil {
		panic(err) // only without randomness
	}
	return sig
}

// CosignTag is where cosign keeps the signatures of a digest.
func CosignTag(digest string) string { return strings.Replace(digest, ":", "-", 1) + ".sig" }

// CosignPayload is what cosign signs.
func CosignPayload(name, digest string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, name, digest)
}

// Cosign is a signature of the payload by the key. With a log it carries the
// log's promise to enter it.
func Cosign(payload []byte, key Key, log *Key) Artifact {
	sig := key.sign(payload)
	notes := map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sig)}
	if log != nil {
		notes["dev.sigstore.cosign/bundle"] = log.promise(payload, sig, key)
	}
	return Artifact{
		MediaType: OCIManifest,
		Config:    Blob{MediaType: OCIConfig, Data: []byte(`{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]}}`)},
		Layers:    []Blob{{MediaType: "application/vnd.dev.cosign.simplesigning.v1+json", Data: payload, Annotations: notes}},
	}
}

// promise is Rekor's signed entry timestamp, in the form of cosign's offline
// bundle.
func (k Key) promise(payload, sig []byte, signer Key) string {
	sum, id := sha256.Sum256(payload), sha256.Sum256(k.der())
	body := fmt.Sprintf(`{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"%x"}},"signature":{"content":%q,"publicKey":{"content":%q}}}}`,
		sum, base64.StdEncoding.EncodeToString(sig), base64.StdEncoding.EncodeToString(signer.Public()))
	// The signed form has its keys in order and no spaces (RFC 8785).
	entry := fmt.Sprintf(`{"body":%q,"integratedTime":%d,"logID":%q,"logIndex":7}`,
		base64.StdEncoding.EncodeToString([]byte(body)), time.Now().Unix(), hex.EncodeToString(id[:]))
	return fmt.Sprintf(`{"SignedEntryTimestamp":%q,"Payload":%s}`, base64.StdEncoding.EncodeToString(k.sign([]byte(entry))), entry)
}

// CosignBundle is a signature as newer cosigns make it: a Sigstore bundle with
// a statement about the digest.
func CosignBundle(digest string, key Key) Artifact {
	return CosignAttestation(digest, "https://sigstore.dev/cosign/sign/v1", key)
}

// CosignAttestation is a bundle with a statement of any type.
func CosignAttestation(digest, predicate string, key Key) Artifact {
	const payloadType = "application/vnd.in-toto+json"
	statement := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"","digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`,
		strings.TrimPrefix(digest, "sha256:"), predicate)
	signed := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(statement), statement)
	bundle := mustJSON(map[string]any{
		"mediaType":            "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": ""}},
		"dsseEnvelope": map[string]any{
			"payload": base64.StdEncoding.EncodeToString(statement), "payloadType": payloadType,
			"signatures": []any{map[string]any{"sig": base64.StdEncoding.EncodeToString(key.sign(signed)), "keyid": ""}},
		},
	})
	return Artifact{
		MediaType: OCIManifest, ArtifactType: "application/vnd.dev.sigstore.bundle.v0.3+json", Config: emptyConfig(),
		Layers: []Blob{{MediaType: "application/vnd.dev.sigstore.bundle.v0.3+json", Data: bundle}},
	}
}

func emptyConfig() Blob {
	return Blob{MediaType: "application/vnd.oci.empty.v1+json", Data: []byte("{}")}
}

// Authority issues certificates for signing as notation does.
type Authority struct {
	certificate *x509.Certificate
	private     *rsa.PrivateKey
}

// NewAuthority makes an authority with a certificate of its own.
func NewAuthority(name string) (*Authority, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	a := &Authority{private: key}
	a.certificate, err = a.issue(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: subject(name), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, MaxPathLen: 1,
	}, &key.PublicKey)
	return a, err
}

func subject(name string) pkix.Name {
	return pkix.Name{Country: []string{"CH"}, Province: []string{"ZH"}, Organization: []string{"cri-wasmer"}, CommonName: name}
}

func (a *Authority) issue(c *x509.Certificate, pub *rsa.PublicKey) (*x509.Certificate, error) {
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	parent := a.certificate
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, pub, a.private)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Certificate is the authority's own in PEM.
func (a *Authority) Certificate() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// Notation is a signature of the target by somebody with a certificate of the
// authority.
func (a *Authority) Notation(name string, target Artifact) (Artifact, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return Artifact{}, err
	}
	leaf, err := a.issue(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: subject(name), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, BasicConstraintsValid: true,
	}, &key.PublicKey)
	if err != nil {
		return Artifact{}, err
	}
	envelope, err := a.envelope(key, leaf, target)
	if err != nil {
		return Artifact{}, err
	}
	const notary = "application/vnd.cncf.notary.signature"
	return Artifact{
		MediaType: OCIManifest, ArtifactType: notary, Config: Blob{MediaType: notary, Data: []byte("{}")},
		Layers: []Blob{{MediaType: "application/jose+json", Data: envelope}},
	}, nil
}

// envelope is a JWS as the Notary Project specifies it.
func (a *Authority) envelope(key *rsa.PrivateKey, leaf *x509.Certificate, target Artifact) ([]byte, error) {
	b64 := base64.RawURLEncoding.EncodeToString
	payload := b64(mustJSON(map[string]any{"targetArtifact": map[string]any{
		"mediaType": target.MediaType, "digest": target.Digest(), "size": len(target.Manifest()),
	}}))
	protected := b64(mustJSON(map[string]any{
		"alg": "PS256", "cty": "application/vnd.cncf.notary.payload.v1+json", "crit": []string{"io.cncf.notary.signingScheme"},
		"io.cncf.notary.signingScheme": "notary.x509", "io.cncf.notary.signingTime": time.Now().UTC().Format(time.RFC3339),
	}))
	sum := sha256.Sum256([]byte(protected + "." + payload))
	sig, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"payload": payload, "protected": protected, "signature": b64(sig),
		"header": map[string]any{"x5c": [][]byte{leaf.Raw, a.certificate.Raw}},
	})
}
