// Package imageservice pulls, keeps, explains and removes images.
//
// An image is a record (metadata in a bbolt file) over content that is named by
// its digest: blobs (manifest, configuration, module of an artifact), layers
// (directories, unpacked once per diff id) and compiled code (package
// codecache). References come from records and from holders, which are the
// containers that use an image; content without a reference is collected.
//
//	ROOT/meta.db             records, and the names that lead to them
//	ROOT/blobs/sha256/HEX    verified content
//	ROOT/layers/KEY/fs       a layer; KEY/layer.json tells its size
//	ROOT/tmp/                work in progress, emptied by Open
//
// Nothing appears under blobs or layers before it is complete and verified: it
// is made under tmp and renamed. So a crash leaves only what Open removes. A pull
// does not wait for the disk, and what a loss of power could take from an image
// is found by the next Open: see durable.go.
//
// The package knows nothing of pods.
package imageservice
