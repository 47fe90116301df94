package apply

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// Resources are put in force in the order of their kinds, so that whatever a
// resource refers to is there before it, and removed in the reverse order.

func (a *Applier) putHealthChecks(p *plan) {
	for _, r := range p.of(snapshot.KindHealthCheck) {
		check, err := decode[snapshot.HealthCheck](r)
		if err != nil {
			a.refuse(r.Ref, err)
			continue
		}
		a.st.put(&inForce{resource: r, check: check})
		for user := range a.st.users[r.Ref] {
			p.rebuild[user.Name] = struct{}{}
		}
	}
}

func (a *Applier) putPools(p *plan) {
	for _, r := range p.of(snapshot.KindPool) {
		delete(p.rebuild, r.Name)
		pool, err := decode[snapshot.Pool](r)
		if err == nil {
			err = a.setPool(r.Name, pool)
		}
		if err != nil {
			a.refuse(r.Ref, err)
			continue
		}
		a.st.put(&inForce{resource: r, pool: pool})
	}
	for name := range p.rebuild {
		ref := snapshot.Ref{Kind: snapshot.KindPool, Name: name}
		if err := a.setPool(name, a.st.force[ref].pool); err != nil {
			a.refuse(ref, err)
		}
	}
}

// setPool hands a pool to the engine. Without its health check every backend
// would count as up, so a pool whose check is not in force is refused.
func (a *Applier) setPool(name string, pool *snapshot.Pool) error {
	var check *snapshot.HealthCheck
	if pool.HealthCheck != "" {
		f := a.st.force[snapshot.Ref{Kind: snapshot.KindHealthCheck, Name: pool.HealthCheck}]
		if f == nil {
			return fmt.Errorf("its health check %s is not in force", pool.HealthCheck)
		}
		check = f.check
	}
	return a.cfg.Engine.SetPool(name, pool, check)
}

func (a *Applier) putListeners(p *plan) {
	for _, r := range p.of(snapshot.KindListener) {
		l, err := decode[snapshot.Listener](r)
		if err != nil {
			a.refuse(r.Ref, err)
			continue
		}
		a.putListener(r, l)
	}
	// Kinds beyond those above are refused by decode of whatever comes.
	for _, r := range p.upserts {
		if r.Kind > snapshot.KindListener {
			a.refuse(r.Ref, fmt.Errorf("resources of kind %d are unknown to this data plane", r.Kind))
		}
	}
}

func (a *Applier) putListener(r *snapshot.Resource, l *snapshot.Listener) {
	old := a.st.force[r.Ref]
	a.st.put(&inForce{resource: r, listener: l})
	delete(a.st.lingering, r.Name)
	if old != nil && old.listener.Port == l.Port && old.listener.Protocol == l.Protocol {
		a.linger(r.Name, old.listener, a.unserved(old.listener.VIPs))
	}
	a.setListener(r.Name, l)
}

// setListener hands a listener to the engine, with the addresses that linger.
func (a *Applier) setListener(name string, l *snapshot.Listener) {
	if g := a.st.lingering[name]; g != nil {
		merged := *l
		merged.VIPs = append(slices.Clone(l.VIPs), g.leaving...)
		l = &merged
	}
	if err := a.cfg.Engine.SetListener(name, l); err != nil {
		a.refuse(snapshot.Ref{Kind: snapshot.KindListener, Name: name}, err)
	}
}

// unserved gives those of vips that no listener in force has.
func (a *Applier) unserved(vips []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(vips), func(v netip.Addr) bool { return a.st.vips[v] > 0 })
}

// linger keeps addresses of a listener open until they are withdrawn, and
// tells whether there is anything to wait for.
func (a *Applier) linger(name string, l *snapshot.Listener, leaving []netip.Addr) bool {
	leaving = slices.DeleteFunc(leaving, func(v netip.Addr) bool { return a.cfg.Withdrawals.Withdrawn(v.String()) })
	if len(leaving) == 0 {
		return false
	}
	a.st.lingering[name] = &linger{listener: l, leaving: leaving, until: time.Now().Add(a.cfg.LingerTimeout)}
	return true
}

func (a *Applier) remove(p *plan) {
	for _, ref := range p.removals {
		f := a.st.force[ref]
		if f == nil || f.listener == nil {
			continue
		}
		a.st.drop(ref)
		if !a.linger(ref.Name, f.listener, a.unserved(f.listener.VIPs)) {
			a.cfg.Engine.RemoveListener(ref.Name)
		} else if pool, ok := f.uses(); ok {
			a.st.use(pool, ref) // it still serves
		}
	}
	a.removeUnused()
}

// removeUnused drops the pools, then the health checks, that are neither
// wished nor used by what is in force.
func (a *Applier) removeUnused() {
	for _, ref := range a.st.unused(snapshot.KindPool) {
		a.cfg.Engine.RemovePool(ref.Name)
		a.st.drop(ref)
	}
	for _, ref := range a.st.unused(snapshot.KindHealthCheck) {
		a.st.drop(ref)
	}
	clear(a.st.loose)
}

func (a *Applier) nextLinger() (time.Time, bool) {
	var next time.Time
	for _, g := range a.st.lingering {
		if next.IsZero() || g.until.Before(next) {
			next = g.until
		}
	}
	return next, !next.IsZero()
}

// endLingering closes the addresses that are withdrawn or have waited long enough.
func (a *Applier) endLingering(now time.Time) {
	for name, g := range a.st.lingering {
		if now.Before(g.until) {
			g.leaving = slices.DeleteFunc(g.leaving, func(v netip.Addr) bool { return a.cfg.Withdrawals.Withdrawn(v.String()) })
			if len(g.leaving) > 0 {
				continue
			}
		}
		delete(a.st.lingering, name)
		if f := a.st.force[snapshot.Ref{Kind: snapshot.KindListener, Name: name}]; f != nil {
			a.setListener(name, f.listener)
		} else {
			a.cfg.Engine.RemoveListener(name)
			if pool, ok := (&inForce{listener: g.listener}).uses(); ok {
				a.st.unuse(pool, snapshot.Ref{Kind: snapshot.KindListener, Name: name})
			}
		}
		a.removeUnused()
		a.notify()
	}
}

// decode gives the content of a resource as the type its kind stands for.
func decode[T any](r *snapshot.Resource) (*T, error) {
	v, err := r.Decode()
	if err != nil {
		return nil, err
	}
	t, ok := v.(*T)
	if !ok {
		return nil, fmt.Errorf("its content is a %T", v)
	}
	return t, nil
}
