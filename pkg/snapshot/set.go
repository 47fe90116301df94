package snapshot

import (
	"iter"
	"slices"
)

// blockSize is how many resources a block of a set aims at; a block has at most twice as many.
const blockSize = 128

// Set is an immutable set of resources, at most one of a name and kind, sorted by kind and name. The zero value and nil are
// the empty set.
//
// It is a list of blocks that sets share: [Set.With] copies the blocks that a change touches and the list, so that a change of
// a few among a hundred thousand resources costs microseconds.
type Set struct {
	blocks [][]*Resource // sorted, none of them empty
	size   int
	digest Digest
}

// NewSet makes a set. Of several resources with the same kind and name the last one counts.
func NewSet(resources []*Resource) *Set { return new(Set).With(resources, nil) }

// Len is the number of resources.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return s.size
}

// Digest is the digest of the set, as versions carry it.
func (s *Set) Digest() Hash {
	if s == nil {
		return Hash{}
	}
	return s.digest.Sum()
}

// Get is the resource named, or nil.
func (s *Set) Get(ref Ref) *Resource {
	if s == nil || s.size == 0 {
		return nil
	}
	block := s.blocks[s.blockOf(ref)]
	if i, ok := slices.BinarySearchFunc(block, ref, compareToRef); ok {
		return block[i]
	}
	return nil
}

// All yields the resources in order: by kind, then by name.
func (s *Set) All() iter.Seq[*Resource] {
	return func(yield func(*Resource) bool) {
		if s == nil {
			return
		}
		for _, block := range s.blocks {
			for _, r := range block {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// With is the set without the removals and with the upserts, which win where both name a resource. Removals of what is not
// there do nothing.
func (s *Set) With(upserts []*Resource, removals []Ref) *Set {
	edits := editsOf(upserts, removals)
	if s == nil {
		s = new(Set)
	}
	if len(edits) == 0 {
		return s
	}
	next := &Set{blocks: make([][]*Resource, 0, len(s.blocks)+len(edits)/blockSize+1), size: s.size, digest: s.digest}
	if len(s.blocks) == 0 {
		next.appendMerged(nil, edits)
		return next
	}
	for i, block := range s.blocks {
		n := len(edits)
		if i+1 < len(s.blocks) {
			first := s.blocks[i+1][0].Ref
			n, _ = slices.BinarySearchFunc(edits, first, func(e edit, ref Ref) int { return e.ref.Compare(ref) })
		}
		if n == 0 {
			next.blocks = append(next.blocks, block)
			continue
		}
		next.appendMerged(block, edits[:n])
		edits = edits[n:]
	}
	return next
}

// edit puts a resource, or removes the one named where it is nil.
type edit struct {
	ref Ref
	put *Resource
}

// editsOf sorts the edits and keeps one for each name.
func editsOf(upserts []*Resource, removals []Ref) []edit {
	edits := make([]edit, 0, len(removals)+len(upserts))
	for _, ref := range removals {
		edits = append(edits, edit{ref: ref})
	}
	for _, r := range upserts {
		edits = append(edits, edit{r.Ref, r})
	}
	slices.SortStableFunc(edits, func(x, y edit) int { return x.ref.Compare(y.ref) })
	kept := edits[:0]
	for i, e := range edits {
		if i+1 == len(edits) || edits[i+1].ref != e.ref {
			kept = append(kept, e)
		}
	}
	return kept
}

// appendMerged appends the block with the edits made, in as many blocks as it takes.
func (s *Set) appendMerged(block []*Resource, edits []edit) {
	merged := make([]*Resource, 0, len(block)+len(edits))
	for _, e := range edits {
		i, found := slices.BinarySearchFunc(block, e.ref, compareToRef)
		merged = append(merged, block[:i]...)
		block = block[i:]
		if found {
			s.digest.Remove(block[0])
			s.size--
			block = block[1:]
		}
		if e.put != nil {
			s.digest.Add(e.put)
			s.size++
			merged = append(merged, e.put)
		}
	}
	merged = append(merged, block...)

	// A small remainder joins the block before it, so that removals do not leave ever smaller blocks.
	if last := len(s.blocks) - 1; last >= 0 && len(merged)+len(s.blocks[last]) <= blockSize {
		s.blocks[last] = slices.Concat(s.blocks[last], merged)
		return
	}
	for len(merged) > 2*blockSize {
		s.blocks = append(s.blocks, slices.Clone(merged[:blockSize]))
		merged = merged[blockSize:]
	}
	if len(merged) > 0 {
		s.blocks = append(s.blocks, merged)
	}
}

// blockOf is the index of the block that has the resource, if any has.
func (s *Set) blockOf(ref Ref) int {
	i, found := slices.BinarySearchFunc(s.blocks, ref, func(block []*Resource, ref Ref) int { return block[0].Ref.Compare(ref) })
	if !found && i > 0 {
		i--
	}
	return i
}

func compareToRef(r *Resource, ref Ref) int { return r.Ref.Compare(ref) }

// Diff is what leads from one set to another: resources to put and names to remove, both in the sets' order.
func Diff(from, to *Set) (upserts []*Resource, removals []Ref) {
	nextFrom, stopFrom := iter.Pull(from.All())
	defer stopFrom()
	nextTo, stopTo := iter.Pull(to.All())
	defer stopTo()
	old, haveOld := nextFrom()
	wanted, haveWanted := nextTo()
	for haveOld || haveWanted {
		c := 0
		switch {
		case !haveOld:
			c = 1
		case !haveWanted:
			c = -1
		case old != wanted:
			c = old.Ref.Compare(wanted.Ref)
		}
		switch {
		case c < 0:
			removals = append(removals, old.Ref)
		case c > 0, old != wanted && old.Hash != wanted.Hash:
			upserts = append(upserts, wanted)
		}
		if c <= 0 {
			old, haveOld = nextFrom()
		}
		if c >= 0 {
			wanted, haveWanted = nextTo()
		}
	}
	return upserts, removals
}
