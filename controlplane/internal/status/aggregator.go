package status

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/lb"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// settle is how long reports are collected before statuses are worked out anew, at least: after a change every node reports
// within moments.
const settle = 20 * time.Millisecond

// Aggregator keeps the status of every load balancer current. Make it with New, feed it by Config, Reports and Kick, and Run it.
type Aggregator struct {
	local   func() []*storev1.NodeReport
	changed func([]store.Key)
	kick    chan struct{} // one slot: something is to be worked out

	// What is known, as fed. The maps' values are never modified.
	mu      sync.Mutex
	entries map[store.Key]*store.Entry     // guarded by mu
	configs map[string]*store.NodeConfig   // guarded by mu
	reports map[string]*storev1.NodeReport // guarded by mu

	current atomic.Pointer[snapshot] // what was last worked out
}

// snapshot is one consistent state of everything derived. It is never modified.
type snapshot struct {
	fleet *Fleet
	views map[store.Key]*View
}

// New makes an aggregator. Local, if not nil, gives the reports of the nodes connected to this replica, which are fresher than
// the store's; Kick tells that they changed. After every change
// of statuses Run calls changed, which must not block, with the load balancers whose status is another one; nil: nobody listens.
func New(local func() []*storev1.NodeReport, changed func([]store.Key)) *Aggregator {
	a := &Aggregator{
		local: local, changed: changed, kick: make(chan struct{}, 1),
		entries: map[store.Key]*store.Entry{}, configs: map[string]*store.NodeConfig{}, reports: map[string]*storev1.NodeReport{},
	}
	a.current.Store(&snapshot{fleet: NewFleet(nil), views: map[store.Key]*View{}})
	return a
}

// Config takes in a batch of changes of load balancers and of what people set of nodes.
func (a *Aggregator) Config(batch store.Batch) {
	a.mu.Lock()
	if batch.Reset {
		clear(a.entries)
		clear(a.configs)
	}
	merge(a.entries, batch.LBs)
	merge(a.configs, batch.Nodes)
	a.mu.Unlock()
	a.Kick()
}

// Reports takes in a batch of changes of what nodes report.
func (a *Aggregator) Reports(batch store.ReportBatch) {
	a.mu.Lock()
	if batch.Reset {
		clear(a.reports)
	}
	merge(a.reports, batch.Reports)
	a.mu.Unlock()
	a.Kick()
}

// merge applies changes; nil is a deletion.
func merge[K comparable, V any](into, changes map[K]*V) {
	for key, value := range changes {
		if value == nil {
			delete(into, key)
		} else {
			into[key] = value
		}
	}
}

// Kick says that local has something new. It never blocks.
func (a *Aggregator) Kick() {
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// Run works statuses out until ctx ends.
func (a *Aggregator) Run(ctx context.Context) {
	nodes := map[string]*builtNode{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.kick:
		}
		began := time.Now()
		keys := a.work(nodes)
		if len(keys) > 0 && a.changed != nil {
			a.changed(keys)
		}
		// Never more than a fifth of one core, however large the fleet.
		pause := time.NewTimer(max(settle, 4*time.Since(began)))
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// builtNode remembers a node with what it was made of, so that only nodes that changed are made anew.
type builtNode struct {
	report *storev1.NodeReport
	config *store.NodeConfig
	node   *Node
}

// work derives everything from what is known and publishes it; it gives the load balancers whose status changed. Nodes belongs
// to Run.
func (a *Aggregator) work(nodes map[string]*builtNode) []store.Key {
	a.mu.Lock()
	entries, configs, reports := maps.Clone(a.entries), maps.Clone(a.configs), maps.Clone(a.reports)
	a.mu.Unlock()
	if a.local != nil {
		for _, report := range a.local() {
			reports[report.GetNode()] = report
		}
	}

	last := a.current.Load()
	fleet := last.fleet
	if a.rebuild(nodes, reports, configs) {
		all := make([]*Node, 0, len(nodes))
		for _, built := range nodes {
			all = append(all, built.node)
		}
		fleet = NewFleet(all)
	}
	next := &snapshot{fleet: fleet, views: make(map[store.Key]*View, len(entries))}
	var changed []store.Key
	for key, entry := range entries {
		before := last.views[key]
		same := before != nil && before.revision == entry.Revision
		if same && fleet == last.fleet {
			next.views[key] = before
			continue
		}
		view := Derive(entry.LB, entry.Revision, fleet)
		next.views[key] = view
		// Whoever is told of a new revision is told its status with it, as of the fleet of that moment.
		if !same && fleet != last.fleet {
			before = Derive(entry.LB, entry.Revision, last.fleet)
		}
		if fleet != last.fleet && !before.Equal(view) {
			changed = append(changed, key)
		}
	}
	a.current.Store(next)
	return changed
}

// rebuild brings nodes up to date and tells whether any changed.
func (a *Aggregator) rebuild(nodes map[string]*builtNode, reports map[string]*storev1.NodeReport, configs map[string]*store.NodeConfig) bool {
	changed := false
	for name := range nodes {
		if reports[name] == nil {
			delete(nodes, name)
			changed = true
		}
	}
	for name, report := range reports {
		config := configs[name]
		// Reports of this replica's own nodes are made anew each time they are asked for.
		if built := nodes[name]; built != nil && built.config == config && (built.report == report || proto.Equal(built.report, report)) {
			continue
		}
		var labels map[string]string
		drain := false
		if config != nil {
			labels, drain = config.Labels, config.Drain
		}
		nodes[name] = &builtNode{report: report, config: config, node: NewNode(report, labels, drain)}
		changed = true
	}
	return changed
}

// View gives the status of a load balancer as it was written at the revision, also where the aggregator has not heard of that
// revision yet: right after a write, say.
func (a *Aggregator) View(l *lb.LoadBalancer, revision int64) *View {
	now := a.current.Load()
	if view := now.views[store.KeyOf(l)]; view != nil && view.revision == revision && view.lb.UID == l.UID {
		return view
	}
	return Derive(l, revision, now.fleet)
}

// Fleet gives all live nodes as last heard.
func (a *Aggregator) Fleet() *Fleet { return a.current.Load().fleet }
