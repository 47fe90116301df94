package lbpb

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

func normal(t testing.TB, text string, opts ...Option) *lb.LoadBalancer {
	t.Helper()
	l, violations := FromConfig(parse(t, text), opts...)
	if err := violations.Err(); err != nil {
		t.Fatal(err)
	}
	return l
}

// stamped is a normal form as the store would have it: with Meta everywhere,
// keys sealed.
func stamped(t testing.TB, text string) *lb.LoadBalancer {
	t.Helper()
	l := normal(t, text)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	l.Meta = lb.Meta{UID: "u-lb", CreatedAt: at, UpdatedAt: at.Add(time.Second)}
	visitMeta(l, func(name string, m *lb.Meta) {
		at = at.Add(time.Minute)
		*m = lb.Meta{UID: "u-" + name, CreatedAt: at, UpdatedAt: at.Add(time.Second)}
	})
	for _, c := range l.Certificates {
		if c.Type.NeedsKey() {
			hash, err := c.KeyHash()
			if err != nil {
				t.Fatal(err)
			}
			c.Key = lb.PrivateKey{}
			c.Sealed = &lb.SealedKey{
				KEKID: []byte("kek"), Wrapped: []byte("wrapped"), WrapNonce: []byte("n1"),
				Ciphertext: []byte("sealed"), Nonce: []byte("n2"), SPKI: hash,
			}
		}
	}
	return l
}

func same(t *testing.T, got, want *lb.LoadBalancer) {
	t.Helper()
	if reflect.DeepEqual(got, want) {
		return
	}
	for _, c := range lb.Diff(want, got) {
		t.Errorf("%v", c)
	}
	t.Fatal("differ, at least in metadata or keys")
}

func TestBaseIsValid(t *testing.T) {
	t.Parallel()
	l := normal(t, base)
	if len(l.Listeners) != 4 || len(l.Policies) != 5 || l.Listeners[0].Name != "db" {
		t.Fatalf("%d listeners, %d policies, first %q", len(l.Listeners), len(l.Policies), l.Listeners[0].Name)
	}
	var positions []uint32
	for _, p := range l.ListenerPolicies("plain") {
		positions = append(positions, p.Position)
	}
	if want := []uint32{1, 2, 3}; !reflect.DeepEqual(positions, want) {
		t.Errorf("positions %v, want %v", positions, want)
	}
	if name := l.Policy("front", "api").Rules[0].Name; !strings.HasPrefix(name, "path-starts-with-") || lb.ValidName(name) != nil {
		t.Errorf("rule is called %q", name)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	l := normal(t, `name: "web" vips: "127.0.0.1"
		listeners { name: "front" port: 443 protocol: LISTENER_PROTOCOL_HTTPS tls_config { certificate_id: "main" } }
		pools { name: "p" protocol: POOL_PROTOCOL_HTTP health_check { type: HEALTH_CHECK_TYPE_HTTPS interval { seconds: 3 } } persistence { type: PERSISTENCE_TYPE_COOKIE }
			backends { name: "b" address: "10.0.0.1" port: 80 monitor_address: "10.0.0.1" monitor_port: 80 } }
		l7_policies { name: "to" listener_id: "front" action: L7_POLICY_ACTION_REDIRECT_TO_URL redirect_url: "/x" }
		l7_policies { name: "no" listener_id: "front" action: L7_POLICY_ACTION_REJECT position: 7 }
		l7_policies { name: "ok" listener_id: "front" action: L7_POLICY_ACTION_FIXED_RESPONSE fixed_response { status_code: 200 } }
		certificates { name: "main" type: CERTIFICATE_TYPE_SERVER certificate: @COMMENTED private_key: @SEC1 }
	`)
	x, p := l.Listener("front"), l.Pool("p")
	h := p.HealthCheck
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"project", l.Project, "default"},
		{"enabled", []bool{l.Enabled, x.Enabled, p.Enabled, h.Enabled, p.Backends[0].Enabled, l.Policies[0].Enabled}, []bool{true, true, true, true, true, true}},
		{"timeouts", x.Timeouts, lb.Timeouts{Client: 50 * time.Second, Connect: 5 * time.Second, Backend: 50 * time.Second, Idle: time.Minute, TCPIdle: 350 * time.Second}},
		{"headers", *x.Headers, lb.HeaderInsertion{ForwardedFor: lb.ForwardedForAppend, ForwardedPort: true, ForwardedProto: true}},
		{"tls", *x.TLS, lb.TLSConfig{Certificate: "main", MinVersion: lb.TLS12, ALPN: []string{"h2", "http/1.1"}, ClientAuth: lb.ClientAuthNone}},
		{"algorithm", p.Algorithm, lb.RoundRobin},
		{"deregistration delay", p.DeregistrationDelay, 300 * time.Second},
		{"cookie", p.Persistence.CookieName, "SERVERID"},
		{"check", []any{h.Name, h.Timeout, h.HealthyThreshold, h.UnhealthyThreshold}, []any{"default", 1500 * time.Millisecond, uint8(2), uint8(3)}},
		{"http check", *h.HTTP, lb.HTTPCheck{Method: "GET", Path: "/", Codes: []lb.CodeRange{{First: 200, Last: 200}}}},
		{"weight", p.Backends[0].Weight, uint16(1)},
		{"monitor", p.Backends[0].MonitorAddress.IsValid() || p.Backends[0].MonitorPort != 0, false},
		{"positions", []uint32{l.Policy("front", "no").Position, l.Policy("front", "to").Position, l.Policy("front", "ok").Position}, []uint32{7, 8, 9}},
		{"codes", []uint16{l.Policy("front", "no").StatusCode, l.Policy("front", "to").StatusCode}, []uint16{403, 302}},
		{"content type", l.Policy("front", "ok").FixedResponse.ContentType, "text/plain"},
		{"chain", l.Certificate("main").Chain, pemTexts()["MAIN"]},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
		}
	}
}

func TestNormalForm(t *testing.T) {
	t.Parallel()
	l := normal(t, with(t, `vips: "203.0.113.10" vips: "2001:db8::10"`, `vips: "2001:db8::10" vips: "::ffff:203.0.113.10"`))
	same(t, l, normal(t, base))
	l = normal(t, with(t, `allowed_cidrs: "198.51.100.0/24"`, `allowed_cidrs: "::ffff:198.51.100.7/120" allowed_cidrs: "198.51.100.9/24"`))
	same(t, l, normal(t, base))
	l = normal(t, with(t, `expected_codes: "200,204"`, `expected_codes: "204 , 200-200,204"`))
	same(t, l, normal(t, base))
	l = normal(t, with(t, `redirect_pool_id: "app"`, `redirect_pools { pool_id: "app" }`))
	same(t, l, normal(t, base))
}

// TestRoundTrip: what is written comes back from its own message, over what is
// stored, with metadata and sealed keys.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	l := stamped(t, base)
	m := ToConfig(l)
	back, violations := FromConfig(m, Over(l))
	if err := violations.Err(); err != nil {
		t.Fatal(err)
	}
	same(t, back, l)
	if !proto.Equal(ToConfig(back), m) {
		t.Error("the second message differs from the first")
	}
	if m.Etag != l.Etag() || m.FullName != "projects/default/loadBalancers/web" || m.Uid != "u-lb" || !m.CreatedAt.AsTime().Equal(l.CreatedAt) {
		t.Errorf("output-only fields: %q %q %q %v", m.Etag, m.FullName, m.Uid, m.CreatedAt)
	}
	for _, c := range m.Certificates {
		if c.PrivateKey != "" {
			t.Errorf("certificate %s shows its key", c.Name)
		}
	}
	c := m.Certificates[1]
	if c.Subject != "CN=shop" || !reflect.DeepEqual(c.DnsNames, []string{"shop.example"}) || c.ExpiresAt.GetSeconds() != 2_000_000_000 || len(c.FingerprintSha256) != 64 {
		t.Errorf("certificate: %v %v %v %q", c.Subject, c.DnsNames, c.ExpiresAt, c.FingerprintSha256)
	}
	if rule := m.L7Policies[0].Rules[0]; rule.FullName != lb.RuleName("default", "web", "front", "api", rule.Name) || rule.Uid == "" || rule.Etag == "" {
		t.Errorf("rule: %v", rule)
	}
}

// TestMessageIsApart edits everything in a message and finds the load balancer
// as it was.
func TestMessageIsApart(t *testing.T) {
	t.Parallel()
	l := stamped(t, base)
	before, m := l.Clone(), ToConfig(l)
	m.Labels["team"], m.NodeSelector["rack"], *m.Enabled = "x", "x", false
	*m.Listeners[2].Enabled, m.Listeners[2].TlsConfig.AlpnProtocols[0] = false, "x"
	*m.Listeners[2].InsertHeaders.XForwardedPort = false
	*m.Pools[0].Backends[0].Weight, *m.Pools[0].Backends[0].Enabled = 9, false
	same(t, l, before)
}

func TestOver(t *testing.T) {
	t.Parallel()
	stored := stamped(t, base)
	noKeys := strings.NewReplacer("private_key: @MAINKEY", "", "private_key: @OTHERKEY", "").Replace(base)

	l := normal(t, noKeys, Over(stored))
	same(t, l, stored)

	l = normal(t, base, Over(stored))
	if c := l.Certificate("main"); c.Key.IsZero() || c.Sealed == nil || l.Etag() != stored.Etag() {
		t.Error("the same key, given again: want both the key and the sealed one, and the same etag")
	}

	l = normal(t, strings.NewReplacer("@MAIN ", "@NEXT ", "@MAINKEY", "@NEXTKEY").Replace(base), Over(stored))
	if c := l.Certificate("main"); c.Sealed != nil || c.Meta != stored.Certificate("main").Meta {
		t.Error("another key: want the old one forgotten, the metadata kept")
	}

	_, violations := FromConfig(parse(t, strings.Replace(noKeys, "@MAIN ", "@NEXT ", 1)), Over(stored))
	if got, want := violations.Error(), "certificates[0].private_key: is required, since the stored key does not belong to this certificate; give the private key that belongs to the new certificate"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	l = normal(t, strings.Replace(base, `name: "b2"`, `name: "b3"`, 1), Over(stored))
	if l.Pool("app").Backend("b3").UID != "" || l.Pool("app").Backend("b1").UID == "" || l.UID != "u-lb" {
		t.Error("a new backend has metadata, or an old one lost it")
	}

	l = normal(t, strings.Replace(base, `name: "web"`, `name: "shop"`, 1), Over(stored))
	if l.UID != "" || l.Certificate("main").Sealed != nil {
		t.Error("a load balancer of another name took over what is stored")
	}
}

func TestKeysMayBeStored(t *testing.T) {
	t.Parallel()
	stored := stamped(t, base)
	l, violations := FromConfig(ToConfig(stored), KeysMayBeStored())
	if err := violations.Err(); err != nil {
		t.Fatal(err)
	}
	if l.Etag() != stored.Etag() || l.Certificate("main").Sealed.Ciphertext != nil {
		t.Error("an export does not stand for what was exported")
	}
	if _, violations := FromConfig(ToConfig(stored)); len(violations) != 2 {
		t.Errorf("without the option: %v", violations)
	}
}

func TestWithAddresses(t *testing.T) {
	t.Parallel()
	m := parse(t, with(t, `address: "10.0.0.53"`, `address: "127.0.0.1" monitor_address: "169.254.169.254"`))
	m.Vips = append(m.Vips, "127.0.0.1", "300.1.1.1")
	_, violations := FromConfig(m, WithAddresses(lb.AddressPolicy{BackendDenyCIDRs: lb.DefaultBackendDenyCIDRs()}))
	want := `vips[0]: 203.0.113.10 is not in the operator's ranges for VIPs; ask the operator for addresses: VIPs may only be loopback addresses here
vips[1]: 2001:db8::10 is not in the operator's ranges for VIPs; ask the operator for addresses: VIPs may only be loopback addresses here
vips[3]: "300.1.1.1" is not an IP address; write an IPv4 or IPv6 address, such as "203.0.113.10" or "2001:db8::10"
pools[1].backends[0].address: 127.0.0.1 is in 127.0.0.0/8, where the operator allows no backends; choose an address outside the controller's --backend-deny-cidrs
pools[1].backends[0].monitor_address: 169.254.169.254 is in 169.254.0.0/16, where the operator allows no backends; choose an address outside the controller's --backend-deny-cidrs`
	if got := violations.Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestNilMessages(t *testing.T) {
	t.Parallel()
	for _, m := range []*fiberlbv1.LoadBalancerConfig{nil, {}, {
		Listeners: []*fiberlbv1.Listener{nil}, Pools: []*fiberlbv1.Pool{nil, {Backends: []*fiberlbv1.Backend{nil}}},
		L7Policies:   []*fiberlbv1.L7Policy{nil, {Rules: []*fiberlbv1.L7Rule{nil}, RedirectPools: []*fiberlbv1.WeightedPool{nil}}},
		Certificates: []*fiberlbv1.Certificate{nil},
	}} {
		if l, violations := FromConfig(m); l != nil || len(violations) == 0 {
			t.Errorf("%v is accepted", m)
		}
	}
}
