// Command fiberlb-dataplane runs the data plane of a node: it serves the
// listeners that a controller, or a file, describes.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/fiberlb/fiberlb/cmd/internal/daemon"
	"github.com/fiberlb/fiberlb/dataplane"
	"github.com/fiberlb/fiberlb/pkg/logging"
	"github.com/fiberlb/fiberlb/pkg/sysnotify"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	code := daemon.Execute(ctx, command(hup, os.Stderr, os.Getenv), os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func command(reload <-chan os.Signal, stderr io.Writer, getenv func(string) string) *cobra.Command {
	var (
		cfg  dataplane.Config
		logs logging.Flags
	)
	cmd := daemon.Command("fiberlb-dataplane (--controller ADDRESS,... | --config FILE)", "Serves VIPs on this node")
	cfg.Register(cmd.Flags())
	logs.Register(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		logger, err := logs.New("fiberlb-dataplane", stderr)
		if err != nil {
			return err
		}
		cfg.Logger, cfg.Reload = logger, reload
		cfg.Notifier = sysnotify.FromEnv(getenv, logger.Named("notify"))
		dp, err := dataplane.New(cfg)
		if errors.Is(err, dataplane.ErrConfig) {
			return err
		}
		if err != nil {
			return daemon.AtWork(err)
		}
		return daemon.AtWork(dp.Run(cmd.Context()))
	}
	return cmd
}
