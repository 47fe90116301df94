package lb

// The enumerations carry the numbers of the public API (package fiberlb.v1),
// which never change meaning. Zero is "not set" in every one of them.

// ListenerProtocol is what a listener speaks to clients.
type ListenerProtocol uint8

// Listener protocols.
const (
	ListenerTCP            ListenerProtocol = 1
	ListenerUDP            ListenerProtocol = 2
	ListenerHTTP           ListenerProtocol = 3
	ListenerHTTPS          ListenerProtocol = 4
	ListenerTLS            ListenerProtocol = 5
	ListenerTLSPassthrough ListenerProtocol = 6
)

// Transport is the layer 4 protocol of the listener: "tcp" or "udp".
func (p ListenerProtocol) Transport() string {
	if p == ListenerUDP {
		return "udp"
	}
	return "tcp"
}

// IsHTTP tells whether the listener reads requests, so that policies apply.
func (p ListenerProtocol) IsHTTP() bool { return p == ListenerHTTP || p == ListenerHTTPS }

// TerminatesTLS tells whether the listener needs a TLS configuration.
func (p ListenerProtocol) TerminatesTLS() bool { return p == ListenerHTTPS || p == ListenerTLS }

// PoolProtocol is what a pool's backends speak.
type PoolProtocol uint8

// Pool protocols.
const (
	PoolTCP   PoolProtocol = 1
	PoolUDP   PoolProtocol = 2
	PoolHTTP  PoolProtocol = 3
	PoolHTTPS PoolProtocol = 4
	PoolH2C   PoolProtocol = 5
	PoolH2    PoolProtocol = 6
)

// Algorithm chooses among the healthy backends of a pool.
type Algorithm uint8

// Algorithms.
const (
	RoundRobin         Algorithm = 1
	WeightedRoundRobin Algorithm = 2
	LeastConnections   Algorithm = 3
	SourceIP           Algorithm = 4
	Random             Algorithm = 5
	Maglev             Algorithm = 6
)

// PersistenceType is how a client stays with its backend.
type PersistenceType uint8

// Persistence types; zero is none.
const (
	PersistSourceIP  PersistenceType = 1
	PersistCookie    PersistenceType = 2
	PersistAppCookie PersistenceType = 3
)

// HealthCheckType is the kind of probe.
type HealthCheckType uint8

// Health check types.
const (
	CheckHTTP       HealthCheckType = 1
	CheckHTTPS      HealthCheckType = 2
	CheckTCP        HealthCheckType = 3
	CheckTLSHello   HealthCheckType = 4
	CheckUDPConnect HealthCheckType = 5
	CheckGRPC       HealthCheckType = 6
)

// PolicyAction is what a policy does with a request that it matches.
type PolicyAction uint8

// Policy actions.
const (
	RedirectToPool PolicyAction = 1
	RedirectToURL  PolicyAction = 2
	RedirectPrefix PolicyAction = 3
	Reject         PolicyAction = 4
	FixedResponse  PolicyAction = 5
)

// RuleType is the part of a request that a rule looks at.
type RuleType uint8

// Rule types.
const (
	RuleHostName        RuleType = 1
	RulePath            RuleType = 2
	RuleFileType        RuleType = 3
	RuleHeader          RuleType = 4
	RuleCookie          RuleType = 5
	RuleSSLConnSNI      RuleType = 6
	RuleMethod          RuleType = 7
	RuleQuery           RuleType = 8
	RuleSourceIP        RuleType = 9
	RuleSSLConnHasCert  RuleType = 10
	RuleSSLVerifyResult RuleType = 11
	RuleSSLDNField      RuleType = 12
)

// CompareType is how a rule compares.
type CompareType uint8

// Comparisons.
const (
	EqualTo    CompareType = 1
	Regex      CompareType = 2
	StartsWith CompareType = 3
	EndsWith   CompareType = 4
	Contains   CompareType = 5
)

// CertificateType is what a certificate is for.
type CertificateType uint8

// Certificate types.
const (
	CertServer   CertificateType = 1
	CertClientCA CertificateType = 2
	CertSNI      CertificateType = 3
)

// TLSVersion is the lowest TLS version a listener accepts.
type TLSVersion uint8

// TLS versions.
const (
	TLS12 TLSVersion = 1
	TLS13 TLSVersion = 2
)

// ClientAuth says whether a TLS listener asks clients for certificates.
type ClientAuth uint8

// Client authentication modes.
const (
	ClientAuthNone      ClientAuth = 1
	ClientAuthOptional  ClientAuth = 2
	ClientAuthMandatory ClientAuth = 3
)

// ForwardedFor is what an HTTP listener does with X-Forwarded-For.
type ForwardedFor uint8

// X-Forwarded-For modes.
const (
	ForwardedForAppend   ForwardedFor = 1
	ForwardedForPreserve ForwardedFor = 2
	ForwardedForRemove   ForwardedFor = 3
)
