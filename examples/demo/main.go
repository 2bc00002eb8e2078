// Command demo shows cri-wasmer at work: it starts the server, serves a registry
// with a WebAssembly image of the kind that Krustlet made known, runs that image
// as pods through the CRI socket, and shows logs, exit codes, addresses and
// times.
//
// It needs root, and what `make build guests` builds; `make demo` does it all.
// Everything happens in namespaces and directories of its own, which are gone at
// the end. The last line is "demo: ok ..." or the program exits with 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
)

func main() {
	os.Exit(isolate.Run(run))
}

func run() int {
	var o options
	flag.StringVar(&o.binary, "server", "bin/cri-wasmer", "the server to show")
	flag.StringVar(&o.guests, "guests", "build/guests", "directory with the compiled guests")
	flag.IntVar(&o.warm, "warm", 5, "how many pods measure a warm start")
	flag.BoolVar(&o.verbose, "v", false, "show the server's log at the end")
	flag.Parse()
	if !isolate.Inside() {
		fmt.Fprintln(os.Stderr, "demo: pods are namespaces, mounts and control groups, which need root: sudo make demo")
		return 1
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	summary, err := show(ctx, o)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(os.Stderr, "demo: failed:", err)
		return 1
	}
	fmt.Println("demo: ok", summary)
	return 0
}
