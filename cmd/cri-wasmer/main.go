// Command cri-wasmer is the daemon of cri-wasmer and its operator's tool.
//
// Its subcommands: serve runs the daemon; pull, images, inspect and rmi ask it
// about images; doctor examines the node; kubelet-flags prints what a kubelet must
// be told; config explains the configuration; version tells the build.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	if err := newRoot().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "cri-wasmer:", err)
		os.Exit(1)
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "cri-wasmer",
		Short: "Run WebAssembly modules as the containers of a Kubernetes node",
		Long: `cri-wasmer is a container runtime for Kubernetes that runs WebAssembly modules.

A kubelet, or crictl, talks to it over a unix socket by the Container Runtime
Interface (CRI). Each container is a WebAssembly module in a process and a Linux
sandbox of its own.

To try it, as root:

  cri-wasmer serve
  crictl --runtime-endpoint unix:///run/cri-wasmer/cri.sock info

It needs no configuration; "cri-wasmer config default" shows what could be set.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		serveCommand(), pullCommand(), imagesCommand(), inspectCommand(), rmiCommand(),
		doctorCommand(), kubeletFlagsCommand(), configCommand(), versionCommand(),
	)
	return root
}
