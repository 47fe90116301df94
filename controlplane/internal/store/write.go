package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fiberlb/fiberlb/pkg/canon"
	"github.com/fiberlb/fiberlb/pkg/lb"
)

// Create writes a new load balancer, in normal form, and assigns its Meta and that of all in it. Errors: [ErrExists],
// [*VIPTakenError], [*TooLargeError], [ErrNoSealer], [ErrRequestReused]. A repeated request gives the present entry.
func (s *Store) Create(ctx context.Context, l *lb.LoadBalancer, request Request) (*Entry, error) {
	defer s.observe("create")()
	key := KeyOf(l)
	e, err := s.create(ctx, key, l, request)
	return e, wrap("create", key, err)
}

func (s *Store) create(ctx context.Context, key Key, l *lb.LoadBalancer, request Request) (*Entry, error) {
	if err := request.check(); err != nil {
		return nil, err
	}
	t := s.stamper()
	l, err := t.stamped(l, nil)
	if err != nil {
		return nil, err
	}
	if err := s.seal(l, nil); err != nil {
		return nil, err
	}
	encoded, err := encode(l, nil, nil)
	if err != nil {
		return nil, err
	}
	encoded.head.Requests = recordRequest(nil, request, t.now)
	w := &write{key: key, head: canon.Marshal(encoded.head), puts: encoded.puts, claims: l.VIPs, request: request}
	return s.finish(ctx, w, l, encoded)
}

// finish commits and gives the new entry, or the present one where the request was carried out before.
func (s *Store) finish(ctx context.Context, w *write, l *lb.LoadBalancer, encoded *encoding) (*Entry, error) {
	e := &Entry{LB: l, head: encoded.head, raw: w.head}
	defer s.recent.expect(e)()
	revision, err := s.commit(ctx, w)
	if errors.Is(err, errRepeated) {
		e, err := s.get(ctx, w.key)
		if err != nil {
			return nil, err
		}
		e.Repeated = true
		return e, nil
	}
	if err != nil {
		return nil, err
	}
	written := *e // the one that was expected may be in use
	written.Revision = revision
	s.recent.put(&written)
	return &written, nil
}

// Update replaces the load balancer that old is a version of by next, in normal form, where old is still the present version.
// Objects of the same name and parent keep uid and time of creation; the time of change moves for what changed. An update that
// changes nothing writes nothing and gives old back. What next shares with old costs next to nothing. Errors: those of
// [Store.Create], and [ErrConflict], [ErrNotFound].
func (s *Store) Update(ctx context.Context, old *Entry, next *lb.LoadBalancer, request Request) (*Entry, error) {
	defer s.observe("update")()
	key := KeyOf(old.LB)
	e, err := s.update(ctx, key, old, next, request)
	return e, wrap("update", key, err)
}

func (s *Store) update(ctx context.Context, key Key, old *Entry, l *lb.LoadBalancer, request Request) (*Entry, error) {
	if KeyOf(l) != key {
		return nil, fmt.Errorf("replaced by %s: names and projects cannot change", KeyOf(l))
	}
	if old.head == nil {
		return nil, errors.New("the entry to replace was not read from the store")
	}
	if err := request.check(); err != nil {
		return nil, err
	}
	if repeated, err := old.FindRequest(request); err != nil {
		return nil, err
	} else if repeated {
		present := *old
		present.Repeated = true
		return &present, nil
	}
	t := s.stamper()
	l, err := t.stamped(l, old.LB)
	if err != nil {
		return nil, err
	}
	if err := s.seal(l, old.LB); err != nil {
		return nil, err
	}
	encoded, err := encode(l, old.head, t.kept)
	if err != nil {
		return nil, err
	}
	if !encoded.changes(old.head) {
		return old, nil
	}
	t.stamp(&l.Meta, &old.LB.Meta, false)
	encoded.head.Meta.UpdatedUs = l.UpdatedAt.UnixMicro()
	encoded.head.Requests = recordRequest(old.head.Requests, request, t.now)
	w := &write{
		key: key, expect: old.Revision, head: canon.Marshal(encoded.head), puts: encoded.puts, drops: encoded.drops,
		claims: missing(l.VIPs, old.LB.VIPs), releases: missing(old.LB.VIPs, l.VIPs), request: request,
	}
	return s.finish(ctx, w, l, encoded)
}

// missing are those of a that are not in b.
func missing(a, b []netip.Addr) (out []netip.Addr) {
	for _, x := range a {
		if !slices.Contains(b, x) {
			out = append(out, x)
		}
	}
	return out
}

// Delete removes the load balancer with all in it, where old is still the present version, and frees its addresses. Errors:
// [ErrConflict], [ErrNotFound]. A request with an ID is remembered for an hour: see [Store.FindDeleted].
func (s *Store) Delete(ctx context.Context, old *Entry, request Request) error {
	defer s.observe("delete")()
	key := KeyOf(old.LB)
	return wrap("delete", key, s.delete(ctx, key, old, request))
}

func (s *Store) delete(ctx context.Context, key Key, old *Entry, request Request) error {
	if err := request.check(); err != nil {
		return err
	}
	if _, err := old.FindRequest(request); err != nil {
		return err
	}
	ops := []clientv3.Op{
		clientv3.OpDelete(s.keys.lb(key), clientv3.WithPrefix()),
		clientv3.OpPut(s.keys.deleted(), key.String()),
	}
	for _, a := range old.LB.VIPs {
		ops = append(ops, clientv3.OpDelete(s.keys.vip(a)))
	}
	var lease clientv3.LeaseID
	if request.ID != "" {
		grant, err := s.client.Grant(ctx, int64(requestAge.Seconds()))
		if err != nil {
			return err
		}
		lease = grant.ID
		ops = append(ops, clientv3.OpPut(s.keys.request(key, request.ID), string(request.Fingerprint), clientv3.WithLease(lease)))
	}
	w := &write{key: key, expect: old.Revision}
	_, err := s.swap(ctx, w, ops, nil)
	if err == nil {
		s.recent.forget(key)
		return nil
	}
	if lease != 0 && !errors.Is(clean(err), ErrUnavailable) {
		// Without its key the lease only waits for its end; that it does not is politeness, not correctness.
		_, _ = s.client.Revoke(ctx, lease)
	}
	if errors.Is(err, ErrNotFound) {
		if repeated, findErr := s.findDeleted(ctx, key, request); findErr != nil {
			return findErr
		} else if repeated {
			return nil
		}
	}
	return err
}

// FindDeleted tells whether the request deleted the load balancer within the last hour: a caller that finds none asks before it
// answers "not found". Error: [ErrRequestReused].
func (s *Store) FindDeleted(ctx context.Context, project, name string, request Request) (bool, error) {
	defer s.observe("find_deleted")()
	key := Key{project, name}
	found, err := s.findDeleted(ctx, key, request)
	return found, wrap("delete", key, err)
}

func (s *Store) findDeleted(ctx context.Context, key Key, request Request) (bool, error) {
	if request.ID == "" || len(request.ID) > maxRequestID {
		return false, nil
	}
	resp, err := s.kv.Get(ctx, s.keys.request(key, request.ID))
	if err != nil || len(resp.Kvs) == 0 {
		return false, err
	}
	if string(resp.Kvs[0].Value) != string(request.Fingerprint) {
		return false, ErrRequestReused
	}
	return true, nil
}

// OpenKey opens the sealed private key of a certificate of that full name. The result belongs into a TLS configuration or an
// authenticated stream, and nowhere else.
func (s *Store) OpenKey(_ context.Context, c *lb.Certificate, fullName string) (lb.PrivateKey, error) {
	if s.sealer == nil {
		return lb.PrivateKey{}, fmt.Errorf("store: open the key of %s: the controller has no --key-file", fullName)
	}
	if c.Sealed == nil {
		return lb.PrivateKey{}, fmt.Errorf("store: open the key of %s: none is stored", fullName)
	}
	return s.sealer.Open(fullName, c.Sealed)
}
