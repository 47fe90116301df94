package api

import (
	"context"
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/lbpb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

type configService struct {
	fiberlbv1.UnimplementedConfigServiceServer
	s *Server
}

// applied is what a whole configuration comes to over what is stored.
type applied struct {
	present *store.Entry // nil: there is none
	next    *lb.LoadBalancer
	changes []lb.Change
}

// compare parses a configuration over the load balancer that is stored under its name. Violations bear paths in the configuration.
func (s *Server) compare(ctx context.Context, config *fiberlbv1.LoadBalancerConfig) (*applied, error) {
	if config == nil {
		return nil, fieldError("config", "required")
	}
	a := &applied{}
	project := config.GetProject()
	if project == "" {
		project = lb.DefaultProject
	}
	// Names that are no names come out as violations, with all others.
	if lb.ValidName(project) == nil && lb.ValidName(config.GetName()) == nil {
		present, err := s.store.Get(ctx, project, config.GetName())
		switch {
		case err == nil:
			a.present = present
		case !errors.Is(err, store.ErrNotFound):
			return nil, err
		}
	}
	var over *lb.LoadBalancer
	if a.present != nil {
		over = a.present.LB
	}
	next, violations := lbpb.FromConfig(config, lbpb.Over(over), lbpb.WithAddresses(s.addresses))
	if err := violationsError(violations); err != nil {
		return nil, err
	}
	a.next, a.changes = next, lb.Diff(over, next)
	return a, nil
}

// Apply writes a whole load balancer.
func (c configService) Apply(ctx context.Context, req *fiberlbv1.ApplyRequest) (*fiberlbv1.ApplyResponse, error) {
	s := c.s
	var out *fiberlbv1.ApplyResponse
	project := req.GetConfig().GetProject()
	err := s.swap(ctx, project, req.GetConfig().GetName(), req, func(request store.Request) error {
		a, err := s.compare(ctx, req.GetConfig())
		if err != nil {
			return err
		}
		after := a.present
		if after != nil {
			if repeated, err := after.FindRequest(request); err != nil {
				return err
			} else if repeated {
				out = &fiberlbv1.ApplyResponse{Config: s.complete(after), Revision: after.Revision}
				return nil
			}
		}
		if err := checkEtag(req.GetEtag(), a); err != nil {
			return err
		}
		switch {
		case req.GetValidateOnly():
			err = s.writable(ctx, a.next)
			revision := int64(0)
			if a.present != nil {
				revision = a.present.Revision
			}
			after = &store.Entry{LB: a.next, Revision: revision}
		case a.present == nil:
			after, err = s.store.Create(ctx, a.next, request)
			if errors.Is(err, store.ErrExists) {
				// Somebody was faster; what this means over theirs is for the next attempt.
				err = store.ErrConflict
			}
		default:
			after, err = s.store.Update(ctx, a.present, a.next, request)
		}
		if err != nil {
			return err
		}
		s.wrote(after.Revision)
		out = &fiberlbv1.ApplyResponse{Config: s.complete(after), Changes: changes(a.changes), Revision: after.Revision}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// checkEtag holds the condition of an Apply against what is stored.
func checkEtag(etag string, a *applied) error {
	if etag == "" {
		return nil
	}
	full := lb.LoadBalancerName(a.next.Project, a.next.Name)
	if a.present == nil {
		return etagMismatch(loadBalancerNoun, full, etag, "none, since it does not exist")
	}
	if present := a.present.LB.Etag(); present != etag {
		return etagMismatch(loadBalancerNoun, full, etag, present)
	}
	return nil
}

// Plan tells what Apply would do.
func (c configService) Plan(ctx context.Context, req *fiberlbv1.PlanRequest) (*fiberlbv1.PlanResponse, error) {
	a, err := c.s.compare(ctx, req.GetConfig())
	if err != nil {
		return nil, c.s.answer(err)
	}
	if err := c.s.writable(ctx, a.next); err != nil {
		return nil, c.s.answer(err)
	}
	out := &fiberlbv1.PlanResponse{Changes: changes(a.changes)}
	if a.present != nil {
		out.Etag = a.present.LB.Etag()
	}
	return out, nil
}

// changes turns differences into messages.
func changes(list []lb.Change) []*fiberlbv1.Change {
	var out []*fiberlbv1.Change
	for _, change := range list {
		m := &fiberlbv1.Change{Action: fiberlbv1.ChangeAction(change.Action), Resource: change.Resource}
		for _, field := range change.Fields {
			m.Fields = append(m.Fields, &fiberlbv1.FieldChange{Path: field.Path, Before: field.Before, After: field.After})
		}
		out = append(out, m)
	}
	return out
}

// Export gives whole load balancers.
func (c configService) Export(ctx context.Context, req *fiberlbv1.ExportRequest) (*fiberlbv1.ExportResponse, error) {
	scope, err := exportScope(req.GetName())
	if err != nil {
		return nil, err
	}
	out := &fiberlbv1.ExportResponse{}
	if scope[1] != wildcard && scope[0] != wildcard {
		if req.GetPageToken() != "" {
			return nil, fieldError("page_token", "%v", errToken)
		}
		if _, err := pageSize(req.GetPageSize()); err != nil {
			return nil, err
		}
		entry, err := c.s.store.Get(ctx, scope[0], scope[1])
		if errors.Is(err, store.ErrNotFound) {
			return nil, notFound(loadBalancerNoun, req.GetName())
		}
		if err != nil {
			return nil, c.s.answer(err)
		}
		out.Configs = append(out.Configs, c.s.complete(entry))
		return out, nil
	}
	if scope[1] != wildcard {
		return nil, fieldError("name", "%q names one load balancer in all projects: name the project too", req.GetName())
	}
	bytes := 0
	out.NextPageToken, err = c.s.page(ctx, scope, "export "+req.GetName(), req.GetPageSize(), req.GetPageToken(), func(entry *store.Entry) {
		config := c.s.complete(entry)
		bytes += proto.Size(config)
		out.Configs = append(out.Configs, config)
	})
	if err != nil {
		return nil, err
	}
	if bytes > MaxMessage {
		return nil, fieldError("page_size", "the page takes %d bytes, more than %d; ask for fewer load balancers", bytes, MaxMessage)
	}
	return out, nil
}
