package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

const loadBalancerNoun = "load balancer"

type loadBalancerService struct {
	fiberlbv1.UnimplementedLoadBalancerServiceServer
	s *Server
}

// copyOwn copies the fields that a load balancer has with and without what is in it; they bear the same names in both messages.
func copyOwn(to, from protoreflect.Message) {
	fields := (&fiberlbv1.LoadBalancer{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		name := fields.Get(i).Name()
		target, source := to.Descriptor().Fields().ByName(name), from.Descriptor().Fields().ByName(name)
		if from.Has(source) {
			to.Set(target, from.Get(source))
		} else {
			to.Clear(target)
		}
	}
}

// own gives the load balancer without what is in it.
func own(config *fiberlbv1.LoadBalancerConfig) *fiberlbv1.LoadBalancer {
	x := &fiberlbv1.LoadBalancer{}
	copyOwn(x.ProtoReflect(), config.ProtoReflect())
	return x
}

// nameOwn has violations of the load balancer's own fields bear the request's name for it.
func (e *edit) nameOwn(field string) {
	fields := (&fiberlbv1.LoadBalancer{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		name := string(fields.Get(i).Name())
		e.name(name, field+"."+name)
	}
}

func (v loadBalancerService) CreateLoadBalancer(ctx context.Context, req *fiberlbv1.CreateLoadBalancerRequest) (*fiberlbv1.LoadBalancer, error) {
	const field = "load_balancer"
	parent, err := projectPattern.parse(req.GetParent(), false)
	if err != nil {
		return nil, fieldError("parent", "%v", err)
	}
	x := req.GetLoadBalancer()
	switch {
	case x == nil:
		return nil, fieldError(field, "required")
	case x.GetName() == "":
		return nil, fieldError(field+".name", "required: give the load balancer a name that is unique in its project")
	case x.GetProject() != "" && x.GetProject() != parent[0]:
		return nil, fieldError(field+".project", "%q is not %q, the project that parent names", x.GetProject(), parent[0])
	}
	asked := proto.CloneOf(x)
	clearOutput(asked.ProtoReflect())
	asked.Project = parent[0]
	e := &edit{config: &fiberlbv1.LoadBalancerConfig{}}
	copyOwn(e.config.ProtoReflect(), asked.ProtoReflect())
	e.nameOwn(field)
	next, err := v.s.parse(e)
	if err != nil {
		return nil, err
	}
	var after *store.Entry
	err = v.s.swap(ctx, parent[0], x.GetName(), req, func(request store.Request) error {
		after, err = v.s.createEntry(ctx, next, request, req.GetValidateOnly())
		return err
	})
	if err != nil {
		return nil, err
	}
	return v.s.alone(after), nil
}

// createEntry writes a new load balancer, or tells whether it could; repeated requests get what the first one made.
func (s *Server) createEntry(ctx context.Context, next *lb.LoadBalancer, request store.Request, dry bool) (*store.Entry, error) {
	full := lb.LoadBalancerName(next.Project, next.Name)
	present, err := s.store.Get(ctx, next.Project, next.Name)
	switch {
	case err == nil:
		if repeated, err := present.FindRequest(request); repeated || err != nil {
			return present, err
		}
		return nil, alreadyExists(loadBalancerNoun, full)
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	case dry:
		return &store.Entry{LB: next}, s.writable(ctx, next)
	}
	after, err := s.store.Create(ctx, next, request)
	if errors.Is(err, store.ErrExists) {
		return nil, alreadyExists(loadBalancerNoun, full)
	}
	if err != nil {
		return nil, err
	}
	s.wrote(after.Revision)
	return after, nil
}

func (v loadBalancerService) GetLoadBalancer(ctx context.Context, req *fiberlbv1.GetRequest) (*fiberlbv1.LoadBalancer, error) {
	names, err := loadBalancerPattern.parse(req.GetName(), false)
	if err != nil {
		return nil, fieldError("name", "%v", err)
	}
	entry, err := v.s.store.Get(ctx, names[0], names[1])
	if errors.Is(err, store.ErrNotFound) {
		return nil, notFound(loadBalancerNoun, req.GetName())
	}
	if err != nil {
		return nil, v.s.answer(err)
	}
	return v.s.alone(entry), nil
}

func (v loadBalancerService) ListLoadBalancers(ctx context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListLoadBalancersResponse, error) {
	parent, err := projectPattern.parse(req.GetParent(), true)
	if err != nil {
		return nil, fieldError("parent", "%v", err)
	}
	out := &fiberlbv1.ListLoadBalancersResponse{}
	out.NextPageToken, err = v.s.page(ctx, parent, "load balancers "+req.GetParent(), req.GetPageSize(), req.GetPageToken(), func(entry *store.Entry) {
		out.LoadBalancers = append(out.LoadBalancers, v.s.alone(entry))
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (v loadBalancerService) UpdateLoadBalancer(ctx context.Context, req *fiberlbv1.UpdateLoadBalancerRequest) (*fiberlbv1.LoadBalancer, error) {
	const field = "load_balancer"
	names, err := loadBalancerPattern.parse(req.GetName(), false)
	if err != nil {
		return nil, fieldError("name", "%v", err)
	}
	if req.GetLoadBalancer() == nil {
		return nil, fieldError(field, "required")
	}
	etag, err := condition(req.GetEtag(), req.GetLoadBalancer().GetEtag(), field)
	if err != nil {
		return nil, err
	}
	out, err := v.s.write(ctx, writing{
		project: names[0], lb: names[1], request: req,
		edit: func(e *edit) error {
			present := own(e.config)
			if etag != "" && etag != present.GetEtag() {
				return etagMismatch(loadBalancerNoun, req.GetName(), etag, present.GetEtag())
			}
			masked := update{
				target: present.ProtoReflect(), source: req.GetLoadBalancer().ProtoReflect(), noun: loadBalancerNoun, field: field,
				immutable: []protoreflect.Name{"name", "project"}, derived: maskIsDerived(ctx),
			}
			if violations := masked.apply(req.GetUpdateMask()); len(violations) > 0 {
				return violationsError(violations)
			}
			copyOwn(e.config.ProtoReflect(), present.ProtoReflect())
			e.nameOwn(field)
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return v.s.alone(out.entry), nil
}

func (v loadBalancerService) DeleteLoadBalancer(ctx context.Context, req *fiberlbv1.DeleteRequest) (*emptypb.Empty, error) {
	names, err := loadBalancerPattern.parse(req.GetName(), false)
	if err != nil {
		return nil, fieldError("name", "%v", err)
	}
	err = v.s.swap(ctx, names[0], names[1], req, func(request store.Request) error {
		return v.s.deleteEntry(ctx, names, req, request)
	})
	if status.Code(err) == codes.NotFound && req.GetAllowMissing() {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func (s *Server) deleteEntry(ctx context.Context, names ids, req *fiberlbv1.DeleteRequest, request store.Request) error {
	entry, err := s.store.Get(ctx, names[0], names[1])
	if errors.Is(err, store.ErrNotFound) {
		if repeated, err := s.store.FindDeleted(ctx, names[0], names[1], request); repeated || err != nil {
			return err
		}
		return notFound(loadBalancerNoun, req.GetName())
	}
	if err != nil {
		return err
	}
	if present := entry.LB.Etag(); req.GetEtag() != "" && req.GetEtag() != present {
		return etagMismatch(loadBalancerNoun, req.GetName(), req.GetEtag(), present)
	}
	if has := contents(entry.LB); has != "" && !req.GetCascade() {
		return precondition("%s %q: has %s; delete them first, or all at once with cascade (fiberctl delete --cascade)", loadBalancerNoun, req.GetName(), has)
	}
	if req.GetValidateOnly() {
		return nil
	}
	return s.store.Delete(ctx, entry, request)
}

// contents says how much of what is in a load balancer; "" where there is nothing.
func contents(l *lb.LoadBalancer) string {
	var parts []string
	for _, part := range []struct {
		count int
		noun  string
	}{
		{len(l.Listeners), "listener(s)"}, {len(l.Policies), "policy(s)"}, {len(l.Pools), "pool(s)"}, {len(l.Certificates), "certificate(s)"},
	} {
		if part.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.count, part.noun))
		}
	}
	return strings.Join(parts, ", ")
}
