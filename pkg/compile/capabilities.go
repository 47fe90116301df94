package compile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// Words for what a data plane can do, which its agent tells in the hello of the snapshot stream. For the values of an
// enumeration they are made by [Word]; the others are these. A word never changes its meaning; what is new gets a new one.
const (
	ListenerAllowedCIDRs    = "listener.allowed_cidrs"
	ListenerConnectionLimit = "listener.connection_limit"
	PoolBackup              = "pool.backup"
	PoolFailOpen            = "pool.fail_open"
	PoolSlowStart           = "pool.slow_start"

	// Policy is layer 7 policies.
	Policy = "policy"
)

// Word is the word for a value of an enumeration that a node acts by: "listener.tcp", "pool.tcp", "algorithm.maglev",
// "persistence.source_ip", "health_check.http".
func Word(v fmt.Stringer) string {
	var what string
	switch v.(type) {
	case lb.ListenerProtocol:
		what = "listener"
	case lb.PoolProtocol:
		what = "pool"
	case lb.Algorithm:
		what = "algorithm"
	case lb.PersistenceType:
		what = "persistence"
	case lb.HealthCheckType:
		what = "health_check"
	default:
		panic(fmt.Sprintf("compile: no word for %T", v))
	}
	return what + "." + v.String()
}

// DataPlane lists what this build's data plane can do, sorted. It is also all that this build's compiler has a form for.
func DataPlane() []string {
	words := []string{
		Word(lb.ListenerTCP), ListenerAllowedCIDRs, ListenerConnectionLimit,
		Word(lb.PoolTCP), PoolBackup, PoolFailOpen, PoolSlowStart,
		Word(lb.RoundRobin), Word(lb.WeightedRoundRobin), Word(lb.LeastConnections),
		Word(lb.SourceIP), Word(lb.Random), Word(lb.Maglev),
		Word(lb.PersistSourceIP),
		Word(lb.CheckTCP), Word(lb.CheckHTTP),
	}
	slices.Sort(words)
	return words
}

// forms is what the compiler has a form for.
var forms = NewCapabilities("", DataPlane())

// Capabilities is what one node's data plane can do, with its version for messages. It is immutable; the zero value can
// do nothing.
type Capabilities struct {
	version string
	words   []string // sorted, unique
}

// NewCapabilities takes the words in any order. Words that this build does not know do no harm.
func NewCapabilities(version string, words []string) Capabilities {
	sorted := slices.Clone(words)
	slices.Sort(sorted)
	return Capabilities{version: version, words: slices.Compact(sorted)}
}

// Has tells whether the data plane knows the word.
func (c Capabilities) Has(word string) bool {
	_, found := slices.BinarySearch(c.words, word)
	return found
}

// Words are the words, sorted. They must not be changed.
func (c Capabilities) Words() []string { return c.words }

// Version is the data plane's version.
func (c Capabilities) Version() string { return c.version }

// Key is equal for capabilities that compile alike.
func (c Capabilities) Key() string { return c.version + "\x00" + strings.Join(c.words, "\x00") }
