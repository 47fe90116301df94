package publish

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// Bounds of what is kept and stored of one node's state: about half of what etcd takes in one value.
const (
	maxFaults       = 256
	maxMessageBytes = 512
	maxReadyVIPs    = 4096
)

// reportSchemaVersion of storev1.NodeReport.
const reportSchemaVersion = 1

// NodeView is how a connected node stands. It is a snapshot; nothing in it may be modified.
type NodeView struct {
	// Report is what the store gets, but for the time at which it does.
	Report *storev1.NodeReport
	// Labels that choose load balancers: what the node reports, under what people set.
	Labels map[string]string
	// Sent is the version that the node was sent last, in flight where it differs from what the report says is acked.
	Sent snapshot.Version
	// Waiting says why the node gets no configuration; empty: it does.
	Waiting string
}

// Nodes are the connected nodes, sorted by name.
func (p *Publisher) Nodes() []NodeView {
	p.mu.Lock()
	sessions := make([]*session, 0, len(p.sessions))
	views := make([]NodeView, 0, len(p.sessions))
	for _, s := range p.sessions {
		sessions = append(sessions, s)
	}
	slices.SortFunc(sessions, func(x, y *session) int { return strings.Compare(x.node, y.node) })
	for _, s := range sessions {
		views = append(views, NodeView{Labels: s.labels, Waiting: p.waiting(s)})
	}
	p.mu.Unlock()
	for i, s := range sessions {
		views[i].Report, views[i].Sent = s.nodeReport()
	}
	return views
}

// reportOf is the report of a node, nil where it has no stream.
func (p *Publisher) reportOf(node string) *storev1.NodeReport {
	p.mu.Lock()
	s := p.sessions[node]
	p.mu.Unlock()
	if s == nil {
		return nil
	}
	report, _ := s.nodeReport()
	return report
}

// nodeReport puts together what is known of the node, and the version it was sent last.
func (s *session) nodeReport() (*storev1.NodeReport, snapshot.Version) {
	r := &storev1.NodeReport{
		SchemaVersion:   reportSchemaVersion,
		Node:            s.node,
		Labels:          s.hello.labels,
		SoftwareVersion: s.caps.Version(),
		Capabilities:    s.caps.Words(),
		Address:         s.address,
		Controller:      s.p.cfg.Controller,
		ConnectedUs:     s.connected.UnixMicro(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answered {
		r.Cluster, r.AckedRevision, r.AckedDigest = s.acked.Cluster, s.acked.Revision, bytes.Clone(s.acked.Digest[:])
	}
	faults := slices.Clone(s.nacks)
	count := s.nackCount
	for _, diagnostics := range s.missing {
		count += len(diagnostics)
		for _, d := range diagnostics {
			faults = append(faults, fault{d.Resource, d.Message})
		}
	}
	r.Errors, r.ErrorCount = resourceErrors(faults), uint32(count)
	if m := s.report; m != nil {
		r.ReportedUs = s.reported.UnixMicro()
		for _, b := range m.Down {
			r.Down = append(r.Down, &fiberlbv1.ResourceError{Resource: b.Name, Message: b.Message})
		}
		r.DownCount = max(m.DownCount, uint32(len(m.Down)))
		r.Listeners = resourceErrors(faultsOf(m.Listeners))
		r.ReadyVips, r.Draining = m.ReadyVips, m.Draining
	}
	return r, s.sent
}

// fault is a resource that is not as wished, by full name, and why.
type fault struct{ resource, message string }

func compareFaults(x, y fault) int {
	return cmp.Or(strings.Compare(x.resource, y.resource), strings.Compare(x.message, y.message))
}

// faultsOf bounds and sorts what an agent tells.
func faultsOf(list []*agentv1.ResourceFault) []fault {
	faults := make([]fault, 0, min(len(list), maxFaults))
	for _, f := range list[:min(len(list), maxFaults)] {
		faults = append(faults, fault{cut(f.GetName()), cut(f.GetMessage())})
	}
	slices.SortFunc(faults, compareFaults)
	return faults
}

// resourceErrors are the first maxFaults faults, by resource.
func resourceErrors(faults []fault) []*fiberlbv1.ResourceError {
	slices.SortFunc(faults, compareFaults)
	var list []*fiberlbv1.ResourceError
	for _, f := range faults[:min(len(faults), maxFaults)] {
		list = append(list, &fiberlbv1.ResourceError{Resource: f.resource, Message: cut(f.message)})
	}
	return list
}

// capReport bounds what an agent tells.
func capReport(m *agentv1.Report) *agentv1.Report {
	capped := &agentv1.Report{
		DownCount: m.GetDownCount(),
		Listeners: m.GetListeners()[:min(len(m.GetListeners()), maxFaults)],
		ReadyVips: m.GetReadyVips()[:min(len(m.GetReadyVips()), maxReadyVIPs)],
		Draining:  m.GetDraining(),
	}
	for _, b := range m.GetDown()[:min(len(m.GetDown()), maxFaults)] {
		capped.Down = append(capped.Down, &agentv1.BackendFault{Name: cut(b.GetName()), Message: cut(b.GetMessage())})
	}
	for i, vip := range capped.ReadyVips {
		capped.ReadyVips[i] = cut(vip)
	}
	return capped
}

// cut bounds a text of an agent's.
func cut(s string) string {
	if len(s) <= maxMessageBytes {
		return s
	}
	end := maxMessageBytes
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
