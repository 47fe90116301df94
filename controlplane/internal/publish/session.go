package publish

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/pkg/compile"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// session is one stream of one agent.
type session struct {
	p         *Publisher
	hello     *hello
	node      string
	address   string
	connected time.Time
	caps      compile.Capabilities
	capsKey   string
	log       hclog.Logger
	end       context.CancelCauseFunc // ends the stream with a reason
	wake      chan struct{}           // there is something for the sender to look at

	// Guarded by the publisher's mu.
	labels map[string]string // in force; replaced, never modified
	active bool              // begun: the agent is told of configuration

	mu        sync.Mutex // guards what follows; nothing else is locked while it is held
	cluster   string
	known     bool            // drain and revision are
	drain     bool            // wished
	revision  int64           // of the marks
	stale     bool            // revision was not sent yet
	marks     map[int]*source // load balancers with another form than sent, by slot; nil: not the node's any more
	inflight  *inflight       // sent and not answered yet
	answered  bool            // the agent answered once
	acked     snapshot.Version
	nacks     []fault                      // of the last answer, at most maxFaults
	nackCount int                          // how many there were
	missing   map[int][]compile.Diagnostic // of what was sent, by slot
	report    *agentv1.Report
	reported  time.Time
	sent      snapshot.Version
}

// inflight is a delta that the agent has not answered.
type inflight struct {
	version snapshot.Version
	since   time.Time
	timeout *time.Timer
}

func (p *Publisher) newSession(h *hello, address string, end context.CancelCauseFunc) *session {
	return &session{
		p: p, hello: h, node: h.node, address: address, connected: time.Now(),
		caps: h.caps, capsKey: h.caps.Key(),
		log: p.log.With("node", h.node, "address", address),
		end: end, wake: make(chan struct{}, 1),
		marks:   make(map[int]*source),
		missing: make(map[int][]compile.Diagnostic),
	}
}

// waiting says why the session has not begun; empty where it has or may. The publisher's mu is held.
func (p *Publisher) waiting(s *session) string {
	runs := s.hello.version
	switch {
	case s.active:
		return ""
	case !p.loaded:
		return "the controller has not read the configuration yet"
	case runs.Cluster == p.cluster && runs.Revision > p.revision:
		return fmt.Sprintf("the node runs revision %d, this controller has read up to %d; if etcd was restored from a backup, "+
			"stop the data plane and remove its state directory", runs.Revision, p.revision)
	case runs.Cluster != "" && runs.Cluster != p.cluster && len(p.sources) == 0:
		return fmt.Sprintf("the node runs configuration of etcd cluster %s, this controller's cluster %s has no load balancer at all; "+
			"create one, or stop the data plane and remove its state directory", runs.Cluster, p.cluster)
	}
	return ""
}

// begin notes the cluster that the session's configuration comes from: always the same.
func (s *session) begin(cluster string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster = cluster
}

// mark adds to what the agent is to be told, and wakes the sender. It never blocks.
func (s *session) mark(marks map[int]*source, revision int64, drain bool) {
	s.mu.Lock()
	if s.stale {
		s.p.metrics.coalesced.Inc()
	}
	for slot, src := range marks {
		s.marks[slot] = src
	}
	s.known, s.stale, s.revision, s.drain = true, true, revision, drain
	s.mu.Unlock()
	s.wakeSender()
}

func (s *session) wakeSender() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// receive takes in answers and reports until the stream ends or the agent breaks the protocol; it returns why.
func (s *session) receive(stream agentv1.SnapshotService_StreamServer) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		switch m := m.GetMessage().(type) {
		case *agentv1.AgentMessage_Ack:
			if err := s.takeAck(m.Ack); err != nil {
				return err
			}
		case *agentv1.AgentMessage_Report:
			s.takeReport(m.Report)
		case *agentv1.AgentMessage_Hello:
			return status.Error(codes.InvalidArgument, "a second hello: an agent says hello once, first")
		default:
			return status.Error(codes.InvalidArgument, "a message of a kind that this controller does not know: upgrade the controller first")
		}
	}
}

// takeAck takes in the answer to the delta in flight, or a later word about the version that was answered last: a node may
// come to refuse, or get to do, what it runs already.
func (s *session) takeAck(m *agentv1.Ack) error {
	version, err := snapshot.VersionFromProto(m.GetVersion())
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "ack: %v", err)
	}
	nacks := faultsOf(m.GetErrors())
	s.mu.Lock()
	switch {
	case s.inflight != nil && version == s.inflight.version:
		s.inflight.timeout.Stop()
		s.p.metrics.ack.Observe(time.Since(s.inflight.since).Seconds())
		s.inflight = nil
	case s.answered && version == s.acked:
	default:
		s.mu.Unlock()
		return status.Errorf(codes.InvalidArgument, "ack of version %v, which was not sent or is answered", version)
	}
	news := !slices.Equal(nacks, s.nacks)
	s.answered, s.acked, s.nacks, s.nackCount = true, version, nacks, len(m.GetErrors())
	s.mu.Unlock()

	s.p.countAck(s, version.Revision, len(m.GetErrors()) > 0)
	if news && len(nacks) > 0 {
		s.log.Warn("agent refused resources", "version", version, "count", len(m.GetErrors()), "first", nacks[0].resource, "error", nacks[0].message)
	} else if news {
		s.log.Info("agent accepts all resources again", "version", version)
	}
	s.p.reports.changed(s.node)
	s.wakeSender()
	return nil
}

func (s *session) takeReport(m *agentv1.Report) {
	s.mu.Lock()
	s.report, s.reported = capReport(m), time.Now()
	s.mu.Unlock()
	s.p.reports.changed(s.node)
}
