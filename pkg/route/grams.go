package route

import (
	"maps"
	"math/bits"
	"slices"
)

// Grams are pieces of two to four octets.
const (
	shortestGram = 2
	longestGram  = 4
)

// grams finds which of many literals may stand in a text: for each literal it
// knows one piece, the one that fewest others have, and looks up every piece of
// the text. Case is folded, so that it serves literals with and without.
type grams struct {
	tables [longestGram + 1]*gramTable // by length of the piece
}

// gramTable is a hash table with open addressing, a quarter full at most, since
// most lookups find nothing.
type gramTable struct {
	keys     []uint32
	children []int32 // none where the place is free
	shift    uint
}

// newGrams builds the tables for literals of at least shortestGram octets, each
// with its policies; nil for none.
func newGrams(literals map[string][]uint32, build func([]uint32) int32) *grams {
	if len(literals) == 0 {
		return nil
	}
	type piece struct{ size, key uint32 }
	all := func(literal string) (pieces []piece) {
		size := min(len(literal), longestGram)
		for i := range len(literal) - size + 1 {
			key := uint32(0)
			for _, c := range []byte(literal[i : i+size]) {
				key = key<<8 | uint32(lowerASCII[c])
			}
			pieces = append(pieces, piece{uint32(size), key})
		}
		return pieces
	}
	texts := slices.Sorted(maps.Keys(literals))
	uses := make(map[piece]int)
	for _, s := range texts {
		for _, p := range all(s) {
			uses[p]++
		}
	}
	lists := make(map[piece][]uint32)
	var sizes [longestGram + 1]int
	var order []piece
	for _, s := range texts {
		pieces := all(s)
		best := slices.MinFunc(pieces, func(a, b piece) int { return uses[a] - uses[b] })
		if lists[best] == nil {
			order = append(order, best)
			sizes[best.size]++
		}
		lists[best] = append(lists[best], literals[s]...)
	}
	g := &grams{}
	for size, n := range sizes {
		if n > 0 {
			g.tables[size] = newGramTable(n)
		}
	}
	for _, p := range order {
		list := lists[p]
		slices.Sort(list)
		g.tables[p.size].put(p.key, build(slices.Compact(list)))
	}
	return g
}

func newGramTable(n int) *gramTable {
	width := bits.Len(uint(4*n - 1))
	t := &gramTable{keys: make([]uint32, 1<<width), children: make([]int32, 1<<width), shift: uint(32 - width)}
	for i := range t.children {
		t.children[i] = none
	}
	return t
}

// home is the place where the search for a key begins (Knuth, The Art of
// Computer Programming, volume 3, section 6.4: multiplicative hashing).
func (t *gramTable) home(key uint32) uint32 { return key * 2654435769 >> t.shift }

func (t *gramTable) put(key uint32, child int32) {
	i := t.home(key)
	for t.children[i] != none {
		i = (i + 1) & uint32(len(t.keys)-1)
	}
	t.keys[i], t.children[i] = key, child
}

func (t *gramTable) find(key uint32) int32 {
	for i := t.home(key); ; i = (i + 1) & uint32(len(t.keys)-1) {
		if child := t.children[i]; child == none || t.keys[i] == key {
			return child
		}
	}
}

// scan visits the children of all pieces that are in v.
func (g *grams) scan(s *Scratch, v []byte) {
	for size := shortestGram; size <= longestGram; size++ {
		t := g.tables[size]
		if t == nil || len(v) < size {
			continue
		}
		mask := uint32(1)<<(8*size) - 1
		if size == longestGram {
			mask = ^uint32(0)
		}
		key := uint32(0)
		for i, c := range v {
			key = (key<<8 | uint32(lowerASCII[c])) & mask
			if i >= size-1 {
				if child := t.find(key); child != none {
					s.visit(child)
				}
			}
		}
	}
}
