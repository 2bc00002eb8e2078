package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

const (
	ours     = "cri-wasmer"
	wazeroV1 = "wazero"
	native   = "native" // no host at all

	// cacheVariable names a directory for compiled code.
	cacheVariable = "BENCH_CACHE"
)

// more are the hosts that need cgo.
var more = map[string]func(module, root string, args []string) error{}

func others() []string {
	list := []string{wazeroV1}
	for name := range more {
		list = append(list, name)
	}
	return list
}

// runHost is the child: it runs a module with a directory as its root, and
// exits as the guest does.
func runHost(host, module, root string, args []string) error {
	if host == wazeroV1 {
		return runWazero(module, root, args)
	}
	if f, ok := more[host]; ok {
		return f(module, root, args)
	}
	return fmt.Errorf("no host %q", host)
}

func runWazero(module, root string, args []string) error {
	ctx := context.Background()
	config := wazero.NewRuntimeConfigCompiler()
	if dir := os.Getenv(cacheVariable); dir != "" {
		cache, err := wazero.NewCompilationCacheWithDir(dir)
		if err != nil {
			return err
		}
		defer cache.Close(ctx)
		config = config.WithCompilationCache(cache)
	}
	r := wazero.NewRuntimeWithConfig(ctx, config)
	defer r.Close(ctx)
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return err
	}
	code, err := os.ReadFile(module)
	if err != nil {
		return err
	}
	compiled, err := r.CompileModule(ctx, code)
	if err != nil {
		return err
	}
	_, err = r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().
		WithArgs(append([]string{"guest"}, args...)...).WithStdout(os.Stdout).WithStderr(os.Stderr).
		WithFSConfig(wazero.NewFSConfig().WithDirMount(root, "/")).
		WithSysWalltime().WithSysNanotime().WithSysNanosleep().WithRandSource(rand.Reader))
	var exit *sys.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 0 {
		return nil
	}
	return err
}
