// The benchmarks beside other hosts of WebAssembly are a module of their own, so
// that what they need stays out of the server's.
module github.com/cri-wasmer/cri-wasmer/bench

go 1.26.0

require (
	github.com/bytecodealliance/wasmtime-go/v25 v25.0.0
	github.com/mattn/go-sqlite3 v1.14.53
	github.com/tetratelabs/wazero v1.12.0
)

require golang.org/x/sys v0.49.0 // indirect
