// Package store owns what lies in etcd: load balancers, claims of virtual addresses, what people set of nodes and what nodes report.
//
// A load balancer is a small head that lists its children by content hash, and children that never change under their key. A
// write puts children first and swaps the head last, so that one compare-and-swap makes a change of any size visible at once.
// Three invariants hold after every transaction, whatever crashes between two of them:
//
//   - every child that a head lists is there;
//   - an address is claimed by exactly the load balancer whose head lists it;
//   - the highest ModRevision over heads, node configurations and the marker of deletions never goes back.
//
// What crashed writers leave behind is children that no head lists. Nobody sees them, and [Store.Sweep] removes them.
package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fiberlb/fiberlb/controlplane/internal/secrets"
	"github.com/fiberlb/fiberlb/pkg/lb"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// DefaultPrefix of all keys.
const DefaultPrefix = "/fiberlb/v1"

// SchemaVersion of values that this build writes, and the highest it reads.
const SchemaVersion = 1

// Config of a store. The zero value is usable.
type Config struct {
	// Prefix of all keys, without a slash at its end; empty: [DefaultPrefix].
	Prefix string
	// Sealer of private keys. Nil: certificates with a private key are refused with [ErrNoSealer].
	Sealer *secrets.Sealer
	Logger hclog.Logger // nil: silent
	// Metrics to count in; nil: nobody looks.
	Metrics *Metrics
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Random gives the bits of uids; nil: crypto/rand.
	Random io.Reader
}

// Store reads, writes and watches. It may be used from many goroutines, and owns none itself.
type Store struct {
	client  *clientv3.Client
	kv      clientv3.KV
	keys    layout
	sealer  *secrets.Sealer
	log     hclog.Logger
	metrics *Metrics
	now     func() time.Time
	random  io.Reader
	limits  limits
	orphans orphans
	recent  recent
}

// limits of one request; tests lower them to have a small object take the way of a large one.
type limits struct {
	txnOps   int // operations in a transaction; etcd's own limit is 128
	txnBytes int // of keys and values in a transaction; etcd's own limit is 1.5 MiB
	chunkOps int // operations in one of several transactions of a large write
	value    int // bytes of one value
}

var defaultLimits = limits{txnOps: 128, txnBytes: 1 << 20, chunkOps: 100, value: 1400 << 10}

// New makes a store over a client, which stays the caller's to close.
func New(client *clientv3.Client, cfg Config) *Store {
	s := &Store{
		client: client, kv: client.KV, keys: layout{prefix: strings.TrimSuffix(cfg.Prefix, "/")},
		sealer: cfg.Sealer, log: cfg.Logger, metrics: cfg.Metrics, now: cfg.Now, random: cfg.Random, limits: defaultLimits,
	}
	if s.keys.prefix == "" {
		s.keys.prefix = DefaultPrefix
	}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if s.metrics == nil {
		s.metrics = newMetrics()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.random == nil {
		s.random = rand.Reader
	}
	s.recent.limit = recentLimit
	return s
}

// Key names a load balancer.
type Key struct{ Project, LB string }

// KeyOf names l.
func KeyOf(l *lb.LoadBalancer) Key { return Key{l.Project, l.Name} }

// String is the full name, projects/P/loadBalancers/L.
func (k Key) String() string { return lb.LoadBalancerName(k.Project, k.LB) }

// Entry is one version of a load balancer. It never changes.
type Entry struct {
	LB *lb.LoadBalancer
	// Revision is the ModRevision of the head.
	Revision int64
	// Repeated tells that the request was carried out before, and this call changed nothing.
	Repeated bool

	head *storev1.Head // as it lies in etcd: the children's hashes, the last requests
	raw  []byte        // the head's bytes: where they are the same, so is everything
}

// Request makes a repetition of a write harmless. A zero ID stands for none.
type Request struct {
	ID string // chosen by the client; up to 128 bytes
	// Fingerprint is a hash over method and request: the same ID with another one is refused with [ErrRequestReused].
	Fingerprint []byte
}

// maxRequestID bounds a request's ID, since it becomes part of a key and of every head.
const maxRequestID = 128

func (r Request) check() error {
	if len(r.ID) > maxRequestID {
		return fmt.Errorf("request id of %d bytes, at most %d are possible", len(r.ID), maxRequestID)
	}
	return nil
}

// Errors that callers test for. They come wrapped, with the operation and the object in front.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
	// ErrConflict tells that the object changed since it was read.
	ErrConflict = errors.New("changed in the meantime")
	// ErrCompacted tells that a pinned revision is gone: start over from the first page.
	ErrCompacted = errors.New("the revision is no longer kept")
	// ErrRequestReused tells that a request's ID was used before, for something else.
	ErrRequestReused = errors.New("the request id was used before for another request")
	// ErrNoSealer tells that there is a private key to store and no key file to seal it by.
	ErrNoSealer = errors.New("private keys cannot be stored: the controller has no --key-file")
	// ErrUnavailable tells that etcd did not answer. Whether a write was carried out is unknown.
	ErrUnavailable = errors.New("etcd is unavailable")
	// ErrSuperseded tells that another controller reports for the node.
	ErrSuperseded = errors.New("another controller reports for the node")
)

// VIPTakenError tells that a virtual address belongs to another load balancer.
type VIPTakenError struct {
	VIP   string // address
	Owner string // full name of the load balancer
}

func (e *VIPTakenError) Error() string {
	return fmt.Sprintf("address %s belongs to %s", e.VIP, e.Owner)
}

// TooLargeError tells that an object does not fit into one value of etcd.
type TooLargeError struct {
	Object      string // full name; with " (backends)" where it is a pool's
	Size, Limit int    // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s takes %d bytes, at most %d are possible", e.Object, e.Size, e.Limit)
}

// DecodeError tells that a stored value cannot be read, as a rule because a newer version wrote it.
type DecodeError struct {
	Object string // full name
	Err    error
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("stored %s is unreadable: %v", e.Object, e.Err)
}
func (e *DecodeError) Unwrap() error { return e.Err }

// ClusterID names the etcd cluster, in hexadecimal digits. Revisions of different clusters cannot be compared.
func (s *Store) ClusterID(ctx context.Context) (string, error) {
	defer s.observe("cluster_id")()
	resp, err := s.kv.Get(ctx, s.keys.deleted(), clientv3.WithCountOnly())
	if err != nil {
		return "", fmt.Errorf("store: read the cluster id: %w", clean(err))
	}
	return clusterID(resp.Header.GetClusterId()), nil
}

func clusterID(id uint64) string { return fmt.Sprintf("%016x", id) }
