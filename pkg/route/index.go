package route

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// The index is a tree that leads a request to the few policies that can match
// it. A node that holds many policies asks for one subject of the request, the
// one that tells them apart best, and has a child for each value, prefix,
// suffix or piece that their rules want there, and one for the policies that
// want nothing. Unlike in a decision tree a request goes into every child that
// fits; the lists of policies it finds, each by position, are then tried as one.
//
// Each policy is in the tree by predicates that it must fulfil, so that the tree
// leaves out only policies that cannot match; whether those it leads to do match
// is for their predicates to tell.

// none is the index of a node that is not there.
const none int32 = -1

// scanned is how many policies a node may hold: trying that many costs about
// what asking one more subject does.
const scanned = 16

// node of the index.
type node struct {
	list    []uint32 // indexes into Table.active, ascending
	subject subject
	branch  *branch
	mark    int32 // index into Scratch.seen; none where the node is reached once at most
}

// branch leads to the children of a node, by a value of the subject.
type branch struct {
	whole  map[string]int32
	start  *radix
	end    *radix
	within *grams
	nets   *nets
	rest   int32 // child of policies that want nothing of the subject
}

// edge is how a child is reached.
type edge struct {
	subject subject
	place   place
	text    string
	net     netip.Prefix
}

func (t *Table) buildIndex() {
	if len(t.active) <= scanned {
		return
	}
	all := make([]uint32, len(t.active))
	options := make([][]option, len(t.active))
	for i := range t.active {
		all[i] = uint32(i)
		options[i] = t.active[i].options()
	}
	b := builder{table: t, options: options}
	t.root = b.build(all, nil, false)
}

// option is a way to index a policy: it is reached by each of the edges, all of
// one subject.
type option struct {
	subject subject
	edges   []edge
}

// options gives the best option for each subject of the policy's predicates.
func (c *compiled) options() []option {
	best := make(map[subject]int) // by worth
	var list []option
	for i := range c.predicates {
		p := &c.predicates[i]
		o, value := p.option()
		if value == 0 || value <= best[p.subject] {
			continue
		}
		best[p.subject] = value
		list = slices.DeleteFunc(list, func(x option) bool { return x.subject == p.subject })
		list = append(list, o)
	}
	return list
}

// option gives the edges to a predicate, and how well they tell it from others;
// 0 where it has none.
func (p *predicate) option() (o option, value int) {
	o.subject = p.subject
	if p.invert {
		return o, 0
	}
	if p.subject.kind == lb.RuleSourceIP {
		o.edges = []edge{{subject: p.subject, net: p.prefix}}
		return o, 1 + p.prefix.Bits()
	}
	value = worth(p.access.set)
	if p.access.place == whole {
		value += 1 << 16 // nothing tells more
	}
	if p.access.place == within && value < shortestGram {
		return o, 0
	}
	for _, s := range p.access.set {
		o.edges = append(o.edges, edge{subject: p.subject, place: p.access.place, text: s})
	}
	return o, value
}

type builder struct {
	table   *Table
	options [][]option // by policy
}

// build makes the node for a list of policies; asked are the subjects that the
// way there asked for.
func (b *builder) build(list []uint32, asked []subject, mark bool) int32 {
	t := b.table
	id := int32(len(t.nodes))
	n := node{list: list, mark: none}
	if mark {
		n.mark = int32(t.marks)
		t.marks++
	}
	t.nodes = append(t.nodes, n)
	if len(list) <= scanned {
		return id
	}
	on, ok := b.choose(list, asked)
	if !ok {
		return id
	}
	asked = append(slices.Clip(asked), on)
	children := make(map[edge][]uint32)
	var rest []uint32
	for _, policy := range list {
		edges := b.edges(policy, on)
		if len(edges) == 0 {
			rest = append(rest, policy)
		}
		for _, e := range edges {
			if at := children[e]; len(at) == 0 || at[len(at)-1] != policy {
				children[e] = append(at, policy)
			}
		}
	}
	br := b.branch(on, children, asked)
	if len(rest) > 0 {
		br.rest = b.build(rest, asked, false)
	}
	t.nodes[id].list, t.nodes[id].subject, t.nodes[id].branch = nil, on, br
	return id
}

func (b *builder) edges(policy uint32, on subject) []edge {
	for _, o := range b.options[policy] {
		if o.subject == on {
			return o.edges
		}
	}
	return nil
}

// choose gives the subject that leaves the fewest policies to try for a request
// that is made for one of them, if any leaves notably fewer.
func (b *builder) choose(list []uint32, asked []subject) (best subject, ok bool) {
	sizes := make(map[edge]int)
	covered := make(map[subject]int)
	for _, policy := range list {
		for _, o := range b.options[policy] {
			if slices.Contains(asked, o.subject) {
				continue
			}
			covered[o.subject]++
			for _, e := range o.edges {
				sizes[e]++
			}
		}
	}
	left := make(map[subject]int) // times the length of the list
	for e, size := range sizes {
		left[e.subject] += size * size
	}
	limit := (len(list) - max(scanned/2, len(list)/128)) * len(list)
	for s, n := range covered {
		cost := left[s] + (len(list)-n)*len(list)
		if cost < limit || cost == limit && ok && before(s, best) {
			best, limit, ok = s, cost, true
		}
	}
	return best, ok
}

// before orders subjects, so that equal tables have equal indexes.
func before(a, b subject) bool {
	if a.kind != b.kind {
		return a.kind < b.kind
	}
	return a.slot < b.slot
}

// branch builds the children and the ways to them, in an order that is the same
// for equal input.
func (b *builder) branch(on subject, children map[edge][]uint32, asked []subject) *branch {
	br := &branch{rest: none}
	start, end, pieces, prefixes := map[string]int32{}, map[string]int32{}, map[string][]uint32{}, map[netip.Prefix]int32{}
	for _, e := range slices.SortedFunc(maps.Keys(children), compareEdges) {
		// A subject with several values may lead to the same child several times.
		switch e.place {
		case whole:
			if br.whole == nil {
				br.whole = make(map[string]int32)
			}
			br.whole[e.text] = b.build(children[e], asked, on.repeats())
		case atStart:
			start[e.text] = b.build(children[e], asked, on.repeats())
		case atEnd:
			end[reverse(e.text)] = b.build(children[e], asked, on.repeats())
		case within:
			pieces[e.text] = children[e]
		default:
			prefixes[e.net] = b.build(children[e], asked, false)
		}
	}
	br.start, br.end = newRadix(start), newRadix(end)
	br.nets = newNets(prefixes)
	br.within = newGrams(pieces, func(list []uint32) int32 { return b.build(list, asked, true) })
	return br
}

func compareEdges(a, b edge) int {
	switch {
	case a.place != b.place:
		return int(a.place) - int(b.place)
	case a.text != b.text:
		if a.text < b.text {
			return -1
		}
		return 1
	default:
		return a.net.Compare(b.net)
	}
}

func reverse(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// follow adds the children that a value leads to, for s to work on.
func (br *branch) follow(s *Scratch, v []byte) {
	if br.whole != nil {
		if id, ok := br.whole[string(v)]; ok {
			s.visit(id)
		}
	}
	if br.start != nil {
		br.start.walk(s, v, false)
	}
	if br.end != nil {
		br.end.walk(s, v, true)
	}
	if br.within != nil {
		br.within.scan(s, v)
	}
}
