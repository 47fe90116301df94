package route

import (
	"maps"
	"net/netip"
	"slices"
)

// nets finds all prefixes that hold an address.
type nets struct {
	children map[netip.Prefix]int32
	bits4    []int // lengths of IPv4 prefixes among them
	bits6    []int
}

// newNets builds it; nil for no prefixes.
func newNets(prefixes map[netip.Prefix]int32) *nets {
	if len(prefixes) == 0 {
		return nil
	}
	n := &nets{children: prefixes}
	for _, p := range slices.SortedFunc(maps.Keys(prefixes), netip.Prefix.Compare) {
		lengths := &n.bits6
		if p.Addr().Is4() {
			lengths = &n.bits4
		}
		if !slices.Contains(*lengths, p.Bits()) {
			*lengths = append(*lengths, p.Bits())
		}
	}
	return n
}

// scan visits the children of all prefixes that hold a.
func (n *nets) scan(s *Scratch, a netip.Addr) {
	lengths := n.bits6
	if a.Is4() {
		lengths = n.bits4
	}
	for _, length := range lengths {
		p, err := a.Prefix(length)
		if err != nil {
			return // no address
		}
		if child, ok := n.children[p]; ok {
			s.visit(child)
		}
	}
}
