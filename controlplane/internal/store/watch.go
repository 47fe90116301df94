package store

import (
	"context"
	"maps"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// Batch is a step from one state of the configuration to a later one. Steps whose receiver is slow are joined into one.
type Batch struct {
	// Cluster is the id of the etcd cluster, as [Store.ClusterID] gives it.
	Cluster string
	// Revision is the highest ModRevision of the state's inputs: heads, node configurations, and the marker of deletions. It is
	// the same for everybody who holds this state, and within a cluster it never goes back.
	Revision int64
	// Reset tells that LBs and Nodes are everything there is.
	Reset  bool
	LBs    map[Key]*Entry         // nil: deleted
	Nodes  map[string]*NodeConfig // nil: deleted
	Faults []Fault                // objects that became unreadable; their last good version stays in force
}

// WatchConfig follows load balancers and node configurations until ctx ends, when the channel is closed. The first batch holds
// everything. While etcd cannot be reached, and after it comes back, nothing is told as deleted that was not; what stayed the same
// is not told again.
func (s *Store) WatchConfig(ctx context.Context) <-chan Batch {
	in, out := make(chan Batch), make(chan Batch)
	m := &mirror{store: s, lbs: make(map[Key]*mirrored), nodes: make(map[string]*mirroredNode), emit: func(b Batch) {
		select {
		case in <- b:
		case <-ctx.Done():
		}
	}}
	from, end := s.keys.inputs()
	f := &follower{store: s, name: "config", from: from, end: end, view: m}
	go func() {
		defer close(in)
		f.run(ctx)
	}()
	ledger := &batchLedger{}
	go relay(ctx, in, out, ledger.join, ledger.told)
	return out
}

// relay hands on what comes in, joining what waits, and tells what it has handed on. It closes out when in is closed or ctx ends.
func relay[T any](ctx context.Context, in <-chan T, out chan<- T, join func(older, newer T) T, told func(T)) {
	defer close(out)
	var waiting T
	var to chan<- T // nil while nothing waits
	for {
		select {
		case b, ok := <-in:
			if !ok {
				return
			}
			if to != nil {
				b = join(waiting, b)
			}
			waiting, to = b, out
		case to <- waiting:
			told(waiting)
			var none T
			waiting, to = none, nil
		case <-ctx.Done():
			return
		}
	}
}

// batchLedger knows what the receiver of batches knows, so that what came and went unseen is not told as deleted.
type batchLedger struct {
	lbs    map[Key]bool
	nodes  map[string]bool
	faults map[string]bool // full names told as unreadable, ever: their deletion is news too
}

func (l *batchLedger) told(b Batch) {
	l.lbs, l.nodes = enter(l.lbs, b.LBs, b.Reset), enter(l.nodes, b.Nodes, b.Reset)
	for _, f := range b.Faults {
		if l.faults == nil {
			l.faults = make(map[string]bool)
		}
		l.faults[f.Name] = true
	}
}

// join makes one step of two, which nobody else holds any more.
func (l *batchLedger) join(older, newer Batch) Batch {
	if newer.Reset {
		return newer
	}
	faulty := func(name string) bool {
		return l.faults[name] || slices.ContainsFunc(older.Faults, func(f Fault) bool { return f.Name == name })
	}
	return Batch{
		Cluster: newer.Cluster, Revision: newer.Revision, Reset: older.Reset,
		LBs: joinMaps(older.LBs, newer.LBs, func(k Key) bool {
			return !older.Reset && l.lbs[k] || faulty(k.String())
		}),
		Nodes: joinMaps(older.Nodes, newer.Nodes, func(node string) bool {
			return !older.Reset && l.nodes[node] || faulty(lb.NodeName(node))
		}),
		Faults: append(older.Faults, newer.Faults...),
	}
}

// enter notes a step that was told.
func enter[K comparable, V any](known map[K]bool, step map[K]*V, reset bool) map[K]bool {
	if reset || known == nil {
		known = make(map[K]bool, len(step))
	}
	for k, v := range step {
		if v != nil {
			known[k] = true
		} else {
			delete(known, k)
		}
	}
	return known
}

// joinMaps lays newer over older. What was deleted and is not known to the receiver is simply not there.
func joinMaps[K comparable, V any](older, newer map[K]*V, known func(K) bool) map[K]*V {
	if older == nil {
		older = make(map[K]*V, len(newer))
	}
	for k, v := range newer {
		if v == nil && !known(k) {
			delete(older, k)
		} else {
			older[k] = v
		}
	}
	return older
}

// mirror is the view behind WatchConfig. It belongs to the follower's goroutine.
type mirror struct {
	store    *Store
	emit     func(Batch)
	cluster  string
	started  bool // the first batch was given
	revision int64
	told     int64 // revision of the last batch
	lbs      map[Key]*mirrored
	nodes    map[string]*mirroredNode
}

// mirrored is one load balancer's prefix. Children come before the head that lists them, and stay until etcd removes them.
type mirrored struct {
	children map[string][]byte // by suffix
	head     *mvccpb.KeyValue  // the present one; nil: none
	entry    *Entry            // what was told last; nil: nothing, or that it is gone
	fault    error             // why head is not what entry shows
}

type mirroredNode struct {
	config *NodeConfig // nil: never readable
	fault  error
}

func (m *mirror) at(key Key) *mirrored {
	r := m.lbs[key]
	if r == nil {
		r = &mirrored{children: make(map[string][]byte)}
		m.lbs[key] = r
	}
	return r
}

// replace compares a new reading with what was told before, and tells the difference.
func (m *mirror) replace(content []*mvccpb.KeyValue, cluster string) {
	old := m.lbs
	if m.cluster != cluster {
		// Revisions and hashes of another cluster say nothing about this one: everything is told again.
		m.revision, m.started, old = 0, false, nil
		m.nodes = make(map[string]*mirroredNode)
	}
	m.cluster, m.lbs = cluster, make(map[Key]*mirrored)
	step := m.step()
	nodes := make(map[string]bool)
	for _, kv := range content {
		if node, ok := strings.CutPrefix(string(kv.Key), m.store.keys.nodeConfigs()); ok {
			nodes[node] = true
		}
		m.put(kv, &step)
	}
	for node := range m.nodes {
		if !nodes[node] {
			m.dropNode(node, &step)
		}
	}
	for key, r := range old {
		if now := m.at(key); now.head != nil {
			now.entry, now.fault = r.entry, r.fault
			if r.head != nil && r.head.ModRevision == now.head.ModRevision {
				now.head = r.head
				delete(step.dirty, key)
			}
		} else {
			now.entry = r.entry
			step.dirty[key] = true
		}
	}
	m.finish(&step, !m.started)
	m.started = true
}

// step is a batch in the making.
type step struct {
	batch Batch
	dirty map[Key]bool // whose head came or went
}

func (m *mirror) step() step {
	return step{Batch{LBs: make(map[Key]*Entry), Nodes: make(map[string]*NodeConfig)}, make(map[Key]bool)}
}

func (m *mirror) apply(events []*clientv3.Event) {
	s := m.step()
	for _, e := range events {
		if e.Type == clientv3.EventTypePut {
			m.put(e.Kv, &s)
		} else {
			m.delete(string(e.Kv.Key), &s)
		}
	}
	m.finish(&s, false)
}

// put takes in a key that came or changed.
func (m *mirror) put(kv *mvccpb.KeyValue, s *step) {
	name := string(kv.Key)
	if name == m.store.keys.deleted() {
		m.revision = max(m.revision, kv.ModRevision)
		return
	}
	if node, ok := strings.CutPrefix(name, m.store.keys.nodeConfigs()); ok {
		m.revision = max(m.revision, kv.ModRevision)
		m.putNode(node, kv, s)
		return
	}
	key, suffix, ok := m.store.keys.split(name)
	if !ok {
		return
	}
	r := m.at(key)
	if suffix != headName {
		r.children[suffix] = kv.Value
		return
	}
	m.revision = max(m.revision, kv.ModRevision)
	r.head = kv
	s.dirty[key] = true
}

func (m *mirror) putNode(node string, kv *mvccpb.KeyValue, s *step) {
	config, err := decodeNodeConfig(node, kv)
	was := m.nodes[node]
	if err != nil {
		if was == nil {
			was = &mirroredNode{}
			m.nodes[node] = was
		}
		if was.fault == nil || was.fault.Error() != err.Error() {
			s.batch.Faults = append(s.batch.Faults, Fault{lb.NodeName(node), err})
			m.store.log.Error("stored object is unreadable, its last good version stays in force", "object", lb.NodeName(node), "error", err)
		}
		was.fault = err
		return
	}
	if was != nil && was.fault == nil && was.config.Revision == config.Revision {
		return
	}
	m.nodes[node] = &mirroredNode{config: config}
	s.batch.Nodes[node] = config
}

func (m *mirror) dropNode(node string, s *step) {
	if was := m.nodes[node]; was != nil {
		s.batch.Nodes[node] = nil
		delete(m.nodes, node)
	}
}

func (m *mirror) delete(name string, s *step) {
	if node, ok := strings.CutPrefix(name, m.store.keys.nodeConfigs()); ok {
		m.dropNode(node, s)
		return
	}
	key, suffix, ok := m.store.keys.split(name)
	if !ok {
		return
	}
	r := m.lbs[key]
	if r == nil {
		return
	}
	if suffix == headName {
		r.head = nil
		s.dirty[key] = true
		return
	}
	delete(r.children, suffix)
	if r.head == nil && len(r.children) == 0 && !s.dirty[key] {
		delete(m.lbs, key)
	}
}

// finish builds what changed, now that all children of the step are there, and gives the batch.
func (m *mirror) finish(s *step, reset bool) {
	for key := range s.dirty {
		m.rebuild(key, s)
	}
	m.gauge()
	// A step that changes nothing but the revision is told too, since every replica has to come to the same one.
	if !reset && len(s.batch.LBs) == 0 && len(s.batch.Nodes) == 0 && len(s.batch.Faults) == 0 && m.revision == m.told {
		return
	}
	m.told = m.revision
	s.batch.Cluster, s.batch.Revision, s.batch.Reset = m.cluster, m.revision, reset
	if reset {
		maps.DeleteFunc(s.batch.LBs, func(_ Key, e *Entry) bool { return e == nil })
		maps.DeleteFunc(s.batch.Nodes, func(_ string, c *NodeConfig) bool { return c == nil })
	}
	m.emit(s.batch)
}

func (m *mirror) rebuild(key Key, s *step) {
	r := m.lbs[key]
	if r.head == nil {
		if r.entry != nil || r.fault != nil {
			s.batch.LBs[key] = nil
		}
		r.entry, r.fault = nil, nil
		if len(r.children) == 0 {
			delete(m.lbs, key)
		}
		return
	}
	entry, err := m.entry(key, r)
	if err != nil {
		r.fault = err
		s.batch.Faults = append(s.batch.Faults, Fault{key.String(), err})
		m.store.log.Error("stored object is unreadable, its last good version stays in force", "object", key.String(), "error", err)
		return
	}
	r.entry, r.fault = entry, nil
	s.batch.LBs[key] = entry
}

func (m *mirror) entry(key Key, r *mirrored) (*Entry, error) {
	if e := m.store.recent.find(key, r.head); e != nil {
		return e, nil
	}
	head, err := decodeHead(r.head.Value)
	if err != nil {
		return nil, &DecodeError{key.String(), err}
	}
	l, err := assemble(key, head, r.entry, childIn(r.children))
	if err != nil {
		return nil, &DecodeError{key.String(), err}
	}
	e := &Entry{LB: l, Revision: r.head.ModRevision, head: head, raw: r.head.Value}
	m.store.recent.put(e)
	return e, nil
}

func (m *mirror) gauge() {
	var lbs, listeners, pools, backends, policies, certificates, faults int
	for _, r := range m.lbs {
		if r.fault != nil {
			faults++
		}
		if r.entry == nil {
			continue
		}
		lbs++
		listeners += len(r.entry.LB.Listeners)
		pools += len(r.entry.LB.Pools)
		policies += len(r.entry.LB.Policies)
		certificates += len(r.entry.LB.Certificates)
		for _, p := range r.entry.LB.Pools {
			backends += len(p.Backends)
		}
	}
	for _, n := range m.nodes {
		if n.fault != nil {
			faults++
		}
	}
	metrics := m.store.metrics
	for kind, n := range map[string]int{
		"load_balancer": lbs, "listener": listeners, "pool": pools, "backend": backends, "policy": policies,
		"certificate": certificates, "node_config": len(m.nodes),
	} {
		metrics.objects.WithLabelValues(kind).Set(float64(n))
	}
	metrics.faults.Set(float64(faults))
	metrics.revision.Set(float64(m.revision))
}
