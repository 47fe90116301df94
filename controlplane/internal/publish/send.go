package publish

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/pkg/compile"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// outbox is what a session's sender remembers. Only that goroutine touches it.
type outbox struct {
	told   bool              // the agent knows drain
	drain  bool              // as told
	opened bool              // the first delta was sent
	forms  []*compile.Result // as sent, by slot
	digest snapshot.Digest   // of what was sent
}

// work is what the sender takes over at one moment.
type work struct {
	drain    bool
	tell     bool // there is a state of the node to tell
	send     bool // there is a version to send, and none in flight
	cluster  string
	revision int64
	marks    map[int]*source
}

// take gives what there is to do. With a delta in flight, marks stay where they are and gather.
func (s *session) take() work {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := work{drain: s.drain, tell: s.known, cluster: s.cluster}
	if s.stale && s.inflight == nil {
		w.send, w.revision, w.marks = true, s.revision, s.marks
		s.stale, s.marks = false, make(map[int]*source)
	}
	return w
}

// sendAll tells the agent whatever there is to tell until ctx ends; it returns why.
func (s *session) sendAll(ctx context.Context, stream agentv1.SnapshotService_StreamServer) error {
	defer s.stopTimer()
	var out outbox
	for {
		w := s.take()
		if w.tell && (!out.told || out.drain != w.drain) {
			out.told, out.drain = true, w.drain
			m := &agentv1.ControllerMessage{Message: &agentv1.ControllerMessage_NodeState{NodeState: &agentv1.NodeState{Drain: w.drain}}}
			if err := stream.Send(m); err != nil {
				return err
			}
		}
		if w.send {
			if err := s.sendDelta(stream, &out, w); err != nil {
				return err
			}
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *session) sendDelta(stream agentv1.SnapshotService_StreamServer, out *outbox, w work) error {
	delta, missing := s.build(out, w)
	m := &agentv1.ControllerMessage{Message: &agentv1.ControllerMessage_Delta{Delta: delta.Proto()}}
	size := proto.Size(m)
	if size > s.p.most {
		err := status.Errorf(codes.ResourceExhausted, "the configuration of node %s takes %d bytes at once, more than %d: "+
			"spread load balancers over nodes by their node_selector", s.node, size, s.p.most)
		s.log.Error("agent cannot be served", "error", err)
		return err
	}
	s.expect(delta.Version, missing)
	s.p.metrics.sent(size)
	s.log.Debug("delta", "version", delta.Version, "full", delta.Full, "upserts", len(delta.Upserts), "removals", len(delta.Removals), "bytes", size)
	return stream.Send(m)
}

// expect notes the delta about to be sent, and bounds the time to its answer.
func (s *session) expect(version snapshot.Version, missing map[int][]compile.Diagnostic) {
	f := &inflight{version: version, since: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	for slot, diagnostics := range missing {
		if len(diagnostics) > 0 {
			s.missing[slot] = diagnostics
		} else {
			delete(s.missing, slot)
		}
	}
	s.sent, s.inflight = version, f
	f.timeout = time.AfterFunc(s.p.cfg.AckTimeout, func() {
		s.mu.Lock()
		late := s.inflight == f
		s.mu.Unlock()
		if late {
			s.end(status.Errorf(codes.DeadlineExceeded, "node %s did not answer version %v within %v", s.node, version, s.p.cfg.AckTimeout))
		}
	})
}

func (s *session) stopTimer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inflight != nil {
		s.inflight.timeout.Stop()
	}
}

// build makes the delta from what was sent last to what the marks say, and the diagnostics of the slots it touches.
func (s *session) build(out *outbox, w work) (*snapshot.Delta, map[int][]compile.Diagnostic) {
	d := &snapshot.Delta{}
	missing := make(map[int][]compile.Diagnostic, len(w.marks))
	for slot, src := range w.marks {
		for slot >= len(out.forms) {
			out.forms = append(out.forms, nil)
		}
		var next *compile.Result
		if src != nil {
			next = src.compiled(s.caps, s.capsKey)
			missing[slot] = next.Diagnostics
		} else {
			missing[slot] = nil
		}
		addDifference(d, &out.digest, out.forms[slot], next)
		out.forms[slot] = next
	}
	if !out.opened {
		out.opened = true
		s.startFrom(d)
	}
	tidy(d)
	d.Version = snapshot.Version{Cluster: w.cluster, Revision: w.revision, Digest: out.digest.Sum()}
	return d, missing
}

// startFrom makes the first delta, which has everything, one from what the agent holds.
func (s *session) startFrom(d *snapshot.Delta) {
	held := s.hello.held
	s.hello.held = nil // of no use from now on
	if len(held) == 0 {
		d.Full = true
		return
	}
	kept := d.Upserts[:0]
	for _, r := range d.Upserts {
		hash, have := held[r.Ref]
		delete(held, r.Ref)
		if !have || hash != r.Hash {
			kept = append(kept, r)
		}
	}
	d.Upserts = kept
	for ref := range held {
		d.Removals = append(d.Removals, ref)
	}
}

// addDifference adds what leads from one form of a load balancer to the next; either may be nil. Resources are sorted.
func addDifference(d *snapshot.Delta, digest *snapshot.Digest, old, next *compile.Result) {
	var from, to []*snapshot.Resource
	if old != nil {
		from = old.Resources
	}
	if next != nil {
		to = next.Resources
	}
	for len(from) > 0 || len(to) > 0 {
		c := 0
		switch {
		case len(from) == 0:
			c = 1
		case len(to) == 0:
			c = -1
		default:
			c = from[0].Ref.Compare(to[0].Ref)
		}
		if c == 0 && from[0].Hash == to[0].Hash {
			from, to = from[1:], to[1:]
			continue
		}
		if c <= 0 {
			digest.Remove(from[0])
			if c < 0 {
				d.Removals = append(d.Removals, from[0].Ref)
			}
			from = from[1:]
		}
		if c >= 0 {
			digest.Add(to[0])
			d.Upserts = append(d.Upserts, to[0])
			to = to[1:]
		}
	}
}

// tidy sorts the delta, and drops removals of what is put: a load balancer that was deleted and made again in between has
// changed its slot, and shows as both.
func tidy(d *snapshot.Delta) {
	slices.SortFunc(d.Upserts, func(x, y *snapshot.Resource) int { return x.Ref.Compare(y.Ref) })
	slices.SortFunc(d.Removals, snapshot.Ref.Compare)
	d.Removals = slices.DeleteFunc(d.Removals, func(ref snapshot.Ref) bool {
		_, put := slices.BinarySearchFunc(d.Upserts, ref, func(r *snapshot.Resource, ref snapshot.Ref) int { return r.Ref.Compare(ref) })
		return put
	})
}
