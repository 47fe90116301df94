package apply

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// state is what a node wishes to run and what it runs.
//
// wished is the set that the version names; force is what is in force, which
// differs from it where a resource was refused. A removed resource that the
// last good version of a refused one still uses stays in force without being
// wished until nobody uses it.
type state struct {
	loaded  bool
	version snapshot.Version
	since   time.Time
	wished  *snapshot.Set
	force   map[snapshot.Ref]*inForce
	// faults of what is wished and not in force as wished.
	faults map[snapshot.Ref]fault
	// users of health checks and pools: who of what is in force, or lingers, refers to them.
	users links
	// waiting resources are refused ones, by what they refer to.
	waiting links
	// loose health checks and pools are no longer wished, or were no longer used
	// by somebody: candidates for removal. Those still in use stay among them.
	loose map[snapshot.Ref]struct{}
	// counts of resources in force by kind.
	counts [snapshot.KindListener + 1]int
	// vips counts the listeners in force on each address.
	vips map[netip.Addr]int
	// lingering listeners wait for the withdrawal of addresses, by name.
	lingering map[string]*linger
}

// inForce is a resource in force; one of check, pool and listener is set.
type inForce struct {
	resource *snapshot.Resource
	check    *snapshot.HealthCheck
	pool     *snapshot.Pool
	with     *inForce // the health check that the pool runs with
	listener *snapshot.Listener
}

// fault tells why a resource is refused, and what it refers to, if anything.
type fault struct {
	message  string
	waitsFor snapshot.Ref
}

// links tells who refers to a resource.
type links map[snapshot.Ref]map[snapshot.Ref]struct{}

func (l links) add(to, from snapshot.Ref) {
	if l[to] == nil {
		l[to] = map[snapshot.Ref]struct{}{}
	}
	l[to][from] = struct{}{}
}

func (l links) remove(to, from snapshot.Ref) {
	delete(l[to], from)
	if len(l[to]) == 0 {
		delete(l, to)
	}
}

func newState() state {
	return state{
		force:     map[snapshot.Ref]*inForce{},
		faults:    map[snapshot.Ref]fault{},
		users:     links{},
		waiting:   links{},
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

// plan is what a delta, once admitted, asks for.
type plan struct {
	// unsettled resources are to be put in force: those that differ from what
	// is, and those whose reference changed.
	unsettled map[snapshot.Ref]struct{}
	removals  []snapshot.Ref // sorted, without those that are not there
}

// plan lists where the wish differs from what is in force.
func (s *state) plan(d *snapshot.Delta) *plan {
	p := &plan{unsettled: map[snapshot.Ref]struct{}{}}
	removals := d.Removals
	if d.Full {
		for ref := range s.force {
			removals = append(removals, ref)
		}
		for ref := range s.faults {
			removals = append(removals, ref)
		}
	}
	for _, ref := range removals {
		if s.wished.Get(ref) != nil {
			continue
		}
		s.excuse(ref)
		if f := s.force[ref]; f != nil {
			if f.listener == nil {
				s.loose[ref] = struct{}{}
			}
			p.removals = append(p.removals, ref)
		}
	}
	for _, r := range d.Upserts {
		if f := s.force[r.Ref]; f != nil && f.resource.Hash == r.Hash && s.current(f) {
			s.excuse(r.Ref)
		} else {
			p.unsettled[r.Ref] = struct{}{}
		}
	}
	slices.SortFunc(p.removals, snapshot.Ref.Compare)
	p.removals = slices.Compact(p.removals)
	return p
}

// current tells whether a pool runs with its health check as that is now.
func (s *state) current(f *inForce) bool {
	used, ok := f.uses()
	return !ok || f.pool == nil || s.force[used] == f.with
}

func (p *plan) unsettle(refs map[snapshot.Ref]struct{}) {
	for ref := range refs {
		p.unsettled[ref] = struct{}{}
	}
}

// take takes the unsettled resources of a kind, sorted.
func (p *plan) take(kind snapshot.Kind) []snapshot.Ref {
	var refs []snapshot.Ref
	for ref := range p.unsettled {
		if ref.Kind == kind {
			refs = append(refs, ref)
			delete(p.unsettled, ref)
		}
	}
	slices.SortFunc(refs, snapshot.Ref.Compare)
	return refs
}

// rest is what is left after all known kinds were taken, sorted.
func (p *plan) rest() []snapshot.Ref {
	var refs []snapshot.Ref
	for ref := range p.unsettled {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, snapshot.Ref.Compare)
	return refs
}

// uses gives what a resource refers to.
func (f *inForce) uses() (ref snapshot.Ref, ok bool) {
	switch {
	case f.pool != nil && f.pool.HealthCheck != "":
		return snapshot.Ref{Kind: snapshot.KindHealthCheck, Name: f.pool.HealthCheck}, true
	case f.listener != nil && f.listener.DefaultPool != "":
		return snapshot.Ref{Kind: snapshot.KindPool, Name: f.listener.DefaultPool}, true
	}
	return snapshot.Ref{}, false
}

// listener in force, or nil.
func (s *state) listener(ref snapshot.Ref) *snapshot.Listener {
	if f := s.force[ref]; f != nil {
		return f.listener
	}
	return nil
}

// put records that f is in force as wished, in place of what was.
func (s *state) put(f *inForce) {
	ref := f.resource.Ref
	s.excuse(ref)
	s.drop(ref)
	s.force[ref] = f
	s.counts[ref.Kind]++
	s.use(f, ref)
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
	s.unuse(f, ref)
	if f.listener != nil {
		for _, vip := range f.listener.VIPs {
			if s.vips[vip]--; s.vips[vip] == 0 {
				delete(s.vips, vip)
			}
		}
	}
}

func (s *state) use(f *inForce, by snapshot.Ref) {
	if used, ok := f.uses(); ok {
		s.users.add(used, by)
	}
}

func (s *state) unuse(f *inForce, by snapshot.Ref) {
	if used, ok := f.uses(); ok {
		s.users.remove(used, by)
		s.loose[used] = struct{}{}
	}
}

// linger records what stays open of a listener, in place of what did; nothing
// where no address leaves. A removed listener's pool is held for it under a
// name of its own, since a new listener may come under the old name meanwhile.
func (s *state) linger(name string, g *linger) {
	by := snapshot.Ref{Name: name}
	if old := s.lingering[name]; old != nil && old.removed {
		s.unuse(&inForce{listener: old.listener}, by)
	}
	if len(g.leaving) == 0 {
		delete(s.lingering, name)
		return
	}
	s.lingering[name] = g
	if g.removed {
		s.use(&inForce{listener: g.listener}, by)
	}
}

// refuse records a fault in place of what was known.
func (s *state) refuse(ref snapshot.Ref, f fault) {
	s.excuse(ref)
	s.faults[ref] = f
	if f.waitsFor.Name != "" {
		s.waiting.add(f.waitsFor, ref)
	}
}

// excuse forgets a fault.
func (s *state) excuse(ref snapshot.Ref) {
	if f, ok := s.faults[ref]; ok {
		delete(s.faults, ref)
		s.waiting.remove(f.waitsFor, ref)
	}
}

// unused gives those of the loose resources of a kind that are in force and
// neither wished nor used, sorted.
func (s *state) unused(kind snapshot.Kind) []snapshot.Ref {
	var unused []snapshot.Ref
	for ref := range s.loose {
		switch {
		case ref.Kind != kind:
		case s.force[ref] == nil || s.wished.Get(ref) != nil:
			delete(s.loose, ref)
		case len(s.users[ref]) == 0:
			delete(s.loose, ref)
			unused = append(unused, ref)
		}
	}
	slices.SortFunc(unused, snapshot.Ref.Compare)
	return unused
}

func (s *state) sortedFaults() []Fault {
	faults := make([]Fault, 0, len(s.faults))
	for ref, f := range s.faults {
		faults = append(faults, Fault{ref, f.message})
	}
	slices.SortFunc(faults, func(a, b Fault) int { return a.Ref.Compare(b.Ref) })
	return faults
}

// lastGood lists the forms in force that differ from the wish: of the refused
// resources, with the health check that a pool runs with, and of those that
// are in use without being wished. A health check has one form in the result,
// the one that its pool runs with: it belongs to one pool, as its name tells.
func (s *state) lastGood() []*snapshot.Resource {
	good := map[snapshot.Ref]*snapshot.Resource{}
	keep := func(f *inForce) {
		if r := s.wished.Get(f.resource.Ref); r == nil || r.Hash != f.resource.Hash {
			good[f.resource.Ref] = f.resource
		}
	}
	var pools []*inForce
	for _, refs := range []iter.Seq[snapshot.Ref]{maps.Keys(s.loose), maps.Keys(s.faults)} {
		for ref := range refs {
			f := s.force[ref]
			if f == nil {
				continue
			}
			keep(f)
			if f.with != nil {
				pools = append(pools, f)
			}
		}
	}
	for _, f := range pools {
		keep(f.with)
	}
	return slices.Collect(maps.Values(good))
}
