package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/cri-wasmer/cri-wasmer/cmd/cri-wasmer-verify/verifyv1"
)

var imageDigest = "sha256:" + strings.Repeat("ab", 32)

// signer is a key that signs payloads with Sigstore's own library.
type signer struct {
	public []byte
	sign   func(payload []byte) []byte
}

func newSigner(t *testing.T) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := cryptoutils.MarshalPublicKeyToPEM(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	s, err := signature.LoadSigner(key, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return signer{pem, func(payload []byte) []byte {
		sig, err := s.SignMessage(bytes.NewReader(payload))
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}}
}

func payload(imageDigest, kind string) []byte {
	return fmt.Appendf(nil, `{"critical":{"image":{"docker-manifest-digest":%q},"type":%q}}`, imageDigest, kind)
}

func simple(s signer, payload []byte) verifyv1.Signature {
	return verifyv1.Signature{
		Kind: verifyv1.KindSimple, Origin: "tag x", Payload: payload,
		Annotations: map[string]string{noteSignature: base64.StdEncoding.EncodeToString(s.sign(payload))},
	}
}

func request(keys []signer, sigs ...verifyv1.Signature) *verifyv1.Request {
	r := &verifyv1.Request{Version: verifyv1.Version, Repository: "r.example.com/app", Target: verifyv1.Target{Digest: imageDigest}, Signatures: sigs}
	r.Demand.Cosign = &verifyv1.Cosign{}
	for i, k := range keys {
		r.Demand.Cosign.Keys = append(r.Demand.Cosign.Keys, verifyv1.Key{Name: fmt.Sprint("key", i), PEM: k.public})
	}
	return r
}

func TestCosignWithKeys(t *testing.T) {
	one, two, stranger := newSigner(t), newSigner(t), newSigner(t)
	good := payload(imageDigest, payloadType)
	tampered := simple(one, payload("sha256:00", payloadType))
	tampered.Payload = good
	unsigned := simple(one, good)
	unsigned.Annotations = nil
	for name, tc := range map[string]struct {
		sigs   []verifyv1.Signature
		by     string
		reason string
	}{
		"the first key":        {[]verifyv1.Signature{simple(one, good)}, "key0", ""},
		"the second key":       {[]verifyv1.Signature{simple(two, good)}, "key1", ""},
		"after a foreign one":  {[]verifyv1.Signature{simple(stranger, good), simple(two, good)}, "key1", ""},
		"nothing":              {nil, "", ""},
		"a stranger":           {[]verifyv1.Signature{simple(stranger, good)}, "", "key0"},
		"another digest":       {[]verifyv1.Signature{simple(one, payload("sha256:00", payloadType))}, "", "sha256:00"},
		"another kind":         {[]verifyv1.Signature{simple(one, payload(imageDigest, "an attestation"))}, "", "an attestation"},
		"a changed payload":    {[]verifyv1.Signature{tampered}, "", "could not verify"},
		"no signature":         {[]verifyv1.Signature{unsigned}, "", "no annotation"},
		"no JSON":              {[]verifyv1.Signature{simple(one, []byte("hello"))}, "", "does not parse"},
		"a bundle of nothing":  {[]verifyv1.Signature{{Kind: verifyv1.KindBundle, Payload: []byte("{}")}}, "", "bundle"},
		"a notation signature": {[]verifyv1.Signature{{Kind: verifyv1.KindNotation}}, "", "not of cosign"},
	} {
		resp := judge(request([]signer{one, two}, tc.sigs...))
		reasons := strings.Join(resp.Reasons, "\n")
		if resp.Accepted != (tc.by != "") || resp.By != tc.by || resp.Error != "" || !strings.Contains(reasons, tc.reason) {
			t.Errorf("%s: %+v, want by %q or the reason %q", name, resp, tc.by, tc.reason)
		}
	}
}

func TestALogThatIsWantedMustHaveTheEntry(t *testing.T) {
	one, log := newSigner(t), newSigner(t)
	for name, note := range map[string]string{
		"none": "", "no JSON": "x", "no entry": "{}", "no promise": `{"Payload":{"body":"e30=","logID":"00","integratedTime":1,"logIndex":1}}`,
	} {
		sig := simple(one, payload(imageDigest, payloadType))
		sig.Annotations[noteBundle] = note
		req := request([]signer{one}, sig)
		req.Demand.Cosign.LogKeys = []verifyv1.Key{{Name: "log", PEM: log.public}}
		if resp := judge(req); resp.Accepted || len(resp.Reasons) != 1 {
			t.Errorf("%s: %+v, want a refusal", name, resp)
		}
	}
}

func TestRequestsThatCannotBeJudged(t *testing.T) {
	one := newSigner(t)
	for name, change := range map[string]func(*verifyv1.Request){
		"another version": func(r *verifyv1.Request) { r.Version = 9 },
		"no demand":       func(r *verifyv1.Request) { r.Demand.Cosign = nil },
		"two demands":     func(r *verifyv1.Request) { r.Demand.Notation = &verifyv1.Notation{} },
		"a bad key":       func(r *verifyv1.Request) { r.Demand.Cosign.Keys[0].PEM = []byte("x") },
		"a bad log key":   func(r *verifyv1.Request) { r.Demand.Cosign.LogKeys = []verifyv1.Key{{PEM: []byte("x")}} },
		"no authority":    func(r *verifyv1.Request) { r.Demand = verifyv1.Demand{Notation: &verifyv1.Notation{Level: "strict"}} },
	} {
		r := request([]signer{one}, simple(one, payload(imageDigest, payloadType)))
		change(r)
		if resp := judge(r); resp.Accepted || resp.Error == "" {
			t.Errorf("%s: %+v, want an error", name, resp)
		}
	}
}

// FuzzSignature: whatever a signature holds, a stranger's is never accepted.
func FuzzSignature(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	pem, err := cryptoutils.MarshalPublicKeyToPEM(key.Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(0), payload(imageDigest, payloadType), "MEUCIQ==", `{"SignedEntryTimestamp":"","Payload":{}}`)
	f.Add(uint8(1), []byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","dsseEnvelope":{"payload":"","signatures":[{"sig":""}]}}`), "", "")
	f.Add(uint8(2), []byte(`{"payload":"","protected":"","signature":"","header":{"x5c":[]}}`), "", "")
	f.Fuzz(func(t *testing.T, kind uint8, payload []byte, sig, note string) {
		s := verifyv1.Signature{
			Kind: []string{verifyv1.KindSimple, verifyv1.KindBundle, verifyv1.KindNotation}[kind%3], Payload: payload, MediaType: "application/jose+json",
			Annotations: map[string]string{noteSignature: sig, noteBundle: note},
		}
		r := request([]signer{{public: pem}}, s)
		if note != "" {
			r.Demand.Cosign.LogKeys = r.Demand.Cosign.Keys
		}
		resp := judge(r)
		if resp.Accepted {
			t.Fatalf("accepted: %+v", resp)
		}
		if _, err := json.Marshal(resp); err != nil {
			t.Fatal(err)
		}
	})
}
