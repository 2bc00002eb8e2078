// Package webc reads the package files of Wasmer (WEBC, versions 1 to 3): modules
// ("atoms"), commands, and directory trees ("volumes") with a manifest in CBOR.
//
//	version 1                            versions 2 and 3
//	"\0webc001"                          "\0webc002" or "\0webc003"
//	kind of checksum, 16 bytes           sections, each: tag, one byte
//	checksum, 256 bytes                    sha256 (version 3, not the index)
//	length of signature, u32               length, u64, and content:
//	signature, 1024 bytes                2 index     where the others are
//	length, manifest                     1 manifest
//	length, atoms                        3 atoms     length, header, length, data
//	length, name, length, volume ...     4 volume    length, name, header, data as above
//
// Numbers are little-endian; lengths of version 1 are LEB128, and its volumes are
// the length of a header, the header, and data to the end. A header describes a
// tree whose files are ranges of the data:
//
//	version 1    a level: its length (u64), and entries: length of the name (7
//	             bytes), kind (0 directory, 1 file), start, end (u64), name; a
//	             directory's range is its own level in the header
//	version 2    30 directory: length of what follows (u64), entries: offset (u64),
//	             length of the name (u64), name; 31 file: start, end (u64), sha256
//	version 3    the same with three times (u64) and a sha256 before the entries
//	             of a directory, a sha256 after an offset, times at the end of a
//	             file; 32 symbolic link: length (u64), target, sha256, times
//
// That was read from the source of the reference implementation (the crate webc
// of wasmerio/pirita, its v1 reader and v3 writer) and from independent readers of
// versions 2 and 3. It was tried on published packages of version 1 (hello, dash,
// bash, staticserver) and 3 (a static website) out of wasmerio/wasmer-test-files;
// of version 2 no published file was at hand.
//
// Checksums and signatures inside are not looked at: who pulls a package has
// verified the digest of all of it.
//
// Packages are hostile: everything is bounded, offsets are checked, a header that
// leads in a circle or to the same place twice is refused, and names that reach
// outside are, too.
package webc
