package route

import (
	"maps"
	"slices"
	"strings"
)

// radix is a prefix tree that finds all of its keys that a text begins with, or,
// its keys reversed, ends with.
type radix struct{ nodes []radixNode }

type radixNode struct {
	label string // what follows the parent's text, its first octet included
	child int32  // node of the index; none where no key ends here
	// next has the first octets of the labels of the nodes from first on.
	next  string
	first int32
}

// newRadix builds the tree; nil for no keys.
func newRadix(keys map[string]int32) *radix {
	if len(keys) == 0 {
		return nil
	}
	r := &radix{nodes: []radixNode{{child: none}}}
	r.grow(0, slices.Sorted(maps.Keys(keys)), 0, keys)
	return r
}

// grow fills the node at index at, whose text ends at depth, with keys, which
// are sorted and all begin with that text.
func (r *radix) grow(at int32, keys []string, depth int, ids map[string]int32) {
	if len(keys[0]) == depth {
		r.nodes[at].child = ids[keys[0]]
		keys = keys[1:]
	}
	var parts [][]string
	for begin := 0; begin < len(keys); {
		end := begin
		for end < len(keys) && keys[end][depth] == keys[begin][depth] {
			end++
		}
		parts = append(parts, keys[begin:end])
		begin = end
	}
	first := int32(len(r.nodes))
	var next strings.Builder
	ends := make([]int, len(parts))
	for i, part := range parts {
		ends[i] = depth + common(part[0][depth:], part[len(part)-1][depth:])
		next.WriteByte(part[0][depth])
		r.nodes = append(r.nodes, radixNode{label: part[0][depth:ends[i]], child: none})
	}
	r.nodes[at].first, r.nodes[at].next = first, next.String()
	for i, part := range parts {
		r.grow(first+int32(i), part, ends[i], ids)
	}
}

// common gives the length of what two texts begin with alike.
func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// walk visits the children of all keys that v begins with; read backwards, that
// it ends with.
func (r *radix) walk(s *Scratch, v []byte, backwards bool) {
	n := &r.nodes[0]
	for {
		if n.child != none {
			s.visit(n.child)
		}
		if len(v) == 0 {
			return
		}
		c := v[0]
		if backwards {
			c = v[len(v)-1]
		}
		k := strings.IndexByte(n.next, c)
		if k < 0 {
			return
		}
		n = &r.nodes[int(n.first)+k]
		if len(v) < len(n.label) {
			return
		}
		if !backwards {
			if string(v[:len(n.label)]) != n.label {
				return
			}
			v = v[len(n.label):]
			continue
		}
		for i := range len(n.label) {
			if v[len(v)-1-i] != n.label[i] {
				return
			}
		}
		v = v[:len(v)-len(n.label)]
	}
}
