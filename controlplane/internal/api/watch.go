package api

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// keptDeletions bounds how many deletions the hub remembers, for watchers that resume.
const keptDeletions = 10_000

// Short names for the words of the API.
const (
	created  = fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_CREATED
	updated  = fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_UPDATED
	deleted  = fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_DELETED
	bookmark = fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_BOOKMARK
	restatus = fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_STATUS
)

// Hub fans one watch of the store out to any number of watchers: it holds what there is, and a mailbox for each of them. A
// mailbox keeps one event of each load balancer, the latest, so that a slow watcher costs memory for what there is, never for
// what happened.
//
// Events come in the order of revisions. The revision of an event is one to resume after: whatever was to be sent up to it has
// been sent, or was overtaken by an event of the same load balancer that comes later. Deletions that share a batch with other
// changes come first in it and bear the revision of the batch before, since the store does not tell theirs.
type Hub struct {
	mu        sync.Mutex
	ready     chan struct{}         // closed when the first batch is in
	moved     chan struct{}         // guarded by mu: closed and replaced with each batch
	revision  int64                 // guarded by mu: of the last batch
	first     int64                 // guarded by mu: deletions up to it are forgotten
	entries   map[store.Key]*held   // guarded by mu
	deletions []deletion            // guarded by mu: by revision
	mailboxes map[*mailbox]struct{} // guarded by mu
}

// held is a load balancer with the revision at which the hub saw it come into being; 0: before the first batch.
type held struct {
	entry *store.Entry
	since int64
}

type deletion struct {
	key      store.Key
	revision int64 // a lower bound
}

// event is one thing to tell a watcher.
type event struct {
	kind     fiberlbv1.WatchEventType
	key      store.Key
	entry    *store.Entry // nil for deletions and bookmarks
	revision int64
	order    int64 // place in the stream
}

// mailbox is the latest of each load balancer that its watcher has not been sent yet.
type mailbox struct {
	wants   func(store.Key) bool
	filled  chan struct{}       // one slot: events are waiting
	pending map[store.Key]event // guarded by Hub.mu
	next    int64               // guarded by Hub.mu: order of the next event
}

// NewHub makes a hub that knows nothing yet.
func NewHub() *Hub {
	return &Hub{ready: make(chan struct{}), moved: make(chan struct{}), entries: map[store.Key]*held{}, mailboxes: map[*mailbox]struct{}{}}
}

// Ready tells whether the first batch is in.
func (h *Hub) Ready() bool {
	select {
	case <-h.ready:
		return true
	default:
		return false
	}
}

// Config takes in one batch of changes. It never waits for a watcher.
func (h *Hub) Config(batch store.Batch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.moved)
	h.moved = make(chan struct{})
	before := h.revision
	h.revision = max(h.revision, batch.Revision)
	if !h.Ready() {
		h.first = h.revision
		defer close(h.ready)
	}
	var gone []store.Key
	for key, old := range h.entries {
		entry, named := batch.LBs[key]
		if named && entry == nil || !named && batch.Reset {
			gone = append(gone, old.key())
		}
	}
	others := false
	for _, entry := range batch.LBs {
		others = others || entry != nil
	}
	h.remove(gone, before, others)

	var arrived []event
	for key, entry := range batch.LBs {
		old := h.entries[key]
		if entry == nil || old != nil && old.entry.Revision == entry.Revision {
			continue
		}
		kind, since := updated, int64(0)
		if old == nil || old.entry.LB.UID != entry.LB.UID {
			kind = created
			if h.Ready() {
				since = entry.Revision
			}
		} else {
			since = old.since
		}
		h.entries[key] = &held{entry: entry, since: since}
		arrived = append(arrived, event{kind: kind, key: key, entry: entry, revision: entry.Revision})
	}
	slices.SortFunc(arrived, func(a, b event) int { return cmp.Compare(a.revision, b.revision) })
	for _, e := range arrived {
		h.post(e)
	}
}

func (h *held) key() store.Key { return store.KeyOf(h.entry.LB) }

// remove forgets load balancers that are gone and tells the watchers.
func (h *Hub) remove(gone []store.Key, before int64, others bool) {
	slices.SortFunc(gone, func(a, b store.Key) int { return cmp.Compare(a.String(), b.String()) })
	for i, key := range gone {
		delete(h.entries, key)
		h.deletions = append(h.deletions, deletion{key: key, revision: before + 1})
		revision := before
		if i == len(gone)-1 && !others {
			revision = h.revision
		}
		h.post(event{kind: deleted, key: key, revision: revision})
	}
	if excess := len(h.deletions) - keptDeletions; excess > 0 {
		h.first = max(h.first, h.deletions[excess-1].revision)
		h.deletions = slices.Clone(h.deletions[excess:])
	}
}

// Status says that the status of load balancers is another one.
func (h *Hub) Status(keys []store.Key) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range keys {
		if old := h.entries[key]; old != nil {
			h.post(event{kind: restatus, key: key, entry: old.entry, revision: h.revision})
		}
	}
}

// post puts an event into every mailbox that wants it. The caller holds mu.
func (h *Hub) post(e event) {
	for box := range h.mailboxes {
		if box.wants(e.key) {
			box.put(e)
		}
	}
}

// put replaces what waits about the load balancer. The caller holds Hub.mu.
func (b *mailbox) put(e event) {
	old, waiting := b.pending[e.key]
	switch {
	case waiting && e.kind == restatus:
		// What waits is sent with the status of that moment.
		return
	case waiting && old.kind == created && e.kind == updated, waiting && old.kind == deleted && e.kind == updated:
		e.kind = created
	}
	b.next++
	e.order = b.next
	b.pending[e.key] = e
	select {
	case b.filled <- struct{}{}:
	default:
	}
}

// errForgotten answers a watcher that resumes after what the hub does not know any more.
func errForgotten(after, first int64) error {
	return status.Errorf(codes.OutOfRange,
		"after_revision: changes after %d are no longer known, only those after %d: watch from the beginning, with 0", after, first)
}

// subscribe makes a mailbox with what a watcher that resumes after a revision, or begins with 0, has to be sent first; the
// revision up to which that is everything comes with it.
func (h *Hub) subscribe(ctx context.Context, after int64, wants func(store.Key) bool) (*mailbox, int64, error) {
	if err := h.Wait(ctx); err != nil {
		return nil, 0, status.FromContextError(err).Err()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if after != 0 && after < h.first {
		return nil, 0, errForgotten(after, h.first)
	}
	box := &mailbox{wants: wants, filled: make(chan struct{}, 1), pending: map[store.Key]event{}}
	if after != 0 {
		for _, d := range h.deletions {
			if d.revision > after && wants(d.key) {
				box.put(event{kind: deleted, key: d.key, revision: max(after, d.revision-1)})
			}
		}
	}
	all := slices.SortedFunc(maps.Values(h.entries), func(a, b *held) int {
		return cmp.Or(cmp.Compare(a.entry.Revision, b.entry.Revision), cmp.Compare(a.key().String(), b.key().String()))
	})
	for _, one := range all {
		if !wants(one.key()) || one.entry.Revision <= after {
			continue
		}
		kind := updated
		if after == 0 || one.since > after {
			kind = created
		}
		box.put(event{kind: kind, key: one.key(), entry: one.entry, revision: one.entry.Revision})
	}
	h.mailboxes[box] = struct{}{}
	return box, h.revision, nil
}

func (h *Hub) unsubscribe(box *mailbox) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.mailboxes, box)
}

// take empties a mailbox, in order.
func (h *Hub) take(box *mailbox) []event {
	h.mu.Lock()
	defer h.mu.Unlock()
	events := slices.SortedFunc(maps.Values(box.pending), func(a, b event) int { return cmp.Compare(a.order, b.order) })
	clear(box.pending)
	return events
}

// reach blocks until the hub has heard of a revision.
func (h *Hub) reach(ctx context.Context, revision int64) error {
	if err := h.Wait(ctx); err != nil {
		return err
	}
	for {
		h.mu.Lock()
		there, moved := h.revision >= revision, h.moved
		h.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// claimed gives [*store.VIPTakenError] where an address of l belongs to another load balancer, as far as the hub has heard, but
// at least as of a revision: good enough for a dry run, while a write learns the truth from the store.
func (h *Hub) claimed(ctx context.Context, l *lb.LoadBalancer, asOf int64) error {
	if err := h.reach(ctx, asOf); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for key, other := range h.entries {
		if key == store.KeyOf(l) {
			continue
		}
		for _, vip := range l.VIPs {
			if slices.Contains(other.entry.LB.VIPs, vip) {
				return &store.VIPTakenError{VIP: vip.String(), Owner: key.String()}
			}
		}
	}
	return nil
}

// Revision is that of the last batch.
func (h *Hub) Revision() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.revision
}

// Wait blocks until the first batch is in.
func (h *Hub) Wait(ctx context.Context) error {
	select {
	case <-h.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// checkFuture refuses to resume after a revision that the store has not reached: it is of another cluster, or made up.
func (s *Server) checkFuture(ctx context.Context, after int64) error {
	if after == 0 {
		return nil
	}
	page, err := s.store.List(ctx, store.ListOptions{Limit: 1})
	if err != nil {
		return s.answer(err)
	}
	if after > page.Revision {
		return status.Errorf(codes.OutOfRange,
			"after_revision: %d is in the future, the store is at %d: watch from the beginning, with 0", after, page.Revision)
	}
	return nil
}

// Watch streams load balancers as they change.
func (c configService) Watch(req *fiberlbv1.WatchRequest, stream fiberlbv1.ConfigService_WatchServer) error {
	wants, err := watched(req.GetName())
	if err != nil {
		return err
	}
	if req.GetAfterRevision() < 0 {
		return fieldError("after_revision", "%d is below 0", req.GetAfterRevision())
	}
	ctx := stream.Context()
	if err := c.s.checkFuture(ctx, req.GetAfterRevision()); err != nil {
		return err
	}
	box, revision, err := c.s.hub.subscribe(ctx, req.GetAfterRevision(), wants)
	if err != nil {
		return err
	}
	defer c.s.hub.unsubscribe(box)
	c.s.metrics.watchers.Inc()
	defer c.s.metrics.watchers.Dec()

	sent := req.GetAfterRevision()
	for begun := false; ; begun = true {
		for _, e := range c.s.hub.take(box) {
			// The order of events is that of revisions; a status bears the one that the watcher has come to.
			if e.kind == restatus {
				e.revision = sent
			}
			sent = max(sent, e.revision)
			if err := stream.Send(c.s.event(e)); err != nil {
				return err
			}
		}
		if !begun {
			sent = max(sent, revision)
			if err := stream.Send(&fiberlbv1.WatchResponse{Type: bookmark, Revision: sent}); err != nil {
				return err
			}
		}
		select {
		case <-box.filled:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-c.s.stopping:
			return status.Error(codes.Unavailable, "the controller stops; watch again, after the last revision")
		}
	}
}

// event turns an event into its message, with the status of this moment.
func (s *Server) event(e event) *fiberlbv1.WatchResponse {
	out := &fiberlbv1.WatchResponse{Type: e.kind, Revision: e.revision}
	if e.entry != nil {
		out.Config = s.complete(e.entry)
	} else {
		out.Config = &fiberlbv1.LoadBalancerConfig{
			Name: e.key.LB, Project: e.key.Project, FullName: lb.LoadBalancerName(e.key.Project, e.key.LB),
		}
	}
	return out
}

// watched tells which load balancers the name of a watch or an export is about.
func watched(name string) (func(store.Key) bool, error) {
	scope, err := exportScope(name)
	if err != nil {
		return nil, err
	}
	return func(key store.Key) bool { return scope.matches(ids{key.Project, key.LB}) }, nil
}
