// Package daemon is what the commands of FiberLB's long-running processes have
// in common: how they are called, and how they tell what went wrong.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/fiberlb/fiberlb/pkg/adminhttp"
)

// Exit codes of every FiberLB binary.
const (
	Done   = 0
	Failed = 1
	Usage  = 2
)

// failure is an error of a process at work, as opposed to one of how it was called.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// AtWork marks an error, unless it is nil, as one that no other command line would have avoided.
func AtWork(err error) error {
	if err == nil {
		return nil
	}
	return failure{err}
}

// Command is the command of a process that takes flags and no arguments.
func Command(use, short string) *cobra.Command {
	return &cobra.Command{
		Use:           use,
		Short:         short,
		Args:          cobra.NoArgs,
		Version:       adminhttp.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
}

// Execute runs the command in the world that it is handed, and gives its exit code.
func Execute(ctx context.Context, cmd *cobra.Command, args []string, stdout, stderr io.Writer) int {
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return Done
	}
	_, _ = fmt.Fprintf(stderr, "%s: %v\n", cmd.Name(), err)
	if errors.As(err, &failure{}) {
		return Failed
	}
	_, _ = fmt.Fprintf(stderr, "%s: --help tells all flags\n", cmd.Name())
	return Usage
}
