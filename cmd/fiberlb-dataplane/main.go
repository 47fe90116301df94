// Command fiberlb-dataplane runs the data plane of a node: it serves the
// listeners that a controller, or a file, describes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/fiberlb/fiberlb/dataplane"
	"github.com/fiberlb/fiberlb/pkg/adminhttp"
	"github.com/fiberlb/fiberlb/pkg/logging"
	"github.com/fiberlb/fiberlb/pkg/sysnotify"
)

// Exit codes of every FiberLB binary.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	os.Exit(run(ctx, os.Args[1:], hup, os.Stdout, os.Stderr))
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func run(ctx context.Context, args []string, reload <-chan os.Signal, stdout, stderr io.Writer) int {
	cmd := command(reload, stderr)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintln(stderr, "fiberlb-dataplane:", err)
	if usage := (usageError{}); errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func command(reload <-chan os.Signal, stderr io.Writer) *cobra.Command {
	var (
		cfg dataplane.Config
		log logging.Flags
	)
	cmd := &cobra.Command{
		Use:           "fiberlb-dataplane",
		Short:         "FiberLB's data plane: serves VIPs on this node",
		Version:       adminhttp.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.NoArgs(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := log.New("fiberlb-dataplane", stderr)
			if err != nil {
				return usageError{err}
			}
			cfg.Logger = logger
			cfg.Reload = reload
			cfg.Notifier = sysnotify.FromEnv(os.Getenv, logger.Named("systemd"))
			dp, err := dataplane.New(cfg)
			if err != nil {
				if errors.Is(err, dataplane.ErrConfig) {
					return usageError{err}
				}
				return err
			}
			return dp.Run(cmd.Context())
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	fs := cmd.Flags()
	cfg.Register(fs)
	log.Register(fs)
	return cmd
}
