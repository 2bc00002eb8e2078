// Command critest runs critest, the conformance suite of the Container Runtime
// Interface, against a server of its own:
//
//	critest -critest PATH              one spec after the other
//	critest -critest PATH -parallel 4 -ginkgo PATH
//
// PATH is a critest binary that the user brings. The images that the suite names
// are built here, as WebAssembly, and served by a registry on loopback, to which
// the server's mirrors lead. Everything happens in namespaces and directories of
// its own, which are gone at the end.
//
// Specs that no WebAssembly program can pass are left out by name; excluded.txt
// lists them with their reasons. The last line is
// "critest: N passed, N failed, N skipped".
package main

import (
	"context"
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
	flag.StringVar(&o.critest, "critest", "", "the critest `binary`")
	flag.StringVar(&o.server, "server", "bin/cri-wasmer", "the server to test")
	flag.IntVar(&o.parallel, "parallel", 1, "how many specs run at a time")
	flag.StringVar(&o.ginkgo, "ginkgo", "", "with -parallel: a ginkgo `binary` of the version that critest uses")
	flag.StringVar(&o.module, "module", "", "the toolbox's `file`, which is what all images run; built with go when empty")
	flag.StringVar(&o.keep, "keep", "", "a `directory` that keeps the report and the server's log")
	flag.BoolVar(&o.all, "all", false, "leave no spec out")
	flag.BoolVar(&o.verbose, "v", false, "show what critest prints while it runs")
	flag.Parse()
	o.args = flag.Args()
	if err := o.check(); err != nil {
		fmt.Fprintln(os.Stderr, "critest:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := conform(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "critest:", err)
		return 1
	}
	r.print(os.Stdout)
	if r.failed > 0 || r.passed == 0 {
		return 1
	}
	return 0
}
