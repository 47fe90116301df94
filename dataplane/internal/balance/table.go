package balance

import (
	"crypto/sha256"
	"encoding/binary"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/fiberlb/fiberlb/pkg/maglev"
)

// table is a Maglev table that is built when it is first asked for.
type table struct {
	size    uint32
	members []maglev.Backend // by name, of positive weight
	once    sync.Once
	built   atomic.Pointer[maglev.Table]
}

// get returns the table, which the first call builds.
func (t *table) get() *maglev.Table {
	if built := t.built.Load(); built != nil {
		return built
	}
	t.once.Do(func() {
		built, err := maglev.Build(t.size, t.members)
		if err != nil {
			// Validate accepted size and members; an empty table sends nobody anywhere, which is all that is left to do.
			built = new(maglev.Table)
		}
		t.built.Store(built)
	})
	return t.built.Load()
}

// tables shares tables among all who ask for the same members: pools with the same backends, and the states of one pool
// before and after a change that does not concern membership. It keeps none alive.
type tables struct {
	mu     sync.Mutex
	shared map[[sha256.Size]byte]weak.Pointer[table]
}

func (c *tables) get(size uint32, members []maglev.Backend) *table {
	key := tableKey(size, members)
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.shared[key].Value(); t != nil {
		return t
	}
	t := &table{size: size, members: members}
	if c.shared == nil {
		c.shared = make(map[[sha256.Size]byte]weak.Pointer[table])
	}
	c.shared[key] = weak.Make(t)
	runtime.AddCleanup(t, c.forget, key)
	return t
}

// forget drops a key whose table is gone, unless another one has taken the place.
func (c *tables) forget(key [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shared[key].Value() == nil {
		delete(c.shared, key)
	}
}

func tableKey(size uint32, members []maglev.Backend) [sha256.Size]byte {
	b := binary.BigEndian.AppendUint32(nil, size)
	for _, m := range members {
		b = binary.BigEndian.AppendUint32(b, m.Weight)
		b = binary.BigEndian.AppendUint32(b, uint32(len(m.Name)))
		b = append(b, m.Name...)
	}
	return sha256.Sum256(b)
}
