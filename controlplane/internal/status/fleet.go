// Package status owns what the API tells about how things stand: from what the nodes report it derives, for every object of a
// load balancer, whether the nodes run what was written and how well it serves. Nothing of it is stored; [Derive] is a pure
// function of a load balancer and a [Fleet], and the [Aggregator] keeps its answers current.
package status

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// Node is a live node as the status sees it. It is never modified.
type Node struct {
	Name     string
	Labels   map[string]string // what the node reports, under what people set
	Revision int64             // of the last version that the node answered
	Draining bool
	Report   *storev1.NodeReport

	faults map[string]*faults // by the full name of the load balancer
}

// faults are what one node reports about one load balancer, by the full name of the resource.
type faults struct {
	refused   map[string]string // by the node, or for it by the compiler
	down      map[string]string // backends
	listeners map[string]string // that do not serve
}

// NewNode reads a report. Labels and drain are what people set of the node.
func NewNode(report *storev1.NodeReport, labels map[string]string, drain bool) *Node {
	n := &Node{
		Name:     report.GetNode(),
		Labels:   maps.Clone(report.GetLabels()),
		Revision: report.GetAckedRevision(),
		Draining: drain || report.GetDraining(),
		Report:   report,
		faults:   map[string]*faults{},
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	maps.Copy(n.Labels, labels)
	for _, e := range report.GetErrors() {
		add(&n.about(e.GetResource()).refused, e.GetResource(), e.GetMessage())
	}
	for _, e := range report.GetDown() {
		add(&n.about(e.GetResource()).down, e.GetResource(), e.GetMessage())
	}
	for _, e := range report.GetListeners() {
		add(&n.about(e.GetResource()).listeners, e.GetResource(), e.GetMessage())
	}
	return n
}

// about gives the faults of the load balancer that a resource belongs to.
func (n *Node) about(resource string) *faults {
	owner := loadBalancerOf(resource)
	f := n.faults[owner]
	if f == nil {
		f = &faults{}
		n.faults[owner] = f
	}
	return f
}

func add(to *map[string]string, resource, message string) {
	if *to == nil {
		*to = map[string]string{}
	}
	if (*to)[resource] == "" {
		(*to)[resource] = message
	}
}

// loadBalancerOf cuts a full name to that of its load balancer.
func loadBalancerOf(resource string) string {
	end := 0
	for range 4 {
		i := strings.IndexByte(resource[end:], '/')
		if i < 0 {
			return resource
		}
		end += i + 1
	}
	return resource[:end-1]
}

// Fleet is all live nodes at one moment, indexed. It is safe for concurrent use.
type Fleet struct {
	nodes  []*Node            // sorted by name
	faulty map[string][]*Node // by full name of the load balancer that they report faults of, sorted by name

	mu     sync.Mutex
	groups map[string]*group // by selector; guarded by mu
}

// group is the nodes that one selector chooses.
type group struct {
	nodes     []*Node // sorted by revision
	draining  int
	truncated string // a node that does not list all that is down, if any
}

// NewFleet indexes the nodes; of two with one name the later counts.
func NewFleet(nodes []*Node) *Fleet {
	byName := make(map[string]*Node, len(nodes))
	for _, n := range nodes {
		byName[n.Name] = n
	}
	f := &Fleet{faulty: map[string][]*Node{}, groups: map[string]*group{}}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		n := byName[name]
		f.nodes = append(f.nodes, n)
		for owner := range n.faults {
			f.faulty[owner] = append(f.faulty[owner], n)
		}
	}
	return f
}

// Nodes are all nodes, sorted by name; the caller must not modify them.
func (f *Fleet) Nodes() []*Node { return f.nodes }

// Node finds a live node by name, or gives nil.
func (f *Fleet) Node(name string) *Node {
	if i, ok := slices.BinarySearchFunc(f.nodes, name, func(n *Node, name string) int { return cmp.Compare(n.Name, name) }); ok {
		return f.nodes[i]
	}
	return nil
}

// selected gives the nodes that a selector chooses: most load balancers share a few selectors, so that each is worked out once.
func (f *Fleet) selected(selector map[string]string) *group {
	var key strings.Builder
	for _, label := range slices.Sorted(maps.Keys(selector)) {
		key.WriteString(label + "\x00" + selector[label] + "\x00")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.groups[key.String()]; g != nil {
		return g
	}
	g := &group{}
	for _, n := range f.nodes {
		if !chosen(selector, n.Labels) {
			continue
		}
		g.nodes = append(g.nodes, n)
		if n.Draining {
			g.draining++
		}
		if int(n.Report.GetDownCount()) > len(n.Report.GetDown()) && g.truncated == "" {
			g.truncated = n.Name
		}
	}
	slices.SortStableFunc(g.nodes, func(a, b *Node) int { return cmp.Compare(a.Revision, b.Revision) })
	f.groups[key.String()] = g
	return g
}

// chosen tells whether labels contain all of the selector's.
func chosen(selector, labels map[string]string) bool {
	for label, value := range selector {
		if have, ok := labels[label]; !ok || have != value {
			return false
		}
	}
	return true
}

// answered counts the nodes that answered the revision or a later one.
func (g *group) answered(revision int64) int {
	i, _ := slices.BinarySearchFunc(g.nodes, revision, func(n *Node, revision int64) int { return cmp.Compare(n.Revision, revision) })
	return len(g.nodes) - i
}
