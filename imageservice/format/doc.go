// Package format reads the manifests in which WebAssembly is published and
// says what an image is: an ordinary root filesystem, or one of the artifact
// formats that carry a bare module.
//
// Everything here works on bytes that were fetched already and is pure. No
// single field is trusted alone: producers disagree about media types, leave
// platforms empty, and put other things than an image configuration where one
// is announced.
package format
