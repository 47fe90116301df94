package lb

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// vocabulary is the words of one enumeration; the word of number n stands at
// index n-1.
type vocabulary struct {
	kind  string
	words []string
}

// Enum is implemented by the enumerations of this package. Zero is "not set"
// in all of them.
type Enum interface {
	~uint8
	fmt.Stringer
	vocabulary() *vocabulary
}

var (
	listenerProtocols = &vocabulary{"listener protocol", []string{"tcp", "udp", "http", "https", "tls", "tls_passthrough"}}
	poolProtocols     = &vocabulary{"pool protocol", []string{"tcp", "udp", "http", "https", "h2c", "h2"}}
	algorithms        = &vocabulary{"pool algorithm", []string{"round_robin", "weighted_round_robin", "least_connections", "source_ip", "random", "maglev"}}
	persistenceTypes  = &vocabulary{"persistence type", []string{"source_ip", "cookie", "app_cookie"}}
	healthCheckTypes  = &vocabulary{"health check type", []string{"http", "https", "tcp", "tls_hello", "udp_connect", "grpc"}}
	policyActions     = &vocabulary{"policy action", []string{"redirect_to_pool", "redirect_to_url", "redirect_prefix", "reject", "fixed_response"}}
	ruleTypes         = &vocabulary{"rule type", []string{
		"host_name", "path", "file_type", "header", "cookie", "ssl_conn_sni", "method", "query",
		"source_ip", "ssl_conn_has_cert", "ssl_verify_result", "ssl_dn_field",
	}}
	compareTypes     = &vocabulary{"compare type", []string{"equal_to", "regex", "starts_with", "ends_with", "contains"}}
	certificateTypes = &vocabulary{"certificate type", []string{"server", "client_ca", "sni"}}
	tlsVersions      = &vocabulary{"TLS version", []string{"tls12", "tls13"}}
	clientAuths      = &vocabulary{"client authentication", []string{"none", "optional", "mandatory"}}
	forwardedFors    = &vocabulary{"X-Forwarded-For mode", []string{"append", "preserve", "remove"}}
)

func (ListenerProtocol) vocabulary() *vocabulary { return listenerProtocols }
func (PoolProtocol) vocabulary() *vocabulary     { return poolProtocols }
func (Algorithm) vocabulary() *vocabulary        { return algorithms }
func (PersistenceType) vocabulary() *vocabulary  { return persistenceTypes }
func (HealthCheckType) vocabulary() *vocabulary  { return healthCheckTypes }
func (PolicyAction) vocabulary() *vocabulary     { return policyActions }
func (RuleType) vocabulary() *vocabulary         { return ruleTypes }
func (CompareType) vocabulary() *vocabulary      { return compareTypes }
func (CertificateType) vocabulary() *vocabulary  { return certificateTypes }
func (TLSVersion) vocabulary() *vocabulary       { return tlsVersions }
func (ClientAuth) vocabulary() *vocabulary       { return clientAuths }
func (ForwardedFor) vocabulary() *vocabulary     { return forwardedFors }

// String gives the word of the text form, such as "tls_passthrough"; "" for
// zero and the number for one that is not known.
func (p ListenerProtocol) String() string { return word(p) }

// String gives the word of the text form, such as "h2c".
func (p PoolProtocol) String() string { return word(p) }

// String gives the word of the text form, such as "maglev".
func (a Algorithm) String() string { return word(a) }

// String gives the word of the text form, such as "app_cookie".
func (t PersistenceType) String() string { return word(t) }

// String gives the word of the text form, such as "tls_hello".
func (t HealthCheckType) String() string { return word(t) }

// String gives the word of the text form, such as "redirect_to_pool".
func (a PolicyAction) String() string { return word(a) }

// String gives the word of the text form, such as "host_name".
func (t RuleType) String() string { return word(t) }

// String gives the word of the text form, such as "starts_with".
func (t CompareType) String() string { return word(t) }

// String gives the word of the text form, such as "client_ca".
func (t CertificateType) String() string { return word(t) }

// String gives the word of the text form, such as "tls12".
func (v TLSVersion) String() string { return word(v) }

// String gives the word of the text form, such as "mandatory".
func (a ClientAuth) String() string { return word(a) }

// String gives the word of the text form, such as "append".
func (f ForwardedFor) String() string { return word(f) }

func word[T Enum](v T) string {
	words := v.vocabulary().words
	switch n := int(v); {
	case n == 0:
		return ""
	case n <= len(words):
		return words[n-1]
	default:
		return strconv.Itoa(n)
	}
}

// Words lists the words of an enumeration in the order of their numbers,
// beginning with number 1.
func Words[T Enum]() []string {
	var zero T
	return slices.Clone(zero.vocabulary().words)
}

// KindOf names an enumeration in messages: "listener protocol".
func KindOf[T Enum]() string {
	var zero T
	return zero.vocabulary().kind
}

// FromNumber gives the value with that number; ok is false for numbers that
// have no word. Zero, "not set", is a value of every enumeration.
func FromNumber[T Enum](n int32) (v T, ok bool) {
	if n < 0 || int(n) > len(v.vocabulary().words) {
		return v, false
	}
	return T(n), true
}

// Parse reads a word of the text form. A listener protocol may also be called
// "terminated_https", the other name of "https". The error names the known
// words, and the nearest one where there is one.
func Parse[T Enum](s string) (T, error) {
	var zero T
	v := zero.vocabulary()
	if i := slices.Index(v.words, s); i >= 0 {
		return T(i + 1), nil
	}
	if v == listenerProtocols && s == "terminated_https" {
		return T(ListenerHTTPS), nil
	}
	if near := Nearest(s, v.words); near != "" {
		return 0, fmt.Errorf("%s is not a %s; did you mean %q? known: %s", Quote(s), v.kind, near, strings.Join(v.words, ", "))
	}
	return 0, fmt.Errorf("%s is not a %s; known: %s", Quote(s), v.kind, strings.Join(v.words, ", "))
}

// known is the remedy where a value of an enumeration is missing or wrong.
func known[T Enum]() string {
	var zero T
	return "choose one of " + strings.Join(zero.vocabulary().words, ", ")
}

// join lists values in words: "http, https, h2c".
func join[T fmt.Stringer](values []T) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = v.String()
	}
	return strings.Join(words, ", ")
}
