package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/cri-wasmer/cri-wasmer/internal/config"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Explain and check the configuration",
		Long: `Explain and check the configuration of the daemon.

Each option can be set in ` + config.DefaultFile + ` and conf.d/*.toml beside it, by
an environment variable, and by a flag of serve. A flag wins over the environment,
that over the files, a later file over an earlier one.

  cni.conf_dir        in a file: conf_dir in the section [cni]
  CRI_WASMER_CNI_CONF_DIR
  --cni-conf-dir`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(configDefaultCommand(), configShowCommand(), configCheckCommand())
	return cmd
}

func configDefaultCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "default",
		Short:   "Print a file with every option, explained and at its default",
		Example: `  cri-wasmer config default > ` + config.DefaultFile,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return config.WriteDefault(cmd.OutOrStdout())
		},
	}
}

func configShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the values that serve would use, and where each comes from",
		Long:  "Print the values that serve would use with the same flags and environment, and\nwhere each comes from. The output is a configuration file itself.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := config.Load(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			return conf.Write(cmd.OutOrStdout())
		},
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

func configCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say what is wrong with the configuration, if anything",
		Long:  "Check files, environment and flags as serve would, and that the worker binary is\nthere. The exit code is 0 when all is well.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := config.Load(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			return check(cmd, conf)
		},
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

func check(cmd *cobra.Command, conf *config.Config) error {
	var errs []error
	for _, name := range conf.Unknown {
		errs = append(errs, fmt.Errorf("%s: this environment variable is no option", name))
	}
	if _, err := conf.WorkerPath(); err != nil {
		errs = append(errs, fmt.Errorf("%s: option worker: %w", conf.Sources["worker"], err))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, file := range conf.Files {
		fmt.Fprintln(cmd.OutOrStdout(), "read", file)
	}
	fmt.Fprintln(cmd.OutOrStdout(), "configuration is valid")
	return nil
}
