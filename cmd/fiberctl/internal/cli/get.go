package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/cmd/fiberctl/internal/table"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/textform"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// formats are the words of -o.
var formats = []string{"table", "wide", "json", "yaml", "name"}

type getOptions struct {
	scope
	format string
	watch  bool
}

func (a *app) getCommand() *cobra.Command {
	var o getOptions
	cmd := &cobra.Command{
		Use:   "get KIND [NAME]",
		Short: "Show objects of a kind",
		Long: "Shows one object, or all of a kind: " + strings.Join(kindNames(), ", ") + ".\n" +
			"Lists reach over all load balancers of all projects unless --lb or --project narrow them. A NAME is short, with --lb and\n" +
			"the like saying where it lies, or full: projects/P/loadBalancers/L/listeners/X.\n" +
			"Load balancers come whole in json and yaml, so that what is edited and applied again loses nothing.",
		Example:           "  fiberctl get lb\n  fiberctl get backends --lb web --pool api -o wide\n  fiberctl get lb -w",
		Args:              kindAndName,
		ValidArgsFunction: a.completeKindAndName(&o.scope),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("output", o.format, formats...); err != nil {
				return err
			}
			k, err := findKind(args[0])
			if err != nil {
				return err
			}
			name := ""
			if len(args) > 1 {
				name = args[1]
			}
			if o.watch {
				return a.watch(cmd.Context(), k, name, &o)
			}
			return a.get(cmd.Context(), k, name, &o)
		},
	}
	a.scopeFlags(cmd, &o.scope)
	cmd.Flags().StringVarP(&o.format, "output", "o", "table", "one of "+strings.Join(formats, ", "))
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "go on showing changes (load balancers)")
	complete(cmd, "output", func(context.Context) []string { return formats })
	return cmd
}

// kindAndName checks the arguments of commands that take a kind and perhaps a name.
func kindAndName(_ *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usagef("which kind? One of %s", strings.Join(kindNames(), ", "))
	case len(args) > 2:
		return usagef("%q is one word too many: give a kind and at most one name", args[2])
	}
	return nil
}

func (a *app) scopeFlags(cmd *cobra.Command, s *scope) {
	flags := cmd.Flags()
	flags.StringVarP(&s.project, "project", "p", "", "project (lists: all; names: "+lb.DefaultProject+")")
	flags.StringVar(&s.lb, "lb", "", "load balancer that the object lies in")
	flags.StringVar(&s.listener, "listener", "", "listener that the policy or rule lies in")
	flags.StringVar(&s.pool, "pool", "", "pool that the backend or health check lies in")
	flags.StringVar(&s.policy, "policy", "", "policy that the rule lies in")
	for _, f := range parentFlags {
		complete(cmd, f.flag, func(ctx context.Context) []string { return a.names(ctx, kindFor(f.of), s) })
	}
}

func (a *app) get(ctx context.Context, k *kind, name string, o *getOptions) error {
	messages, err := a.fetch(ctx, k, name, o)
	if err != nil {
		return err
	}
	switch o.format {
	case "json":
		return a.printJSON(k, messages, name != "")
	case "yaml":
		return a.printYAML(k, messages, name != "")
	case "name":
		for _, m := range messages {
			a.printf("%s\n", clean(fullName(m)))
		}
		return nil
	}
	if len(messages) == 0 {
		fmt.Fprintf(a.err, "no %s\n", plural(2, k.of.String())[2:])
		return nil
	}
	a.printTable(k, messages, o.format == "wide")
	return nil
}

// fetch gets one object, or all that the flags leave.
func (a *app) fetch(ctx context.Context, k *kind, name string, o *getOptions) ([]proto.Message, error) {
	if err := o.check(k); err != nil {
		return nil, err
	}
	full, parent := "", ""
	var err error
	if name != "" {
		full, err = o.name(k, name)
	} else {
		parent, err = o.parent(k)
	}
	if err != nil {
		return nil, err
	}
	c, err := a.dial()
	if err != nil {
		return nil, err
	}
	ctx, cancel := a.deadline(ctx, callTimeout)
	defer cancel()
	var messages []proto.Message
	switch whole := k.of == lb.KindLoadBalancer && (o.format == "json" || o.format == "yaml"); {
	case whole:
		configs, failed := c.export(ctx, or(full, parent))
		err = failed
		for _, config := range configs {
			messages = append(messages, config)
		}
	case name != "":
		var m proto.Message
		m, err = k.get(ctx, c, full)
		messages = append(messages, m)
	default:
		messages, err = k.list(ctx, c, parent)
	}
	if err != nil {
		return nil, a.explain(err)
	}
	return messages, nil
}

// export gets whole load balancers: one, those of a project, or all.
func (c *client) export(ctx context.Context, name string) ([]*fiberlbv1.LoadBalancerConfig, error) {
	return pages(ctx, func(ctx context.Context, token string) ([]*fiberlbv1.LoadBalancerConfig, string, error) {
		answer, err := c.config.Export(ctx, &fiberlbv1.ExportRequest{Name: name, PageToken: token})
		return answer.GetConfigs(), answer.GetNextPageToken(), err
	})
}

func fullName(m proto.Message) string {
	if named, ok := m.(interface{ GetFullName() string }); ok {
		return named.GetFullName()
	}
	return ""
}

// head gives the columns that are shown, and where their cells stand in a row.
func (k *kind) head(all bool) (head []table.Column, places []int) {
	for i, c := range k.columns {
		if all || !c.wide {
			head, places = append(head, c.Column), append(places, i)
		}
	}
	return head, places
}

// pick takes the cells of the shown columns.
func pick(row []table.Cell, places []int) []table.Cell {
	cells := make([]table.Cell, len(places))
	for i, place := range places {
		cells[i] = row[place]
	}
	return cells
}

func (a *app) printTable(k *kind, messages []proto.Message, all bool) {
	head, places := k.head(all)
	var rows [][]table.Cell
	for _, m := range messages {
		rows = append(rows, pick(k.row(a, m), places))
	}
	for _, line := range table.Format(head, rows, a.terminal.columns) {
		a.printf("%s\n", line)
	}
}

// printJSON writes one object as itself, and several as a list under the kind's name.
func (a *app) printJSON(k *kind, messages []proto.Message, single bool) error {
	var items []string
	for _, m := range messages {
		text, err := textform.MarshalJSON(m, textform.Options{Indent: "  "})
		if err != nil {
			return err
		}
		items = append(items, string(text))
	}
	switch {
	case single:
		a.printf("%s\n", strings.Join(items, "\n"))
	case len(items) == 0:
		a.printf("{\n  %q: []\n}\n", k.field)
	default:
		list := strings.ReplaceAll(strings.Join(items, ",\n"), "\n", "\n    ")
		a.printf("{\n  %q: [\n    %s\n  ]\n}\n", k.field, list)
	}
	return nil
}

// printYAML writes load balancers as documents, which apply takes, and other kinds as a list under the kind's name.
func (a *app) printYAML(k *kind, messages []proto.Message, single bool) error {
	documents := single || k.of == lb.KindLoadBalancer
	if !documents && len(messages) == 0 {
		a.printf("%s: []\n", k.field)
	} else if !documents {
		a.printf("%s:\n", k.field)
	}
	for i, m := range messages {
		text, err := textform.MarshalYAML(m)
		if err != nil {
			return err
		}
		switch {
		case !documents:
			lines := strings.ReplaceAll(strings.TrimSuffix(string(text), "\n"), "\n", "\n  ")
			a.printf("- %s\n", lines)
		case i > 0:
			a.printf("---\n%s", text)
		default:
			a.printf("%s", text)
		}
	}
	return nil
}
