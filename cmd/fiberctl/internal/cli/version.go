package cli

import (
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/fiberlb/fiberlb/pkg/adminhttp"
)

func (a *app) versionCommand() *cobra.Command {
	var only bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the versions of fiberctl and of the controller",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.printf("fiberctl:   %s\n", adminhttp.Version())
			if only {
				return nil
			}
			c, err := a.dial()
			if err != nil {
				return err
			}
			ctx, cancel := a.deadline(cmd.Context(), callTimeout)
			defer cancel()
			var header metadata.MD
			if _, err := grpc_health_v1.NewHealthClient(c.conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Header(&header)); err != nil {
				return a.explain(err)
			}
			version := "it does not tell"
			if values := header.Get(adminhttp.VersionHeader); len(values) > 0 {
				version = clean(values[0])
			}
			a.printf("controller: %s\n", version)
			return nil
		},
	}
	cmd.Flags().BoolVar(&only, "client", false, "ask no controller")
	return cmd
}
