package api

import (
	"slices"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/lbpb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// show gives one object of an entry with everything that is output only, status included, without the cost of all others: a
// frame with the names of pools and listeners, which statuses refer to, holds the object while the status is attached.
func (k *kind[M]) show(s *Server, entry *store.Entry, names ids) (M, error) {
	l := entry.LB
	frame := &fiberlbv1.LoadBalancerConfig{}
	for _, x := range l.Pools {
		frame.Pools = append(frame.Pools, &fiberlbv1.Pool{Name: x.Name, FullName: lb.PoolName(l.Project, l.Name, x.Name)})
	}
	for _, x := range l.Listeners {
		frame.Listeners = append(frame.Listeners, &fiberlbv1.Listener{Name: x.Name, FullName: lb.ListenerName(l.Project, l.Name, x.Name)})
	}
	var none M
	if !k.fill(frame, l, names) {
		return none, notFound(k.noun, k.form.format(names))
	}
	s.status.View(l, entry.Revision).Attach(frame, s.now())
	return k.pick(frame, names)
}

// The functions below put one object, and what is around it, into a frame; false where it does not exist.

func fillListener(frame *fiberlbv1.LoadBalancerConfig, l *lb.LoadBalancer, names ids) bool {
	i, x := findListener(frame, names[2]), l.Listener(names[2])
	if i >= 0 && x != nil {
		frame.Listeners[i] = lbpb.ToListener(l, x)
	}
	return i >= 0 && x != nil
}

func fillPool(frame *fiberlbv1.LoadBalancerConfig, l *lb.LoadBalancer, names ids) bool {
	i, x := findPool(frame, names[2]), l.Pool(names[2])
	if i >= 0 && x != nil {
		frame.Pools[i] = lbpb.ToPool(l, x)
	}
	return i >= 0 && x != nil
}

func fillBackend(frame *fiberlbv1.LoadBalancerConfig, l *lb.LoadBalancer, names ids) bool {
	i, pool := findPool(frame, names[2]), l.Pool(names[2])
	if i < 0 || pool == nil {
		return false
	}
	at := slices.IndexFunc(pool.Backends, func(b *lb.Backend) bool { return b.Name == names[3] })
	if at >= 0 {
		frame.Pools[i].Backends = []*fiberlbv1.Backend{lbpb.ToBackend(l, pool, pool.Backends[at])}
	}
	return at >= 0
}

func fillHealthCheck(frame *fiberlbv1.LoadBalancerConfig, l *lb.LoadBalancer, names ids) bool {
	i, pool := findPool(frame, names[2]), l.Pool(names[2])
	if i < 0 || pool == nil || pool.HealthCheck == nil {
		return false
	}
	frame.Pools[i].HealthCheck = lbpb.ToHealthCheck(l, pool, pool.HealthCheck)
	return true
}

// fillPolicy serves rules too, whose policies hold 50 at most.
func fillPolicy(frame *fiberlbv1.LoadBalancerConfig, l *lb.LoadBalancer, names ids) bool {
	x := l.Policy(names[2], names[3])
	if x == nil {
		return false
	}
	frame.L7Policies = []*fiberlbv1.L7Policy{lbpb.ToPolicy(l, x)}
	return true
}

func fillCertificate(frame *fiberlbv1.LoadBalancerConfig, l *lb.LoadBalancer, names ids) bool {
	x := l.Certificate(names[2])
	if x == nil {
		return false
	}
	frame.Certificates = []*fiberlbv1.Certificate{lbpb.ToCertificate(l, x)}
	return true
}
