package route

import "github.com/fiberlb/fiberlb/pkg/lb"

// Match gives the decision for a request: of the first policy whose rules all
// match, or of none. It allocates nothing once s has grown to what requests
// need. The decision refers to neither r nor s.
func (t *Table) Match(r *Request, s *Scratch) Decision {
	s.begin(t, r)
	var found int
	if t.root == none {
		found = t.scan(s)
	} else {
		found = t.search(s)
	}
	if found < 0 {
		return Decision{Policy: -1, table: t}
	}
	c := &t.active[found]
	return Decision{Policy: c.source, Action: c.action, Status: c.status, table: t, chosen: c}
}

// scan tries one policy after the other.
func (t *Table) scan(s *Scratch) int {
	for i := range t.active {
		if t.active[i].holds(s) {
			return i
		}
	}
	return -1
}

// holds tells whether all rules of the policy match.
func (c *compiled) holds(s *Scratch) bool {
	for i := range c.predicates {
		if !c.predicates[i].holds(s) {
			return false
		}
	}
	return true
}

// search tries the policies that the index leads to, by position.
func (t *Table) search(s *Scratch) int {
	s.start(t.marks)
	s.visit(t.root)
	for len(s.work) > 0 {
		last := len(s.work) - 1
		n := &t.nodes[s.work[last]]
		s.work = s.work[:last]
		if n.branch == nil {
			s.push(cursor(n.list))
			continue
		}
		n.descend(s)
	}
	tried := ^uint32(0)
	for len(s.cursors) > 0 {
		next := s.cursors[0][0]
		s.advance()
		if next == tried {
			continue // found in two ways
		}
		tried = next
		if t.active[next].holds(s) {
			return int(next)
		}
	}
	return -1
}

// descend adds the children that fit the request to the work of s.
func (n *node) descend(s *Scratch) {
	if n.branch.rest != none {
		s.visit(n.branch.rest)
	}
	if n.subject.kind == lb.RuleSourceIP {
		n.branch.nets.scan(s, s.request.address())
		return
	}
	for _, v := range s.subjectValues(n.subject) {
		n.branch.follow(s, v)
	}
}

// subjectValues gives the values of a subject that literals are compared with,
// valid until the next call.
func (s *Scratch) subjectValues(x subject) [][]byte {
	r := s.request
	var v []byte
	switch x.kind {
	case lb.RuleHostName:
		v = r.Host
	case lb.RulePath:
		v = r.Path
	case lb.RuleMethod:
		v = r.Method
	case lb.RuleFileType:
		v = extension(r.Path)
	case lb.RuleSSLConnSNI:
		if r.TLS != nil {
			v = r.TLS.SNI
		}
	case lb.RuleHeader, lb.RuleCookie, lb.RuleQuery, lb.RuleSSLDNField:
		return s.valuesOf(x.slot)
	}
	if len(v) == 0 {
		return nil // no literal is empty
	}
	s.one[0] = v
	return s.one[:]
}

// start prepares a search in an index with that many marks.
func (s *Scratch) start(marks int) {
	s.work, s.cursors = s.work[:0], s.cursors[:0]
	if len(s.seen) < marks {
		s.seen, s.current = make([]uint32, marks), 0
	}
	s.current++
	if s.current == 0 { // once in four billion searches, old marks would look new
		clear(s.seen)
		s.current = 1
	}
}

// visit puts a node on the list of those to visit, unless it was there.
func (s *Scratch) visit(id int32) {
	if mark := s.table.nodes[id].mark; mark != none {
		if s.seen[mark] == s.current {
			return
		}
		s.seen[mark] = s.current
	}
	s.work = append(s.work, id)
}

// cursor is what is left of a list of policies; never empty in the heap.
type cursor []uint32

// push adds a list to the heap, whose top has the lowest policy.
func (s *Scratch) push(c cursor) {
	s.cursors = append(s.cursors, c)
	h := s.cursors
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if h[parent][0] <= h[i][0] {
			return
		}
		h[parent], h[i] = h[i], h[parent]
		i = parent
	}
}

// advance takes the lowest policy out of the heap.
func (s *Scratch) advance() {
	h := s.cursors
	h[0] = h[0][1:]
	if len(h[0]) == 0 {
		last := len(h) - 1
		h[0], h[last] = h[last], nil
		h = h[:last]
		s.cursors = h
	}
	for i := 0; ; {
		low := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h[child][0] < h[low][0] {
				low = child
			}
		}
		if low == i {
			return
		}
		h[low], h[i] = h[i], h[low]
		i = low
	}
}
