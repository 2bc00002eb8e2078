// Package codecache turns WebAssembly modules into machine code, once, and
// keeps the result.
//
// A module is known by the sha256 of its bytes. Its code depends on that, on
// the engine and its version, on the compiler and on the features of the CPU:
// together they name a file. Code is made by a short-lived worker process with
// bounded memory and time, whose crash is an error and nothing worse, and a file
// appears only when it is complete and verified.
//
//	DIR/image/KEY    code of modules that an image owns: stays as long as it
//	DIR/demand/KEY   code of other modules: the least recently used go first
//	DIR/tmp/         work in progress, emptied by Open
//
// Big modules are compiled with the quick compiler first and with the good one
// in the background; whoever asks gets the best there is.
//
// The directory must be writable by root alone: the engine trusts code.
package codecache
