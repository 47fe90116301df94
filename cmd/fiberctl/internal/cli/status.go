package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/textform"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

func (a *app) statusCommand() *cobra.Command {
	var s scope
	cmd := &cobra.Command{
		Use:               "status [LB]",
		Short:             "Show how nodes and load balancers stand, and what is wrong",
		Long:              "Shows nodes and load balancers, or one load balancer with all that is in it. What is wrong stands at the end, in words.",
		Args:              atMost(1),
		ValidArgsFunction: a.completeNames(kindFor(lb.KindLoadBalancer), &s),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := ""
			if len(args) > 0 {
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
			if name != "" {
				err = a.statusOf(ctx, c, name)
			} else {
				err = a.overview(ctx, c, &s)
			}
			return a.explain(err)
		},
	}
	cmd.Flags().StringVarP(&s.project, "project", "p", "", "project (the overview: all; names: "+lb.DefaultProject+")")
	return cmd
}

// overview shows all nodes and load balancers.
func (a *app) overview(ctx context.Context, c *client, s *scope) error {
	nodeKind, lbKind := kindFor(lb.KindNode), kindFor(lb.KindLoadBalancer)
	nodes, err := nodeKind.list(ctx, c, "")
	if err != nil {
		return err
	}
	lbs, err := lbKind.list(ctx, c, "projects/"+or(s.project, "-"))
	if err != nil {
		return err
	}
	var problems []string
	for _, m := range nodes {
		problems = append(problems, a.nodeProblems(m.(*fiberlbv1.Node))...)
	}
	for _, m := range lbs {
		problems = append(problems, loadBalancerProblems(m.(*fiberlbv1.LoadBalancer))...)
	}
	a.section(nodeKind, "node", nodes)
	a.section(lbKind, "load balancer", lbs)
	if len(nodes) == 0 && len(lbs) > 0 {
		problems = append(problems, "no node is connected: nothing serves traffic under a new configuration")
	}
	a.printProblems(problems)
	return nil
}

func (a *app) section(k *kind, noun string, messages []proto.Message) {
	a.printf("%s\n", a.terminal.painted(bold, plural(len(messages), noun)))
	if len(messages) > 0 {
		a.printTable(k, messages, false)
	}
	a.printf("\n")
}

// statusOf shows one load balancer with what is in it.
func (a *app) statusOf(ctx context.Context, c *client, name string) error {
	configs, err := c.export(ctx, name)
	if err != nil {
		return err
	}
	for _, m := range configs {
		a.section(kindFor(lb.KindLoadBalancer), "load balancer", []proto.Message{ownPart(m)})
		a.section(kindFor(lb.KindListener), "listener", messages(m.GetListeners()))
		a.section(kindFor(lb.KindPool), "pool", messages(m.GetPools()))
		var backends []*fiberlbv1.Backend
		for _, pool := range m.GetPools() {
			backends = append(backends, pool.GetBackends()...)
		}
		a.section(kindFor(lb.KindBackend), "backend", messages(backends))
		if len(m.GetL7Policies()) > 0 {
			a.section(kindFor(lb.KindPolicy), "policy", messages(m.GetL7Policies()))
		}
		if len(m.GetCertificates()) > 0 {
			a.section(kindFor(lb.KindCertificate), "certificate", messages(m.GetCertificates()))
		}
		a.printProblems(loadBalancerProblems(m))
	}
	return nil
}

// ownPart is a configuration without what is in it.
func ownPart(m *fiberlbv1.LoadBalancerConfig) *fiberlbv1.LoadBalancer {
	return &fiberlbv1.LoadBalancer{
		Name: m.GetName(), Project: m.GetProject(), Vips: m.GetVips(), Enabled: m.Enabled, Status: m.GetStatus(), CreatedAt: m.GetCreatedAt(),
		NodeSelector: m.GetNodeSelector(), Labels: m.GetLabels(), Description: m.GetDescription(), FullName: m.GetFullName(),
	}
}

func messages[M proto.Message](list []M) []proto.Message {
	var all []proto.Message
	for _, m := range list {
		all = append(all, m)
	}
	return all
}

// nodeProblems says what is wrong with a node.
func (a *app) nodeProblems(m *fiberlbv1.Node) []string {
	var problems []string
	name := clean(m.GetName())
	if !m.GetConnected() {
		problem := "node " + name + " is not connected"
		if m.GetLastSeen() != nil {
			problem += ", last seen " + span(a.now().Sub(m.GetLastSeen().AsTime())) + " ago"
		}
		problems = append(problems, problem+": it serves its last good configuration, if it runs")
	}
	for _, e := range m.GetErrors() {
		problems = append(problems, fmt.Sprintf("node %s, %s: %s", name, resourceName(e.GetResource()), clean(e.GetMessage())))
	}
	return problems
}

// resourceName is a full name for people: "web, listener front".
func resourceName(full string) string {
	if p, err := lb.ParseName(full); err != nil || p.LB == "" {
		return clean(full)
	}
	return lbOf(full) + ", " + inLB(full)
}

// refusal is what a node says against a load balancer: "listener front: edge-1: address already in use".
func refusal(s *fiberlbv1.Status) string {
	text := clean(or(s.GetRollout().GetLastError(), s.GetReason()))
	if full, words, ok := strings.Cut(text, ": "); ok {
		if _, err := lb.ParseName(full); err == nil {
			return inLB(full) + ": " + words
		}
	}
	return text
}

// loadBalancerProblems says what is wrong with a load balancer.
func loadBalancerProblems(m loadBalancerView) []string {
	status := m.GetStatus()
	rollout := status.GetRollout()
	name := clean(shortName(m.GetProject(), m.GetName()))
	var problems []string
	switch status.GetProvisioningStatus() {
	case fiberlbv1.ProvisioningStatus_PROVISIONING_STATUS_ERROR:
		problems = append(problems, fmt.Sprintf("%s: refused by %d of %s: %s", name, rollout.GetNacked(), plural(int(rollout.GetNodes()), "node"), refusal(status)))
	case fiberlbv1.ProvisioningStatus_PROVISIONING_STATUS_PENDING:
		problems = append(problems, fmt.Sprintf("%s: %d of %s run revision %d", name, rollout.GetAcked(), plural(int(rollout.GetNodes()), "node"), rollout.GetRevision()))
	}
	switch operating := status.GetOperatingStatus(); operating {
	case fiberlbv1.OperatingStatus_OPERATING_STATUS_ERROR, fiberlbv1.OperatingStatus_OPERATING_STATUS_DEGRADED, fiberlbv1.OperatingStatus_OPERATING_STATUS_OFFLINE:
		if m.GetEnabled() {
			problems = append(problems, fmt.Sprintf("%s: %s: %s", name, textform.EnumWord(operating), or(clean(status.GetReason()), "no reason is known")))
		}
	}
	return problems
}

func (a *app) printProblems(problems []string) {
	if len(problems) == 0 {
		a.printf("%s\n", a.terminal.painted(green, "All is well."))
		return
	}
	a.printf("%s\n", a.terminal.painted(alarm, "!! "+plural(len(problems), "problem")))
	for _, problem := range problems {
		a.printf("%s %s\n", a.terminal.painted(alarm, " !"), problem)
	}
}
