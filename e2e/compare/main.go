// Command compare measures cri-wasmer beside containerd and runc: the same
// calls by the same client over the CRI socket, in turns, in one run, with the
// same network configuration and guests that are built from the same sources,
// once for WebAssembly and once for the machine.
//
//	compare -peer DIR [-rows regexp] [-effort 1]
//
// DIR, or the variable CRI_PEER_CONTAINERD, holds containerd,
// containerd-shim-runc-v2 and runc. Both servers run in namespaces and
// directories of this run, which are gone at its end. The table says what each
// took (the median, and what a tenth and 99 in 100 of the calls took at most),
// how the medians compare, and whether that is what the project promises itself.
// On a busy machine the tenth says most.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"

	"github.com/cri-wasmer/cri-wasmer/e2e/harness/isolate"
)

type options struct {
	server, guests, sources, plugins, peer string
	rows                                   *regexp.Regexp
	effort                                 float64
}

func main() { os.Exit(isolate.Run(run)) }

func run() int {
	o, err := parse(os.Args[1:])
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = compare(ctx, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		return 1
	}
	return 0
}

func parse(args []string) (o options, err error) {
	set := flag.NewFlagSet("compare", flag.ContinueOnError)
	set.StringVar(&o.server, "server", "bin/cri-wasmer", "our `binary`")
	set.StringVar(&o.guests, "guests", "build/guests", "`directory` with the compiled guests")
	set.StringVar(&o.sources, "sources", "e2e/guests", "`directory` with their sources")
	set.StringVar(&o.plugins, "cni", "bin/cni", "`directory` with the CNI plugins for both")
	set.StringVar(&o.peer, "peer", os.Getenv("CRI_PEER_CONTAINERD"), "`directory` with containerd, containerd-shim-runc-v2 and runc")
	set.Float64Var(&o.effort, "effort", 1, "how much of the usual number of measurements is made")
	rows := set.String("rows", ".", "only rows whose names match the `regexp`")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	if o.peer == "" {
		return o, fmt.Errorf("no peer: give -peer or CRI_PEER_CONTAINERD, a directory with containerd, containerd-shim-runc-v2 and runc")
	}
	if !isolate.Inside() {
		return o, fmt.Errorf("pods are namespaces, mounts and control groups, which need root")
	}
	o.rows, err = regexp.Compile(*rows)
	return o, err
}
