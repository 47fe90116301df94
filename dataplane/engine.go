package dataplane

import (
	"github.com/fiberlb/fiberlb/dataplane/internal/balance"
	"github.com/fiberlb/fiberlb/dataplane/internal/l4"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// engine joins pools and listeners for the apply loop, which refers to pools
// by name. It belongs to that loop.
type engine struct {
	registry *balance.Registry
	server   *l4.Server
	// waiting are the listeners in force whose pool is not; by pool, then listener.
	waiting map[string]map[string]*snapshot.Listener
	// poolOf is the pool that each waiting listener waits for.
	poolOf map[string]string
}

func newEngine(registry *balance.Registry, server *l4.Server) *engine {
	return &engine{
		registry: registry, server: server,
		waiting: map[string]map[string]*snapshot.Listener{}, poolOf: map[string]string{},
	}
}

// SetPool implements apply.Engine.
func (e *engine) SetPool(name string, p *snapshot.Pool, hc *snapshot.HealthCheck) error {
	if err := e.registry.SetPool(name, p, hc); err != nil {
		return err
	}
	for listener, l := range e.waiting[name] {
		if err := e.SetListener(listener, l); err != nil {
			return err
		}
	}
	return nil
}

// RemovePool implements apply.Engine.
func (e *engine) RemovePool(name string) { e.registry.RemovePool(name) }

// SetListener implements apply.Engine.
func (e *engine) SetListener(name string, l *snapshot.Listener) error {
	e.stopWaiting(name)
	var pool *balance.Pool
	if l.DefaultPool != "" {
		if pool = e.registry.Pool(l.DefaultPool); pool == nil {
			if e.waiting[l.DefaultPool] == nil {
				e.waiting[l.DefaultPool] = map[string]*snapshot.Listener{}
			}
			e.waiting[l.DefaultPool][name] = l
			e.poolOf[name] = l.DefaultPool
		}
	}
	return e.server.SetListener(name, l, pool)
}

// RemoveListener implements apply.Engine.
func (e *engine) RemoveListener(name string) {
	e.stopWaiting(name)
	e.server.RemoveListener(name)
}

func (e *engine) stopWaiting(listener string) {
	pool, ok := e.poolOf[listener]
	if !ok {
		return
	}
	delete(e.poolOf, listener)
	delete(e.waiting[pool], listener)
	if len(e.waiting[pool]) == 0 {
		delete(e.waiting, pool)
	}
}
