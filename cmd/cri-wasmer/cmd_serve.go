package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cri-wasmer/cri-wasmer/internal/config"
	"github.com/cri-wasmer/cri-wasmer/internal/sdnotify"
	"github.com/cri-wasmer/cri-wasmer/internal/version"
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon",
		Long: `Run the daemon in the foreground, as root. It logs to stderr.

The first SIGTERM or SIGINT ends it in good order, a second one at once. Either
way containers go on running, and the next daemon finds them again.

Options are set by flags, by CRI_WASMER_* environment variables, or in
` + config.DefaultFile + `; see "cri-wasmer config".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := config.Load(cmd.Flags(), os.Environ())
			if err != nil {
				return err
			}
			return runServe(cmd.Context(), conf)
		},
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

// runServe gives the daemon its surroundings: log, locks, signals.
func runServe(ctx context.Context, conf *config.Config) error {
	if os.Geteuid() != 0 {
		return errors.New("serve makes namespaces, cgroups and mounts, so it must run as root: try sudo")
	}
	log := newLogger(os.Stderr, conf.Log)
	slog.SetDefault(log)
	for _, name := range conf.Unknown {
		log.Warn("environment variable is no option, see cri-wasmer config default", "name", name)
	}
	unlock, err := lockDirs(conf.Root, conf.State)
	if err != nil {
		return err
	}
	defer unlock()
	if err := freeSocket(conf.Socket); err != nil {
		return err
	}

	ctx, stop := untilSignal(ctx, log)
	defer stop()
	log.Info("starting", "version", version.Version(), "pid", os.Getpid(), "socket", conf.Socket, "root", conf.Root, "state", conf.State, "config", conf.Files)
	if err := serve(ctx, conf.Options, log); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	log.Info("stopped")
	return nil
}

func newLogger(w io.Writer, conf config.Log) *slog.Logger {
	opts := &slog.HandlerOptions{Level: conf.Level}
	if conf.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// untilSignal returns a context that the first SIGTERM or SIGINT ends. From then
// on these have their usual effect, so that a second one ends the process.
//
// It also takes SIGPIPE, which a log reader that went away would cause, and which
// would end the process. The signal is handled rather than ignored, because
// children would inherit that.
func untilSignal(ctx context.Context, log *slog.Logger) (context.Context, context.CancelFunc) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, func() {
		stop()
		log.Info("stopping")
		notify(log, sdnotify.Stopping)
	})
	return ctx, stop
}

// notify tells the service manager. That it cannot is no reason to stop.
func notify(log *slog.Logger, assignments ...string) {
	if err := sdnotify.Notify(assignments...); err != nil {
		log.Warn("service manager not told", "err", err)
	}
}
