package status

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// report is what some nodes say about one resource.
type report struct {
	nodes   int    // how many say so
	node    string // the first of them by name
	message string // in its words
}

func (r report) String() string {
	text := r.node + ": " + r.message
	if r.nodes > 1 {
		text += fmt.Sprintf(" (and %d more)", r.nodes-1)
	}
	return text
}

// View is how one load balancer stands. It is never modified; [View.Attach] writes it into messages.
type View struct {
	lb       *lb.LoadBalancer
	revision int64

	nodes     int // live nodes that the load balancer selects
	acked     int
	nacked    int
	draining  int
	lastError string
	truncated string // a node that does not list all that is down, if any

	refused   map[string]report // by full name of the resource
	down      map[string]report // by full name of the backend
	listeners map[string]report // by full name of the listener
	dead      map[string]int    // by name of the pool: nodes on which none of its backends is up
	used      map[string]bool   // names of the pools that some enabled listener sends traffic to
}

// Derive works out how the load balancer stands, as it was written at the revision, on the nodes of the fleet.
func Derive(l *lb.LoadBalancer, revision int64, fleet *Fleet) *View {
	v := &View{
		lb: l, revision: revision,
		refused: map[string]report{}, down: map[string]report{}, listeners: map[string]report{},
		dead: map[string]int{}, used: used(l),
	}
	g := fleet.selected(l.NodeSelector)
	v.nodes, v.draining, v.truncated = len(g.nodes), g.draining, g.truncated
	answered := g.answered(revision)

	name := lb.LoadBalancerName(l.Project, l.Name)
	for _, node := range fleet.faulty[name] {
		if !chosen(l.NodeSelector, node.Labels) {
			continue
		}
		f := node.faults[name]
		// What a node said about an earlier revision is not about this one.
		if len(f.refused) > 0 && node.Revision >= revision {
			v.nacked++
			collect(v.refused, f.refused, node.Name)
		}
		collect(v.down, f.down, node.Name)
		collect(v.listeners, f.listeners, node.Name)
		v.countDead(f.down)
	}
	v.acked = answered - v.nacked
	if len(v.refused) > 0 {
		first := slices.Min(slices.Collect(maps.Keys(v.refused)))
		v.lastError = first + ": " + v.refused[first].String()
	}
	return v
}

// collect adds what one node says to what others say. Nodes come sorted, so that the first word is always the same node's.
func collect(into map[string]report, said map[string]string, node string) {
	for resource, message := range said {
		r, ok := into[resource]
		if !ok {
			r = report{node: node, message: message}
		}
		r.nodes++
		into[resource] = r
	}
}

// countDead counts the pools of which one node sees every usable backend down.
func (v *View) countDead(down map[string]string) {
	byPool := map[string]int{}
	for full := range down {
		if path, err := lb.ParseName(full); err == nil && path.Kind == lb.KindBackend {
			if pool := v.lb.Pool(path.Pool); pool != nil && slices.ContainsFunc(pool.Backends, func(b *lb.Backend) bool {
				return b.Name == path.Name && usable(b)
			}) {
				byPool[path.Pool]++
			}
		}
	}
	for name, count := range byPool {
		if count == countUsable(v.lb.Pool(name)) {
			v.dead[name]++
		}
	}
}

// usable tells whether a backend takes new connections when it is healthy.
func usable(b *lb.Backend) bool { return b.Enabled && b.Weight > 0 }

func countUsable(p *lb.Pool) int {
	n := 0
	for _, b := range p.Backends {
		if usable(b) {
			n++
		}
	}
	return n
}

// used finds the pools that enabled listeners and their enabled policies name.
func used(l *lb.LoadBalancer) map[string]bool {
	names := map[string]bool{}
	for _, x := range l.Listeners {
		for _, pool := range poolsOf(l, x) {
			names[pool] = true
		}
	}
	return names
}

// poolsOf are the pools that an enabled listener sends traffic to, each once, sorted.
func poolsOf(l *lb.LoadBalancer, x *lb.Listener) []string {
	if !x.Enabled {
		return nil
	}
	var names []string
	if x.DefaultPool != "" {
		names = append(names, x.DefaultPool)
	}
	for _, policy := range l.Policies {
		if policy.Listener == x.Name && policy.Enabled {
			for _, weighted := range policy.Pools {
				names = append(names, weighted.Pool)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Equal tells whether two views of the same load balancer say the same.
func (v *View) Equal(other *View) bool {
	return v.revision == other.revision &&
		v.nodes == other.nodes && v.acked == other.acked && v.nacked == other.nacked && v.draining == other.draining &&
		v.lastError == other.lastError && v.truncated == other.truncated &&
		maps.Equal(v.refused, other.refused) && maps.Equal(v.down, other.down) &&
		maps.Equal(v.listeners, other.listeners) && maps.Equal(v.dead, other.dead)
}

// refusal gives what is refused of an object or of what is inside of it; the first by name.
func (v *View) refusal(full string) (string, bool) {
	best := ""
	for resource := range v.refused {
		inside := strings.HasPrefix(resource, full) && (len(resource) == len(full) || resource[len(full)] == '/')
		if inside && (best == "" || resource < best) {
			best = resource
		}
	}
	if best == "" {
		return "", false
	}
	if best == full {
		return v.refused[best].String(), true
	}
	return strings.TrimPrefix(best, full+"/") + ": " + v.refused[best].String(), true
}
