package dataplane

import (
	"fmt"

	"github.com/fiberlb/fiberlb/dataplane/internal/balance"
	"github.com/fiberlb/fiberlb/dataplane/internal/l4"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
)

// engine joins pools and listeners for the apply loop, which refers to pools
// by name and hands over nothing that refers to what is not there.
type engine struct {
	registry *balance.Registry
	server   *l4.Server
}

// SetPool implements apply.Engine.
func (e *engine) SetPool(name string, p *snapshot.Pool, hc *snapshot.HealthCheck) error {
	return e.registry.SetPool(name, p, hc)
}

// RemovePool implements apply.Engine.
func (e *engine) RemovePool(name string) { e.registry.RemovePool(name) }

// SetListener implements apply.Engine.
func (e *engine) SetListener(name string, l *snapshot.Listener) error {
	var pool *balance.Pool
	if l.DefaultPool != "" {
		if pool = e.registry.Pool(l.DefaultPool); pool == nil {
			return fmt.Errorf("its pool %s is not in force", l.DefaultPool)
		}
	}
	return e.server.SetListener(name, l, pool)
}

// RemoveListener implements apply.Engine.
func (e *engine) RemoveListener(name string) { e.server.RemoveListener(name) }
