package apply

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// linger is what stays open of a listener, on addresses that no listener
// serves any more, until the BGP agent has withdrawn them: packets still come.
type linger struct {
	// listener in force or, when the listener is removed, its last form with
	// the leaving addresses alone.
	listener *snapshot.Listener
	leaving  []leaving // never changed in place: views share it
	removed  bool
}

type leaving struct {
	vip   netip.Addr
	until time.Time
}

func addresses(ls []leaving) []netip.Addr {
	vips := make([]netip.Addr, len(ls))
	for i, l := range ls {
		vips[i] = l.vip
	}
	return vips
}

// on is the listener on other addresses.
func on(l *snapshot.Listener, vips []netip.Addr) *snapshot.Listener {
	other := *l
	other.VIPs = vips
	return &other
}

// withLeaving is the listener with the addresses that leave it still open.
func withLeaving(l *snapshot.Listener, ls []leaving) *snapshot.Listener {
	if len(ls) == 0 {
		return l
	}
	return on(l, slices.Concat(l.VIPs, addresses(ls)))
}

// wishedListener is one that could come in force.
type wishedListener struct {
	*snapshot.Resource
	listener *snapshot.Listener
}

// settleListeners removes listeners, then puts others in force. Removal comes
// first so that a listener may take over the address and port of another.
func (a *Applier) settleListeners(refs, removals []snapshot.Ref) {
	if len(refs)+len(removals) == 0 {
		return
	}
	wished := a.decodeListeners(refs)
	// All changes count before the first is made, since the listeners of a
	// VIP mostly come and go together.
	will := service{now: a.st.vips, diff: map[netip.Addr]int{}}
	busy := make(map[string]bool, len(refs)+len(removals))
	for _, ref := range removals {
		will.count(a.st.listener(ref), -1)
		busy[ref.Name] = true
	}
	for _, w := range wished {
		will.count(a.st.listener(w.Ref), -1)
		will.count(w.listener, +1)
		busy[w.Name] = true
	}
	a.shrink(func(name string, l leaving) bool { return busy[name] || !will.served(l.vip) })
	for _, ref := range removals {
		if l := a.st.listener(ref); l != nil {
			a.removeListener(ref, l, will)
		}
	}
	for _, w := range wished {
		a.putListener(w, will)
	}
}

func (a *Applier) decodeListeners(refs []snapshot.Ref) []wishedListener {
	wished := make([]wishedListener, 0, len(refs))
	for _, ref := range refs {
		r := a.st.wished.Get(ref)
		l, err := decode[snapshot.Listener](r)
		if err != nil {
			a.refuse(ref, snapshot.Ref{}, err)
			continue
		}
		if pool, ok := (&inForce{listener: l}).uses(); ok && a.st.force[pool] == nil {
			a.refuse(ref, pool, fmt.Errorf("its %v is not in force", pool))
			continue
		}
		wished = append(wished, wishedListener{r, l})
	}
	return wished
}

// service tells on which addresses there will be listeners after a change.
type service struct{ now, diff map[netip.Addr]int }

func (s service) count(l *snapshot.Listener, n int) {
	if l == nil {
		return
	}
	for _, vip := range l.VIPs {
		s.diff[vip] += n
	}
}

func (s service) served(vip netip.Addr) bool { return s.now[vip]+s.diff[vip] > 0 }

// settled moves what was only expected of a listener into the present, which
// the state counts itself, or takes it back.
func (s service) settled(old, next *snapshot.Listener) {
	s.count(old, +1)
	s.count(next, -1)
}

func (a *Applier) putListener(w wishedListener, will service) {
	old := a.st.listener(w.Ref)
	stay := a.leaving(w.Name, old, w.listener, will)
	err := a.cfg.Engine.SetListener(w.Name, withLeaving(w.listener, stay))
	will.settled(old, w.listener)
	f := &inForce{resource: w.Resource, listener: w.listener}
	if err != nil {
		pool, _ := f.uses()
		a.refuse(w.Ref, pool, err)
		return
	}
	a.st.put(f)
	a.st.linger(w.Name, &linger{listener: w.listener, leaving: stay})
}

func (a *Applier) removeListener(ref snapshot.Ref, l *snapshot.Listener, will service) {
	open := len(l.VIPs)
	if g := a.st.lingering[ref.Name]; g != nil {
		open += len(g.leaving)
	}
	stay := a.leaving(ref.Name, l, nil, will)
	a.st.drop(ref)
	will.settled(l, nil)
	a.keepOpen(ref.Name, &linger{listener: on(l, addresses(stay)), leaving: stay, removed: true}, len(stay) != open)
}

// keepOpen lets a removed listener linger, or ends it where nothing is left to wait for.
func (a *Applier) keepOpen(name string, g *linger, changed bool) {
	if len(g.leaving) > 0 && changed {
		if err := a.cfg.Engine.SetListener(name, g.listener); err != nil {
			a.cfg.Logger.Warn("removed listener does not linger", "listener", name, "error", err)
			g.leaving = nil
		}
	}
	if len(g.leaving) == 0 {
		a.cfg.Engine.RemoveListener(name)
	}
	a.st.linger(name, g)
}

// leaving lists the addresses of a listener that stay open for a while after
// it has become next, or was removed. The engine has one port to a listener,
// so that a listener that leaves its port leaves its old addresses at once.
func (a *Applier) leaving(name string, old, next *snapshot.Listener, will service) []leaving {
	same := func(l *snapshot.Listener) bool {
		return l != nil && (next == nil || l.Port == next.Port && l.Protocol == next.Protocol)
	}
	var stay []leaving
	if g := a.st.lingering[name]; g != nil && same(g.listener) {
		for _, l := range g.leaving {
			if !will.served(l.vip) {
				stay = append(stay, l)
			}
		}
	}
	if same(old) {
		until := time.Now().Add(a.cfg.LingerTimeout)
		for _, vip := range old.VIPs {
			if !will.served(vip) && !a.cfg.Withdrawals.Withdrawn(vip.String()) {
				stay = append(stay, leaving{vip, until})
			}
		}
	}
	return stay
}

// shrink closes the leaving addresses that need not be kept.
func (a *Applier) shrink(keep func(listener string, l leaving) bool) {
	for _, name := range slices.SortedFunc(maps.Keys(a.st.lingering), strings.Compare) {
		g := a.st.lingering[name]
		var stay []leaving
		for _, l := range g.leaving {
			if keep(name, l) {
				stay = append(stay, l)
			}
		}
		if len(stay) == len(g.leaving) {
			continue
		}
		if g.removed {
			a.keepOpen(name, &linger{listener: on(g.listener, addresses(stay)), leaving: stay, removed: true}, true)
			continue
		}
		if err := a.cfg.Engine.SetListener(name, withLeaving(g.listener, stay)); err != nil {
			a.cfg.Logger.Warn("listener keeps addresses that have left it", "listener", name, "error", err)
		}
		a.st.linger(name, &linger{listener: g.listener, leaving: stay})
	}
}

// nextLinger is when the first leaving address has waited long enough.
func (a *Applier) nextLinger() (time.Time, bool) {
	var next time.Time
	for _, g := range a.st.lingering {
		for _, l := range g.leaving {
			if next.IsZero() || l.until.Before(next) {
				next = l.until
			}
		}
	}
	return next, !next.IsZero()
}

// endLingering closes the addresses that are withdrawn or have waited long enough.
func (a *Applier) endLingering(now time.Time) {
	if len(a.st.lingering) == 0 {
		return
	}
	a.shrink(func(_ string, l leaving) bool {
		return now.Before(l.until) && !a.cfg.Withdrawals.Withdrawn(l.vip.String())
	})
	a.removeUnused()
	a.cfg.Metrics.count(&a.st)
	a.notify()
}
