// Package publish owns what connected nodes are told: it takes the configuration from the store, compiles it for the
// capabilities of each node, and streams snapshots and their changes.
//
// One goroutine, [Publisher.Run], takes in the configuration. It only marks, in a set per stream, which load balancers have
// another form now; the newest form replaces one that was not sent yet. Each stream's own goroutine takes its marks,
// compiles (once for all nodes of the same capabilities), compares with what it sent last, and sends the difference. So a
// change costs what it changes, and a node that does not read costs a set of marks and delays nobody. Nothing is compiled,
// encoded or sent while a lock is held that others need.
//
// Configuration that is not there is never taken for an empty one: until the first batch streams wait, and afterwards
// nothing is removed but what a batch says is gone.
package publish

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/compile"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// Config of a publisher.
type Config struct {
	// Controller names this replica in reports of nodes.
	Controller string
	// Authorize gives a gRPC status where the peer of the stream may not speak for the node.
	Authorize func(ctx context.Context, node string) error
	// Sink takes the reports of nodes.
	Sink    ReportSink
	Logger  hclog.Logger
	Metrics *Metrics // nil: nobody looks

	// AckTimeout is how long a node may take to read and answer one delta; 0: 30 s.
	AckTimeout time.Duration
	// HelloTimeout is how long a new stream may stay silent; 0: 10 s.
	HelloTimeout time.Duration
	// ReportDelay is how long changes of reports are gathered before they go to the sink; 0: 200 ms.
	ReportDelay time.Duration
}

// Publisher serves fiberlb.agent.v1.SnapshotService. It may be used from many goroutines.
type Publisher struct {
	agentv1.UnimplementedSnapshotServiceServer

	cfg     Config
	log     hclog.Logger
	metrics *Metrics
	reports *reporter
	most    int // bytes of a message

	life    context.Context // ends when Run does
	endLife context.CancelCauseFunc
	streams sync.WaitGroup // the goroutines of all streams; added to under mu, before stopped is set

	mu       sync.Mutex // guards what follows; held for marking only
	stopped  bool
	loaded   bool   // the first batch was there
	cluster  string // id of the etcd cluster that the configuration is from
	revision int64  // highest of the batches
	sources  map[store.Key]*source
	slots    slots
	nodes    map[string]*store.NodeConfig
	sessions map[string]*session // the newest stream of each node
}

var errStopping = status.Error(codes.Unavailable, "the controller is stopping: connect to another replica")

// New makes a publisher, which serves streams at once and has them wait for Run.
func New(cfg Config) *Publisher {
	if cfg.AckTimeout == 0 {
		cfg.AckTimeout = 30 * time.Second
	}
	if cfg.HelloTimeout == 0 {
		cfg.HelloTimeout = 10 * time.Second
	}
	if cfg.ReportDelay == 0 {
		cfg.ReportDelay = 200 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.Metrics == nil {
		cfg.Metrics = newMetrics()
	}
	p := &Publisher{
		cfg:      cfg,
		log:      cfg.Logger,
		metrics:  cfg.Metrics,
		most:     snapshot.MaxMessageSize,
		sources:  make(map[store.Key]*source),
		nodes:    make(map[string]*store.NodeConfig),
		sessions: make(map[string]*session),
	}
	p.life, p.endLife = context.WithCancelCause(context.Background())
	p.reports = newReporter(p)
	return p
}

// Run takes in batches and passes reports on until ctx ends; then it ends all streams with UNAVAILABLE and returns nil. It
// is called once. It is an error that the batches end before.
func (p *Publisher) Run(ctx context.Context, batches <-chan store.Batch) error {
	ctx, cancel := context.WithCancel(ctx)
	var reports sync.WaitGroup
	reports.Go(func() { p.reports.run(ctx) })
	defer func() {
		cancel()
		p.stop()
		reports.Wait()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case b, ok := <-batches:
			switch {
			case ok:
				p.apply(b)
			case ctx.Err() == nil:
				return errors.New("publish: the configuration's batches ended")
			}
		}
	}
}

func (p *Publisher) stop() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.endLife(errStopping)
	p.streams.Wait()
}

// change is one load balancer's step from one form to the next; either may be nil.
type change struct {
	slot     int
	old, new *source
}

func (p *Publisher) apply(b store.Batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded && b.Cluster != p.cluster {
		p.startOver(b.Cluster)
	}
	p.cluster, p.revision = b.Cluster, max(p.revision, b.Revision)
	p.metrics.revision.Set(float64(p.revision))

	changes := p.replaceSources(b)
	configured := p.replaceNodes(b)
	for node, s := range p.sessions {
		p.update(s, changes, configured[node])
	}
	if !p.loaded {
		p.loaded = true
		p.log.Info("configuration loaded", "load_balancers", len(p.sources), "nodes", len(p.nodes), "revision", p.revision)
	}
	for _, s := range p.sessions {
		p.activate(s)
	}
}

// startOver forgets everything, for a configuration of another etcd cluster. Agents connect again and say what they hold, so
// that what they are sent follows the same rules as after a restart of the controller.
func (p *Publisher) startOver(cluster string) {
	p.log.Warn("the configuration comes from another etcd cluster, agents have to connect again", "cluster", cluster, "before", p.cluster)
	p.loaded, p.revision, p.slots = false, 0, slots{}
	clear(p.sources)
	clear(p.nodes)
	for node, s := range p.sessions {
		s.active = false
		p.metrics.forgetNode(node)
		p.reports.changed(node)
		s.end(status.Error(codes.Aborted, "the controller's etcd cluster is another one now: connect again"))
	}
	clear(p.sessions)
}

// replaceSources puts the batch's load balancers in their places. Removals come first, since a new load balancer may get a slot
// that is given back here, and the last mark on a slot counts.
func (p *Publisher) replaceSources(b store.Batch) []change {
	var changes []change
	for key := range gone(p.sources, b.LBs, b.Reset) {
		old := p.sources[key]
		delete(p.sources, key)
		p.slots.free(old.slot)
		changes = append(changes, change{slot: old.slot, old: old})
	}
	for key, entry := range b.LBs {
		old := p.sources[key]
		if entry == nil || old != nil && old.entry.Revision == entry.Revision {
			continue
		}
		next := &source{entry: entry, metrics: p.metrics}
		if old != nil {
			next.slot = old.slot
		} else {
			next.slot = p.slots.take()
		}
		p.sources[key] = next
		changes = append(changes, change{slot: next.slot, old: old, new: next})
	}
	return changes
}

// replaceNodes puts what people set of nodes in its place, and gives the nodes concerned.
func (p *Publisher) replaceNodes(b store.Batch) map[string]bool {
	configured := make(map[string]bool, len(b.Nodes))
	for node := range gone(p.nodes, b.Nodes, b.Reset) {
		delete(p.nodes, node)
		configured[node] = true
	}
	for node, config := range b.Nodes {
		if config != nil {
			p.nodes[node] = config
			configured[node] = true
		}
	}
	return configured
}

// gone yields what a batch removes: what it names as nil, and in a batch that is everything, what it does not name.
func gone[K comparable, S, V any](have map[K]S, named map[K]*V, everything bool) iter.Seq[K] {
	return func(yield func(K) bool) {
		if everything {
			for key := range have {
				if named[key] == nil && !yield(key) {
					return
				}
			}
			return
		}
		for key, value := range named {
			if _, ok := have[key]; ok && value == nil && !yield(key) {
				return
			}
		}
	}
}

// update marks for the session what a batch means for its node: changes of load balancers, and of the labels that choose
// them where the node was configured.
func (p *Publisher) update(s *session, changes []change, configured bool) {
	before := s.labels
	if configured {
		s.labels = p.labels(s)
		p.reports.changed(s.node)
	}
	if !s.active {
		return
	}
	var marks map[int]*source // most batches concern few nodes
	set := func(slot int, src *source) {
		if marks == nil {
			marks = make(map[int]*source)
		}
		marks[slot] = src
	}
	for _, c := range changes {
		switch {
		case c.new != nil && c.new.selects(s.labels):
			set(c.slot, c.new)
		case c.old != nil && c.old.selects(before):
			set(c.slot, nil)
		}
	}
	if configured && !maps.Equal(before, s.labels) {
		for _, src := range p.sources {
			switch was, is := src.selects(before), src.selects(s.labels); {
			case is && !was:
				set(src.slot, src)
			case was && !is:
				set(src.slot, nil)
			}
		}
	}
	if configured || len(marks) > 0 {
		s.mark(marks, p.revision, p.drains(s.node))
	}
}

// activate lets a session begin once there is configuration, and none older than what its agent runs.
func (p *Publisher) activate(s *session) {
	if s.active || p.waiting(s) != "" {
		return
	}
	s.active = true
	s.begin(p.cluster)
	marks := make(map[int]*source, len(p.sources))
	for _, src := range p.sources {
		if src.selects(s.labels) {
			marks[src.slot] = src
		}
	}
	s.mark(marks, p.revision, p.drains(s.node))
}

// labels are those of the node: what people set wins over what it tells of itself.
func (p *Publisher) labels(s *session) map[string]string {
	labels := maps.Clone(s.hello.labels)
	if config := p.nodes[s.node]; config != nil {
		maps.Copy(labels, config.Labels)
	}
	return labels
}

func (p *Publisher) drains(node string) bool {
	config := p.nodes[node]
	return config != nil && config.Drain
}

// register makes the session its node's, and ends the one that was.
func (p *Publisher) register(s *session) {
	p.mu.Lock()
	old := p.sessions[s.node]
	p.sessions[s.node] = s
	s.labels = p.labels(s)
	p.activate(s)
	p.mu.Unlock()

	p.metrics.streams.Inc()
	p.reports.changed(s.node)
	if old != nil {
		s.log.Warn("a newer stream replaces the node's stream: if this repeats, two machines use one node name", "older", old.address)
		old.end(status.Errorf(codes.Aborted, "a newer stream of node %s from %s replaces this one", s.node, s.address))
	}
}

// superseded ends the stream that a report is about, since another replica has a newer one of the node.
func (p *Publisher) superseded(report *storev1.NodeReport) {
	p.mu.Lock()
	s := p.sessions[report.Node]
	p.mu.Unlock()
	if s != nil && s.connected.UnixMicro() == report.ConnectedUs {
		s.end(status.Errorf(codes.Aborted, "a newer stream of node %s to another controller replaces this one", s.node))
	}
}

func (p *Publisher) unregister(s *session) {
	p.mu.Lock()
	current := p.sessions[s.node] == s
	if current {
		delete(p.sessions, s.node)
		p.metrics.forgetNode(s.node)
	}
	p.mu.Unlock()

	p.metrics.streams.Dec()
	if current {
		p.reports.changed(s.node)
	}
}

// countAck keeps metrics of nodes to those with a stream.
func (p *Publisher) countAck(s *session, revision int64, refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sessions[s.node] == s {
		p.metrics.acked(s.node, revision, refused)
	}
}

// Diagnostics tells why parts of a load balancer do not take effect on connected nodes that it selects: each diagnostic
// once, sorted by resource.
func (p *Publisher) Diagnostics(key store.Key) []compile.Diagnostic {
	p.mu.Lock()
	src := p.sources[key]
	kinds := make(map[string]*session)
	for _, s := range p.sessions {
		if src != nil && src.selects(s.labels) {
			kinds[s.capsKey] = s
		}
	}
	p.mu.Unlock()

	var all []compile.Diagnostic
	for _, s := range kinds {
		all = append(all, src.compiled(s.caps, s.capsKey).Diagnostics...)
	}
	slices.SortFunc(all, compareDiagnostics)
	return slices.Compact(all)
}
