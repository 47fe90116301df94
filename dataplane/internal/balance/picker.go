package balance

import (
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/maglev"
)

const (
	// maxScan is up to how many backends least connections compares all. With more it compares sampleSize drawn at random:
	// every look at a counter is a cache miss, and the best of eight is rarely far from the best of all (Mitzenmacher, "The
	// power of two choices in randomized load balancing", 2001).
	maxScan    = 128
	sampleSize = 8

	// maxScheduleWork bounds length times backends of a precomputed order, which is what making one costs.
	maxScheduleWork = 1 << 18

	// weyl is 2^64 divided by the golden ratio: the steps of its multiples, modulo 2^64, fall as evenly over any interval as
	// a sequence can (Knuth, TAOCP volume 3, section 6.4).
	weyl = 0x9e3779b97f4a7c15
)

// method is how a picker chooses.
type method uint8

const (
	byRotation   method = iota // equal shares in turn
	bySchedule                 // shares by weight in a precomputed order
	bySequence                 // shares by weight in a low-discrepancy sequence
	byRandom                   // shares by weight, drawn
	byLeast                    // fewest connections for the weight
	byFlowHash                 // Maglev over the 5-tuple
	bySourceHash               // Maglev over the client's address
)

// member is a backend in use with its effective weight: what is configured, scaled while a slow start runs.
type member struct {
	backend *Backend
	weight  uint32
}

// picker is one immutable state of a pool: everything that Pick reads.
type picker struct {
	method   method
	protocol uint8         // IP protocol number of the pool's flows
	delay    time.Duration // deregistration delay

	live       []member // in use; sorted by name
	schedule   []uint16 // indices into live
	cumulative []uint64 // running sums of the weights of live

	table *table // over hashed
	// hashed are the members of the table, whether in use or not, by the indices that the table gives.
	hashed []*Backend
	up     []bool // which of hashed are in use
	allUp  bool

	err             error // why there is nobody; nil if live is not empty
	total, healthy  int   // configured backends, and how many of them serve
	failOpen, spare bool  // all are used as if healthy; backups are in use
}

// pick chooses among the backends in use that were not tried yet; nil if there is none.
func (p *picker) pick(next *ticket, client, vip netip.AddrPort, tried *Tried) *Backend {
	switch p.method {
	case byRotation:
		return p.scan(next.take(), tried)
	case bySchedule:
		turn := next.take()
		if b := p.live[p.schedule[turn%uint64(len(p.schedule))]].backend; !tried.has(b) {
			return b
		}
		for i := range uint64(len(p.schedule)) {
			if b := p.live[p.schedule[(turn+i)%uint64(len(p.schedule))]].backend; !tried.has(b) {
				return b
			}
		}
		return nil
	case bySequence:
		return p.weighted(next.take()*weyl, tried)
	case byRandom:
		return p.weighted(rand.Uint64(), tried)
	case byLeast:
		return p.least(next.take(), tried)
	case byFlowHash:
		return p.hash(maglev.FlowKey(p.protocol, client, vip), tried)
	default:
		return p.hash(maglev.SourceKey(client.Addr()), tried)
	}
}

// scan returns the first of the living, from the turn's on, that was not tried.
func (p *picker) scan(turn uint64, tried *Tried) *Backend {
	n := uint64(len(p.live))
	for i := range n {
		if b := p.live[(turn+i)%n].backend; !tried.has(b) {
			return b
		}
	}
	return nil
}

// weighted maps a point of [0, 2^64) to a backend, each having an interval as long as its weight's share.
func (p *picker) weighted(point uint64, tried *Tried) *Backend {
	last := len(p.cumulative) - 1
	for range MaxTries {
		target, _ := bits.Mul64(point, p.cumulative[last])
		low, high := 0, last
		for low < high {
			middle := int(uint(low+high) / 2)
			if p.cumulative[middle] > target {
				high = middle
			} else {
				low = middle + 1
			}
		}
		if b := p.live[low].backend; !tried.has(b) {
			return b
		}
		point += weyl
	}
	return p.scan(point>>32, tried)
}

// least returns the backend with the lowest (connections+1)/weight. Among equals the one that comes first from the turn's on
// wins, so that ties go round.
func (p *picker) least(turn uint64, tried *Tried) *Backend {
	n, looks, sampled := uint64(len(p.live)), uint64(len(p.live)), false
	if n > maxScan {
		looks, sampled = sampleSize, true
	}
	var best *Backend
	var bestLoad, bestWeight uint64
	for i := range looks {
		m := &p.live[(turn+i)%n]
		if sampled {
			m = &p.live[rand.Uint64N(n)]
		}
		if tried.has(m.backend) {
			continue
		}
		load, weight := uint64(m.backend.active.Load()+1), uint64(m.weight)
		if best == nil || load*bestWeight < bestLoad*weight {
			best, bestLoad, bestWeight = m.backend, load, weight
		}
	}
	if best == nil && sampled {
		return p.scan(turn, tried)
	}
	return best
}

// hash looks the key up. A backend that is not in use is passed over by rehashing the key, the same way on every node.
func (p *picker) hash(key uint64, tried *Tried) *Backend {
	t := p.table.get()
	if p.allUp && (tried == nil || tried.count == 0) {
		if i := t.Lookup(key); i >= 0 {
			return p.hashed[i]
		}
		return nil
	}
	i := t.LookupAlive(key, func(i int) bool { return p.up[i] && !tried.has(p.hashed[i]) })
	if i < 0 {
		return nil
	}
	return p.hashed[i]
}

// prepare fills in what the method needs, given live.
func (p *picker) prepare(algorithm lb.Algorithm) {
	switch algorithm {
	case lb.LeastConnections:
		p.method = byLeast
		return
	case lb.Random:
		p.method = byRandom
	default:
		if divisor, sum := weights(p.live); sum == divisor*uint64(len(p.live)) {
			p.method = byRotation
			return
		} else if sum/divisor*uint64(len(p.live)) <= maxScheduleWork {
			p.method, p.schedule = bySchedule, smooth(p.live, divisor, sum/divisor)
			return
		}
		p.method = bySequence
	}
	p.cumulative = make([]uint64, len(p.live))
	sum := uint64(0)
	for i, m := range p.live {
		sum += uint64(m.weight)
		p.cumulative[i] = sum
	}
}

// weights returns the greatest common divisor and the sum of the weights.
func weights(live []member) (divisor, sum uint64) {
	for _, m := range live {
		a, b := divisor, uint64(m.weight)
		for b != 0 {
			a, b = b, a%b
		}
		divisor = a
		sum += uint64(m.weight)
	}
	return divisor, sum
}

// smooth is the order of nginx's smooth weighted round robin: in every turn each backend gains its weight, and the one that
// has most is chosen and pays the sum. The order repeats after length turns, so it is worked out once.
func smooth(live []member, divisor, length uint64) []uint16 {
	schedule := make([]uint16, length)
	credit := make([]int64, len(live))
	for turn := range schedule {
		best := 0
		for i, m := range live {
			credit[i] += int64(uint64(m.weight) / divisor)
			if credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= int64(length)
		schedule[turn] = uint16(best)
	}
	return schedule
}
