// Package snapshot is what a node runs: named, content-hashed resources, the
// sets they form, and the deltas that lead from one set to the next.
//
// A resource's bytes are protobuf in a canonical form of our own, so that
// equal resources have equal bytes whatever built them; the hash is over those
// bytes. A set's digest is a sum over its resources' hashes, so that a change
// costs what it changes, not what there is.
package snapshot

import (
	"net/netip"
	"time"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// SchemaVersion of resources that this build writes, and the highest it reads.
const SchemaVersion = 1

// Kind of a resource, in the order in which kinds are put in force; they are
// removed in the reverse order. Numbers are those of fiberlb.agent.v1.Kind.
type Kind uint8

// Kinds.
const (
	KindHealthCheck Kind = 1
	KindPool        Kind = 2
	KindListener    Kind = 3
	KindCertificate Kind = 4
)

// Ref names a resource. Name is the full name of the object it was compiled
// from: projects/P/loadBalancers/L/pools/X.
type Ref struct {
	Kind Kind
	Name string
}

// Hash is the SHA-256 of a resource's content.
type Hash [32]byte

// Resource is one unit of distribution: immutable, its bytes shared by all who hold it.
type Resource struct {
	Ref
	Hash    Hash
	Content []byte
}

// Version names one state of a node's configuration. Every controller replica
// gives the same state the same version.
type Version struct {
	Cluster  string // etcd cluster id; empty in static mode
	Revision int64  // highest ModRevision of the inputs
	Digest   Hash
}

// HealthCheck as a node runs it.
type HealthCheck struct {
	Type               lb.HealthCheckType
	Interval, Timeout  time.Duration
	HealthyThreshold   uint8
	UnhealthyThreshold uint8
	HTTP               *lb.HTTPCheck // set for lb.CheckHTTP
}

// Pool as a node runs it.
type Pool struct {
	Protocol            lb.PoolProtocol
	Algorithm           lb.Algorithm
	Persistence         lb.PersistenceType // 0: none
	HealthCheck         string             // full name of a health check; empty: all backends count as up
	Backends            []Backend          // sorted by name
	SlowStart           time.Duration
	DeregistrationDelay time.Duration
	FailOpenBelow       uint32
	HashVersion         uint32 // of Maglev's hashing
	TableSize           uint32 // of the Maglev table, a prime
}

// Backend of a pool.
type Backend struct {
	Name     string // short; what Maglev hashes
	Addr     netip.AddrPort
	Weight   uint16 // 0: no new connections
	Backup   bool
	Draining bool           // no new connections, open ones go on
	Monitor  netip.AddrPort // where health checks go; always set
}

// Listener as a node runs it.
type Listener struct {
	VIPs            []netip.Addr
	Port            uint16
	Protocol        lb.ListenerProtocol
	DefaultPool     string // full name of a pool; empty: connections are closed
	ConnectionLimit uint32 // 0: none
	AllowedCIDRs    []netip.Prefix
	ConnectTimeout  time.Duration
	TCPIdleTimeout  time.Duration
}
