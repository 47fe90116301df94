package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

func (a *app) deleteCommand() *cobra.Command {
	var s scope
	var files []string
	var cascade, missing bool
	cmd := &cobra.Command{
		Use:   "delete KIND NAME | delete -f FILE...",
		Short: "Delete an object, or the load balancers of files",
		Long: "Deletes one object; one that others use, or that has objects in it, only with --cascade where that can be. With -f, deletes\n" +
			"the load balancers that the files describe, with all that is in them.",
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case cmd.Flags().Changed("file") && len(args) > 0:
				return usagef("give either -f FILE or a kind and a name")
			case cmd.Flags().Changed("file"):
				return nil
			case len(args) == 1:
				return usagef("which one? Give its name, or -f FILE")
			}
			return kindAndName(cmd, args)
		},
		ValidArgsFunction: a.completeKindAndName(&s),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := a.deadline(cmd.Context(), callTimeout)
			defer cancel()
			if len(args) == 0 {
				return a.deleteFiles(ctx, files, missing)
			}
			k, err := findKind(args[0])
			if err != nil {
				return err
			}
			if err := s.check(k); err != nil {
				return err
			}
			name, err := s.name(k, args[1])
			if err != nil {
				return err
			}
			c, err := a.dial()
			if err != nil {
				return err
			}
			return a.remove(ctx, c, k, &fiberlbv1.DeleteRequest{Name: name, Cascade: cascade, AllowMissing: missing})
		},
	}
	a.scopeFlags(cmd, &s)
	fileFlag(cmd, &files)
	cmd.Flags().BoolVar(&cascade, "cascade", false, "delete what is in it, or depends on it, too")
	cmd.Flags().BoolVar(&missing, "allow-missing", false, "do not fail where it does not exist")
	return cmd
}

func (a *app) remove(ctx context.Context, c *client, k *kind, req *fiberlbv1.DeleteRequest) error {
	req.RequestId = requestID()
	if err := k.remove(ctx, c, req); err != nil {
		return a.explain(err)
	}
	what := "load balancer " + lbOf(req.GetName())
	if k.of != lb.KindLoadBalancer {
		what = inLB(req.GetName())
		if in := lbOf(req.GetName()); in != "" {
			what += " of " + in
		}
	}
	if req.GetAllowMissing() {
		a.printf("%s: does not exist any more\n", what)
	} else {
		a.printf("deleted %s\n", what)
	}
	return nil
}

func (a *app) deleteFiles(ctx context.Context, files []string, missing bool) error {
	documents, err := a.load(files)
	if err != nil {
		return err
	}
	c, err := a.dial()
	if err != nil {
		return err
	}
	var failed []string
	for _, d := range documents {
		name := lb.LoadBalancerName(d.LB.Project, d.LB.Name)
		if err := a.remove(ctx, c, kindFor(lb.KindLoadBalancer), &fiberlbv1.DeleteRequest{Name: name, Cascade: true, AllowMissing: missing}); err != nil {
			failed = append(failed, err.Error())
		}
	}
	if len(failed) > 0 {
		return errors.New(strings.Join(failed, "\nfiberctl: "))
	}
	return nil
}
