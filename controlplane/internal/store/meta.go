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
}

func (s *Store) stamper() *stamper {
	return &stamper{now: s.now().UTC().Truncate(time.Microsecond), random: s.random}
}

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

// all stamps l and everything in it by what was there before; old is nil for a new one. The load balancer itself counts as
// unchanged here: its time of change is set when it is known that something changed at all.
func (t *stamper) all(l, old *lb.LoadBalancer) error {
	if old == nil {
		old = &lb.LoadBalancer{}
		t.stamp(&l.Meta, nil, false)
	} else {
		t.stamp(&l.Meta, &old.Meta, true)
	}
	listeners := byName(old.Listeners, func(x *lb.Listener) string { return x.Name })
	for _, x := range l.Listeners {
		t.object(&x.Meta, listeners[x.Name], x)
	}
	pools := byName(old.Pools, func(x *lb.Pool) string { return x.Name })
	for _, x := range l.Pools {
		t.pool(x, pools[x.Name])
	}
	policies := byName(old.Policies, func(x *lb.Policy) string { return x.Listener + "." + x.Name })
	for _, x := range l.Policies {
		t.policy(x, policies[x.Listener+"."+x.Name])
	}
	certificates := byName(old.Certificates, func(x *lb.Certificate) string { return x.Name })
	for _, x := range l.Certificates {
		t.object(&x.Meta, certificates[x.Name], x)
	}
	return t.err
}

func (t *stamper) pool(x, was *lb.Pool) {
	t.object(&x.Meta, was, x)
	if was == nil {
		was = &lb.Pool{}
	}
	if x.HealthCheck != nil {
		// A health check belongs to its pool by name; another name is another object.
		check := was.HealthCheck
		if check != nil && check.Name != x.HealthCheck.Name {
			check = nil
		}
		t.object(&x.HealthCheck.Meta, check, x.HealthCheck)
	}
	backends := byName(was.Backends, func(x *lb.Backend) string { return x.Name })
	for _, b := range x.Backends {
		t.object(&b.Meta, backends[b.Name], b)
	}
}

func (t *stamper) policy(x, was *lb.Policy) {
	t.object(&x.Meta, was, x)
	if was == nil {
		was = &lb.Policy{}
	}
	rules := byName(was.Rules, func(x *lb.Rule) string { return x.Name })
	for _, r := range x.Rules {
		t.object(&r.Meta, rules[r.Name], r)
	}
}

// tagged is an object with a hash of its content.
type tagged interface{ Etag() string }

// object stamps one object by its former self, which may be a nil pointer.
func (t *stamper) object(m *lb.Meta, was, is tagged) {
	former := metaOf(was)
	t.stamp(m, former, former != nil && was.Etag() == is.Etag())
}

func metaOf(x tagged) *lb.Meta {
	switch x := x.(type) {
	case *lb.Listener:
		if x != nil {
			return &x.Meta
		}
	case *lb.Pool:
		if x != nil {
			return &x.Meta
		}
	case *lb.HealthCheck:
		if x != nil {
			return &x.Meta
		}
	case *lb.Backend:
		if x != nil {
			return &x.Meta
		}
	case *lb.Policy:
		if x != nil {
			return &x.Meta
		}
	case *lb.Rule:
		if x != nil {
			return &x.Meta
		}
	case *lb.Certificate:
		if x != nil {
			return &x.Meta
		}
	}
	return nil
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
