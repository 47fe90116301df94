package maglev

import "math/bits"

// maxProbes is how many slots LookupAlive tries before it asks all backends. While half of the weight is alive, one key
// in 65,536 gets that far; while a tenth is, one in five.
const maxProbes = 16

// Lookup returns the index into Backends of the backend that a key belongs to, -1 if the table is empty. The slot is
// hash modulo the size of the table.
func (t *Table) Lookup(hash uint64) int {
	if len(t.slots) == 0 {
		return -1
	}
	return int(t.slots[hash%uint64(len(t.slots))]) - 1
}

// LookupAlive returns the index into Backends of the backend that serves a key while some backends are down, -1 if alive
// denies every index in the table. A key whose own backend (Lookup) is alive stays there; the keys of the others spread
// over the living by weight, each taking the first living one in a fixed sequence of its own, so that one more death or
// one return moves only the keys it concerns. The table stays as it is.
//
// Neither LookupAlive nor Lookup allocates. alive may be asked about an index more than once; where its answers change
// meanwhile, the result was alive when it was last asked.
func (t *Table) LookupAlive(hash uint64, alive func(i int) bool) int {
	if len(t.slots) == 0 {
		return -1
	}
	if i := t.Lookup(hash); alive(i) {
		return i
	}
	probe := hash
	for range maxProbes - 1 {
		probe += prime1
		if i := t.Lookup(avalanche(probe)); alive(i) {
			return i
		}
	}
	return t.rendezvous(hash, alive)
}

// rendezvous returns the living backend with the highest weighted random weight for a key (Thaler and Ravishankar, "Using
// name-based mappings to increase hit rates", 1998): each draws a number u from (0, 1) out of the key and its name, and
// the lowest -log(u)/weight wins, which it does in proportion to its weight. It asks all backends, and keeps what probing
// gives: a change of one backend moves only that backend's keys.
func (t *Table) rendezvous(hash uint64, alive func(i int) bool) int {
	best, bestCost, bestWeight := -1, uint64(0), uint64(0)
	for i, key := range t.keys {
		if !alive(i) {
			continue
		}
		cost, weight := negLog2(avalanche(hash^key)), uint64(t.backends[i].Weight)
		if best < 0 || cost*bestWeight < bestCost*weight {
			best, bestCost, bestWeight = i, cost, weight
		}
	}
	return best
}

// logBits is the number of fraction bits of negLog2.
const logBits = 24

// negLog2 returns -log2(u / 2^64) in units of 2^-logBits, at most 64 of them whole. It is worked out in integers, bit by bit,
// since floating point may round differently on another architecture. 0 counts as 1.
func negLog2(u uint64) uint64 {
	u |= 1
	zeros := bits.LeadingZeros64(u)
	mantissa := u << zeros // 1 to 2, in units of 2^-63
	fraction := uint64(0)
	for range logBits {
		// Squaring doubles the logarithm: its next bit is whether the square reached 2.
		square, _ := bits.Mul64(mantissa, mantissa)
		bit := square >> 63
		fraction = fraction<<1 | bit
		mantissa = square << (1 - bit)
	}
	return uint64(zeros+1)<<logBits - fraction
}
