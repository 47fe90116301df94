package lb

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/netip"
	"sync"
	"testing"
	"time"
)

var serverPair = sync.OnceValues(func() (chain, key string) {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		panic(err)
	}
	return certificateFor(signer, false), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
})

func certificateFor(signer crypto.Signer, ca bool) string {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "web"}, DNSNames: []string{"web.example"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(4e9, 0), BasicConstraintsValid: true, IsCA: ca,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

var authority = sync.OnceValue(func() string {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return certificateFor(signer, true)
})

// full is a draft in which every field is set.
func full() *LoadBalancer {
	chain, key := serverPair()
	meta := Meta{UID: "u", CreatedAt: time.Unix(1, 0).UTC(), UpdatedAt: time.Unix(2, 0).UTC()}
	info := func(name string) Info {
		return Info{Name: name, Description: "about " + name, Labels: map[string]string{"team": "a"}}
	}
	hash, err := (&Certificate{Chain: chain}).KeyHash()
	if err != nil {
		panic(err)
	}
	return &LoadBalancer{
		Info: info("web"), Meta: meta, Project: "shop", Enabled: true,
		VIPs:         []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		NodeSelector: map[string]string{"rack": "7"},
		Listeners: []*Listener{{
			Info: info("front"), Meta: meta, Port: 443, Protocol: ListenerHTTPS, DefaultPool: "app", Enabled: true, ConnectionLimit: 10,
			TLS: &TLSConfig{
				Certificate: "main", SNICertificates: []string{"main"}, MinVersion: TLS13,
				CipherSuites: []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}, ALPN: []string{"h2"},
				ClientAuth: ClientAuthMandatory, ClientCA: "ca", HSTS: &HSTS{MaxAge: time.Hour, IncludeSubdomains: true, Preload: true},
			},
			AllowedCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			Timeouts:     Timeouts{time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second, 5 * time.Second},
			Headers:      &HeaderInsertion{ForwardedForRemove, true, true},
		}},
		Pools: []*Pool{{
			Info: info("app"), Meta: meta, Protocol: PoolHTTP, Algorithm: LeastConnections, Enabled: true,
			Persistence: &Persistence{PersistCookie, "SID", 60},
			HealthCheck: &HealthCheck{
				Info: info("check"), Meta: meta, Type: CheckHTTP, Interval: 10 * time.Second, Timeout: time.Second,
				HealthyThreshold: 3, UnhealthyThreshold: 4, Enabled: true,
				HTTP: &HTTPCheck{"HEAD", "/up", []CodeRange{{200, 204}}, "app.example"},
			},
			Backends: []*Backend{
				{Info: info("b1"), Meta: meta, Address: netip.MustParseAddr("10.0.0.1"), Port: 80, Weight: 2, Backup: true, Enabled: true,
					MonitorAddress: netip.MustParseAddr("10.0.1.1"), MonitorPort: 81},
				{Info: info("b2"), Meta: meta, Address: netip.MustParseAddr("10.0.0.2"), Port: 80, Weight: 1, Enabled: true},
			},
			SlowStart: time.Minute, DeregistrationDelay: time.Second, FailOpenBelow: 1,
		}, {
			Info: info("spare"), Meta: meta, Protocol: PoolH2C, Algorithm: RoundRobin, Enabled: true,
		}},
		Policies: []*Policy{
			{Info: info("split"), Meta: meta, Listener: "front", Position: 3, Action: RedirectToPool, Enabled: true,
				Pools: []WeightedPool{{"app", 9}, {"spare", 1}},
				Rules: []*Rule{
					{Info: info("r1"), Meta: meta, Type: RuleHeader, Compare: Contains, Value: "x", Key: "accept", Invert: true, Enabled: true},
					{Info: info("r2"), Meta: meta, Type: RulePath, Compare: EqualTo, Value: "/x", Enabled: true},
				}},
			{Info: info("to"), Meta: meta, Listener: "front", Position: 4, Action: RedirectToURL, URL: "/x", StatusCode: 307, Enabled: true},
			{Info: info("under"), Meta: meta, Listener: "front", Position: 5, Action: RedirectPrefix, Prefix: "/x", StatusCode: 307, Enabled: true},
			{Info: info("word"), Meta: meta, Listener: "front", Position: 6, Action: FixedResponse, Enabled: true,
				FixedResponse: &Response{200, "text/html", "hi"}},
		},
		Certificates: []*Certificate{
			{Info: info("ca"), Meta: meta, Type: CertClientCA, Chain: authority()},
			{Info: info("main"), Meta: meta, Type: CertServer, Chain: chain, Key: NewPrivateKey(key),
				Sealed: &SealedKey{[]byte("a"), []byte("b"), []byte("c"), []byte("d"), []byte("e"), hash}},
		},
	}
}

func mustNormalize(t testing.TB, draft *LoadBalancer) *LoadBalancer {
	t.Helper()
	l, violations := Normalize(draft)
	if err := violations.Err(); err != nil {
		t.Fatal(err)
	}
	return l
}
