// Package wasmfile reads the outside of a WebAssembly binary: what kind of
// file it is, what it imports and exports, what it asks of memory, and which
// proposals its sections betray. It never looks at code.
//
// The file is hostile: every length is checked against what is there before it
// is used, nothing is allocated by a count that the file claims, and sections
// that must be held in memory are bounded.
package wasmfile
