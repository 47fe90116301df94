package apply

import (
	"fmt"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// put puts the plan in force, in the order of the kinds, so that whatever a
// resource refers to is there before it; removal goes the other way round.
// What is put in force unsettles those that refer to it, which are of later kinds.
func (a *Applier) put(p *plan) {
	for _, ref := range p.take(snapshot.KindHealthCheck) {
		a.settleCheck(ref, p)
	}
	for _, ref := range p.take(snapshot.KindPool) {
		a.settlePool(ref, p)
	}
	a.settleListeners(p.take(snapshot.KindListener), p.removals)
	for _, ref := range p.rest() {
		a.refuse(ref, snapshot.Ref{}, fmt.Errorf("resources of %v are unknown to this data plane", ref.Kind))
	}
	a.removeUnused()
}

func (a *Applier) settleCheck(ref snapshot.Ref, p *plan) {
	r := a.st.wished.Get(ref)
	check, err := decode[snapshot.HealthCheck](r)
	if err != nil {
		a.refuse(ref, snapshot.Ref{}, err)
		return
	}
	a.st.put(&inForce{resource: r, check: check})
	p.unsettle(a.st.users[ref])
	p.unsettle(a.st.waiting[ref])
}

// settlePool brings the wished form of a pool in force, or, where that is
// refused or the pool is no longer wished, the last good form with its health
// check as that is now. Where the engine refuses this too, the pool stays
// altogether as it is.
func (a *Applier) settlePool(ref snapshot.Ref, p *plan) {
	r := a.st.wished.Get(ref)
	if r != nil && a.putPool(r) {
		p.unsettle(a.st.waiting[ref])
		return
	}
	old := a.st.force[ref]
	if old == nil || a.st.current(old) || r != nil && r.Hash == old.resource.Hash {
		return
	}
	used, _ := old.uses()
	check := a.st.force[used]
	if old.with.resource.Hash == check.resource.Hash {
		old.with = check
		return
	}
	if err := a.cfg.Engine.SetPool(ref.Name, old.pool, check.check); err != nil {
		a.cfg.Logger.Warn("pool stays with its last good health check", "resource", ref, "error", err)
		return
	}
	old.with = check
}

// putPool puts a pool in force unless it is refused. Without its health check
// every backend would count as up, so the check has to be in force.
func (a *Applier) putPool(r *snapshot.Resource) bool {
	pool, err := decode[snapshot.Pool](r)
	if err != nil {
		a.refuse(r.Ref, snapshot.Ref{}, err)
		return false
	}
	f := &inForce{resource: r, pool: pool}
	old := a.st.force[r.Ref]
	var check *snapshot.HealthCheck
	used, ok := f.uses()
	if ok {
		if f.with = a.st.force[used]; f.with == nil {
			a.refuse(r.Ref, used, fmt.Errorf("its %v is not in force", used))
			return false
		}
		check = f.with.check
	}
	if old != nil && old.resource.Hash == r.Hash && ok && old.with.resource.Hash == f.with.resource.Hash {
		a.st.put(f) // a refused health check has gone back to its last good form
		return true
	}
	if err := a.cfg.Engine.SetPool(r.Name, pool, check); err != nil {
		a.refuse(r.Ref, used, err)
		return false
	}
	a.st.put(f)
	return true
}

// removeUnused drops the pools, then the health checks, that are neither
// wished nor used by what is in force or lingers.
func (a *Applier) removeUnused() {
	for _, ref := range a.st.unused(snapshot.KindPool) {
		a.cfg.Engine.RemovePool(ref.Name)
		a.st.drop(ref)
	}
	for _, ref := range a.st.unused(snapshot.KindHealthCheck) {
		a.st.drop(ref)
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
