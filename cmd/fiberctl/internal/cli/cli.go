// Package cli owns the commands of fiberctl: what they take, what they print, and with which code they end.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/tlsid"
)

// Exit codes.
const (
	Done    = 0
	Failed  = 1
	Usage   = 2
	Changes = 3 // of plan: apply would change something
)

const (
	callTimeout = 10 * time.Second // of a command that waits for nothing
	waitTimeout = 60 * time.Second // of apply --wait
)

// app is one run of fiberctl.
type app struct {
	stdin    io.Reader
	out, err io.Writer
	env      func(string) string
	terminal terminal
	now      func() time.Time

	server  string
	tls     tlsid.Flags
	timeout time.Duration
	client  *client // nil until the first call

	began bool // the arguments were good
}

// Run runs fiberctl with arguments (without the program's name) and gives its exit code.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) string) int {
	a := &app{stdin: stdin, out: stdout, err: stderr, env: env, terminal: findTerminal(stdout, stderr, env), now: time.Now}
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.out)
	root.SetErr(a.err)
	cmd, err := root.ExecuteContextC(ctx)
	if a.client != nil {
		a.client.close()
	}
	var code exitError
	switch {
	case err == nil:
		return Done
	case errors.As(err, &code):
		return int(code)
	case ctx.Err() != nil:
		fmt.Fprintln(a.err, "fiberctl: interrupted")
		return Failed
	}
	fmt.Fprintln(a.err, a.report(err))
	if !a.began {
		fmt.Fprintf(a.err, "See '%s --help'.\n", cmd.CommandPath())
	}
	if usage := (*usageError)(nil); errors.As(err, &usage) || !a.began {
		return Usage
	}
	return Failed
}

// report is an error as it is shown: the first line says who speaks, unless each line names a place of its own.
func (a *app) report(err error) string {
	text := err.Error()
	if placed := (*placedError)(nil); errors.As(err, &placed) {
		return text
	}
	return "fiberctl: " + text
}

// exitError ends a command, which has said all there is to say, with a code.
type exitError int

func (c exitError) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// hintError says on a second line what to do.
type hintError struct{ text, hint string }

func (e *hintError) Error() string { return e.text + "\n" + e.hint }

// usageError is a fault of who typed the command.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// placedError is a list of faults, a line each, with their files.
type placedError struct{ error }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "fiberctl",
		Short:         "Applies, shows and deletes load balancers",
		Long:          "fiberctl is FiberLB's command line. It talks to a controller; validate works without one.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			var names []string
			for _, sub := range cmd.Commands() {
				names = append(names, sub.Name())
			}
			text := fmt.Sprintf("%q is not a command", args[0])
			if near := lb.Nearest(args[0], names); near != "" {
				text += fmt.Sprintf("; did you mean %q?", near)
			}
			return &usageError{text}
		},
		PersistentPreRun: func(*cobra.Command, []string) {
			a.began = true
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.server, "server", "", "controller's gRPC address, or several with commas (default $FIBERLB_SERVER, else 127.0.0.1:7400)")
	a.tls.RegisterClient(flags)
	flags.DurationVar(&a.timeout, "timeout", 0, "how long the command may take (default 10s; 60s with --wait; watching: no end)")
	root.AddCommand(a.applyCommand(), a.planCommand(), a.validateCommand(), a.exportCommand(), a.getCommand(), a.deleteCommand(),
		a.statusCommand(), a.drainCommand(true), a.drainCommand(false), a.labelCommand(), a.certificateCommand(), a.versionCommand())
	return root
}

// atMost refuses arguments beyond the first n.
func atMost(n int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > n {
			return usagef("%q is one word too many", args[n])
		}
		return nil
	}
}

// justOne wants one argument, which the question asks for.
func justOne(question string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("%s", question)
		}
		return atMost(1)(cmd, args)
	}
}

// deadline bounds a command: by --timeout, or else by what is usual for it; 0 is no bound.
func (a *app) deadline(ctx context.Context, usual time.Duration) (context.Context, context.CancelFunc) {
	limit := cmp.Or(a.timeout, usual)
	if limit <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}

func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.out, format, args...) }

// oneOf checks a flag's word.
func oneOf(flag, word string, words ...string) error {
	for _, known := range words {
		if word == known {
			return nil
		}
	}
	text := fmt.Sprintf("--%s %q is not one of %s", flag, word, strings.Join(words, ", "))
	if near := lb.Nearest(word, words); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	}
	return &usageError{text}
}

// plural counts: "1 node", "2 nodes".
func plural(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(noun, "y"))
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
