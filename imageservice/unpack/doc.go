// Package unpack writes the tar stream of one image layer into a directory.
//
// The stream is hostile. Every path is resolved by the kernel beneath the
// directory (openat2, RESOLVE_BENEATH), absolute names, ".." and device nodes
// are refused, and size, entries, path length, depth and compression ratio are
// bounded. Whiteouts become what overlayfs understands: a character device 0/0
// for a deleted file, an extended attribute for an opaque directory, so that
// the directory can be a lower layer of an overlay mount.
//
// Entries are written by a thread whose root is the directory, and which can
// write files of any owner and nothing more: see confined. Meanwhile the caller
// decompresses.
//
//	source ──> decompress, hash, bound ──pipe──> tar ──> files (confined)
//
// On an error the directory holds a part of the layer: the caller removes it.
package unpack
