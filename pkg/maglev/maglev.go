// Package maglev owns FiberLB's consistent hashing: it builds Maglev lookup tables ("Maglev: A Fast and Reliable Software
// Network Load Balancer", NSDI 2016, sections 3.4 and 5.3), turns flows and client addresses into keys, and maps a key to
// a backend, passing over backends that are down.
//
// Everything here is a pure function of its arguments. The same backends, in whatever order they are given, make the same
// table on every node, in every process and on every architecture; that is what lets any node serve any flow. HashVersion
// names the functions that this rests on. They need nothing but 64-bit arithmetic, so that an eBPF program can compute
// the same key and the same slot.
package maglev

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

const (
	// HashVersion names the hashes, the order of the turns and the probing of this package. It rises whenever one of
	// them changes what a table or a lookup yields: nodes may share traffic only if they agree on it.
	HashVersion = 1

	// DefaultSize is the number of slots of a table where nothing else is asked for: the largest prime below 2^16.
	DefaultSize = 65521

	// MaxSize bounds the number of slots of a table (two bytes each).
	MaxSize = 5_000_011

	// MaxBackends bounds the backends of one table, since a slot holds 16 bits.
	MaxBackends = 1<<16 - 1

	// MaxWeight bounds the weight of one backend.
	MaxWeight = 256
)

// Backend is one destination of a table.
type Backend struct {
	// Name identifies the backend: its places in the table follow from the name alone, so a backend that changes its
	// address keeps its keys.
	Name string
	// Weight is the backend's share relative to the others', 1 to MaxWeight; 0 keeps it out of the table.
	Weight uint32
}

// Table maps keys to backends. It is immutable and safe for concurrent use.
type Table struct {
	backends []Backend // of positive weight, by name
	keys     []uint64  // a hash of each backend's name, for the rendezvous of LookupAlive
	slots    []uint16  // index into backends, plus one; none where there are no backends
}

// Build makes the table of size slots for the given backends, in any order. Backends of weight 0 are left out, as if they
// had not been given; without any other the table is empty.
//
// It refuses a size that is not a prime of at most MaxSize or is below the number of backends in the table, and backends
// without a name, with a name used twice or with a weight above MaxWeight.
func Build(size uint32, backends []Backend) (*Table, error) {
	if size > MaxSize {
		return nil, fmt.Errorf("maglev: size %d is above %d", size, MaxSize)
	}
	if !isPrime(size) {
		return nil, fmt.Errorf("maglev: size %d is not a prime", size)
	}
	members, err := sortMembers(backends)
	if err != nil {
		return nil, err
	}
	if limit := min(int(size), MaxBackends); len(members) > limit {
		return nil, fmt.Errorf("maglev: %d backends do not fit a table of %d slots, which holds at most %d",
			len(members), size, limit)
	}
	t := &Table{backends: members}
	if len(members) == 0 {
		return t, nil
	}
	t.keys = make([]uint64, len(members))
	for i, b := range members {
		t.keys[i] = xxh64([]byte(b.Name), seedOffset)
	}
	t.slots = make([]uint16, size)
	populate(t.slots, schedule(t, uint64(size)))
	return t, nil
}

// sortMembers checks the backends and returns those of positive weight by name. The order decides who takes a contested
// slot, so leaving it to the caller would give different tables to different nodes.
func sortMembers(backends []Backend) ([]Backend, error) {
	sorted := slices.Clone(backends)
	slices.SortFunc(sorted, func(a, b Backend) int { return strings.Compare(a.Name, b.Name) })
	for i, b := range sorted {
		switch {
		case b.Name == "":
			return nil, fmt.Errorf("maglev: a backend has no name")
		case b.Weight > MaxWeight:
			return nil, fmt.Errorf("maglev: backend %q: weight %d is above %d", b.Name, b.Weight, MaxWeight)
		case i > 0 && sorted[i-1].Name == b.Name:
			return nil, fmt.Errorf("maglev: backend %q is given twice", b.Name)
		}
	}
	return slices.DeleteFunc(sorted, func(b Backend) bool { return b.Weight == 0 }), nil
}

// cursor is a backend's place in its permutation of the slots: offset, offset+skip, offset+2*skip, … modulo the size.
//
// Positions are 64-bit binary fractions of the table, so that wrapping around its end is integer overflow and a step is
// one addition; the slot is the upper half of position times size. A cursor starts in the middle of its slot. A step is
// rounded down by less than one unit and a cursor makes at most size steps, so it drifts by less than half a slot
// (2^63/size units) as long as size is below 2^31.
type cursor struct {
	position uint64
	step     uint64
	entry    uint16 // what the backend's slots hold
}

// class holds the backends of one weight, which take their turns together.
type class struct {
	weight  uint32
	credit  uint32
	cursors []cursor
}

// schedule puts the table's backends into classes, heaviest first, by name inside a class.
func schedule(t *Table, size uint64) []class {
	var count [MaxWeight + 1]int
	for _, b := range t.backends {
		count[b.Weight]++
	}
	var classes []class
	var classOf [MaxWeight + 1]int
	cursors := make([]cursor, len(t.backends))
	for weight := MaxWeight; weight > 0; weight-- {
		if n := count[weight]; n > 0 {
			classOf[weight] = len(classes)
			classes = append(classes, class{weight: uint32(weight), cursors: cursors[:0:n]})
			cursors = cursors[n:]
		}
	}
	for i, b := range t.backends {
		offset := t.keys[i] % size
		skip := xxh64([]byte(b.Name), seedSkip)%(size-1) + 1
		position, _ := bits.Div64(offset, 1<<63, size)
		step, _ := bits.Div64(skip, 0, size)
		c := &classes[classOf[b.Weight]]
		c.cursors = append(c.cursors, cursor{position: position, step: step, entry: uint16(i + 1)})
	}
	return classes
}

// populate fills all slots (paper, section 3.4, pseudocode 1). In every turn each backend earns its weight, and takes
// the next free slot of its permutation once it has earned as much as the heaviest earns in one turn. All begin one
// short of that: after any number of turns a backend holds its exact share, rounded up to a whole slot. Repeating a
// backend by its weight inside a turn instead would let the heavy ones take the light ones' slots.
func populate(slots []uint16, classes []class) {
	size, left := uint64(len(slots)), len(slots)
	price := classes[0].weight
	for i := range classes {
		classes[i].credit = price - 1
	}
	for {
		for i := range classes {
			c := &classes[i]
			c.credit += c.weight
			if c.credit < price {
				continue
			}
			c.credit -= price
			for j := range c.cursors {
				at := &c.cursors[j]
				position := at.position
				slot, _ := bits.Mul64(position, size)
				for slots[slot] != 0 {
					position += at.step
					slot, _ = bits.Mul64(position, size)
				}
				slots[slot] = at.entry
				at.position = position + at.step
				if left--; left == 0 {
					return
				}
			}
		}
	}
}

// isPrime tells whether n is a prime. Only modulo a prime does every skip visit every slot.
func isPrime(n uint32) bool {
	for d := uint32(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n >= 2
}

// Backends returns the backends in the table, those of positive weight, by name. It must not be modified.
func (t *Table) Backends() []Backend { return slices.Clip(t.backends) }

// Bytes returns all that the table consists of, in an encoding that is the same everywhere: little endian, HashVersion,
// the number of backends, of each the length of its name, its name and its weight, the number of slots (32 bits each),
// and the slots, as 16-bit indices into Backends plus one.
func (t *Table) Bytes() []byte {
	b := make([]byte, 0, 12+2*len(t.slots)+24*len(t.backends))
	b = binary.LittleEndian.AppendUint32(b, HashVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t.backends)))
	for _, m := range t.backends {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(m.Name)))
		b = append(b, m.Name...)
		b = binary.LittleEndian.AppendUint32(b, m.Weight)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(t.slots)))
	for _, entry := range t.slots {
		b = binary.LittleEndian.AppendUint16(b, entry)
	}
	return b
}

// Digest returns a hash of Bytes: nodes with equal digests send equal keys to equal backends.
func (t *Table) Digest() uint64 { return xxh64(t.Bytes(), 0) }
