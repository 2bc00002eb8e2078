// Package signature holds images to a policy of signatures.
//
// A Policy is a list of rules by prefix of the image's name; it is off unless
// there is a file. What a rule wants is judged by a program of its own,
// cri-wasmer-verify, on evidence that this package gathers: signatures that
// lie in the image's repository, under cosign's tag or as OCI referrers. They
// come through the same hosts and with the same credentials as the image.
//
//	policy file ──> Rule ─┐
//	registry ──> evidence ┴─> Verifier (a process) ──> Verdict or ErrSignature
//
// What is judged is the digest of the manifest or index to which the name led.
// All else is fetched by digests that it lists, so that nothing can be put in
// its place afterwards.
package signature
