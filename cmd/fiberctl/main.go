// Command fiberctl is FiberLB's command line: it applies, shows and deletes what a controller keeps.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/fiberlb/fiberlb/cmd/fiberctl/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	stop()
	os.Exit(code)
}
