// Package images builds the images around the toolbox: the toolbox itself, and
// for every image that critest, the CRI conformance suite, names the same as a
// WebAssembly image. Command images in cmd/images publishes them.
//
// critest has the names of its images built in, on registry.k8s.io, gcr.io and
// k8s.gcr.io. Their repository paths do not collide, so one registry stands for
// all three: WriteMirrors leads a server there.
//
// An image is an index with one entry, for wasip1/wasm, whose layers are shared
// by all images: the toolbox's module once, with a hard link for every program
// (a symbolic link would not do: masking /bin/ls must not mask the others), and
// small layers with what is special. Builds are reproducible: equal modules give
// equal digests.
package images
