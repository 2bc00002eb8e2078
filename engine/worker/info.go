package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/cri-wasmer/cri-wasmer/engine/wasi/preview1"
	"github.com/cri-wasmer/cri-wasmer/engine/wasmer"
	workerv1 "github.com/cri-wasmer/cri-wasmer/proto/worker/v1"
)

// Info says what this worker is and can do.
func Info() *workerv1.Info {
	info := &workerv1.Info{Protocol: workerv1.Version, Engine: "wasmer", Version: wasmer.Version(), CPU: cpuFeatures()}
	for _, c := range wasmer.Compilers() {
		info.Compilers = append(info.Compilers, string(c))
	}
	for _, im := range preview1.Imports() {
		info.Imports = append(info.Imports, workerv1.Import{
			Module: im.Module, Name: im.Name, Params: hex.EncodeToString(im.Params), Results: hex.EncodeToString(im.Results),
		})
	}
	return info
}

// cpuFeatures names the features for which cranelift makes code: those that it
// finds on the machine, so that code must not move to one with fewer.
func cpuFeatures() string {
	sum := sha256.Sum256(fmt.Append(nil, wasmer.CPUFeatures()))
	return hex.EncodeToString(sum[:8])
}
