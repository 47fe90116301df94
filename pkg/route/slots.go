package route

import "github.com/fiberlb/fiberlb/pkg/lb"

// A slot stands for one header, cookie, query parameter or DN attribute that
// rules of a table ask for. All slots of a group are filled in one pass over
// the request, when the first of them is asked for, so that the time it takes
// grows with the request and the number of rules, never with their product.

type group uint8

const (
	groupFields group = iota // headers and cookies
	groupQuery
	groupDN
	groups
)

// slotTable gives the keys that rules ask for their slots.
type slotTable struct {
	headers, cookies, query, dn map[string]int32
	groups                      []group // by slot
	// headerSizes has bit min(n, 63) set where a header of n octets is asked
	// for: most fields of a request are ruled out by their name's length.
	headerSizes uint64
}

// keys gives the map for a type of rule with a key, and how its keys are written there.
func (t *slotTable) keys(kind lb.RuleType) (m *map[string]int32, g group, fold bool) {
	switch kind {
	case lb.RuleHeader:
		return &t.headers, groupFields, true
	case lb.RuleCookie:
		return &t.cookies, groupFields, false
	case lb.RuleQuery:
		return &t.query, groupQuery, false
	default:
		return &t.dn, groupDN, true
	}
}

// slot gives the slot of a key, a new one where there is none yet.
func (t *slotTable) slot(kind lb.RuleType, key string) int32 {
	m, g, fold := t.keys(kind)
	if fold {
		key = lowerString(key)
	}
	if *m == nil {
		*m = make(map[string]int32)
	}
	slot, ok := (*m)[key]
	if !ok {
		slot = int32(len(t.groups))
		t.groups = append(t.groups, g)
		(*m)[key] = slot
		if kind == lb.RuleHeader {
			t.headerSizes |= 1 << min(len(key), 63)
		}
	}
	return slot
}

// Scratch is the memory that matching needs, reused from one request to the
// next so that matching allocates nothing. The zero value is ready. One
// goroutine uses it at a time; it may serve tables of many listeners in turn.
//
// It refers to parts of the last request until the next or [Scratch.Reset].
type Scratch struct {
	table   *Table
	request *Request

	filled [groups]bool
	first  []int32 // by slot: 1 + index into values of its last, 0 for none
	values []slotValue
	text   []byte // decoded query parameters; keys in lower case

	work    []int32   // nodes of the index still to visit
	cursors []cursor  // a heap of what is left of the posting lists
	seen    []uint32  // by mark: the generation that visited the node last
	current uint32    // generation
	one     [1][]byte // values of subjects that have just one
	many    [][]byte  // values of slots
}

// slotValue is one value of a slot, and 1 + the index of the one before it.
type slotValue struct {
	value    []byte
	previous int32
	slot     int32
}

// maxKept bounds what a Scratch keeps of each kind between requests, in elements.
const maxKept = 4096

// Reset lets go of the last request, and of memory that only an uncommon
// request needs.
func (s *Scratch) Reset() {
	s.empty()
	s.request, s.table = nil, nil
	s.one[0] = nil
	s.values, s.many = trim(s.values), trim(s.many)
	s.text = trim(s.text)
	s.cursors, s.work = trim(s.cursors), trim(s.work)
}

// trim empties a list, and lets go of what its elements refer to.
func trim[T any](list []T) []T {
	if cap(list) > maxKept {
		return nil
	}
	clear(list[:cap(list)])
	return list[:0]
}

// empty takes all values out of their slots, at the price of those there are
// and not of the slots.
func (s *Scratch) empty() {
	for _, v := range s.values {
		s.first[v.slot] = 0
	}
	s.values, s.text = s.values[:0], s.text[:0]
	s.filled = [groups]bool{}
}

func (s *Scratch) begin(t *Table, r *Request) {
	s.empty()
	s.table, s.request = t, r
	if n := len(t.slots.groups); len(s.first) < n {
		s.first = make([]int32, n)
	}
}

// valuesOf gives the values of a slot, the last one first, valid until the next
// call.
func (s *Scratch) valuesOf(slot int32) [][]byte {
	if g := s.table.slots.groups[slot]; !s.filled[g] {
		s.fill(g)
	}
	i := s.first[slot]
	if i == 0 {
		return nil
	}
	s.many = s.many[:0]
	for ; i != 0; i = s.values[i-1].previous {
		s.many = append(s.many, s.values[i-1].value)
	}
	return s.many
}

func (s *Scratch) fill(g group) {
	s.filled[g] = true
	switch g {
	case groupFields:
		if s.request.Fields != nil {
			s.fillFields(s.request.Fields)
		}
	case groupQuery:
		s.fillQuery(s.request.Query)
	case groupDN:
		if tls := s.request.TLS; tls != nil && tls.HasCert {
			for _, a := range tls.Subject {
				begin := len(s.text) // values of other groups may lie before
				s.text = appendLower(s.text, a.Key)
				if slot, ok := s.table.slots.dn[string(s.text[begin:])]; ok {
					s.add(slot, a.Value)
				}
				s.text = s.text[:begin]
			}
		}
	}
}

func (s *Scratch) add(slot int32, value []byte) {
	s.values = append(s.values, slotValue{value, s.first[slot], slot})
	s.first[slot] = int32(len(s.values))
}

func (s *Scratch) fillFields(fields Fields) {
	slots := &s.table.slots
	var buf [lb.MaxText]byte
	for i := range fields.Len() {
		name, value := fields.At(i)
		if len(name) > lb.MaxText {
			continue
		}
		if slots.headerSizes&(1<<min(len(name), 63)) != 0 {
			key := appendLower(buf[:0], name)
			if slot, ok := slots.headers[string(key)]; ok {
				s.add(slot, value)
			}
		}
		if len(name) == len("cookie") && len(slots.cookies) > 0 && string(appendLower(buf[:0], name)) == "cookie" {
			s.fillCookies(value)
		}
	}
}

func appendLower[T string | []byte](dst []byte, p T) []byte {
	for i := range len(p) {
		dst = append(dst, lowerASCII[p[i]])
	}
	return dst
}
