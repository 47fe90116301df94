package store

import (
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/fiberlb/fiberlb/controlplane/internal/secrets"
	"github.com/fiberlb/fiberlb/pkg/lb"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// Request records are kept in a head this long, and this many.
const (
	requestAge   = time.Hour
	requestCount = 64
)

// stamper assigns what the server assigns: uids and times.
type stamper struct {
	now    time.Time
	random io.Reader
	err    error
	fresh  map[any]bool // copies that were stamped
}

func (s *Store) stamper() *stamper {
	return &stamper{now: s.now().UTC().Truncate(time.Microsecond), random: s.random, fresh: make(map[any]bool)}
}

// kept tells whether an object of what was stamped is shared with what was there before.
func (t *stamper) kept(object any) bool { return !t.fresh[object] }

// stamp sets m: an object that was there keeps its uid and the time of its creation, and where it stayed the same, the time of
// its last change too.
func (t *stamper) stamp(m, was *lb.Meta, same bool) {
	if was == nil {
		*m = lb.Meta{UID: t.uid(), CreatedAt: t.now, UpdatedAt: t.now}
		return
	}
	*m = *was
	if !same && t.now.After(was.UpdatedAt) {
		m.UpdatedAt = t.now
	}
}

func (t *stamper) uid() string {
	var bits [16]byte
	if _, err := io.ReadFull(t.random, bits[:]); err != nil && t.err == nil {
		t.err = fmt.Errorf("no random bits for a uid: %w", err)
	}
	return hex.EncodeToString(bits[:])
}

// stamped gives a stamped copy of l by what was there before; old is nil for a new one. Objects that stayed the same are old's very
// own, so that who compares two versions sees by the pointers what changed. The load balancer itself counts as unchanged here: its
// time of change is set when it is known that something changed at all.
func (t *stamper) stamped(l, old *lb.LoadBalancer) (*lb.LoadBalancer, error) {
	c := *l
	if old == nil {
		old = &lb.LoadBalancer{}
		t.stamp(&c.Meta, nil, false)
	} else {
		t.stamp(&c.Meta, &old.Meta, true)
	}
	c.Listeners = stampAll(t, l.Listeners, old.Listeners, func(x *lb.Listener) (string, *lb.Meta) { return x.Name, &x.Meta }, nil)
	c.Pools = stampAll(t, l.Pools, old.Pools, func(x *lb.Pool) (string, *lb.Meta) { return x.Name, &x.Meta }, t.poolParts)
	c.Policies = stampAll(t, l.Policies, old.Policies, func(x *lb.Policy) ([2]string, *lb.Meta) { return [2]string{x.Listener, x.Name}, &x.Meta },
		func(x, was *lb.Policy) {
			x.Rules = stampAll(t, x.Rules, was.Rules, func(x *lb.Rule) (string, *lb.Meta) { return x.Name, &x.Meta }, nil)
		})
	c.Certificates = stampAll(t, l.Certificates, old.Certificates, func(x *lb.Certificate) (string, *lb.Meta) { return x.Name, &x.Meta }, nil)
	c.Freeze()
	return &c, t.err
}

func (t *stamper) poolParts(x, was *lb.Pool) {
	if x.HealthCheck != nil {
		// A health check belongs to its pool by name; another name is another object.
		var former []*lb.HealthCheck
		if was.HealthCheck != nil {
			former = append(former, was.HealthCheck)
		}
		x.HealthCheck = stampAll(t, []*lb.HealthCheck{x.HealthCheck}, former, func(x *lb.HealthCheck) (string, *lb.Meta) { return x.Name, &x.Meta }, nil)[0]
	}
	x.Backends = stampAll(t, x.Backends, was.Backends, func(x *lb.Backend) (string, *lb.Meta) { return x.Name, &x.Meta }, nil)
}

// stampAll gives a list of stamped copies, but for the objects of old that stayed the same. Identify gives an object's key and
// Meta; parts, if not nil, stamps what is in an object, by its former self or an empty one.
func stampAll[K comparable, T any, P interface {
	*T
	Etag() string
}](t *stamper, list, old []P, identify func(P) (K, *lb.Meta), parts func(x, was P)) []P {
	former := make(map[K]P, len(old))
	for _, x := range old {
		key, _ := identify(x)
		former[key] = x
	}
	same := func(x, was P) bool {
		_, isCertificate := any(x).(*lb.Certificate)
		return !isCertificate && x.Etag() == was.Etag() // an etag says nothing about keys
	}
	out := slices.Clone(list)
	for i, x := range list {
		key, _ := identify(x)
		was := former[key]
		if was != nil && (x == was || same(x, was)) {
			out[i] = was
			continue
		}
		c := *x
		out[i] = &c
		t.fresh[out[i]] = true
		_, m := identify(out[i])
		if was == nil {
			t.stamp(m, nil, false)
			was = new(T)
		} else {
			_, before := identify(was)
			t.stamp(m, before, was.Etag() == x.Etag())
		}
		if parts != nil {
			parts(out[i], was)
		}
	}
	return out
}

func byName[T any](list []T, name func(T) string) map[string]T {
	m := make(map[string]T, len(list))
	for _, x := range list {
		m[name(x)] = x
	}
	return m
}

// seal replaces every private key in l by its sealed form. A key that is stored already keeps the sealed form it has, so that
// writing the same again changes nothing; a certificate that comes without its key keeps the stored one where that belongs to it.
func (s *Store) seal(l, old *lb.LoadBalancer) error {
	var before map[string]*lb.Certificate
	if old != nil {
		before = byName(old.Certificates, func(x *lb.Certificate) string { return x.Name })
	}
	for _, c := range l.Certificates {
		var stored *lb.SealedKey
		if was := before[c.Name]; was != nil {
			stored = was.Sealed
		}
		if c.Key.IsZero() {
			if c.Sealed == nil && stored != nil {
				if spki, err := c.KeyHash(); err == nil && string(spki) == string(stored.SPKI) {
					c.Sealed = stored
				}
			}
			continue
		}
		fullName := lb.CertificateName(l.Project, l.Name, c.Name)
		if s.sealer == nil {
			return fmt.Errorf("%s: %w", fullName, ErrNoSealer)
		}
		spki, err := secrets.PublicKeyHash(c.Key)
		if err != nil {
			return fmt.Errorf("%s: %w", fullName, err)
		}
		if stored != nil && string(spki) == string(stored.SPKI) && s.sealer.Current(stored) {
			c.Sealed = stored
		} else if c.Sealed, err = s.sealer.Seal(fullName, c.Key); err != nil {
			return err
		}
		c.Key = lb.PrivateKey{}
	}
	return nil
}

// FindRequest tells whether the load balancer's head records the request as carried out. Error: [ErrRequestReused].
func (e *Entry) FindRequest(r Request) (bool, error) {
	return findRequest(e.head, r)
}

func findRequest(head *storev1.Head, r Request) (bool, error) {
	if r.ID == "" {
		return false, nil
	}
	for _, record := range head.GetRequests() {
		if record.Id == r.ID {
			if string(record.Fingerprint) != string(r.Fingerprint) {
				return false, ErrRequestReused
			}
			return true, nil
		}
	}
	return false, nil
}

// recordRequest gives the records of the next head: those still young enough, the newest ones, and r.
func recordRequest(records []*storev1.RequestRecord, r Request, now time.Time) []*storev1.RequestRecord {
	oldest := now.Add(-requestAge).UnixMicro()
	var kept []*storev1.RequestRecord
	for _, record := range records {
		if record.AtUs >= oldest {
			kept = append(kept, record)
		}
	}
	if r.ID != "" {
		kept = append(kept, &storev1.RequestRecord{Id: r.ID, Fingerprint: slices.Clone(r.Fingerprint), AtUs: now.UnixMicro()})
	}
	return kept[max(0, len(kept)-requestCount):]
}
