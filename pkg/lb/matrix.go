package lb

import "slices"

// This file is the one table of what goes together: listener, pool, health
// check, persistence; rule and comparison. Everything else asks it.

var listenerPools = map[ListenerProtocol][]PoolProtocol{
	ListenerTCP:            {PoolTCP},
	ListenerUDP:            {PoolUDP},
	ListenerHTTP:           {PoolHTTP, PoolHTTPS, PoolH2C, PoolH2},
	ListenerHTTPS:          {PoolHTTP, PoolHTTPS, PoolH2C, PoolH2},
	ListenerTLS:            {PoolTCP},
	ListenerTLSPassthrough: {PoolTCP},
}

var (
	httpChecks       = []HealthCheckType{CheckHTTP, CheckHTTPS, CheckTCP, CheckTLSHello, CheckGRPC}
	httpPersistences = []PersistenceType{PersistSourceIP, PersistCookie, PersistAppCookie}
)

var poolTraits = map[PoolProtocol]struct {
	checks       []HealthCheckType
	persistences []PersistenceType
}{
	PoolTCP:   {[]HealthCheckType{CheckHTTP, CheckHTTPS, CheckTCP, CheckTLSHello, CheckGRPC}, []PersistenceType{PersistSourceIP}},
	PoolUDP:   {[]HealthCheckType{CheckHTTP, CheckTCP, CheckUDPConnect}, []PersistenceType{PersistSourceIP}},
	PoolHTTP:  {httpChecks, httpPersistences},
	PoolHTTPS: {httpChecks, httpPersistences},
	PoolH2C:   {httpChecks, httpPersistences},
	PoolH2:    {httpChecks, httpPersistences},
}

// slowStart lists the algorithms in which a backend's share can grow: those
// that choose anew for every connection or request. The others map a client
// to a backend, and a growing share would move clients about.
var slowStart = []Algorithm{RoundRobin, WeightedRoundRobin, LeastConnections, Random}

var anyCompare = []CompareType{EqualTo, Regex, StartsWith, EndsWith, Contains}

var ruleTraits = map[RuleType]struct {
	compares []CompareType
	key      bool // needs a key; the others may not have one
	tls      bool // only where the listener terminates TLS
}{
	RuleHostName:        {compares: anyCompare},
	RulePath:            {compares: anyCompare},
	RuleFileType:        {compares: []CompareType{EqualTo, Regex}},
	RuleHeader:          {compares: anyCompare, key: true},
	RuleCookie:          {compares: anyCompare, key: true},
	RuleSSLConnSNI:      {compares: anyCompare, tls: true},
	RuleMethod:          {compares: []CompareType{EqualTo, Regex}},
	RuleQuery:           {compares: anyCompare, key: true},
	RuleSourceIP:        {compares: []CompareType{EqualTo}},
	RuleSSLConnHasCert:  {compares: []CompareType{EqualTo}, tls: true},
	RuleSSLVerifyResult: {compares: []CompareType{EqualTo}, tls: true},
	RuleSSLDNField:      {compares: anyCompare, key: true, tls: true},
}

// Pools lists the protocols of pools that a listener of protocol p can use.
func (p ListenerProtocol) Pools() []PoolProtocol { return slices.Clone(listenerPools[p]) }

// HealthChecks lists the types of health check that a pool of protocol p can have.
func (p PoolProtocol) HealthChecks() []HealthCheckType { return slices.Clone(poolTraits[p].checks) }

// Persistences lists the types of persistence that a pool of protocol p can have.
func (p PoolProtocol) Persistences() []PersistenceType {
	return slices.Clone(poolTraits[p].persistences)
}

// SlowStarts tells whether pools with algorithm a can have a slow start.
func (a Algorithm) SlowStarts() bool { return slices.Contains(slowStart, a) }

// Compares lists the comparisons that a rule of type t can make.
func (t RuleType) Compares() []CompareType { return slices.Clone(ruleTraits[t].compares) }

// NeedsKey tells whether a rule of type t has a key: the header, cookie, query
// parameter or DN field whose value is compared.
func (t RuleType) NeedsKey() bool { return ruleTraits[t].key }

// NeedsTLS tells whether rules of type t work only on listeners that terminate TLS.
func (t RuleType) NeedsTLS() bool { return ruleTraits[t].tls }

// IsHTTP tells whether the probe is an HTTP request.
func (t HealthCheckType) IsHTTP() bool { return t == CheckHTTP || t == CheckHTTPS }
