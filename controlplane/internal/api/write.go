package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/backoff"
	"github.com/fiberlb/fiberlb/pkg/canon"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/lbpb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// Bounds of one write.
const (
	maxTries     = 50 // compare-and-swaps of one head before the caller is told to come again
	maxRequestID = 64 // bytes
	maxRetryWait = 50 * time.Millisecond
)

// writing is one change of one load balancer, whatever is inside of it.
type writing struct {
	project, lb string
	request     writeRequest
	// edit changes the configuration, or refuses to. It runs anew on the present state after every conflict, so it must do all
	// its checks, etags among them, each time.
	edit func(*edit) error
}

// edit is a load balancer's configuration under an edit: complete, and the editor's own. Origins have to be told of
// messages of objects before these are changed.
type edit struct {
	config  *fiberlbv1.LoadBalancerConfig
	origins lbpb.Origins
	present *lb.LoadBalancer // nil: there is none yet
	// What the request calls the objects that it writes: paths in the configuration and what stands for them in violations.
	names []renamed
}

type renamed struct{ path, name string }

// name says what the request calls the object at a path of the configuration.
func (e *edit) name(path, name string) { e.names = append(e.names, renamed{path, name}) }

// outcome is the load balancer after a write, as it is, or with validate_only would be, stored.
type outcome struct {
	entry    *store.Entry
	repeated bool // the request was carried out before, and nothing was done now
}

// write makes one change of a load balancer that exists, by compare-and-swap of its head.
func (s *Server) write(ctx context.Context, w writing) (outcome, error) {
	var out outcome
	full := lb.LoadBalancerName(w.project, w.lb)
	err := s.swap(ctx, w.project, w.lb, w.request, func(request store.Request) error {
		entry, err := s.store.Get(ctx, w.project, w.lb)
		if errors.Is(err, store.ErrNotFound) {
			return notFound("load balancer", full)
		}
		if err != nil {
			return err
		}
		if repeated, err := entry.FindRequest(request); repeated || err != nil {
			out = outcome{entry, true}
			return err
		}
		e := &edit{present: entry.LB}
		e.config, e.origins = lbpb.ToDraft(entry.LB)
		if err := w.edit(e); err != nil {
			return err
		}
		next, err := s.parse(e)
		if err != nil {
			return err
		}
		after := &store.Entry{LB: next, Revision: entry.Revision}
		if w.request.GetValidateOnly() {
			err = s.writable(ctx, next)
		} else {
			after, err = s.store.Update(ctx, entry, next, request)
		}
		if err != nil {
			return err
		}
		s.wrote(after.Revision)
		out = outcome{after, after.Repeated}
		return nil
	})
	return out, err
}

// swap runs one attempt at a write until it no longer meets a conflict, and turns its error into an answer. Writers of the same
// load balancer take turns.
func (s *Server) swap(ctx context.Context, project, name string, req writeRequest, attempt func(store.Request) error) error {
	request, err := requestOf(req)
	if err != nil {
		return err
	}
	unlock, err := s.turns.take(ctx, project, name)
	if err != nil {
		return err
	}
	defer unlock()

	wait := backoff.Backoff{Base: time.Millisecond, Limit: maxRetryWait}
	for range maxTries {
		err := attempt(request)
		if !errors.Is(err, store.ErrConflict) {
			return s.answer(err)
		}
		s.metrics.conflicts.Inc()
		if err := wait.Wait(ctx); err != nil {
			return s.answer(err)
		}
	}
	return status.Errorf(codes.Aborted, "load balancer %q: others write it all the time; try again", lb.LoadBalancerName(project, name))
}

// parse gives the load balancer that an edited configuration means, or every violation in it, in the request's own words.
func (s *Server) parse(e *edit) (*lb.LoadBalancer, error) {
	next, violations := lbpb.FromConfig(e.config, lbpb.Unedited(e.origins), lbpb.Over(e.present), lbpb.WithAddresses(s.addresses))
	for i := range violations {
		violations[i].Path = e.translate(violations[i].Path)
	}
	return next, violationsError(violations)
}

// writable tells what a write would be refused for that only the store knows.
func (s *Server) writable(ctx context.Context, l *lb.LoadBalancer) error {
	if !s.sealing {
		for _, c := range l.Certificates {
			if !c.Key.IsZero() {
				return store.ErrNoSealer
			}
		}
	}
	return s.hub.claimed(ctx, l, s.written.Load())
}

// translate turns a path in the whole configuration into one that tells the caller something: that of the request where the
// fault lies in what the request wrote, and names instead of indices elsewhere.
func (e *edit) translate(path string) string {
	for _, r := range e.names {
		if rest, ok := strings.CutPrefix(path, r.path); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return strings.TrimPrefix(r.name+rest, ".")
		}
	}
	return named(e.config.ProtoReflect(), path)
}

// named replaces the indices in a path by the names of the objects there: "l7_policies[2].rules[0]" by
// "l7_policies[api].rules[x]".
func named(m protoreflect.Message, path string) string {
	var out strings.Builder
	for path != "" {
		segment, rest, more := strings.Cut(path, ".")
		word, index := segment, -1
		if open := strings.IndexByte(segment, '['); open > 0 {
			word = segment[:open]
			if _, err := fmt.Sscanf(segment[open:], "[%d]", &index); err != nil {
				index = -1
			}
		}
		field := m.Descriptor().Fields().ByName(protoreflect.Name(word))
		if field == nil || field.Message() == nil || field.IsMap() || field.IsList() != (index >= 0) {
			break
		}
		next := protoreflect.Message(nil)
		if !field.IsList() {
			next = m.Get(field).Message()
		} else if list := m.Get(field).List(); index < list.Len() {
			next = list.Get(index).Message()
		} else {
			break
		}
		out.WriteString(word)
		if id := next.Descriptor().Fields().ByName("name"); index >= 0 && id != nil && next.Get(id).String() != "" {
			out.WriteString("[" + next.Get(id).String() + "]")
		} else {
			out.WriteString(segment[len(word):])
		}
		if more {
			out.WriteByte('.')
		}
		m, path = next, rest
	}
	return out.String() + path
}

// requestOf gives what makes a repetition of the request known: its fingerprint is a hash over method and content.
func requestOf(req writeRequest) (store.Request, error) {
	id := req.GetRequestId()
	if id == "" {
		return store.Request{}, nil
	}
	if len(id) > maxRequestID {
		return store.Request{}, fieldError("request_id", "has %d bytes, more than %d", len(id), maxRequestID)
	}
	h := sha256.New()
	h.Write([]byte(req.ProtoReflect().Descriptor().FullName()))
	if parent, ok := req.(interface{ GetName() string }); ok {
		// DeleteRequest serves all kinds; its name tells them apart.
		h.Write([]byte{0})
		h.Write([]byte(parent.GetName()))
	}
	h.Write([]byte{0})
	h.Write(canon.Marshal(req))
	return store.Request{ID: id, Fingerprint: h.Sum(nil)}, nil
}

// condition joins the two places where an update can carry an etag.
func condition(request, object, field string) (string, error) {
	if request != "" && object != "" && request != object {
		return "", fieldError("etag", "%s is not %s.etag, %s; give one, or the same twice", request, field, object)
	}
	if request != "" {
		return request, nil
	}
	return object, nil
}

// clearOutput forgets what a client wrote into fields that only the server fills in, nested objects included.
func clearOutput(m protoreflect.Message) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case isOutput(field):
			m.Clear(field)
		case mergeable(field):
			clearOutput(value.Message())
		case field.IsList() && field.Message() != nil:
			for i := range value.List().Len() {
				clearOutput(value.List().Get(i).Message())
			}
		}
		return true
	})
}

// turns has the writers of one load balancer on this replica take turns, so that they do not fail one another's
// compare-and-swap; writers on other replicas still can. Load balancers that share a slot wait for one another needlessly,
// which costs a few milliseconds.
type turns struct {
	seed  maphash.Seed
	slots [256]chan struct{}
}

func newTurns() *turns {
	t := &turns{seed: maphash.MakeSeed()}
	for i := range t.slots {
		t.slots[i] = make(chan struct{}, 1)
	}
	return t
}

func (t *turns) take(ctx context.Context, project, name string) (unlock func(), err error) {
	slot := t.slots[maphash.String(t.seed, project+"/"+name)%uint64(len(t.slots))]
	select {
	case slot <- struct{}{}:
		return func() { <-slot }, nil
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// wrote notes the revision of a write, so that later dry runs are no older.
func (s *Server) wrote(revision int64) {
	for {
		last := s.written.Load()
		if last >= revision || s.written.CompareAndSwap(last, revision) {
			return
		}
	}
}

// complete gives the configuration of an entry with everything that is output only, status included.
func (s *Server) complete(entry *store.Entry) *fiberlbv1.LoadBalancerConfig {
	config := lbpb.ToConfig(entry.LB)
	s.status.View(entry.LB, entry.Revision).Attach(config, s.now())
	return config
}

// alone gives the load balancer of an entry without what is in it, with its status.
func (s *Server) alone(entry *store.Entry) *fiberlbv1.LoadBalancer {
	x := lbpb.ToLoadBalancer(entry.LB)
	x.Status = s.status.View(entry.LB, entry.Revision).LoadBalancer()
	return x
}
