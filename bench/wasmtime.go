//go:build cgo && linux && amd64

package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/bytecodealliance/wasmtime-go/v25"
)

func init() { more["wasmtime"] = runWasmtime }

func runWasmtime(module, root string, args []string) error {
	engine := wasmtime.NewEngine()
	m, err := loadWasmtime(engine, module)
	if err != nil {
		return err
	}
	linker := wasmtime.NewLinker(engine)
	if err := linker.DefineWasi(); err != nil {
		return err
	}
	wasi := wasmtime.NewWasiConfig()
	wasi.SetArgv(append([]string{"guest"}, args...))
	wasi.InheritStdout()
	wasi.InheritStderr()
	if err := wasi.PreopenDir(root, "/"); err != nil {
		return err
	}
	store := wasmtime.NewStore(engine)
	store.SetWasi(wasi)
	instance, err := linker.Instantiate(store, m)
	if err != nil {
		return err
	}
	_, err = instance.GetFunc(store, "_start").Call(store)
	var exit *wasmtime.Error
	if errors.As(err, &exit) {
		if code, ok := exit.ExitStatus(); ok && code == 0 {
			return nil
		}
	}
	return err
}

// loadWasmtime compiles a module, or takes it from the cache.
func loadWasmtime(engine *wasmtime.Engine, module string) (*wasmtime.Module, error) {
	dir := os.Getenv(cacheVariable)
	cached := filepath.Join(dir, filepath.Base(module)+".cwasm")
	if code, err := os.ReadFile(cached); dir != "" && err == nil {
		return wasmtime.NewModuleDeserialize(engine, code)
	}
	m, err := wasmtime.NewModuleFromFile(engine, module)
	if err != nil || dir == "" {
		return m, err
	}
	code, err := m.Serialize()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return m, os.WriteFile(cached, code, 0o600)
}
