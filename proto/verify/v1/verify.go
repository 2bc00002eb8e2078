// Package verifyv1 is the contract between the daemon and cri-wasmer-verify,
// the program that judges signatures: one Request in JSON on its standard
// input, one Response on its standard output.
//
// The program gets everything that it needs with the request. It reads no file
// and reaches no network.
package verifyv1

// Version of the contract. Both sides refuse another one.
const Version = 1

// Kinds of signature.
const (
	// KindSimple is cosign's classic form: a payload in JSON, and beside it
	// annotations with the signature and possibly the entry of a log.
	KindSimple = "cosign"
	// KindBundle is a Sigstore bundle in JSON.
	KindBundle = "bundle"
	// KindNotation is an envelope of the Notary Project, JWS or COSE.
	KindNotation = "notation"
)

// Request asks whether one of the signatures makes the content acceptable.
type Request struct {
	Version    int         `json:"version"`
	Repository string      `json:"repository"` // domain and path
	Target     Target      `json:"target"`
	Demand     Demand      `json:"demand"`
	Signatures []Signature `json:"signatures"`
}

// Target is the manifest or index that must be signed.
type Target struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"` // sha256:HEX
	Size      int64  `json:"size"`
}

// Demand is what the policy wants. Either Cosign or Notation is set.
type Demand struct {
	Cosign   *Cosign   `json:"cosign,omitempty"`
	Notation *Notation `json:"notation,omitempty"`
}

// Key is a file of the policy.
type Key struct {
	Name string `json:"name"` // for messages
	PEM  []byte `json:"pem"`
}

// Cosign wants a signature by one of the keys.
type Cosign struct {
	Keys    []Key `json:"keys"`
	LogKeys []Key `json:"logKeys,omitempty"` // of transparency logs: one must have promised or included the entry
}

// Notation wants a signature by a certificate that one of the authorities
// issued.
type Notation struct {
	Authorities []Key    `json:"authorities"`
	Identities  []string `json:"identities"` // as in a trust policy; "*" is everybody
	Level       string   `json:"level"`      // strict, permissive or audit
}

// Signature is one piece of evidence.
type Signature struct {
	Kind        string            `json:"kind"`
	Origin      string            `json:"origin"` // where it was found, for messages
	MediaType   string            `json:"mediaType,omitempty"`
	Payload     []byte            `json:"payload"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Response is the verdict.
type Response struct {
	Version  int      `json:"version"`
	Accepted bool     `json:"accepted"`
	By       string   `json:"by,omitempty"`      // key or certificate that convinced
	Reasons  []string `json:"reasons,omitempty"` // why signatures were not accepted
	Error    string   `json:"error,omitempty"`   // the request could not be judged
}
