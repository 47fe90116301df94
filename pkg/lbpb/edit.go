package lbpb

import (
	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// Origins tell which messages of a configuration under an edit stand for which
// object of the normal form it was made from, so that [FromConfig] with
// [Unedited] decodes only what was edited. A pool's message stands for none,
// its backends and its health check each for their own; a policy's stands for
// its rules too.
type Origins map[any]any

// Touch says that the message is about to be edited, or what is in it.
func (o Origins) Touch(m proto.Message) {
	delete(o, m)
	if pool, ok := m.(*fiberlbv1.Pool); ok {
		delete(o, pool.HealthCheck)
		for _, b := range pool.Backends {
			delete(o, b)
		}
	}
}

// ToDraft is [ToConfig] for an edit: before a message is changed, the origins
// are to be told. Lists may be changed without.
func ToDraft(l *lb.LoadBalancer) (*fiberlbv1.LoadBalancerConfig, Origins) {
	m := ToConfig(l)
	origins := make(Origins)
	keep(origins, m.Listeners, l.Listeners)
	for i, x := range l.Pools {
		if x.HealthCheck != nil {
			origins[m.Pools[i].HealthCheck] = x.HealthCheck
		}
		keep(origins, m.Pools[i].Backends, x.Backends)
	}
	keep(origins, m.L7Policies, l.Policies)
	keep(origins, m.Certificates, l.Certificates)
	return m, origins
}

func keep[M, T any](origins Origins, messages []*M, objects []*T) {
	for i, x := range objects {
		origins[messages[i]] = x
	}
}
