// Package lb is FiberLB's vocabulary: load balancers and what they consist of,
// as types that state their guarantees.
//
// A *LoadBalancer that [Normalize] returned is valid, complete (defaults are
// filled in), in canonical order, and immutable: whoever wants another one
// makes a copy with [LoadBalancer.Clone], edits that, and normalizes it again.
// Equal configurations have equal normal forms. Everything past the edge of
// the API trusts that and checks nothing twice. The objects of a normal form
// remember their etags; versions of a load balancer may share objects.
//
// The package is pure: no clock, no I/O, no randomness, standard library only.
package lb

import (
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Meta is what the server assigns to an object.
type Meta struct {
	UID       string    // 128 random bits as 32 hexadecimal digits
	CreatedAt time.Time // UTC, microseconds
	UpdatedAt time.Time // UTC, microseconds
}

// Info is what people tell about an object.
type Info struct {
	Name        string            // DNS label, RFC 1123 section 2.1
	Description string            // up to 255 bytes
	Labels      map[string]string // up to 64; keys and values up to 255 bytes
}

// LoadBalancer is the unit of consistency: VIPs with all that serves them.
type LoadBalancer struct {
	Info
	Meta
	Project      string
	VIPs         []netip.Addr      // sorted, unique, unmapped, no zone
	NodeSelector map[string]string // empty: every node
	Enabled      bool

	Listeners    []*Listener    // sorted by name
	Pools        []*Pool        // sorted by name
	Policies     []*Policy      // sorted by listener, then position
	Certificates []*Certificate // sorted by name
}

// Listener accepts connections on one port of every VIP.
type Listener struct {
	Info
	Meta
	tag[Listener]
	Port            uint16
	Protocol        ListenerProtocol
	TLS             *TLSConfig // set where Protocol.TerminatesTLS
	DefaultPool     string     // name of a pool; may be empty
	Enabled         bool
	ConnectionLimit uint32         // per node; 0: none
	AllowedCIDRs    []netip.Prefix // masked, sorted, unique; empty: all
	Timeouts        Timeouts
	Headers         *HeaderInsertion // set where Protocol.IsHTTP
}

// Timeouts of a listener; see the API for what each bounds.
type Timeouts struct {
	Client, Connect, Backend, Idle, TCPIdle time.Duration
}

// HeaderInsertion says which headers about the client a listener writes.
type HeaderInsertion struct {
	ForwardedFor   ForwardedFor
	ForwardedPort  bool
	ForwardedProto bool
}

// TLSConfig of a listener that terminates TLS. Certificates are named.
type TLSConfig struct {
	Certificate     string
	SNICertificates []string
	MinVersion      TLSVersion
	CipherSuites    []string
	ALPN            []string
	ClientAuth      ClientAuth
	ClientCA        string
	HSTS            *HSTS
}

// HSTS is HTTP Strict Transport Security, RFC 6797.
type HSTS struct {
	MaxAge            time.Duration // whole seconds
	IncludeSubdomains bool
	Preload           bool
}

// Pool is a set of backends that serve alike.
type Pool struct {
	Info
	Meta
	tag[Pool]
	Protocol            PoolProtocol
	Algorithm           Algorithm
	Persistence         *Persistence
	HealthCheck         *HealthCheck
	Backends            []*Backend // sorted by name
	Enabled             bool
	SlowStart           time.Duration
	DeregistrationDelay time.Duration
	FailOpenBelow       uint32
}

// Persistence keeps a client with its backend.
type Persistence struct {
	Type           PersistenceType
	CookieName     string
	TimeoutSeconds uint32
}

// Backend is one address and port.
type Backend struct {
	Info
	Meta
	tag[Backend]
	Address        netip.Addr // unmapped, no zone
	Port           uint16
	Weight         uint16 // 0 to 256
	Backup         bool
	Enabled        bool
	MonitorAddress netip.Addr // zero value: Address
	MonitorPort    uint16     // 0: Port
}

// HealthCheck of a pool.
type HealthCheck struct {
	Info
	Meta
	tag[HealthCheck]
	Type               HealthCheckType
	Interval           time.Duration
	Timeout            time.Duration // below Interval
	HealthyThreshold   uint8
	UnhealthyThreshold uint8
	HTTP               *HTTPCheck // set for CheckHTTP and CheckHTTPS
	Enabled            bool
}

// HTTPCheck is the request of an HTTP health check.
type HTTPCheck struct {
	Method string
	Path   string
	Codes  []CodeRange // sorted, disjoint, not adjacent
	Host   string      // empty: the backend's address and port
}

// CodeRange is a range of HTTP status codes, both ends included.
type CodeRange struct{ First, Last uint16 }

// Policy decides the requests of a listener that match all its rules.
type Policy struct {
	Info
	Meta
	tag[Policy]
	Listener      string // name of the listener
	Position      uint32 // unique in the listener
	Action        PolicyAction
	Pools         []WeightedPool // redirect_to_pool; at least one, sorted by pool
	URL           string         // redirect_to_url
	Prefix        string         // redirect_prefix
	StatusCode    uint16         // redirects, reject
	FixedResponse *Response      // fixed_response
	Enabled       bool
	Rules         []*Rule // in the order written; at most 50
}

// WeightedPool names a pool and its share.
type WeightedPool struct {
	Pool   string
	Weight uint16 // 0 to 256
}

// Response is a fixed answer.
type Response struct {
	StatusCode  uint16
	ContentType string
	Body        string
}

// Rule is one condition of a policy.
type Rule struct {
	Info
	Meta
	tag[Rule]
	Type    RuleType
	Compare CompareType
	Value   string
	Key     string
	Invert  bool
	Enabled bool
}

// Certificate of a load balancer.
type Certificate struct {
	Info
	Meta
	tag[Certificate]
	Type  CertificateType
	Chain string // PEM, leaf first
	// Key is the private key as written; it exists only between the edge of
	// the API and the store, which seals it.
	Key PrivateKey
	// Sealed tells that the store holds a key for the certificate.
	Sealed *SealedKey
}

// PrivateKey is PEM text that never shows itself: it formats as "[private key]"
// with every verb. Two keys are compared by what they reveal, not with ==.
type PrivateKey struct {
	// A pointer, since fmt looks through unexported fields of whatever holds a
	// key, past its methods, and prints strings, but not what pointers point to.
	pem *string
}

// NewPrivateKey wraps PEM text; "" gives the zero value.
func NewPrivateKey(pem string) PrivateKey {
	if pem == "" {
		return PrivateKey{}
	}
	return PrivateKey{&pem}
}

// Reveal gives the PEM text; only sealing and TLS may ask for it.
func (k PrivateKey) Reveal() string {
	if k.pem == nil {
		return ""
	}
	return *k.pem
}

// IsZero tells whether there is no key.
func (k PrivateKey) IsZero() bool { return k.pem == nil }

// String hides the key from every kind of formatting.
func (k PrivateKey) String() string {
	if k.IsZero() {
		return ""
	}
	return "[private key]"
}

// Format hides the key from the verbs that do not ask for String, %d among them.
func (k PrivateKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// SealedKey is a private key under envelope encryption, as the store keeps it.
// Its bytes are opaque here.
type SealedKey struct {
	KEKID      []byte // which key-encryption key
	Wrapped    []byte // data key, encrypted
	WrapNonce  []byte
	Ciphertext []byte
	Nonce      []byte
	SPKI       []byte // SHA-256 of the public key that belongs to it
}
