package apply

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// state is what a node wishes to run and what it runs.
//
// wished is the set that the version names; force what is in force, which
// differs from it where a resource was refused. A removed resource that a refused one's last good version still
// uses stays in force without being wished until nobody uses it.
type state struct {
	loaded  bool
	version snapshot.Version
	since   time.Time
	wished  *snapshot.Set
	force   map[snapshot.Ref]*inForce
	faults  map[snapshot.Ref]string
	// users of health checks and pools in force: who refers to them.
	users map[snapshot.Ref]map[snapshot.Ref]struct{}
	// loose are removed or no longer used: candidates for removal.
	loose map[snapshot.Ref]struct{}
	// counts of resources in force by kind.
	counts [snapshot.KindCertificate + 1]int
	// vips counts the listeners in force on each address.
	vips map[netip.Addr]int
	// lingering listeners wait for their VIPs' withdrawal, by name.
	lingering map[string]*linger
}

// inForce is a resource in force; one of the three is set.
type inForce struct {
	resource *snapshot.Resource
	check    *snapshot.HealthCheck
	pool     *snapshot.Pool
	listener *snapshot.Listener
}

// linger is a listener whose old addresses stay open for a while.
type linger struct {
	listener *snapshot.Listener // with the addresses that leave
	leaving  []netip.Addr
	until    time.Time
}

func newState() state {
	return state{
		force:     map[snapshot.Ref]*inForce{},
		faults:    map[snapshot.Ref]string{},
		users:     map[snapshot.Ref]map[snapshot.Ref]struct{}{},
		loose:     map[snapshot.Ref]struct{}{},
		vips:      map[netip.Addr]int{},
		lingering: map[string]*linger{},
	}
}

// admit checks the delta as a whole and, if it is in order, makes its result the wish.
func (s *state) admit(d *snapshot.Delta) error {
	if s.loaded && d.Version.Cluster == s.version.Cluster && d.Version.Revision < s.version.Revision &&
		d.Version.Digest != s.version.Digest {
		return fmt.Errorf("%w (revision %d)", ErrOlder, s.version.Revision)
	}
	wished, err := d.Apply(s.wished)
	if err != nil {
		return err
	}
	s.wished = wished
	return nil
}

// enter records the version. An equal state under a lower revision, from a
// replica that lags, does not take the revision back.
func (s *state) enter(v snapshot.Version, now time.Time) {
	if s.loaded && v.Cluster == s.version.Cluster {
		v.Revision = max(v.Revision, s.version.Revision)
	}
	s.version, s.since, s.loaded = v, now, true
}

// plan is a delta in the order in which it is put in force.
type plan struct {
	upserts  []*snapshot.Resource // sorted by kind, then name
	removals []snapshot.Ref
	// rebuild names pools whose health check changed.
	rebuild map[string]struct{}
}

// plan lists what differs between the wish and what is in force.
func (s *state) plan(d *snapshot.Delta) *plan {
	p := &plan{rebuild: map[string]struct{}{}}
	if d.Full {
		for ref := range s.force {
			if s.wished.Get(ref) == nil {
				p.removals = append(p.removals, ref)
			}
		}
		clear(s.faults)
	} else {
		p.removals = slices.Clone(d.Removals)
	}
	for _, ref := range p.removals {
		delete(s.faults, ref)
		s.loose[ref] = struct{}{}
	}
	for _, r := range d.Upserts {
		if f := s.force[r.Ref]; f != nil && f.resource.Hash == r.Hash {
			delete(s.faults, r.Ref)
			continue
		}
		p.upserts = append(p.upserts, r)
	}
	slices.SortFunc(p.upserts, func(a, b *snapshot.Resource) int { return a.Ref.Compare(b.Ref) })
	slices.SortFunc(p.removals, func(a, b snapshot.Ref) int { return b.Compare(a) })
	return p
}

// of gives the upserts of one kind.
func (p *plan) of(kind snapshot.Kind) []*snapshot.Resource {
	first, _ := slices.BinarySearchFunc(p.upserts, kind, func(r *snapshot.Resource, k snapshot.Kind) int { return cmp.Compare(r.Kind, k) })
	last, _ := slices.BinarySearchFunc(p.upserts, kind+1, func(r *snapshot.Resource, k snapshot.Kind) int { return cmp.Compare(r.Kind, k) })
	return p.upserts[first:last]
}

// uses lists what a resource in force refers to.
func (f *inForce) uses() (ref snapshot.Ref, ok bool) {
	switch {
	case f.pool != nil && f.pool.HealthCheck != "":
		return snapshot.Ref{Kind: snapshot.KindHealthCheck, Name: f.pool.HealthCheck}, true
	case f.listener != nil && f.listener.DefaultPool != "":
		return snapshot.Ref{Kind: snapshot.KindPool, Name: f.listener.DefaultPool}, true
	}
	return snapshot.Ref{}, false
}

// put records that f is in force, in place of what was.
func (s *state) put(f *inForce) {
	ref := f.resource.Ref
	s.drop(ref)
	s.force[ref] = f
	s.counts[ref.Kind]++
	delete(s.faults, ref)
	if used, ok := f.uses(); ok {
		s.use(used, ref)
	}
	if f.listener != nil {
		for _, vip := range f.listener.VIPs {
			s.vips[vip]++
		}
	}
}

// drop records that ref is no longer in force.
func (s *state) drop(ref snapshot.Ref) {
	f := s.force[ref]
	if f == nil {
		return
	}
	delete(s.force, ref)
	s.counts[ref.Kind]--
	if used, ok := f.uses(); ok {
		s.unuse(used, ref)
	}
	if f.listener != nil {
		for _, vip := range f.listener.VIPs {
			if s.vips[vip]--; s.vips[vip] == 0 {
				delete(s.vips, vip)
			}
		}
	}
}

func (s *state) use(used, by snapshot.Ref) {
	if s.users[used] == nil {
		s.users[used] = map[snapshot.Ref]struct{}{}
	}
	s.users[used][by] = struct{}{}
}

func (s *state) unuse(used, by snapshot.Ref) {
	delete(s.users[used], by)
	if len(s.users[used]) == 0 {
		delete(s.users, used)
		s.loose[used] = struct{}{}
	}
}

// unused takes from the loose resources of a kind those in force that are
// neither wished nor used, sorted.
func (s *state) unused(kind snapshot.Kind) []snapshot.Ref {
	var unused []snapshot.Ref
	for ref := range s.loose {
		if ref.Kind != kind {
			continue
		}
		delete(s.loose, ref)
		if s.force[ref] != nil && s.wished.Get(ref) == nil && len(s.users[ref]) == 0 {
			unused = append(unused, ref)
		}
	}
	slices.SortFunc(unused, snapshot.Ref.Compare)
	return unused
}

func (s *state) sortedFaults() []Fault {
	faults := make([]Fault, 0, len(s.faults))
	for ref, msg := range s.faults {
		faults = append(faults, Fault{ref, msg})
	}
	slices.SortFunc(faults, func(a, b Fault) int { return a.Ref.Compare(b.Ref) })
	return faults
}
