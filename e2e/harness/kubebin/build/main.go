// Command build fills a directory with the programs of Kubernetes that the
// tests use. It is run from the top of the repository.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/kubebin"
)

func main() {
	out := flag.String("out", "build/kubernetes", "the directory to fill")
	flag.Parse()
	programs := flag.Args()
	if len(programs) == 0 {
		programs = kubebin.All()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := kubebin.Build(ctx, ".", *out, os.Stderr, programs...); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		stop()
		os.Exit(1)
	}
}
