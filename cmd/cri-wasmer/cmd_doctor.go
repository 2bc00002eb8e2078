package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/spf13/cobra"
	runtimev1 "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/cri-wasmer/cri-wasmer/cmd/cri-wasmer/doctor"
	"github.com/cri-wasmer/cri-wasmer/internal/config"
	"github.com/cri-wasmer/cri-wasmer/internal/version"
)

func doctorCommand() *cobra.Command {
	var c doctor.Config
	var form string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine this node, and say what is wrong and what to do",
		Long: `Examine this node: kernel, namespaces, control groups, SELinux, the kubelet's configuration,
the pod network, worker and engine, directories, disk, ports, the image store and
what is left of pods that are gone. Each problem comes with its remedy.

It works with and without a running daemon, changes nothing, and contacts nothing
on the network but the registries that --registry names. Run it as root.

The exit code is 1 when there is a problem; warnings do not count.`,
		Example: `  sudo cri-wasmer doctor
  sudo cri-wasmer doctor --deep --registry ghcr.io
  cri-wasmer doctor -o json | jq '.findings[] | select(.status == "problem")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := config.Load(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			c.Options, c.Files, c.Unknown, c.Version = conf.Options, conf.Files, conf.Unknown, version.Version()
			c.Ask = func(ctx context.Context) (*doctor.Daemon, error) { return askDaemon(ctx, conf.Socket) }
			return examine(cmd, c, form)
		},
	}
	cmd.Flags().StringSliceVar(&c.Registries, "registry", nil, "`HOST` of a registry to contact; may be given several times")
	cmd.Flags().StringVar(&c.KubeletConfig, "kubelet-config", "", "`FILE` with the kubelet's configuration; it is searched where this is not given")
	cmd.Flags().BoolVar(&c.Deep, "deep", false, "read all images and compiled code, and verify their digests and checksums")
	outputFlag(cmd, &form)
	config.AddFlags(cmd.Flags())
	return cmd
}

// examined is what doctor prints as JSON.
type examined struct {
	Version  string           `json:"version"`
	Problems int              `json:"problems"`
	Warnings int              `json:"warnings"`
	Findings []doctor.Finding `json:"findings"`
}

func examine(cmd *cobra.Command, c doctor.Config, form string) error {
	list := doctor.Examine(cmd.Context(), c)
	e := examined{c.Version, doctor.Count(list, doctor.Problem), doctor.Count(list, doctor.Warning), list}
	err := printAs(cmd.OutOrStdout(), form, e, func(w io.Writer) error {
		doctor.Write(w, list)
		return nil
	})
	if err != nil || e.Problems == 0 {
		return err
	}
	return fmt.Errorf("%s found", doctor.Number(e.Problems, "problem"))
}

// askDaemon asks the daemon how it is; nil when none runs.
func askDaemon(ctx context.Context, socket string) (*doctor.Daemon, error) {
	c, err := dialDaemon(ctx, socket)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer c.close()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	v, err := c.runtime.Version(ctx, &runtimev1.VersionRequest{})
	if err != nil {
		return nil, plain(err)
	}
	if v.RuntimeName != "cri-wasmer" {
		return nil, fmt.Errorf("it is %s, not cri-wasmer: set the option socket to another path", v.RuntimeName)
	}
	s, err := c.runtime.Status(ctx, &runtimev1.StatusRequest{Verbose: true})
	if err != nil {
		return nil, plain(err)
	}
	d := &doctor.Daemon{Version: v.RuntimeVersion, SELinux: s.GetInfo()["seLinuxLabels"]}
	for _, cond := range s.GetStatus().GetConditions() {
		d.Conditions = append(d.Conditions, doctor.Condition{Type: cond.Type, OK: cond.Status, Reason: cond.Reason, Message: cond.Message})
	}
	return d, nil
}
