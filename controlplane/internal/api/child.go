package api

import (
	"context"
	"errors"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// writeRequest is what all requests that write have in common.
type writeRequest interface {
	proto.Message
	GetValidateOnly() bool
	GetRequestId() string
}

type createRequest interface {
	writeRequest
	GetParent() string
}

type updateRequest interface {
	writeRequest
	GetName() string
	GetEtag() string
	GetUpdateMask() *fieldmaskpb.FieldMask
}

// get answers a Get call.
func (k *kind[M]) get(ctx context.Context, s *Server, req *fiberlbv1.GetRequest) (M, error) {
	var none M
	names, err := k.form.parse(req.GetName(), false)
	if err != nil {
		return none, fieldError("name", "%v", err)
	}
	entry, err := s.store.Get(ctx, names[0], names[1])
	if errors.Is(err, store.ErrNotFound) {
		return none, notFound(k.noun, req.GetName())
	}
	if err != nil {
		return none, s.answer(err)
	}
	return k.show(s, entry, names)
}

// pick finds the object in a complete configuration.
func (k *kind[M]) pick(config *fiberlbv1.LoadBalancerConfig, names ids) (M, error) {
	last := len(names) - 1
	if place, ok := k.locate(config, names[:last]); ok {
		if i := place.find(names[last]); i >= 0 {
			return place.items[i], nil
		}
	}
	var none M
	return none, notFound(k.noun, k.form.format(names))
}

// create answers a Create call with the object as stored.
func (k *kind[M]) create(ctx context.Context, s *Server, req createRequest, child M) (M, error) {
	var none M
	parent, err := k.form.parent().parse(req.GetParent(), false)
	if err != nil {
		return none, fieldError("parent", "%v", err)
	}
	if !child.ProtoReflect().IsValid() {
		return none, fieldError(k.field, "required")
	}
	name := child.GetName()
	if name == "" && !k.nameless {
		return none, fieldError(k.field+".name", "required: give the %s a name that is unique in its parent", k.noun)
	}
	var before []string
	out, err := s.write(ctx, writing{
		project: parent[0], lb: parent[1], request: req,
		edit: func(e *edit) error {
			place, ok := k.locate(e.config, parent)
			if !ok {
				return missingParent(k.form.parent(), parent)
			}
			if name != "" && place.find(name) >= 0 {
				return alreadyExists(k.noun, k.form.format(append(slices.Clone(parent), name)))
			}
			if place.limit > 0 && len(place.items) >= place.limit {
				return status.Errorf(codes.AlreadyExists, "%s %q: already exists, and there can be no other", k.noun, place.items[0].GetFullName())
			}
			added := proto.CloneOf(child)
			clearOutput(added.ProtoReflect())
			if k.adopt != nil {
				if err := k.adopt(added, parent); err != nil {
					return err
				}
			}
			before = before[:0]
			for _, sibling := range place.children() {
				before = append(before, sibling.GetName())
			}
			e.name(place.path(len(place.items)), k.field)
			e.origins.Touch(place.holder)
			place.put(append(slices.Clip(place.items), added))
			return nil
		},
	})
	if err != nil {
		return none, err
	}
	if out.repeated {
		before = nil
	}
	return k.created(s, out.entry, parent, child, before)
}

// created finds the object that was just added: by its name or, where it got one in normalization, as the one that was not
// there before and that holds what was asked for.
func (k *kind[M]) created(s *Server, entry *store.Entry, parent ids, asked M, before []string) (M, error) {
	if name := asked.GetName(); name != "" {
		return k.show(s, entry, append(slices.Clone(parent), name))
	}
	var added []M
	if place, ok := k.locate(s.complete(entry), parent); ok {
		for _, child := range place.children() {
			if !slices.Contains(before, child.GetName()) {
				added = append(added, child)
			}
		}
	}
	for _, child := range added {
		if len(added) == 1 || holds(child.ProtoReflect(), asked.ProtoReflect()) {
			return child, nil
		}
	}
	var none M
	return none, status.Errorf(codes.Aborted, "%s: it was created, and is gone again", k.noun)
}

// holds tells whether every field that is set in part, and not output only, is the same in whole.
func holds(whole, part protoreflect.Message) bool {
	same := true
	part.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		same = isOutput(field) || value.Equal(whole.Get(field))
		return same
	})
	return same
}

// update answers an Update call with the object as stored.
func (k *kind[M]) update(ctx context.Context, s *Server, req updateRequest, child M) (M, error) {
	var none M
	names, err := k.form.parse(req.GetName(), false)
	if err != nil {
		return none, fieldError("name", "%v", err)
	}
	if !child.ProtoReflect().IsValid() {
		return none, fieldError(k.field, "required")
	}
	etag, err := condition(req.GetEtag(), child.GetEtag(), k.field)
	if err != nil {
		return none, err
	}
	last := len(names) - 1
	out, err := s.write(ctx, writing{
		project: names[0], lb: names[1], request: req,
		edit: func(e *edit) error {
			place, ok := k.locate(e.config, names[:last])
			if !ok {
				return notFound(k.noun, req.GetName())
			}
			i := place.find(names[last])
			if i < 0 {
				return notFound(k.noun, req.GetName())
			}
			present := place.items[i]
			if etag != "" && etag != present.GetEtag() {
				return etagMismatch(k.noun, req.GetName(), etag, present.GetEtag())
			}
			e.origins.Touch(place.holder)
			e.origins.Touch(present)
			masked := update{
				target: present.ProtoReflect(), source: child.ProtoReflect(), noun: k.noun, field: k.field,
				immutable: k.immutable, derived: maskIsDerived(ctx),
			}
			if violations := masked.apply(req.GetUpdateMask()); len(violations) > 0 {
				return violationsError(violations)
			}
			if k.settle != nil {
				k.settle(present, child)
			}
			e.name(place.path(i), k.field)
			return nil
		},
	})
	if err != nil {
		return none, err
	}
	return k.show(s, out.entry, names)
}

// delete answers a Delete call.
func (k *kind[M]) delete(ctx context.Context, s *Server, req *fiberlbv1.DeleteRequest) (*emptypb.Empty, error) {
	names, err := k.form.parse(req.GetName(), false)
	if err != nil {
		return nil, fieldError("name", "%v", err)
	}
	last := len(names) - 1
	_, err = s.write(ctx, writing{
		project: names[0], lb: names[1], request: req,
		edit: func(e *edit) error {
			place, ok := k.locate(e.config, names[:last])
			i := -1
			if ok {
				i = place.find(names[last])
			}
			if i < 0 {
				return notFound(k.noun, req.GetName())
			}
			if present := place.items[i].GetEtag(); req.GetEtag() != "" && req.GetEtag() != present {
				return etagMismatch(k.noun, req.GetName(), req.GetEtag(), present)
			}
			if err := k.free(e.config, names, req.GetCascade()); err != nil {
				return err
			}
			e.origins.Touch(place.holder)
			// A cascade may have moved the list, not this object's place in it.
			place.put(slices.Delete(slices.Clone(place.items), i, i+1))
			return nil
		},
	})
	if status.Code(err) == codes.NotFound && req.GetAllowMissing() {
		return &emptypb.Empty{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// free refuses to delete an object that others use or that has dependents, unless these may go with it.
func (k *kind[M]) free(config *fiberlbv1.LoadBalancerConfig, names ids, cascade bool) error {
	name := names[len(names)-1]
	if k.users != nil {
		if users := k.users(config, name); len(users) > 0 {
			return precondition("%s %q: in use by %s; change or delete them first", k.noun, k.form.format(names), strings.Join(users, ", "))
		}
	}
	if k.dependents != nil {
		if dependents := k.dependents(config, name, cascade); len(dependents) > 0 {
			return precondition("%s %q: has %s; delete them first, or all at once with cascade (fiberctl delete --cascade)", k.noun, k.form.format(names), strings.Join(dependents, ", "))
		}
	}
	return nil
}

// list answers a List call with one page, sorted by full name, and the token of the next.
func (k *kind[M]) list(ctx context.Context, s *Server, req *fiberlbv1.ListRequest) ([]M, string, error) {
	parent, err := k.form.parent().parse(req.GetParent(), true)
	if err != nil {
		return nil, "", fieldError("parent", "%v", err)
	}
	size, err := pageSize(req.GetPageSize())
	if err != nil {
		return nil, "", err
	}
	scope := k.noun + " " + req.GetParent()
	token, err := decodePageToken(req.GetPageToken(), scope)
	if err != nil || !token.within(k.form, parent) {
		return nil, "", fieldError("page_token", "%v", errToken)
	}

	var page []M
	var keys []ids
	found := false
	revision, err := s.scan(ctx, parent, token, func(config *fiberlbv1.LoadBalancerConfig) bool {
		for _, names := range k.parents(config, parent) {
			place, _ := k.locate(config, names)
			found = true
			for _, child := range place.children() {
				key := append(slices.Clone(names), child.GetName())
				// The scan begins with the load balancer of the last item; of those behind it everything is new.
				if len(token.key) > 2 && key[0] == token.key[0] && key[1] == token.key[1] && slices.Compare(key, token.key) <= 0 {
					continue
				}
				page, keys = append(page, child), append(keys, key)
				if len(page) > size {
					return false
				}
			}
		}
		return true
	})
	if err != nil {
		return nil, "", err
	}
	if !found && !parent.hasWildcard(len(parent)) {
		return nil, "", missingParent(k.form.parent(), parent)
	}
	if len(page) <= size {
		return page, "", nil
	}
	return page[:size], pageToken{revision: revision, key: keys[size-1]}.encode(scope), nil
}

// parents gives the names of all objects of the configuration that can hold children of this kind and that match the parent of
// a list, sorted.
func (k *kind[M]) parents(config *fiberlbv1.LoadBalancerConfig, parent ids) []ids {
	root := ids{config.GetProject(), config.GetName()}
	var all []ids
	switch form := k.form.parent(); {
	case len(form) == 2:
		all = []ids{root}
	case form[2] == "pools":
		for _, pool := range config.GetPools() {
			all = append(all, append(slices.Clone(root), pool.GetName()))
		}
	case len(form) == 3:
		for _, listener := range config.GetListeners() {
			all = append(all, append(slices.Clone(root), listener.GetName()))
		}
	default:
		for _, policy := range config.GetL7Policies() {
			all = append(all, append(slices.Clone(root), policy.GetListenerId(), policy.GetName()))
		}
	}
	all = slices.DeleteFunc(all, func(names ids) bool { return !parent.matches(names) })
	slices.SortFunc(all, func(a, b ids) int { return slices.Compare(a, b) })
	return all
}
