package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// Bounds between two looks at a rollout: most are over within milliseconds, others take their time.
const (
	shortestLook = 2 * time.Millisecond
	longestLook  = 250 * time.Millisecond
)

// wait returns when every node that serves the load balancer runs at least the written revision. A refusal ends it at once, in
// the words of the node.
func (a *app) wait(ctx context.Context, c *client, w written) error {
	p := progress{a: a}
	defer p.end()
	last := &fiberlbv1.Rollout{}
	for pause := shortestLook; ; pause = min(2*pause, longestLook) {
		m, err := c.loadBalancers.GetLoadBalancer(ctx, &fiberlbv1.GetRequest{Name: w.name})
		switch {
		case ctx.Err() != nil:
			return a.tooLate(ctx, w, last)
		case status.Code(err) == codes.NotFound:
			return fmt.Errorf("%s: was deleted while waiting", lbOf(w.name))
		case status.Code(err) == codes.DeadlineExceeded:
			return a.tooLate(ctx, w, last)
		case status.Code(err) == codes.Unavailable:
			// A controller that restarts, or another one, will tell.
		case err != nil:
			return a.explain(err)
		default:
			if last = m.GetStatus().GetRollout(); last.GetRevision() >= w.revision {
				switch {
				case last.GetNacked() > 0:
					return fmt.Errorf("%s: %s refused it: %s", lbOf(w.name), plural(int(last.GetNacked()), "node"), refusal(m.GetStatus()))
				case last.GetNodes() > 0 && last.GetAcked() >= last.GetNodes():
					p.end()
					a.printf("%s: in force on %s\n", lbOf(w.name), plural(int(last.GetNodes()), "node"))
					return nil
				}
			}
		}
		p.show(fmt.Sprintf("%s: %d of %s run revision %d", lbOf(w.name), last.GetAcked(), plural(int(last.GetNodes()), "node"), w.revision))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return a.tooLate(ctx, w, last)
		}
	}
}

// tooLate tells what was still missing when the time was over.
func (a *app) tooLate(ctx context.Context, w written, last *fiberlbv1.Rollout) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%s: written, but not waited for: interrupted", lbOf(w.name))
	}
	switch {
	case last.GetRevision() < w.revision:
		return fmt.Errorf("%s: written, but the controller did not tell in time how its rollout goes", lbOf(w.name))
	case last.GetNodes() == 0:
		return &hintError{lbOf(w.name) + ": written, but no node serves it: none is connected, or none has the labels that its node_selector wants", "See 'fiberctl get nodes'."}
	}
	return &hintError{
		fmt.Sprintf("%s: written, but only %d of %s run it after the time given", lbOf(w.name), last.GetAcked(), plural(int(last.GetNodes()), "node")),
		"See 'fiberctl status'; wait longer with --timeout.",
	}
}

// progress is one line of a terminal that is written over and over.
type progress struct {
	a     *app
	shown string
}

func (p *progress) show(line string) {
	if p.a.terminal.progress && line != p.shown {
		p.shown = line
		fmt.Fprintf(p.a.err, "\r\x1b[K%s", line)
	}
}

// end takes the line away.
func (p *progress) end() {
	if p.shown != "" {
		p.shown = ""
		fmt.Fprint(p.a.err, "\r\x1b[K")
	}
}
