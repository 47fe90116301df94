package lb

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The content of an object is a list of fields, each a path of the file format
// and its value as text. Etags hash that list and Diff compares it, so that
// the two never disagree about what a change is. What is empty is not listed;
// a field that is added later must list nothing for its default, so that
// etags survive an upgrade.

// sink takes the fields of an object.
type sink func(path, value string)

func (put sink) text(path, value string) {
	if value != "" {
		put(path, value)
	}
}

func (put sink) flag(path string, value bool) { put(path, strconv.FormatBool(value)) }

func (put sink) number(path string, value uint64) { put(path, strconv.FormatUint(value, 10)) }

func (put sink) duration(path string, value time.Duration) { put(path, FormatDuration(value)) }

func (put sink) list(path string, values []string) { put.text(path, strings.Join(values, ", ")) }

func (put sink) table(path string, values map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		put(path+"["+strconv.Quote(key)+"]", values[key])
	}
}

func (put sink) info(i *Info) {
	put.text("name", i.Name)
	put.text("description", i.Description)
	put.table("labels", i.Labels)
}

func (l *LoadBalancer) fields(put sink) {
	put.info(&l.Info)
	put.text("project", l.Project)
	put.list("vips", texts(l.VIPs))
	put.table("node_selector", l.NodeSelector)
	put.flag("enabled", l.Enabled)
}

func texts[T fmt.Stringer](values []T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = v.String()
	}
	return out
}

func (x *Listener) fields(put sink) {
	put.info(&x.Info)
	put.number("port", uint64(x.Port))
	put.text("protocol", x.Protocol.String())
	if t := x.TLS; t != nil {
		put.text("tls_config.certificate_id", t.Certificate)
		put.list("tls_config.sni_certificate_ids", t.SNICertificates)
		put.text("tls_config.min_version", t.MinVersion.String())
		put.list("tls_config.cipher_suites", t.CipherSuites)
		put.list("tls_config.alpn_protocols", t.ALPN)
		put.text("tls_config.client_authentication", t.ClientAuth.String())
		put.text("tls_config.client_ca_certificate_id", t.ClientCA)
		if h := t.HSTS; h != nil {
			put.duration("tls_config.hsts.max_age", h.MaxAge)
			put.flag("tls_config.hsts.include_subdomains", h.IncludeSubdomains)
			put.flag("tls_config.hsts.preload", h.Preload)
		}
	}
	put.text("default_pool_id", x.DefaultPool)
	put.flag("enabled", x.Enabled)
	put.number("connection_limit", uint64(x.ConnectionLimit))
	put.list("allowed_cidrs", texts(x.AllowedCIDRs))
	put.duration("timeouts.client", x.Timeouts.Client)
	put.duration("timeouts.connect", x.Timeouts.Connect)
	put.duration("timeouts.backend", x.Timeouts.Backend)
	put.duration("timeouts.idle", x.Timeouts.Idle)
	put.duration("timeouts.tcp_idle", x.Timeouts.TCPIdle)
	if h := x.Headers; h != nil {
		put.text("insert_headers.x_forwarded_for", h.ForwardedFor.String())
		put.flag("insert_headers.x_forwarded_port", h.ForwardedPort)
		put.flag("insert_headers.x_forwarded_proto", h.ForwardedProto)
	}
}

func (x *Pool) fields(put sink) {
	put.info(&x.Info)
	put.text("protocol", x.Protocol.String())
	put.text("algorithm", x.Algorithm.String())
	if p := x.Persistence; p != nil {
		put.text("persistence.type", p.Type.String())
		put.text("persistence.cookie_name", p.CookieName)
		put.number("persistence.timeout_seconds", uint64(p.TimeoutSeconds))
	}
	put.flag("enabled", x.Enabled)
	put.duration("slow_start", x.SlowStart)
	put.duration("deregistration_delay", x.DeregistrationDelay)
	put.number("fail_open_below", uint64(x.FailOpenBelow))
}

func (x *Backend) fields(put sink) {
	put.info(&x.Info)
	put("address", x.Address.String())
	put.number("port", uint64(x.Port))
	put.number("weight", uint64(x.Weight))
	put.flag("backup", x.Backup)
	put.flag("enabled", x.Enabled)
	if x.MonitorAddress != (netip.Addr{}) {
		put("monitor_address", x.MonitorAddress.String())
	}
	if x.MonitorPort != 0 {
		put.number("monitor_port", uint64(x.MonitorPort))
	}
}

func (x *HealthCheck) fields(put sink) {
	put.info(&x.Info)
	put.text("type", x.Type.String())
	put.duration("interval", x.Interval)
	put.duration("timeout", x.Timeout)
	put.number("healthy_threshold", uint64(x.HealthyThreshold))
	put.number("unhealthy_threshold", uint64(x.UnhealthyThreshold))
	if h := x.HTTP; h != nil {
		put.text("http.method", h.Method)
		put.text("http.url_path", h.Path)
		put.text("http.expected_codes", FormatCodes(h.Codes))
		put.text("http.host_header", h.Host)
	}
	put.flag("enabled", x.Enabled)
}

func (x *Policy) fields(put sink) {
	put.info(&x.Info)
	put.text("listener_id", x.Listener)
	put.number("position", uint64(x.Position))
	put.text("action", x.Action.String())
	if name, single := x.SinglePool(); single {
		put.text("redirect_pool_id", name)
	} else {
		shares := make([]string, len(x.Pools))
		for i, p := range x.Pools {
			shares[i] = p.Pool + "=" + strconv.Itoa(int(p.Weight))
		}
		put.list("redirect_pools", shares)
	}
	put.text("redirect_url", x.URL)
	put.text("redirect_prefix", x.Prefix)
	if x.StatusCode != 0 {
		put.number("redirect_http_status_code", uint64(x.StatusCode))
	}
	if r := x.FixedResponse; r != nil {
		put.number("fixed_response.status_code", uint64(r.StatusCode))
		put.text("fixed_response.content_type", r.ContentType)
		put.text("fixed_response.body", r.Body)
	}
	put.flag("enabled", x.Enabled)
}

// SinglePool gives the pool of a policy that redirects to just one, of default
// weight: what redirect_pool_id says in the file format.
func (x *Policy) SinglePool() (name string, ok bool) {
	if len(x.Pools) == 1 && x.Pools[0].Weight == DefaultWeight {
		return x.Pools[0].Pool, true
	}
	return "", false
}

func (x *Rule) fields(put sink) {
	put.info(&x.Info)
	put.text("rule_type", x.Type.String())
	put.text("compare_type", x.Compare.String())
	put.text("value", x.Value)
	put.text("key", x.Key)
	put.flag("invert", x.Invert)
	put.flag("enabled", x.Enabled)
}

// fields shows the chain by its fingerprint and the private key not at all:
// the chain certifies the public key, so another key means another chain.
func (x *Certificate) fields(put sink) {
	put.info(&x.Info)
	put.text("type", x.Type.String())
	if x.Chain != "" {
		put("certificate", "sha256:"+x.Fingerprint())
	}
}

// object is what etags and Diff need of an object.
type object interface {
	named
	fields(put sink)
}

// digest gathers content to be hashed: a kind, fields, the etags of children.
type digest []byte

func newDigest(kind string, x object) digest {
	d := appendString(make(digest, 0, 512), kind)
	x.fields(func(path, value string) { d = appendString(appendString(d, path), value) })
	return d
}

// child adds the etag of a part; the list's name, with "[]" behind it, stands
// where a field's path would, and no field has such a path.
func (d digest) child(list, etag string) digest { return appendString(appendString(d, list), etag) }

// sum gives 128 bits: enough that two contents never meet by chance.
func (d digest) sum() string {
	sum := sha256.Sum256(d)
	return hex.EncodeToString(sum[:16])
}

// appendString appends a length and s, so that no two lists of strings are
// written alike.
func appendString(d digest, s string) digest {
	return append(binary.BigEndian.AppendUint32(d, uint32(len(s))), s...)
}

// tag is the etag that an object remembers. It is good only in the very object
// that it was made for: a copy, which is there to be edited, has none.
type tag[T any] struct {
	of   *T
	etag string
}

// frozen tells whether x, which holds the tag, is part of a normal form.
func (t *tag[T]) frozen(x *T) bool { return t.of == x }

func (t *tag[T]) freeze(x *T, etag func(*T) string) {
	if !t.frozen(x) {
		*t = tag[T]{x, etag(x)}
	}
}

// recall gives the etag that x remembers, or works it out.
func (t *tag[T]) recall(x *T, work func(*T) string) string {
	if t.frozen(x) {
		return t.etag
	}
	return work(x)
}

// Freeze has everything in a normal form remember its etag: from now on only
// Meta and keys may change, as long as nobody else sees it. [Normalize] and
// [Restore] freeze what they give; whoever puts a normal form together from
// copies of such objects does it itself.
func (l *LoadBalancer) Freeze() {
	for _, x := range l.Listeners {
		x.freeze(x, (*Listener).Etag)
	}
	for _, x := range l.Pools {
		if x.HealthCheck != nil {
			x.HealthCheck.freeze(x.HealthCheck, (*HealthCheck).Etag)
		}
		for _, b := range x.Backends {
			b.freeze(b, (*Backend).Etag)
		}
		x.freeze(x, (*Pool).Etag)
	}
	for _, x := range l.Policies {
		for _, r := range x.Rules {
			r.freeze(r, (*Rule).Etag)
		}
		x.freeze(x, (*Policy).Etag)
	}
	for _, x := range l.Certificates {
		x.freeze(x, (*Certificate).Etag)
	}
}

// Etag identifies the content of the load balancer with all that is in it, as
// 32 hexadecimal digits: equal for equal normal forms, whatever their Meta and
// whether private keys are at hand or sealed in the store.
func (l *LoadBalancer) Etag() string {
	d := newDigest("load_balancer", l)
	for _, x := range l.Listeners {
		d = d.child("listeners[]", x.Etag())
	}
	for _, x := range l.Pools {
		d = d.child("pools[]", x.Etag())
	}
	for _, x := range l.Policies {
		d = d.child("l7_policies[]", x.Etag())
	}
	for _, x := range l.Certificates {
		d = d.child("certificates[]", x.Etag())
	}
	return d.sum()
}

// OwnEtag identifies the load balancer's own fields, without listeners, pools,
// policies and certificates.
func (l *LoadBalancer) OwnEtag() string { return newDigest("load_balancer", l).sum() }

// Etag identifies the content of the listener; its policies are not part of it.
func (x *Listener) Etag() string {
	return x.recall(x, func(x *Listener) string { return newDigest("listener", x).sum() })
}

// Etag identifies the content of the pool with its health check and backends.
func (x *Pool) Etag() string {
	return x.recall(x, func(x *Pool) string {
		d := newDigest("pool", x)
		if x.HealthCheck != nil {
			d = d.child("health_check[]", x.HealthCheck.Etag())
		}
		for _, b := range x.Backends {
			d = d.child("backends[]", b.Etag())
		}
		return d.sum()
	})
}

// Etag identifies the content of the backend.
func (x *Backend) Etag() string {
	return x.recall(x, func(x *Backend) string { return newDigest("backend", x).sum() })
}

// Etag identifies the content of the health check.
func (x *HealthCheck) Etag() string {
	return x.recall(x, func(x *HealthCheck) string { return newDigest("health_check", x).sum() })
}

// Etag identifies the content of the policy with its rules, in their order.
func (x *Policy) Etag() string {
	return x.recall(x, func(x *Policy) string {
		d := newDigest("policy", x)
		for _, r := range x.Rules {
			d = d.child("rules[]", r.Etag())
		}
		return d.sum()
	})
}

// Etag identifies the content of the rule.
func (x *Rule) Etag() string {
	return x.recall(x, func(x *Rule) string { return newDigest("rule", x).sum() })
}

// Etag identifies the content of the certificate, and through its public key
// which private key belongs to it; the private key itself plays no part.
func (x *Certificate) Etag() string {
	return x.recall(x, func(x *Certificate) string { return newDigest("certificate", x).sum() })
}
