package lbpb

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"

	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// base is a configuration with a bit of everything; tests change one thing.
// Words in capitals after "@" stand for PEM texts.
const base = `
name: "web" description: "shop" labels { key: "team" value: "a" } project: "default"
vips: "203.0.113.10" vips: "2001:db8::10"
node_selector { key: "rack" value: "7" }
listeners { name: "front" port: 443 protocol: LISTENER_PROTOCOL_HTTPS default_pool_id: "app" connection_limit: 1000
  tls_config { certificate_id: "main" sni_certificate_ids: "other" min_version: TLS_VERSION_TLS12
    cipher_suites: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" alpn_protocols: "h2"
    client_authentication: CLIENT_AUTHENTICATION_OPTIONAL client_ca_certificate_id: "clients"
    hsts { max_age { seconds: 3600 } } }
  allowed_cidrs: "198.51.100.0/24"
  timeouts { client { seconds: 50 } connect { seconds: 5 } }
  insert_headers { x_forwarded_for: FORWARDED_FOR_MODE_APPEND } }
listeners { name: "plain" port: 80 protocol: LISTENER_PROTOCOL_HTTP default_pool_id: "app" }
listeners { name: "dns" port: 53 protocol: LISTENER_PROTOCOL_UDP default_pool_id: "names" }
listeners { name: "db" port: 5432 protocol: LISTENER_PROTOCOL_TCP default_pool_id: "rows" }
pools { name: "app" protocol: POOL_PROTOCOL_HTTP algorithm: POOL_ALGORITHM_ROUND_ROBIN slow_start { seconds: 30 }
  persistence { type: PERSISTENCE_TYPE_COOKIE timeout_seconds: 3600 } deregistration_delay { seconds: 60 }
  health_check { type: HEALTH_CHECK_TYPE_HTTP interval { seconds: 5 } timeout { seconds: 2 } healthy_threshold: 2 unhealthy_threshold: 3
    http { method: "GET" url_path: "/healthz" expected_codes: "200,204" host_header: "app.example" } }
  backends { name: "b1" address: "10.0.0.11" port: 8080 weight: 1 }
  backends { name: "b2" address: "10.0.0.12" port: 8080 weight: 2 monitor_address: "10.0.1.12" monitor_port: 9000 } }
pools { name: "names" protocol: POOL_PROTOCOL_UDP algorithm: POOL_ALGORITHM_MAGLEV
  backends { name: "n1" address: "10.0.0.53" port: 53 } }
pools { name: "rows" protocol: POOL_PROTOCOL_TCP algorithm: POOL_ALGORITHM_LEAST_CONNECTIONS
  health_check { type: HEALTH_CHECK_TYPE_TCP }
  backends { name: "d1" address: "fd00::5" port: 5432 } }
l7_policies { name: "api" listener_id: "front" position: 10 action: L7_POLICY_ACTION_REDIRECT_TO_POOL redirect_pool_id: "app"
  rules { rule_type: L7_RULE_TYPE_PATH compare_type: L7_COMPARE_TYPE_STARTS_WITH value: "/api/" } }
l7_policies { name: "old" listener_id: "front" position: 20 action: L7_POLICY_ACTION_REDIRECT_TO_URL redirect_url: "https://#{host}/new" redirect_http_status_code: 301
  rules { name: "agent" rule_type: L7_RULE_TYPE_HEADER compare_type: L7_COMPARE_TYPE_CONTAINS key: "user-agent" value: "curl" } }
l7_policies { name: "moved" listener_id: "plain" action: L7_POLICY_ACTION_REDIRECT_PREFIX redirect_prefix: "https://shop.example" }
l7_policies { name: "deny" listener_id: "plain" action: L7_POLICY_ACTION_REJECT
  rules { rule_type: L7_RULE_TYPE_SOURCE_IP compare_type: L7_COMPARE_TYPE_EQUAL_TO value: "192.0.2.0/24" invert: true } }
l7_policies { name: "teapot" listener_id: "plain" action: L7_POLICY_ACTION_FIXED_RESPONSE fixed_response { status_code: 418 body: "short and stout" } }
certificates { name: "main" type: CERTIFICATE_TYPE_SERVER certificate: @MAIN private_key: @MAINKEY }
certificates { name: "other" type: CERTIFICATE_TYPE_SNI certificate: @OTHER private_key: @OTHERKEY }
certificates { name: "clients" type: CERTIFICATE_TYPE_CLIENT_CA certificate: @CA  }
`

// pemTexts are what the "@" words of test texts stand for.
var pemTexts = sync.OnceValue(func() map[string]string {
	p256 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	short := must(rsa.GenerateKey(rand.Reader, 1024))
	public, ed, err := ed25519.GenerateKey(rand.Reader)
	_ = must(public, err)
	next := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	texts := map[string]string{
		"MAIN":     certificatePEM(p256, false, "shop.example"),
		"MAINKEY":  keyPEM(p256),
		"OTHER":    certificatePEM(ed, false, "other.example"),
		"OTHERKEY": keyPEM(ed),
		"CA":       certificatePEM(p256, true),
		"NONAMES":  certificatePEM(ed, false),
		"NEXT":     certificatePEM(next, false, "shop.example"),
		"NEXTKEY":  keyPEM(next),
		"P224":     certificatePEM(p224, false, "shop.example"),
		"P224KEY":  keyPEM(p224),
		"SHORT":    certificatePEM(short, false, "shop.example"),
		"SHORTKEY": keyPEM(short),
		"SEC1":     pemText("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(p256))),
		"SECRET":   "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
		"LOCKED":   pemText("ENCRYPTED PRIVATE KEY", []byte("secret")),
		"BROKEN":   pemText("CERTIFICATE", []byte("secret")),
		"CUT":      "-----BEGIN CERTIFICATE-----\nMIIB",
		"REQUEST":  pemText("CERTIFICATE REQUEST", []byte("x")),
		"HUGE":     strings.Repeat("x", 300<<10),
	}
	texts["BOTH"] = texts["MAIN"] + texts["MAINKEY"]
	texts["BACKWARDS"] = texts["CA"] + texts["MAIN"]
	texts["SWAPPED"] = texts["OTHER"] + texts["MAIN"]
	texts["COMMENTED"] = "subject=shop\n" + strings.ReplaceAll(texts["MAIN"], "\n", "\r\n") + "\n\n"
	texts["LONGCHAIN"] = strings.Repeat(texts["MAIN"], 11)
	return texts
})

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func keyPEM(key crypto.Signer) string {
	return pemText("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
}

func certificatePEM(key crypto.Signer, ca bool, names ...string) string {
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "shop"},
		NotBefore:             time.Unix(1_700_000_000, 0),
		NotAfter:              time.Unix(2_000_000_000, 0),
		DNSNames:              names,
		BasicConstraintsValid: true,
		IsCA:                  ca,
	}
	return pemText("CERTIFICATE", must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)))
}

// pemReplacer puts PEM texts in place of "@" words.
var pemReplacer = sync.OnceValue(func() *strings.Replacer {
	var pairs []string
	for name, pem := range pemTexts() {
		pairs = append(pairs, "@"+name+" ", strconv.Quote(pem)+" ", "@"+name+"\n", strconv.Quote(pem)+"\n")
	}
	return strings.NewReplacer(pairs...)
})

// parse reads a configuration in protobuf's text form.
func parse(t testing.TB, text string) *fiberlbv1.LoadBalancerConfig {
	t.Helper()
	m := &fiberlbv1.LoadBalancerConfig{}
	if err := prototext.Unmarshal([]byte(pemReplacer().Replace(text)), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// with is base with one text replaced; the text must be there.
func with(t testing.TB, old, new string) string {
	t.Helper()
	if !strings.Contains(base, old) {
		t.Fatalf("base has no %q", old)
	}
	return strings.Replace(base, old, new, 1)
}

// visitMeta visits the Meta of everything in a load balancer, with the full name.
func visitMeta(l *lb.LoadBalancer, visit func(name string, m *lb.Meta)) {
	for _, x := range l.Listeners {
		visit(lb.ListenerName(l.Project, l.Name, x.Name), &x.Meta)
	}
	for _, x := range l.Pools {
		visit(lb.PoolName(l.Project, l.Name, x.Name), &x.Meta)
		if h := x.HealthCheck; h != nil {
			visit(lb.HealthCheckName(l.Project, l.Name, x.Name, h.Name), &h.Meta)
		}
		for _, b := range x.Backends {
			visit(lb.BackendName(l.Project, l.Name, x.Name, b.Name), &b.Meta)
		}
	}
	for _, x := range l.Policies {
		visit(lb.PolicyName(l.Project, l.Name, x.Listener, x.Name), &x.Meta)
		for _, r := range x.Rules {
			visit(lb.RuleName(l.Project, l.Name, x.Listener, x.Name, r.Name), &r.Meta)
		}
	}
	for _, x := range l.Certificates {
		visit(lb.CertificateName(l.Project, l.Name, x.Name), &x.Meta)
	}
}
