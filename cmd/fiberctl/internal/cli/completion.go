package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// completionTimeout bounds how long a shell waits for names: a person has just pressed a key.
const completionTimeout = 2 * time.Second

// complete has a flag's values completed.
func complete(cmd *cobra.Command, flag string, values func(context.Context) []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return withPrefix(values(cmd.Context()), prefix), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic("fiberctl: completion of --" + flag + ": " + err.Error()) // a flag that is not there: a slip of the command's definition
	}
}

func withPrefix(words []string, prefix string) []string {
	var matching []string
	for _, word := range words {
		if strings.HasPrefix(word, prefix) {
			matching = append(matching, word)
		}
	}
	return matching
}

// completeKindAndName completes the kind, and then the names of its objects.
func (a *app) completeKindAndName(s *scope) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return withPrefix(kindNames(), prefix), cobra.ShellCompDirectiveNoFileComp
		case 1:
			if k, err := findKind(args[0]); err == nil {
				return withPrefix(a.names(cmd.Context(), k, s), prefix), cobra.ShellCompDirectiveNoFileComp
			}
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeNames completes the names of one kind.
func (a *app) completeNames(k *kind, s *scope) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return withPrefix(a.names(cmd.Context(), k, s), prefix), cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) completeLabel(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return withPrefix([]string{"node"}, prefix), cobra.ShellCompDirectiveNoFileComp
	case 1:
		return withPrefix(a.names(cmd.Context(), kindFor(lb.KindNode), &scope{}), prefix), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// names asks the controller for the names of a kind: short ones where the flags say where they lie, else full ones. Without a
// controller there are none: completion has nowhere to put an error.
func (a *app) names(ctx context.Context, k *kind, s *scope) []string {
	parent, err := s.parent(k)
	if err != nil {
		return nil
	}
	c, err := a.dial()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	messages, err := k.list(ctx, c, parent)
	if err != nil {
		return nil
	}
	var names []string
	for _, m := range messages {
		p, err := lb.ParseName(fullName(m))
		switch {
		case err != nil:
		case k.of == lb.KindNode, !strings.Contains(parent, "/-"), k.of == lb.KindLoadBalancer && p.Project == or(s.project, lb.DefaultProject):
			names = append(names, p.Name)
		default:
			names = append(names, p.String())
		}
	}
	return names
}
