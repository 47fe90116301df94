// Command fiberlb-dev runs all of FiberLB in one process, on loopback: to try
// it, to develop against it, and, with --demo, to see it at work.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/fiberlb/fiberlb/cmd/fiberlb-dev/demo"
	"github.com/fiberlb/fiberlb/cmd/fiberlb-dev/stack"
	"github.com/fiberlb/fiberlb/cmd/internal/daemon"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/logging"
)

// demoTimeout bounds a demo that hangs; it takes a few seconds.
const demoTimeout = 2 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	colour := isatty.IsTerminal(os.Stdout.Fd()) && os.Getenv("NO_COLOR") == ""
	code := daemon.Execute(ctx, command(os.Stdout, os.Stderr, colour), os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options of the command line.
type options struct {
	demo         bool
	listen, http string
	dir          string
	node         string
	log          logging.Flags
}

func command(stdout, stderr io.Writer, colour bool) *cobra.Command {
	var opt options
	cmd := daemon.Command("fiberlb-dev", "All of FiberLB in one process, on loopback")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if opt.demo && !cmd.Flags().Changed("log-level") {
			opt.log.Level = "error" // the demo speaks for itself
		}
		logger, err := opt.log.New("fiberlb-dev", stderr)
		if err != nil {
			return err
		}
		if err := lb.ValidNodeName(opt.node); err != nil {
			return fmt.Errorf("--node: %w", err)
		}
		return daemon.AtWork(opt.run(cmd.Context(), logger, stdout, colour))
	}
	fs := cmd.Flags()
	fs.BoolVar(&opt.demo, "demo", false, "show FiberLB at work with demo servers, check all of it, and exit")
	fs.StringVar(&opt.listen, "listen", "", "address of the gRPC API (default: 127.0.0.1:7400, or a free port where that is taken)")
	fs.StringVar(&opt.http, "http", "", "address of REST, metrics and health (default: 127.0.0.1:7480, or a free port)")
	fs.StringVar(&opt.dir, "dir", "", "directory for all state, kept (default: a temporary one, removed at the end)")
	fs.StringVar(&opt.node, "node", "n1", "name of the node")
	opt.log.Register(fs)
	return cmd
}

func (o *options) run(ctx context.Context, logger hclog.Logger, stdout io.Writer, colour bool) (err error) {
	dir, cleanup, err := o.directory()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cleanup()) }()
	cfg := stack.Config{Dir: dir, Listen: o.listen, HTTP: o.http, Nodes: []string{o.node}, Logger: logger}
	if o.demo {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, demoTimeout)
		defer stop()
	} else {
		cfg.Listen = firstFree(ctx, cfg.Listen, "127.0.0.1:7400")
		cfg.HTTP = firstFree(ctx, cfg.HTTP, "127.0.0.1:7480")
	}
	began := time.Now()
	st, err := stack.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Stop()) }()
	if o.demo {
		_, _ = fmt.Fprintf(stdout, "FiberLB: controller, etcd and one data plane run in this process after %s.\n", time.Since(began).Round(time.Millisecond))
		return demo.Run(ctx, st, stdout, colour)
	}
	greet(stdout, st, dir, o.node)
	<-ctx.Done()
	return nil
}

// directory gives the one for all state and what to do with it at the end.
func (o *options) directory() (dir string, cleanup func() error, err error) {
	if o.dir != "" {
		dir, err = filepath.Abs(o.dir)
		if err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
		return dir, func() error { return nil }, err
	}
	dir, err = os.MkdirTemp("", "fiberlb-dev-")
	return dir, func() error { return os.RemoveAll(dir) }, err
}

// firstFree gives the address asked for, or the usual one if it is free, or one with any free port.
func firstFree(ctx context.Context, asked, usual string) string {
	if asked != "" {
		return asked
	}
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", usual)
	if err != nil {
		return "127.0.0.1:0"
	}
	_ = lis.Close()
	return usual
}

func greet(w io.Writer, st *stack.Stack, dir, node string) {
	_, _ = fmt.Fprintf(w, `FiberLB runs.
  API (gRPC)       %[1]s        export FIBERLB_SERVER=%[1]s
  REST, metrics    http://%[2]s   OpenAPI at /openapi.json
  node %-11s admin at http://%[4]s
  state            %[5]s

Try, in another terminal:
  bin/fiberctl apply -f web.yaml --wait
  bin/fiberctl status
Stop with Ctrl-C.
`, st.GRPC(), st.HTTP(), node, st.Admin(node), dir)
}
