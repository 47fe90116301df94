package publish

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// ReportSink stores what nodes report, for all replicas to see: a *[store.NodeLease].
type ReportSink interface {
	// Put stores a node's report in place of the one before. It gives [store.ErrSuperseded] where another replica has a
	// newer stream of the node.
	Put(ctx context.Context, report *storev1.NodeReport) error
	// Remove forgets a node whose stream to this controller ended, unless another replica reports of it by now.
	Remove(ctx context.Context, node string) error
}

var _ ReportSink = (*store.NodeLease)(nil)

const (
	sinkTimeout  = 5 * time.Second
	sinkRetry    = time.Second
	sinkParallel = 8
)

// reporter gathers which nodes changed, and tells the sink and the subscribers.
type reporter struct {
	p    *Publisher
	wake chan struct{}

	mu          sync.Mutex // guards what follows
	dirty       map[string]bool
	stored      map[string]*storev1.NodeReport // as the sink took them
	subscribers map[chan struct{}]bool
}

func newReporter(p *Publisher) *reporter {
	return &reporter{
		p: p, wake: make(chan struct{}, 1),
		dirty:       make(map[string]bool),
		stored:      make(map[string]*storev1.NodeReport),
		subscribers: make(map[chan struct{}]bool),
	}
}

// Subscribe gives a channel that gets a value after Nodes has changed, one for any number of changes, until cancel is called.
func (p *Publisher) Subscribe() (changes <-chan struct{}, cancel func()) {
	r, c := p.reports, make(chan struct{}, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subscribers[c] = true
	return c, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.subscribers, c)
	}
}

// changed notes that a node has something new to tell, or is gone. It never blocks.
func (r *reporter) changed(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dirty[node] = true
	poke(r.wake)
	for c := range r.subscribers {
		poke(c)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// run tells the sink until ctx ends. The reports of a controller that stops stay: its nodes are about to connect to
// another one, which puts its own in their place, and what nobody takes over goes with the store's lease.
func (r *reporter) run(ctx context.Context) {
	delay := r.p.cfg.ReportDelay
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return
		}
		r.mu.Lock()
		nodes := r.dirty
		r.dirty = make(map[string]bool)
		r.mu.Unlock()
		delay = r.p.cfg.ReportDelay
		if failed := r.tellAll(ctx, nodes); failed > 0 && ctx.Err() == nil {
			delay = sinkRetry
		}
	}
}

// tellAll hands on what the nodes have to tell, and gives how many could not be; those are noted again.
func (r *reporter) tellAll(ctx context.Context, nodes map[string]bool) (failed int) {
	var wg sync.WaitGroup
	places := make(chan struct{}, sinkParallel)
	var mu sync.Mutex // guards failed and first
	var first error
	for node := range nodes {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			err := r.tell(ctx, node)
			if err == nil {
				r.p.metrics.reports.WithLabelValues("ok").Inc()
				return
			}
			r.p.metrics.reports.WithLabelValues("error").Inc()
			r.retry(node)
			mu.Lock()
			defer mu.Unlock()
			if failed++; first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	if failed > 0 && ctx.Err() == nil {
		r.p.log.Warn("reports of nodes are not stored, trying again", "nodes", failed, "error", first)
	}
	return failed
}

func (r *reporter) retry(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dirty[node] = true
	poke(r.wake)
}

// tell hands on what one node has to tell, unless the sink has just that.
func (r *reporter) tell(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, sinkTimeout)
	defer cancel()
	report := r.p.reportOf(node)
	r.mu.Lock()
	stored := r.stored[node]
	r.mu.Unlock()
	if report == nil {
		if err := r.p.cfg.Sink.Remove(ctx, node); err != nil {
			return err
		}
	} else if stored == nil || !proto.Equal(report, stored) {
		err := r.p.cfg.Sink.Put(ctx, report)
		if errors.Is(err, store.ErrSuperseded) {
			r.p.superseded(report)
		} else if err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if report == nil {
		delete(r.stored, node)
	} else {
		r.stored[node] = report
	}
	return nil
}
