package lb

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"
)

func (c *scope) listener(path string, x *Listener, ports map[string]string) {
	c.identity(path, &x.Info)
	known := enum(&c.checker, path+".protocol", x.Protocol)
	c.within(path+".port", uint64(x.Port), 1, 65535)
	if known && x.Port != 0 {
		socket := fmt.Sprintf("%s port %d", x.Protocol.Transport(), x.Port)
		if first, taken := ports[socket]; taken {
			c.report(path+".port", "choose another port", "%s is taken by %s", socket, first)
		} else {
			ports[socket] = path
		}
	}
	if x.DefaultPool != "" {
		c.poolFor(path+".default_pool_id", x.DefaultPool, x.Protocol)
	}
	c.within(path+".connection_limit", uint64(x.ConnectionLimit), 0, MaxConnectionLimit)
	c.count(path+".allowed_cidrs", len(x.AllowedCIDRs), MaxAllowedCIDRs)
	for i, p := range x.AllowedCIDRs {
		if !p.IsValid() {
			c.report(item(path+".allowed_cidrs", i), `write CIDRs such as "192.0.2.0/24"`, "%s is not a prefix", p)
		}
	}
	const day = 24 * time.Hour
	c.between(path+".timeouts.client", x.Timeouts.Client, time.Millisecond, day)
	c.between(path+".timeouts.connect", x.Timeouts.Connect, time.Millisecond, day)
	c.between(path+".timeouts.backend", x.Timeouts.Backend, time.Millisecond, day)
	c.between(path+".timeouts.idle", x.Timeouts.Idle, time.Millisecond, day)
	c.between(path+".timeouts.tcp_idle", x.Timeouts.TCPIdle, time.Millisecond, day)
	if x.Headers != nil {
		if known && !x.Protocol.IsHTTP() {
			c.report(path+".insert_headers", "remove it, or choose protocol http or https", "a listener of protocol %s does not read requests", x.Protocol)
		}
		enum(&c.checker, path+".insert_headers.x_forwarded_for", x.Headers.ForwardedFor)
	}
	switch {
	case x.TLS != nil && known && !x.Protocol.TerminatesTLS():
		c.report(path+".tls_config", "remove it, or choose protocol https or tls", "a listener of protocol %s does not terminate TLS", x.Protocol)
	case x.TLS != nil:
		c.tls(path+".tls_config", x)
	case known && x.Protocol.TerminatesTLS():
		c.report(path+".tls_config", "give a tls_config with a certificate_id", "is required by protocol %s", x.Protocol)
	}
}

// poolFor checks a reference to a pool from a listener of protocol p, or from
// one of its policies.
func (c *scope) poolFor(path, name string, p ListenerProtocol) {
	pool := c.pools[name]
	if pool == nil {
		c.missing(path, name, "pool", namesOf(c.l.Pools))
		return
	}
	fits := listenerPools[p]
	if fits != nil && poolTraits[pool.Protocol].checks != nil && !slices.Contains(fits, pool.Protocol) {
		c.report(path, "use a pool of protocol "+join(fits),
			"pool %s speaks %s, which does not go with a listener of protocol %s", Quote(name), pool.Protocol, p)
	}
}

// missing reports a reference to an object that is not there.
func (c *scope) missing(path, name, kind string, there []string) {
	otherwise := "name a " + kind + " of this load balancer"
	if len(there) == 0 {
		otherwise = "the load balancer has no " + kind
	}
	c.report(path, c.suggest(name, there, otherwise), "there is no %s %s", kind, Quote(name))
}

func namesOf[T named](list []T) []string {
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = x.info().Name
	}
	return out
}

func (c *scope) tls(path string, x *Listener) {
	t := x.TLS
	if t.Certificate == "" {
		c.report(path+".certificate_id", "name a certificate of type server", "is required")
	} else {
		c.certificateRef(path+".certificate_id", t.Certificate, CertServer)
	}
	seen := make(map[string]bool)
	for i, name := range t.SNICertificates {
		at := item(path+".sni_certificate_ids", i)
		if seen[name] {
			c.report(at, "remove it", "%s is there twice", Quote(name))
		}
		seen[name] = true
		c.certificateRef(at, name, CertSNI, CertServer)
	}
	enum(&c.checker, path+".min_version", t.MinVersion)
	c.cipherSuites(path+".cipher_suites", t.CipherSuites)
	c.alpn(path+".alpn_protocols", x.Protocol, t.ALPN)
	if enum(&c.checker, path+".client_authentication", t.ClientAuth) && t.ClientAuth != ClientAuthNone && t.ClientCA == "" {
		c.report(path+".client_ca_certificate_id", "name a certificate of type client_ca", "is required by client_authentication %s", t.ClientAuth)
	}
	if t.ClientCA != "" {
		c.certificateRef(path+".client_ca_certificate_id", t.ClientCA, CertClientCA)
	}
	if t.HSTS != nil {
		if x.Protocol == ListenerTLS {
			c.report(path+".hsts", "remove it, or choose protocol https", "a listener of protocol tls does not write answers")
		}
		const year = 365 * 24 * time.Hour
		c.between(path+".hsts.max_age", t.HSTS.MaxAge, 0, 10*year)
		if t.HSTS.MaxAge%time.Second != 0 {
			c.report(path+".hsts.max_age", "", "%s is not whole seconds", t.HSTS.MaxAge)
		}
	}
}

func (c *scope) certificateRef(path, name string, types ...CertificateType) {
	x := c.certificates[name]
	switch {
	case x == nil:
		c.missing(path, name, "certificate", namesOf(c.l.Certificates))
	case x.Type != 0 && !slices.Contains(types, x.Type):
		c.report(path, "name one of type "+strings.ReplaceAll(join(types), ", ", " or "), "certificate %s is of type %s", Quote(name), x.Type)
	}
}

// cipherSuites checks names of TLS 1.2 suites (IANA TLS Cipher Suites
// registry) against those this build supports and calls secure.
func (c *scope) cipherSuites(path string, suites []string) {
	var secure, tls13 []string
	for _, s := range tls.CipherSuites() {
		if slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			secure = append(secure, s.Name)
		} else {
			tls13 = append(tls13, s.Name)
		}
	}
	seen := make(map[string]bool)
	for i, name := range suites {
		at := item(path, i)
		switch {
		case seen[name]:
			c.report(at, "remove it", "%s is there twice", Quote(name))
		case slices.Contains(secure, name):
		case slices.Contains(tls13, name):
			c.report(at, "remove it: TLS 1.3 always offers all of its suites", "%s is a suite of TLS 1.3, where there is nothing to choose", Quote(name))
		case slices.ContainsFunc(tls.InsecureCipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == name }):
			c.report(at, "choose from "+strings.Join(secure, ", "), "%s is not secure", Quote(name))
		default:
			c.report(at, c.suggest(name, secure, "choose from "+strings.Join(secure, ", ")), "%s is not a known cipher suite", Quote(name))
		}
		seen[name] = true
	}
}

func (c *scope) alpn(path string, p ListenerProtocol, protocols []string) {
	c.count(path, len(protocols), 16)
	seen := make(map[string]bool)
	for i, name := range protocols {
		at := item(path, i)
		switch {
		case seen[name]:
			c.report(at, "remove it", "%s is there twice", Quote(name))
		case p == ListenerHTTPS && name != "h2" && name != "http/1.1":
			c.report(at, "choose from h2, http/1.1", "%s is not a protocol that https listeners speak", Quote(name))
		case name == "" || len(name) > MaxText || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }):
			c.report(at, "see the IANA registry of ALPN protocol ids", "%s is not an ALPN protocol id", Quote(name))
		}
		seen[name] = true
	}
}
