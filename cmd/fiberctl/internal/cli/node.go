package cli

import (
	"maps"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

func (a *app) drainCommand(drain bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Have a node withdraw its VIPs; connections that still arrive are served",
		Args:  justOne("which node?"),
	}
	if !drain {
		cmd.Use, cmd.Short = "undrain NODE", "Have a node serve again"
	}
	cmd.ValidArgsFunction = a.completeNames(kindFor(lb.KindNode), &scope{})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		name, err := (&scope{}).name(kindFor(lb.KindNode), args[0])
		if err != nil {
			return err
		}
		c, err := a.dial()
		if err != nil {
			return err
		}
		ctx, cancel := a.deadline(cmd.Context(), callTimeout)
		defer cancel()
		node, err := c.nodes.UpdateNode(ctx, &fiberlbv1.UpdateNodeRequest{
			Name: name, Node: &fiberlbv1.Node{Drain: drain}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"drain"}}, RequestId: requestID(),
		})
		if err != nil {
			return a.explain(err)
		}
		if node.GetDrain() {
			a.printf("node %s drains\n", clean(node.GetName()))
		} else {
			a.printf("node %s serves\n", clean(node.GetName()))
		}
		return nil
	}
	return cmd
}

func (a *app) labelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "label node NAME KEY=VALUE... KEY-...",
		Short:   "Set and remove labels of a node",
		Long:    "Sets labels that people give a node, over those that it reports of itself; KEY- removes one.",
		Example: "  fiberctl label node edge-1 rack=7 old-",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 3 {
				return usagef("give the kind, which is node, its name, and labels: KEY=VALUE to set one, KEY- to remove it")
			}
			return nil
		},
		ValidArgsFunction: a.completeLabel,
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := findKind(args[0])
			if err != nil {
				return err
			}
			if k.of != lb.KindNode {
				return usagef("only nodes are labelled this way; labels of a %s stand in its configuration", k.of)
			}
			name, err := (&scope{}).name(k, args[1])
			if err != nil {
				return err
			}
			set, removed, err := parseLabels(args[2:])
			if err != nil {
				return err
			}
			return a.label(cmd, name, set, removed)
		},
	}
	return cmd
}

// parseLabels reads "k=v" and "k-".
func parseLabels(words []string) (set map[string]string, removed []string, err error) {
	set = map[string]string{}
	seen := map[string]bool{}
	for _, word := range words {
		key, value, assigned := strings.Cut(word, "=")
		if !assigned {
			key = strings.TrimSuffix(word, "-")
		}
		switch {
		case key == "" || !assigned && key == word:
			return nil, nil, usagef("%q is not a label: write KEY=VALUE to set one, KEY- to remove it", word)
		case seen[key]:
			return nil, nil, usagef("label %q is given twice", key)
		case assigned:
			set[key] = value
		default:
			removed = append(removed, key)
		}
		seen[key] = true
	}
	return set, removed, nil
}

// label edits the labels as they are; where somebody else edits at the same time, it starts over.
func (a *app) label(cmd *cobra.Command, name string, set map[string]string, removed []string) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	ctx, cancel := a.deadline(cmd.Context(), callTimeout)
	defer cancel()
	for {
		node, err := c.nodes.GetNode(ctx, &fiberlbv1.GetRequest{Name: name})
		if err != nil {
			return a.explain(err)
		}
		labels := maps.Clone(node.GetLabels())
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, set)
		for _, key := range removed {
			if _, ok := labels[key]; !ok {
				if _, reported := node.GetReportedLabels()[key]; reported {
					return usagef("label %q is reported by the node itself, and can only be set over", key)
				}
				return usagef("node %s has no label %q", clean(node.GetName()), key)
			}
			delete(labels, key)
		}
		node, err = c.nodes.UpdateNode(ctx, &fiberlbv1.UpdateNodeRequest{
			Name: name, Node: &fiberlbv1.Node{Labels: labels}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"labels"}}, Etag: node.GetEtag(), RequestId: requestID(),
		})
		if status.Code(err) == codes.Aborted && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return a.explain(err)
		}
		a.printf("node %s: %s\n", clean(node.GetName()), or(clean(pairs(node.GetLabels())), "no labels"))
		return nil
	}
}
