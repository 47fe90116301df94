package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fiberlb/fiberlb/pkg/backoff"
	"github.com/fiberlb/fiberlb/pkg/lb"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// leaseTTL is how long reports outlive the controller that wrote them, in seconds.
const leaseTTL = 10

// NodeLease holds the reports of the nodes whose streams this controller serves. They lie in etcd under one lease: they vanish
// ten seconds after the controller died, and at once when it closes. A lease that expired, because etcd could not be reached, is
// replaced, and what it held is written again. Among controllers a node's newest stream wins: a report of an older stream is
// refused with [ErrSuperseded].
type NodeLease struct {
	store  *Store
	ttl    int64
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	id      clientv3.LeaseID       // 0 while there is none; guarded by mu
	past    []clientv3.LeaseID     // leases held before, the latest ones; guarded by mu
	reports map[string]*heldReport // by node; guarded by mu
}

// heldReport is the latest report of a node. Its mutex keeps writes of the same node in order; it is taken before the lease's.
type heldReport struct {
	mu      sync.Mutex
	session int64  // ConnectedUs of the stream that reports; guarded by mu
	value   []byte // guarded by mu
	written bool   // in this session; guarded by mu
	lost    bool   // another controller took over from this session; guarded by mu
}

// HoldReports begins to hold a lease. Close ends it.
func (s *Store) HoldReports() *NodeLease { return s.holdReports(leaseTTL) }

func (s *Store) holdReports(ttl int64) *NodeLease {
	ctx, cancel := context.WithCancel(context.Background())
	l := &NodeLease{store: s, ttl: ttl, cancel: cancel, done: make(chan struct{}), reports: make(map[string]*heldReport)}
	go func() {
		defer close(l.done)
		l.hold(ctx)
	}()
	return l
}

// hold grants a lease, keeps it alive, and starts over when it is lost.
func (l *NodeLease) hold(ctx context.Context) {
	pause := backoff.Backoff{}
	for ctx.Err() == nil {
		grant, err := l.store.client.Grant(ctx, l.ttl)
		if err == nil {
			var alive <-chan *clientv3.LeaseKeepAliveResponse
			if alive, err = l.store.client.KeepAlive(ctx, grant.ID); err == nil {
				l.begin(grant.ID)
				l.rewrite(ctx)
				for range alive {
					pause.Reset()
				}
				l.end()
				err = errors.New("the lease expired")
			}
		}
		if ctx.Err() != nil {
			return
		}
		l.store.log.Warn("lease of the nodes' reports is lost, taking a new one", "error", clean(err))
		if pause.Wait(ctx) != nil {
			return
		}
	}
}

func (l *NodeLease) begin(id clientv3.LeaseID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.id = id
}

func (l *NodeLease) end() {
	const remembered = 16
	l.mu.Lock()
	defer l.mu.Unlock()
	l.past = append(l.past, l.id)
	l.past = l.past[max(0, len(l.past)-remembered):]
	l.id = 0
}

// rewrite puts everything held under the new lease.
func (l *NodeLease) rewrite(ctx context.Context) {
	l.mu.Lock()
	nodes := make(map[string]*heldReport, len(l.reports))
	for node, h := range l.reports {
		nodes[node] = h
	}
	l.mu.Unlock()
	for node, h := range nodes {
		h.mu.Lock()
		err := l.write(ctx, node, h)
		h.mu.Unlock()
		if err != nil && !errors.Is(err, ErrSuperseded) && ctx.Err() == nil {
			l.store.log.Warn("report of a node could not be written", "node", node, "error", clean(err))
		}
	}
}

// Put writes a node's report. A report is bounded: lists are cut to 256 items, and further until it takes 64 KiB at most. A new
// stream, told by another ConnectedUs, takes the node over from whoever reported before. While etcd cannot be reached, Put gives
// [ErrUnavailable], and what was put last is written as soon as it can be.
func (l *NodeLease) Put(ctx context.Context, r *storev1.NodeReport) error {
	defer l.store.observe("put_node_report")()
	return wrapNode("report of", r.GetNode(), l.put(ctx, r))
}

func (l *NodeLease) put(ctx context.Context, r *storev1.NodeReport) error {
	if err := lb.ValidNodeName(r.GetNode()); err != nil {
		return err
	}
	value, err := bounded(r)
	if err != nil {
		return err
	}
	l.mu.Lock()
	h := l.reports[r.Node]
	if h == nil {
		h = &heldReport{}
		l.reports[r.Node] = h
	}
	l.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.session != r.ConnectedUs {
		h.session, h.written, h.lost = r.ConnectedUs, false, false
	}
	h.value = value
	return l.write(ctx, r.Node, h)
}

// write puts h, whose mutex the caller holds, under the present lease.
func (l *NodeLease) write(ctx context.Context, node string, h *heldReport) error {
	l.mu.Lock()
	id, past, current := l.id, slices.Clone(l.past), l.reports[node] == h
	l.mu.Unlock()
	if !current {
		return nil // removed meanwhile
	}
	if h.lost {
		return ErrSuperseded
	}
	if id == 0 {
		return fmt.Errorf("%w: there is no lease", ErrUnavailable)
	}
	kv, key := l.store.kv, l.store.keys.nodeReport(node)
	put := clientv3.OpPut(key, string(h.value), clientv3.WithLease(id))
	if !h.written {
		if _, err := kv.Do(ctx, put); err != nil {
			return leaseError(err)
		}
		h.written = true
		return nil
	}
	condition := clientv3.Compare(clientv3.LeaseValue(key), "=", id)
	for {
		resp, err := kv.Txn(ctx).If(condition).Then(put).Else(clientv3.OpGet(key)).Commit()
		if err != nil {
			return leaseError(err)
		}
		if resp.Succeeded {
			return nil
		}
		found := resp.Responses[0].GetResponseRange().GetKvs()
		switch {
		case len(found) == 0:
			condition = clientv3.Compare(clientv3.Version(key), "=", 0)
		case slices.Contains(append(past, id), clientv3.LeaseID(found[0].Lease)):
			condition = clientv3.Compare(clientv3.ModRevision(key), "=", found[0].ModRevision)
		default:
			h.lost, h.value = true, nil
			return ErrSuperseded
		}
	}
}

func leaseError(err error) error {
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("%w: the lease expired", ErrUnavailable)
	}
	return err
}

// Remove takes a node's report away, unless another controller has taken the node over.
func (l *NodeLease) Remove(ctx context.Context, node string) error {
	defer l.store.observe("remove_node_report")()
	l.mu.Lock()
	h := l.reports[node]
	l.mu.Unlock()
	if h == nil {
		return nil
	}
	h.mu.Lock() // a write under way comes first
	defer h.mu.Unlock()
	l.mu.Lock()
	id := l.id
	if l.reports[node] == h {
		delete(l.reports, node)
	}
	l.mu.Unlock()
	if id == 0 {
		return nil // it vanished with the lease, or is about to
	}
	key := l.store.keys.nodeReport(node)
	_, err := l.store.kv.Txn(ctx).If(clientv3.Compare(clientv3.LeaseValue(key), "=", id)).Then(clientv3.OpDelete(key)).Commit()
	return wrapNode("remove the report of", node, err)
}

// Close gives the lease back, and with it all reports.
func (l *NodeLease) Close(ctx context.Context) error {
	l.cancel()
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	ids := l.past
	if l.id != 0 {
		ids = append(ids, l.id)
	}
	l.id, l.past = 0, nil
	if len(ids) == 0 {
		return nil
	}
	// Older ones have expired; the last may still live, since a cancelled context ends the keeping alive too.
	if _, err := l.store.client.Revoke(ctx, ids[len(ids)-1]); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("store: give back the lease of the nodes' reports: %w", clean(err))
	}
	return nil
}
