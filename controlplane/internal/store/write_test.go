package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

func TestCreateThenGet(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	draft := web(t, "web", "192.0.2.1", "2001:db8::1")
	before := draft.Clone()
	created := must[*Entry](t)(s.Create(t.Context(), draft, Request{}))
	if !reflect.DeepEqual(draft, before) {
		t.Error("Create changed what it was given")
	}
	got := must[*Entry](t)(s.Get(t.Context(), "default", "web"))
	sameLB(t, got.LB, created.LB)
	if got.Revision != created.Revision {
		t.Errorf("revision %d, want %d", got.Revision, created.Revision)
	}
	if got.LB.Etag() != draft.Etag() {
		t.Error("the content changed on its way")
	}
	uids := map[string]bool{}
	for _, m := range metas(got.LB) {
		if len(m.UID) != 32 || uids[m.UID] {
			t.Errorf("uid %q is not 32 digits, or not unique", m.UID)
		}
		uids[m.UID] = true
		if m.CreatedAt.IsZero() || !m.CreatedAt.Equal(m.UpdatedAt) || m.CreatedAt.Nanosecond()%1000 != 0 || m.CreatedAt.Location() != time.UTC {
			t.Errorf("created at %v, updated at %v", m.CreatedAt, m.UpdatedAt)
		}
	}
	// A small write is one transaction, and so one revision for all its keys.
	resp := must[*clientv3.GetResponse](t)(s.client.Get(t.Context(), s.keys.prefix+"/", clientv3.WithPrefix()))
	for _, kv := range resp.Kvs {
		if kv.ModRevision != created.Revision {
			t.Errorf("%s is of revision %d, want %d", kv.Key, kv.ModRevision, created.Revision)
		}
	}
	if want := []string{
		"/fiberlb/v1/lb/default/web/backends/main@", "/fiberlb/v1/lb/default/web/head", "/fiberlb/v1/lb/default/web/listener/http@",
		"/fiberlb/v1/lb/default/web/policy/http.api@", "/fiberlb/v1/lb/default/web/pool/main@", "/fiberlb/v1/lb/default/web/pool/spare@",
		"/fiberlb/v1/vips/192.0.2.1", "/fiberlb/v1/vips/2001:db8::1",
	}; len(resp.Kvs) != len(want) {
		t.Errorf("%d keys, want %d", len(resp.Kvs), len(want))
	} else {
		for i, kv := range resp.Kvs {
			if key, _, _ := strings.Cut(string(kv.Key), "@"); key != strings.TrimSuffix(want[i], "@") {
				t.Errorf("key %s, want %s…", kv.Key, want[i])
			}
		}
	}
	audit(t, s, true)
}

// metas gives the Meta of l and of everything in it, by a word for each.
func metas(l *lb.LoadBalancer) map[string]lb.Meta {
	m := map[string]lb.Meta{"lb": l.Meta}
	for _, x := range l.Listeners {
		m["listener "+x.Name] = x.Meta
	}
	for _, x := range l.Pools {
		m["pool "+x.Name] = x.Meta
		if x.HealthCheck != nil {
			m["check "+x.Name] = x.HealthCheck.Meta
		}
		for _, b := range x.Backends {
			m["backend "+x.Name+" "+b.Name] = b.Meta
		}
	}
	for _, x := range l.Policies {
		m["policy "+x.Name] = x.Meta
		for i, r := range x.Rules {
			m[fmt.Sprint("rule ", x.Name, " ", i)] = r.Meta
		}
	}
	for _, x := range l.Certificates {
		m["certificate "+x.Name] = x.Meta
	}
	return m
}

func TestUpdateMovesOnlyTheTimesOfWhatChanged(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*lb.LoadBalancer)
		moved  string // words of metas, besides lb
	}{
		{"load balancer", describe("new"), ""},
		{"listener", func(l *lb.LoadBalancer) { l.Listeners[0].ConnectionLimit = 5 }, "listener http"},
		{"pool", func(l *lb.LoadBalancer) { l.Pools[0].FailOpenBelow = 1 }, "pool main"},
		{"backend", func(l *lb.LoadBalancer) { l.Pools[0].Backends[1].Weight = 3 }, "backend main b2,pool main"},
		{"health check", func(l *lb.LoadBalancer) { l.Pools[0].HealthCheck.HealthyThreshold = 9 }, "check main,pool main"},
		{"policy", func(l *lb.LoadBalancer) { l.Policies[0].Description = "x" }, "policy api"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			old := must[*Entry](t)(s.Create(t.Context(), web(t, "web", "192.0.2.1"), Request{}))
			updated := must[*Entry](t)(s.Update(t.Context(), old, normal(t, old.LB, test.change), Request{}))
			sameLB(t, must[*Entry](t)(s.Get(t.Context(), "default", "web")).LB, updated.LB)
			if updated.Revision <= old.Revision {
				t.Errorf("revision %d after %d", updated.Revision, old.Revision)
			}
			moved := map[string]bool{"lb": true}
			for word := range strings.SplitSeq(test.moved, ",") {
				moved[word] = true
			}
			was := metas(old.LB)
			for word, m := range metas(updated.LB) {
				if m.UID != was[word].UID || !m.CreatedAt.Equal(was[word].CreatedAt) {
					t.Errorf("%s has another uid or time of creation", word)
				}
				if got := m.UpdatedAt.After(was[word].UpdatedAt); got != moved[word] {
					t.Errorf("%s: time of change moved: %t, want %t", word, got, moved[word])
				}
			}
			audit(t, s, true)
		})
	}
}

func TestUnchangedUpdateWritesNothing(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := web(t, "web", "192.0.2.1")
	chain, key := keyPair(t)
	l.Certificates = []*lb.Certificate{{Info: lb.Info{Name: "main"}, Type: lb.CertServer, Chain: chain, Key: key}}
	old := must[*Entry](t)(s.Create(t.Context(), l, Request{}))
	// The second time the key comes along again, and everything lacks its Meta, as in a file that is applied again.
	again := must[*Entry](t)(s.Update(t.Context(), old, l, Request{ID: "r"}))
	if again != old {
		t.Errorf("got revision %d, want the entry of %d", again.Revision, old.Revision)
	}
	resp := must[*clientv3.GetResponse](t)(s.client.Get(t.Context(), "x"))
	if resp.Header.Revision != old.Revision {
		t.Errorf("etcd is at revision %d, want %d", resp.Header.Revision, old.Revision)
	}
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	first := must[*Entry](t)(s.Create(ctx, web(t, "web", "192.0.2.1"), Request{}))
	_, err := s.Create(ctx, web(t, "web", "192.0.2.9"), Request{})
	wantError(t, err, ErrExists)
	if want := `store: create load balancer "default/web": already exists`; err.Error() != want {
		t.Errorf("said %q, want %q", err, want)
	}
	_, err = s.Create(ctx, web(t, "other", "192.0.2.9", "192.0.2.1"), Request{})
	var taken *VIPTakenError
	if !errors.As(err, &taken) || *taken != (VIPTakenError{"192.0.2.1", "projects/default/loadBalancers/web"}) {
		t.Errorf("got %v", err)
	}
	other := must[*Entry](t)(s.Create(ctx, web(t, "other", "192.0.2.2"), Request{}))
	_, err = s.Update(ctx, other, normal(t, other.LB, func(l *lb.LoadBalancer) { l.VIPs = first.LB.VIPs }), Request{})
	if !errors.As(err, &taken) {
		t.Errorf("got %v", err)
	}
	second := must[*Entry](t)(s.Update(ctx, first, normal(t, first.LB, describe("2")), Request{}))
	_, err = s.Update(ctx, first, normal(t, first.LB, describe("3")), Request{})
	wantError(t, err, ErrConflict)
	wantError(t, s.Delete(ctx, first, Request{}), ErrConflict)
	if err := s.Delete(ctx, second, Request{}); err != nil {
		t.Fatal(err)
	}
	wantError(t, s.Delete(ctx, second, Request{}), ErrNotFound)
	_, err = s.Update(ctx, second, normal(t, second.LB, describe("4")), Request{})
	wantError(t, err, ErrNotFound)
	_, err = s.Get(ctx, "default", "web")
	wantError(t, err, ErrNotFound)
	for _, name := range []string{"", "a/b", "web/head", "../x"} {
		_, err = s.Get(ctx, "default", name)
		wantError(t, err, ErrNotFound)
	}
	// The address is free again.
	must[*Entry](t)(s.Update(ctx, other, normal(t, other.LB, func(l *lb.LoadBalancer) { l.VIPs = first.LB.VIPs }), Request{}))
	audit(t, s, true)
}

func TestVIPsMoveInOneStep(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	a := must[*Entry](t)(s.Create(t.Context(), web(t, "a", "192.0.2.1", "192.0.2.2"), Request{}))
	a = must[*Entry](t)(s.Update(t.Context(), a, normal(t, a.LB, func(l *lb.LoadBalancer) {
		l.VIPs = []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")}
	}), Request{}))
	audit(t, s, true)
	must[*Entry](t)(s.Create(t.Context(), web(t, "b", "192.0.2.1"), Request{}))
	audit(t, s, true)
	// A claim of its own that no head lists, whatever left it, does not lock its owner out.
	must[*clientv3.PutResponse](t)(s.client.Put(t.Context(), s.keys.vip(netip.MustParseAddr("192.0.2.7")), KeyOf(a.LB).String()))
	must[*Entry](t)(s.Update(t.Context(), a, normal(t, a.LB, func(l *lb.LoadBalancer) {
		l.VIPs = append(l.VIPs, netip.MustParseAddr("192.0.2.7"))
	}), Request{}))
	audit(t, s, true)
}

func manyVIPs(from, to int) func(*lb.LoadBalancer) {
	return func(l *lb.LoadBalancer) {
		l.VIPs = nil
		for i := from; i < to; i++ {
			l.VIPs = append(l.VIPs, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
		}
	}
}

func TestManyVIPs(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	e := must[*Entry](t)(s.Create(t.Context(), normal(t, web(t, "web", "192.0.2.1"), manyVIPs(0, 120)), Request{}))
	// 120 come and 120 go at once.
	e = must[*Entry](t)(s.Update(t.Context(), e, normal(t, e.LB, manyVIPs(120, 240)), Request{}))
	audit(t, s, true)
	e = must[*Entry](t)(s.Update(t.Context(), e, normal(t, e.LB, manyVIPs(180, 300)), Request{}))
	s.limits.txnOps = 60
	_, err := s.Create(t.Context(), normal(t, web(t, "b", "192.0.2.1"), manyVIPs(1000, 1053)), Request{})
	if err == nil || !strings.Contains(err.Error(), "53 addresses are new, at most 52 can be added in one change") {
		t.Errorf("got %v", err)
	}
	if err := s.Delete(t.Context(), e, Request{}); err != nil {
		t.Fatal(err)
	}
	audit(t, s, true)
}

func TestTooLargeObjectsAreNamed(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	s.limits.value = 2000
	tests := []struct{ name, want string }{
		{"backends", "projects/default/loadBalancers/web/pools/main (backends) takes "},
		{"head", "projects/default/loadBalancers/web takes "},
	}
	for _, test := range tests {
		_, err := s.Create(t.Context(), normal(t, web(t, "web", "192.0.2.1"), func(l *lb.LoadBalancer) {
			if test.name == "head" {
				policies(100)(l)
				return
			}
			for i := range 100 {
				l.Pools[0].Backends = append(l.Pools[0].Backends, &lb.Backend{
					Info: lb.Info{Name: fmt.Sprint("x", i)}, Address: netip.AddrFrom4([4]byte{10, 2, 0, byte(i)}), Port: 1, Enabled: true})
			}
		}), Request{})
		var large *TooLargeError
		if !errors.As(err, &large) || large.Limit != 2000 || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
	audit(t, s, true)
}

func TestRequestsAreCarriedOutOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	create := Request{ID: "c", Fingerprint: []byte{1}}
	first := must[*Entry](t)(s.Create(ctx, web(t, "web", "192.0.2.1"), create))
	again := must[*Entry](t)(s.Create(ctx, web(t, "web", "192.0.2.1"), create))
	if first.Repeated || !again.Repeated || again.Revision != first.Revision {
		t.Errorf("repeated %t, then %t", first.Repeated, again.Repeated)
	}
	_, err := s.Create(ctx, web(t, "web", "192.0.2.1"), Request{ID: "c", Fingerprint: []byte{2}})
	wantError(t, err, ErrRequestReused)

	update := Request{ID: "u", Fingerprint: []byte{3}}
	second := must[*Entry](t)(s.Update(ctx, first, normal(t, first.LB, describe("2")), update))
	third := must[*Entry](t)(s.Update(ctx, second, normal(t, second.LB, describe("3")), Request{}))
	// By an entry that knows of the request, and by an old one that does not.
	for _, old := range []*Entry{third, first} {
		again = must[*Entry](t)(s.Update(ctx, old, normal(t, first.LB, describe("2")), update))
		if !again.Repeated || again.LB.Description != "3" || again.Revision != third.Revision {
			t.Errorf("repeated %t, description %q", again.Repeated, again.LB.Description)
		}
		_, err = s.Update(ctx, old, normal(t, first.LB, describe("2")), Request{ID: "u", Fingerprint: []byte{4}})
		wantError(t, err, ErrRequestReused)
	}

	remove := Request{ID: "d/../ü", Fingerprint: []byte{5}}
	if found, err := s.FindDeleted(ctx, "default", "web", remove); found || err != nil {
		t.Errorf("found %t, %v", found, err)
	}
	for range 2 {
		if err := s.Delete(ctx, third, remove); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := s.FindDeleted(ctx, "default", "web", remove); !found || err != nil {
		t.Errorf("found %t, %v", found, err)
	}
	_, err = s.FindDeleted(ctx, "default", "web", Request{ID: remove.ID})
	wantError(t, err, ErrRequestReused)
	wantError(t, s.Delete(ctx, third, Request{ID: remove.ID}), ErrRequestReused)
	leases := must[*clientv3.LeaseLeasesResponse](t)(s.client.Leases(ctx))
	if len(leases.Leases) != 1 {
		t.Errorf("%d leases are left, want the one of the deletion", len(leases.Leases))
	}
	_, err = s.Create(ctx, web(t, "web", "192.0.2.1"), Request{ID: strings.Repeat("x", 129)})
	if err == nil || !strings.Contains(err.Error(), "129 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestRequestRecordsAreBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e6, 0)
	records := recordRequest(nil, Request{ID: "old"}, now.Add(-time.Hour-time.Second))
	for i := range 100 {
		records = recordRequest(records, Request{ID: fmt.Sprint(i)}, now)
	}
	if len(records) != 64 || records[0].Id != "36" || records[63].Id != "99" {
		t.Errorf("%d records from %s", len(records), records[0].Id)
	}
	if left := recordRequest(records, Request{}, now.Add(2*time.Hour)); len(left) != 0 {
		t.Errorf("%d records are too old", len(left))
	}
}

func TestPrivateKeys(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	chain, key := keyPair(t)
	l := web(t, "web", "192.0.2.1")
	l.Certificates = []*lb.Certificate{{Info: lb.Info{Name: "main"}, Type: lb.CertServer, Chain: chain, Key: key}}
	first := must[*Entry](t)(s.Create(ctx, l, Request{}))
	stored := must[*Entry](t)(s.Get(ctx, "default", "web"))
	sameLB(t, stored.LB, first.LB)
	c := stored.LB.Certificates[0]
	if !c.Key.IsZero() || c.Sealed == nil {
		t.Fatal("the key is not sealed")
	}
	name := lb.CertificateName("default", "web", "main")
	if opened := must[lb.PrivateKey](t)(s.OpenKey(ctx, c, name)); opened.Reveal() != key.Reveal() {
		t.Error("another key came out")
	}
	if _, err := s.OpenKey(ctx, c, lb.CertificateName("default", "other", "main")); err == nil {
		t.Error("the key opens under another name")
	}
	resp := must[*clientv3.GetResponse](t)(s.client.Get(ctx, "/", clientv3.WithPrefix()))
	for _, kv := range resp.Kvs {
		if strings.Contains(string(kv.Value), "PRIVATE KEY") || strings.Contains(string(kv.Value), key.Reveal()[100:140]) {
			t.Errorf("%s holds the plain key", kv.Key)
		}
	}
	// Without its key, as from an export, the certificate keeps the stored one.
	bare := first.LB.Clone()
	bare.Certificates[0].Sealed, bare.Description = nil, "new"
	second := must[*Entry](t)(s.Update(ctx, first, bare, Request{}))
	if !reflect.DeepEqual(second.LB.Certificates[0], c) {
		t.Error("the stored key is lost")
	}
	// Another key is sealed anew.
	otherChain, otherKey := keyPair(t)
	next := second.LB.Clone()
	next.Certificates[0].Chain, next.Certificates[0].Key = otherChain, otherKey
	third := must[*Entry](t)(s.Update(ctx, second, next, Request{}))
	if opened := must[lb.PrivateKey](t)(s.OpenKey(ctx, third.LB.Certificates[0], name)); opened.Reveal() != otherKey.Reveal() {
		t.Error("another key came out")
	}
	audit(t, s, true)

	without := New(s.client, Config{})
	l.Name, l.VIPs = "other", nil
	_, err := without.Create(ctx, l, Request{})
	wantError(t, err, ErrNoSealer)
	if _, err := without.OpenKey(ctx, c, name); err == nil || !strings.Contains(err.Error(), "--key-file") {
		t.Errorf("got %v", err)
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	e := must[*Entry](t)(s.Create(t.Context(), web(t, "web", "192.0.2.1"), Request{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Get(ctx, "default", "web")
	wantError(t, err, context.Canceled)
	_, err = s.Update(ctx, e, normal(t, e.LB, describe("x")), Request{})
	wantError(t, err, context.Canceled)
}
