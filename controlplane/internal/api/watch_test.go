package api

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/lb"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// watch opens a watch; next gives one event after another as "type name@revision".
func (e *env) watch(request *fiberlbv1.WatchRequest) (next func() *fiberlbv1.WatchResponse, cancel func()) {
	e.t.Helper()
	ctx, cancel := context.WithCancel(e.ctx)
	stream, err := fiberlbv1.NewConfigServiceClient(e.conn).Watch(ctx, request)
	if err != nil {
		e.t.Fatal(err)
	}
	return func() *fiberlbv1.WatchResponse {
		e.t.Helper()
		m, err := stream.Recv()
		if err != nil {
			e.t.Fatal(err)
		}
		return m
	}, cancel
}

func (e *env) expect(m *fiberlbv1.WatchResponse, kind fiberlbv1.WatchEventType, name string) {
	e.t.Helper()
	if m.GetType() != kind || m.GetConfig().GetName() != name {
		e.t.Fatalf("event %v of %q, want %v of %q", m.GetType(), m.GetConfig().GetName(), kind, name)
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	e := newEnv(t, 1)
	first := e.must("ConfigService/Apply", base).(*fiberlbv1.ApplyResponse)
	if err := e.server.hub.reach(e.ctx, first.GetRevision()); err != nil {
		t.Fatal(err)
	}
	next, cancel := e.watch(&fiberlbv1.WatchRequest{})
	m := next()
	e.expect(m, created, "web")
	if m.GetRevision() != first.GetRevision() || len(m.GetConfig().GetPools()) != 2 || m.GetConfig().GetStatus() == nil {
		t.Errorf("created: %v", m)
	}
	m = next()
	e.expect(m, bookmark, "")
	resume := m.GetRevision()
	e.must("LoadBalancerService/CreateLoadBalancer", "parent: projects/other\nload_balancer: {name: two, vips: [203.0.113.2]}")
	e.expect(content(next), created, "two")
	e.must("PoolService/CreatePool", "parent: "+web+"\npool: {name: more, protocol: tcp}")
	m = content(next)
	e.expect(m, updated, "web")
	if len(m.GetConfig().GetPools()) != 3 || m.GetRevision() <= resume {
		t.Errorf("updated: %v", m)
	}
	e.must("LoadBalancerService/DeleteLoadBalancer", "name: projects/other/loadBalancers/two\ncascade: true")
	m = content(next)
	e.expect(m, deleted, "two")
	if m.GetConfig().GetProject() != "other" || len(m.GetConfig().GetVips()) != 0 {
		t.Errorf("deleted: %v", m)
	}
	last := m.GetRevision()

	e.await(func() bool { return e.lease.Put(e.ctx, &storev1.NodeReport{Node: "n1", ConnectedUs: 1}) == nil })
	m = next()
	e.expect(m, restatus, "web")
	if m.GetConfig().GetStatus().GetRollout().GetNodes() != 1 || m.GetRevision() < last {
		t.Errorf("status: %v", m)
	}
	cancel()

	next, cancel = e.watch(&fiberlbv1.WatchRequest{AfterRevision: resume})
	e.expect(next(), deleted, "two")
	e.expect(next(), updated, "web")
	e.expect(next(), bookmark, "")
	cancel()
	next, cancel = e.watch(&fiberlbv1.WatchRequest{AfterRevision: last, Name: "projects/other"})
	e.expect(next(), bookmark, "")
	cancel()

	for _, test := range []struct {
		request *fiberlbv1.WatchRequest
		code    codes.Code
		words   string
	}{
		{&fiberlbv1.WatchRequest{AfterRevision: 1 << 50}, codes.OutOfRange, "in the future"},
		{&fiberlbv1.WatchRequest{AfterRevision: -1}, codes.InvalidArgument, "below 0"},
		{&fiberlbv1.WatchRequest{Name: "nodes/x"}, codes.InvalidArgument, "name"},
	} {
		stream, err := fiberlbv1.NewConfigServiceClient(e.conn).Watch(e.ctx, test.request)
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != test.code || !strings.Contains(err.Error(), test.words) {
			t.Errorf("%v: %v", test.request, err)
		}
	}

	// The server's stop ends watches.
	stream, err := fiberlbv1.NewConfigServiceClient(e.conn).Watch(e.ctx, &fiberlbv1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	e.server.Stop()
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("stopped: %v", err)
	}
}

// content gives the next event that is no status.
func content(next func() *fiberlbv1.WatchResponse) *fiberlbv1.WatchResponse {
	for {
		if m := next(); m.GetType() != restatus {
			return m
		}
	}
}

func hubEntry(name, uid string, revision int64) (store.Key, *store.Entry) {
	l := &lb.LoadBalancer{Project: "p", Meta: lb.Meta{UID: uid}}
	l.Name = name
	return store.KeyOf(l), &store.Entry{LB: l, Revision: revision}
}

func hubBatch(revision int64, reset bool, entries ...any) store.Batch {
	b := store.Batch{Revision: revision, Reset: reset, LBs: map[store.Key]*store.Entry{}}
	for _, x := range entries {
		switch x := x.(type) {
		case *store.Entry:
			b.LBs[store.KeyOf(x.LB)] = x
		case store.Key:
			b.LBs[x] = nil
		}
	}
	return b
}

func words(events []event) string {
	var parts []string
	for _, e := range events {
		word := strings.ToLower(strings.TrimPrefix(e.kind.String(), "WATCH_EVENT_TYPE_"))
		parts = append(parts, fmt.Sprintf("%s %s@%d", word, e.key.LB, e.revision))
	}
	return strings.Join(parts, ", ")
}

func TestHub(t *testing.T) {
	t.Parallel()
	all := func(store.Key) bool { return true }
	hub := NewHub()
	aKey, a1 := hubEntry("a", "1", 5)
	bKey, b1 := hubEntry("b", "1", 4)
	hub.Config(hubBatch(6, true, a1, b1))

	subscribe := func(after int64) *mailbox {
		t.Helper()
		box, _, err := hub.subscribe(t.Context(), after, all)
		if err != nil {
			t.Fatal(err)
		}
		return box
	}
	check := func(box *mailbox, want string) {
		t.Helper()
		if got := words(hub.take(box)); got != want {
			t.Errorf("events %q, want %q", got, want)
		}
	}
	box := subscribe(0)
	slow := subscribe(6)
	check(box, "created b@4, created a@5")
	check(slow, "")

	_, a2 := hubEntry("a", "1", 8)
	hub.Config(hubBatch(8, false, a2))
	hub.Status([]store.Key{aKey, bKey})
	check(box, "updated a@8, status b@8")
	hub.Status([]store.Key{aKey})
	check(box, "status a@8")
	_, a3 := hubEntry("a", "1", 9)
	_, c1 := hubEntry("c", "1", 10)
	hub.Config(hubBatch(11, false, a3, c1, bKey)) // b went at 9, 10 or 11
	check(box, "deleted b@8, updated a@9, created c@10")
	hub.Config(hubBatch(13, false, aKey))
	check(box, "deleted a@13")
	// Whoever did not read has the latest of each, in the order of what came last.
	check(slow, "deleted b@8, created c@10, deleted a@13")

	check(subscribe(8), "deleted b@8, deleted a@11, created c@10")
	check(subscribe(9), "deleted a@11, created c@10")
	check(subscribe(13), "")
	if _, _, err := hub.subscribe(t.Context(), 5, all); status.Code(err) != codes.OutOfRange {
		t.Errorf("resumed before the hub's time: %v", err)
	}

	// Another load balancer of the same name is a new one; after a reset, what is not told is gone.
	_, c2 := hubEntry("c", "2", 15)
	hub.Config(hubBatch(15, false, c2))
	check(box, "created c@15")
	_, d := hubEntry("d", "1", 17)
	hub.Config(hubBatch(17, true, d))
	check(box, "deleted c@15, created d@17")
	for i := range int64(keptDeletions) {
		_, x := hubEntry("x", fmt.Sprint(i), 20+2*i)
		hub.Config(hubBatch(20+2*i, false, x))
		hub.Config(hubBatch(21+2*i, false, store.KeyOf(x.LB)))
	}
	if len(hub.deletions) != keptDeletions || hub.first < 8 {
		t.Errorf("%d deletions kept, from %d on", len(hub.deletions), hub.first)
	}
	if _, _, err := hub.subscribe(t.Context(), 8, all); status.Code(err) != codes.OutOfRange {
		t.Errorf("resumed before what is forgotten: %v", err)
	}
	// However much happened, the mailbox holds one event of each.
	if got := len(box.pending); got != 1 {
		t.Errorf("%d events wait", got)
	}
}
