package balance

import (
	"slices"
	"strings"
	"time"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/maglev"
)

const (
	// warmSteps is in how many steps a slow start raises the share of a backend, each a twentieth.
	warmSteps = 20
	// warmFloor is the step it begins with: a tenth.
	warmFloor = 2
)

// rebuild works out the next state of a pool and swaps it in. While a slow start runs it comes back for the next step.
func (r *Registry) rebuild(p *Pool) {
	now := time.Now()
	members, spares := make([]*Backend, 0, len(p.backends)), []*Backend(nil)
	s := &picker{protocol: protocolNumber(p.conf.Protocol), delay: p.conf.DeregistrationDelay, total: len(p.backends)}
	primaries := 0 // that serve
	for _, b := range p.backends {
		if !b.takesNew() {
			continue
		}
		if b.conf.Backup {
			spares = append(spares, b)
		} else {
			members = append(members, b)
		}
		if b.verdict.State.Serving() {
			s.healthy++
			if !b.conf.Backup {
				primaries++
			}
		}
	}
	s.failOpen = s.healthy < int(p.conf.FailOpenBelow)
	// A backup counts for nothing while another backend is healthy, and with a fail-open all of those are.
	if primaries == 0 && len(spares) > 0 && (!s.failOpen || len(members) == 0) {
		members, s.spare = spares, true
	}
	slices.SortFunc(members, func(a, b *Backend) int { return strings.Compare(a.id.name, b.id.name) })

	warming := p.effective(s, members, now)
	if len(s.live) == 0 {
		s.err = errUnhealthy
		if len(members) == 0 {
			s.err = errEmpty
		}
	} else if hashes(p.conf) {
		p.prepareHash(s, members)
	} else {
		s.prepare(p.conf.Algorithm)
	}
	p.state.Store(s)

	if p.warm != nil {
		p.warm.Stop()
		p.warm = nil
	}
	if warming {
		p.warm = time.AfterFunc(max(p.conf.SlowStart/warmSteps, time.Millisecond), func() { r.warmUp(p) })
	}
}

// warmUp makes the next step of a pool's slow starts.
func (r *Registry) warmUp(p *Pool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed && r.pools[p.name] == p {
		r.rebuild(p)
	}
}

// effective fills in which members are in use, with what weight, and tells whether any is in its slow start.
func (p *Pool) effective(s *picker, members []*Backend, now time.Time) (warming bool) {
	steps := make([]uint32, 0, len(members))
	for _, b := range members {
		if !s.failOpen && !b.verdict.State.Serving() {
			continue
		}
		step := b.warmStep(now, p.conf.SlowStart)
		warming = warming || step < warmSteps
		steps = append(steps, step)
		s.live = append(s.live, member{backend: b, weight: p.weight(b)})
	}
	if warming {
		for i := range s.live {
			s.live[i].weight *= steps[i]
		}
	}
	return warming
}

// warmStep is how many twentieths of its share a backend gets.
func (b *Backend) warmStep(now time.Time, period time.Duration) uint32 {
	if b.warmFrom.IsZero() {
		return warmSteps
	}
	if elapsed := now.Sub(b.warmFrom); elapsed < period {
		return max(uint32(elapsed*warmSteps/period), warmFloor)
	}
	b.warmFrom = time.Time{}
	return warmSteps
}

// weight is what a backend's configured weight means under the pool's algorithm: round robin knows only equal shares.
func (p *Pool) weight(b *Backend) uint32 {
	if p.conf.Algorithm == lb.RoundRobin {
		return 1
	}
	return uint32(b.conf.Weight)
}

// prepareHash fills in the table. Its members are all that take new connections by configuration, which every node has
// alike; health, which is local, only marks them.
func (p *Pool) prepareHash(s *picker, members []*Backend) {
	s.method = bySourceHash
	if p.conf.Algorithm == lb.Maglev && p.conf.Persistence == 0 {
		s.method = byFlowHash
	}
	weighted := make([]maglev.Backend, len(members))
	s.up = make([]bool, len(members))
	for i, b := range members {
		weighted[i] = maglev.Backend{Name: b.id.name, Weight: p.weight(b)}
		s.up[i] = s.failOpen || b.verdict.State.Serving()
	}
	s.hashed, s.allUp = members, len(s.live) == len(members)
	s.table = p.registry.tables.get(p.conf.TableSize, weighted)
}

// protocolNumber is the IP protocol of the flows that come to a pool.
func protocolNumber(p lb.PoolProtocol) uint8 {
	const tcp, udp = 6, 17
	if p == lb.PoolUDP {
		return udp
	}
	return tcp
}
