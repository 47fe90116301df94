package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/pkg/config"
	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

func (a *app) applyCommand() *cobra.Command {
	var files []string
	var wait, dry bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE...",
		Short: "Write the load balancers of files",
		Long: "Writes each document as one load balancer, atomically: what the document does not name is removed from it. All documents are\n" +
			"checked before the first is written. Files, folders and - for standard input can be given.",
		Example: "  fiberctl apply -f web.yaml --wait\n  fiberctl apply -f conf.d -f extra.yaml --dry-run",
		Args:    onlyFiles,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if wait && dry {
				return usagef("--wait and --dry-run exclude each other: a dry run writes nothing to wait for")
			}
			documents, err := a.load(files)
			if err != nil {
				return err
			}
			usual := callTimeout
			if wait {
				usual = waitTimeout
			}
			ctx, cancel := a.deadline(cmd.Context(), usual)
			defer cancel()
			return a.apply(ctx, documents, wait, dry)
		},
	}
	fileFlag(cmd, &files)
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until every node that serves it runs what was written")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "have the controller check everything and write nothing")
	return cmd
}

// onlyFiles refuses arguments of commands that take files.
func onlyFiles(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%q is one word too many; files are given with -f", args[0])
	}
	return nil
}

func fileFlag(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVarP(files, "file", "f", nil, "file or folder of YAML, or - for standard input; may be repeated")
	_ = cmd.MarkFlagFilename("file", "yaml", "yml", "json") // fails only for flags that are not there
}

// load reads the documents of files and tells all faults.
func (a *app) load(files []string) ([]config.Document, error) {
	if len(files) == 0 {
		return nil, usagef("which file? Give -f FILE, or -f - for standard input")
	}
	documents, err := config.LoadFiles(files, config.Options{Stdin: a.stdin, KeysMayBeStored: true})
	if faults := (config.Errors)(nil); errors.As(err, &faults) {
		return nil, &placedError{fmt.Errorf("%w\nfiberctl: %s", faults, plural(len(faults), "fault"))}
	}
	return documents, err
}

// written is a load balancer that was applied.
type written struct {
	name     string
	revision int64
}

// apply writes all documents. Where one is refused, the others are written all the same.
func (a *app) apply(ctx context.Context, documents []config.Document, wait, dry bool) error {
	c, err := a.dial()
	if err != nil {
		return err
	}
	if len(documents) > 1 && !dry {
		if err := a.checkAll(ctx, c, documents); err != nil {
			return err
		}
	}
	var done []written
	var failed []string
	for i := range documents {
		d := &documents[i]
		answer, err := c.config.Apply(ctx, &fiberlbv1.ApplyRequest{Config: d.Config, Etag: d.Config.GetEtag(), ValidateOnly: dry, RequestId: requestID()})
		if err != nil {
			failed = append(failed, a.report(a.explainDocument(err, d)))
			if unreachable(err) {
				break
			}
			continue
		}
		name := lb.LoadBalancerName(d.LB.Project, d.LB.Name)
		if dry {
			a.printf("%s: nothing was written; %s\n", shortName(d.LB.Project, d.LB.Name), summary(answer.GetChanges(), false))
			continue
		}
		a.printf("%s: %s, revision %d\n", shortName(d.LB.Project, d.LB.Name), summary(answer.GetChanges(), true), answer.GetRevision())
		done = append(done, written{name, answer.GetRevision()})
	}
	if wait {
		for _, w := range done {
			if err := a.wait(ctx, c, w); err != nil {
				failed = append(failed, a.report(err))
			}
		}
	}
	if len(failed) > 0 {
		return &placedError{errors.New(strings.Join(failed, "\n"))}
	}
	return nil
}

// checkAll has the controller look at all documents, so that a fault in the last is found before the first is written. What
// depends on the order of writing, such as a VIP that moves, is left to the writing.
func (a *app) checkAll(ctx context.Context, c *client, documents []config.Document) error {
	var faults []string
	for i := range documents {
		_, err := c.config.Plan(ctx, &fiberlbv1.PlanRequest{Config: documents[i].Config})
		switch {
		case unreachable(err):
			return a.explain(err)
		case status.Code(err) == codes.InvalidArgument:
			faults = append(faults, a.report(a.explainDocument(err, &documents[i])))
		}
	}
	if len(faults) > 0 {
		return &placedError{errors.New(strings.Join(faults, "\n") + "\nfiberctl: nothing was written")}
	}
	return nil
}

// unreachable tells whether further calls would fail likewise.
func unreachable(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unauthenticated, codes.PermissionDenied:
		return true
	}
	return false
}

// summary counts changes, "1 created, 2 updated", or those to come, "1 to create, 2 to update".
func summary(changes []*fiberlbv1.Change, done bool) string {
	counts := map[fiberlbv1.ChangeAction]int{}
	for _, change := range changes {
		counts[change.GetAction()]++
	}
	var words []string
	for _, action := range []struct {
		action     fiberlbv1.ChangeAction
		past, next string
	}{
		{fiberlbv1.ChangeAction_CHANGE_ACTION_CREATE, "created", "to create"},
		{fiberlbv1.ChangeAction_CHANGE_ACTION_UPDATE, "updated", "to update"},
		{fiberlbv1.ChangeAction_CHANGE_ACTION_DELETE, "deleted", "to delete"},
	} {
		verb := action.next
		if done {
			verb = action.past
		}
		if n := counts[action.action]; n > 0 {
			words = append(words, fmt.Sprintf("%d %s", n, verb))
		}
	}
	switch {
	case len(words) > 0:
		return strings.Join(words, ", ")
	case done:
		return "unchanged"
	}
	return "no changes"
}

func (a *app) validateCommand() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "validate -f FILE...",
		Short: "Check files without a controller",
		Long: "Checks files by the same rules as a controller, without asking one. What only it knows is left to it: which addresses the\n" +
			"operator allows, VIPs that other load balancers hold, and private keys that are stored already.",
		Args: onlyFiles,
		RunE: func(*cobra.Command, []string) error {
			documents, err := a.load(files)
			if err != nil {
				return err
			}
			a.printf("%s: no fault\n", plural(len(documents), "load balancer"))
			return nil
		},
	}
	fileFlag(cmd, &files)
	return cmd
}

func (a *app) planCommand() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "plan -f FILE...",
		Short: "Show what apply would change",
		Long:  "Shows what apply would change. The exit code is 0 if that is nothing, and 3 otherwise.",
		Args:  onlyFiles,
		RunE: func(cmd *cobra.Command, _ []string) error {
			documents, err := a.load(files)
			if err != nil {
				return err
			}
			c, err := a.dial()
			if err != nil {
				return err
			}
			ctx, cancel := a.deadline(cmd.Context(), callTimeout)
			defer cancel()
			return a.plan(ctx, c, documents)
		},
	}
	fileFlag(cmd, &files)
	return cmd
}

func (a *app) plan(ctx context.Context, c *client, documents []config.Document) error {
	var all []*fiberlbv1.Change
	var failed []string
	for i := range documents {
		d := &documents[i]
		answer, err := c.config.Plan(ctx, &fiberlbv1.PlanRequest{Config: d.Config})
		if err != nil {
			failed = append(failed, a.report(a.explainDocument(err, d)))
			if unreachable(err) {
				break
			}
			continue
		}
		all = append(all, answer.GetChanges()...)
		a.printf("%s: %s\n", a.terminal.painted(bold, shortName(d.LB.Project, d.LB.Name)), summary(answer.GetChanges(), false))
		for _, change := range answer.GetChanges() {
			a.printChange(change)
		}
	}
	switch {
	case len(failed) > 0:
		return &placedError{errors.New(strings.Join(failed, "\n"))}
	case len(all) > 0:
		return exitError(Changes)
	}
	return nil
}

// printChange prints an object and the fields of it that differ.
func (a *app) printChange(change *fiberlbv1.Change) {
	sign, colour := "~", yellow
	switch change.GetAction() {
	case fiberlbv1.ChangeAction_CHANGE_ACTION_CREATE:
		sign, colour = "+", green
	case fiberlbv1.ChangeAction_CHANGE_ACTION_DELETE:
		sign, colour = "-", red
	}
	a.printf("%s\n", a.terminal.painted(colour, "  "+sign+" "+inLB(change.GetResource())))
	longest := 0
	for _, field := range change.GetFields() {
		longest = max(longest, len(field.GetPath()))
	}
	for _, field := range change.GetFields() {
		before, after := clean(field.GetBefore()), clean(field.GetAfter())
		value := before + a.terminal.painted(faint, " -> ") + after
		switch {
		case before == "":
			value = after
		case after == "":
			value = before + a.terminal.painted(faint, " -> ") + "(unset)"
		}
		if change.GetAction() == fiberlbv1.ChangeAction_CHANGE_ACTION_UPDATE && before == "" {
			value = "(unset)" + a.terminal.painted(faint, " -> ") + after
		}
		a.printf("      %-*s  %s\n", longest+1, clean(field.GetPath())+":", value)
	}
}

func (a *app) exportCommand() *cobra.Command {
	var all bool
	var s scope
	cmd := &cobra.Command{
		Use:               "export [LB]",
		Short:             "Write load balancers as YAML that apply takes",
		Long:              "Writes one load balancer, those of a project, or with --all those of every project. Private keys are not in it; applying the\nfile keeps those that are stored.",
		Args:              atMost(1),
		ValidArgsFunction: a.completeNames(kindFor(lb.KindLoadBalancer), &s),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := "projects/" + or(s.project, lb.DefaultProject)
			switch {
			case all && (len(args) > 0 || s.project != ""):
				return usagef("--all goes with neither a name nor --project")
			case all:
				name = "projects/-"
			case len(args) > 0:
				var err error
				if name, err = s.name(kindFor(lb.KindLoadBalancer), args[0]); err != nil {
					return err
				}
			}
			c, err := a.dial()
			if err != nil {
				return err
			}
			ctx, cancel := a.deadline(cmd.Context(), callTimeout)
			defer cancel()
			configs, err := c.export(ctx, name)
			if err != nil {
				return a.explain(err)
			}
			slices.SortStableFunc(configs, func(x, y *fiberlbv1.LoadBalancerConfig) int { return strings.Compare(x.GetFullName(), y.GetFullName()) })
			return config.Export(a.out, configs)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "the load balancers of all projects")
	cmd.Flags().StringVarP(&s.project, "project", "p", "", "project (default: "+lb.DefaultProject+")")
	return cmd
}
