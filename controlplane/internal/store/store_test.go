package store

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/fiberlb/fiberlb/controlplane/internal/etcdtest"
	"github.com/fiberlb/fiberlb/controlplane/internal/secrets"
	"github.com/fiberlb/fiberlb/pkg/lb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock gives times a second apart, so that every write can be told by its own.
type clock struct{ ticks atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Date(2026, 1, 2, 3, 4, 5, 678_900, time.UTC).Add(time.Duration(c.ticks.Add(1)) * time.Second)
}

// newStore makes a store over an etcd of the test's own.
func newStore(t testing.TB) *Store {
	t.Helper()
	return storeOver(t, etcdtest.Start(t))
}

func storeOver(t testing.TB, client *clientv3.Client) *Store {
	t.Helper()
	sealer, err := secrets.New([]byte(strings.Repeat("k", secrets.KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	return New(client, Config{Sealer: sealer, Now: new(clock).now, Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: t.Output()})})
}

// normal gives the normal form of a draft, after changes.
func normal(t testing.TB, draft *lb.LoadBalancer, changes ...func(*lb.LoadBalancer)) *lb.LoadBalancer {
	t.Helper()
	draft = draft.Clone()
	for _, change := range changes {
		change(draft)
	}
	l, violations := lb.Normalize(draft)
	if violations != nil {
		t.Fatal(violations)
	}
	return l
}

// web is a load balancer with one of everything but certificates, and without vips, with an address of its own.
func web(t testing.TB, name string, vips ...string) *lb.LoadBalancer {
	t.Helper()
	draft := &lb.LoadBalancer{
		Info: lb.Info{Name: name, Description: "d", Labels: map[string]string{"a": "b", "c": "d"}}, Project: "default", Enabled: true,
		NodeSelector: map[string]string{"zone": "1"},
		Listeners:    []*lb.Listener{{Info: lb.Info{Name: "http"}, Port: 80, Protocol: lb.ListenerHTTP, DefaultPool: "main", Enabled: true}},
		Pools: []*lb.Pool{{
			Info: lb.Info{Name: "main"}, Protocol: lb.PoolHTTP, Enabled: true,
			HealthCheck: &lb.HealthCheck{Type: lb.CheckHTTP, Enabled: true},
			Backends: []*lb.Backend{
				{Info: lb.Info{Name: "b1"}, Address: netip.MustParseAddr("10.0.0.1"), Port: 8080, Weight: 1, Enabled: true},
				{Info: lb.Info{Name: "b2"}, Address: netip.MustParseAddr("10.0.0.2"), Port: 8080, Weight: 1, Enabled: true},
			},
		}, {Info: lb.Info{Name: "spare"}, Protocol: lb.PoolHTTP, Enabled: true}},
		Policies: []*lb.Policy{{
			Info: lb.Info{Name: "api"}, Listener: "http", Position: 10, Action: lb.RedirectToPool, Enabled: true,
			Pools: []lb.WeightedPool{{Pool: "spare", Weight: 1}},
			Rules: []*lb.Rule{{Type: lb.RulePath, Compare: lb.StartsWith, Value: "/api/", Enabled: true}},
		}},
	}
	if len(vips) == 0 {
		sum := hashOf([]byte(name)) // one of its own
		vips = []string{netip.AddrFrom4([4]byte{10, sum[0], sum[1], sum[2]}).String()}
	}
	for _, v := range vips {
		draft.VIPs = append(draft.VIPs, netip.MustParseAddr(v))
	}
	return normal(t, draft)
}

// policies adds n policies to a draft.
func policies(n int) func(*lb.LoadBalancer) {
	return func(l *lb.LoadBalancer) {
		for i := range n {
			l.Policies = append(l.Policies, &lb.Policy{
				Info: lb.Info{Name: fmt.Sprintf("p%05d", i)}, Listener: "http", Position: uint32(100 + i), Action: lb.Reject, Enabled: true,
				Rules: []*lb.Rule{{Type: lb.RulePath, Compare: lb.StartsWith, Value: fmt.Sprintf("/%d/", i), Enabled: true}},
			})
		}
	}
}

func describe(text string) func(*lb.LoadBalancer) {
	return func(l *lb.LoadBalancer) { l.Description = text }
}

// keyPair gives a certificate and its key as PEM.
func keyPair(t testing.TB) (chain string, key lb.PrivateKey) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "web.example"}, DNSNames: []string{"web.example"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		lb.NewPrivateKey(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text})))
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// sameLB fails where two load balancers differ in anything, their Meta included.
func sameLB(t testing.TB, got, want *lb.LoadBalancer) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("load balancers differ:\n got %s\nwant %s", dump(got), dump(want))
	}
}

func dump(l *lb.LoadBalancer) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%+v", *l)
	for _, x := range l.Listeners {
		fmt.Fprintf(&b, "\n listener %+v %+v", *x, x.Headers)
	}
	for _, x := range l.Pools {
		fmt.Fprintf(&b, "\n pool %+v check %+v", *x, x.HealthCheck)
		for _, y := range x.Backends {
			fmt.Fprintf(&b, "\n  backend %+v", *y)
		}
	}
	for _, x := range l.Policies {
		fmt.Fprintf(&b, "\n policy %+v", *x)
		for _, y := range x.Rules {
			fmt.Fprintf(&b, "\n  rule %+v", *y)
		}
	}
	return b.String()
}

// audit checks the invariants over everything that lies in etcd: what heads list is there, claims are those of heads, and with clean
// nothing lies there that no head lists.
func audit(t testing.TB, s *Store, clean bool) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	resp := must[*clientv3.GetResponse](t)(s.client.Get(ctx, s.keys.prefix+"/", clientv3.WithPrefix()))
	all := make(map[string]string)
	for _, kv := range resp.Kvs {
		all[string(kv.Key)] = string(kv.Value)
	}
	listed := make(map[string]bool)
	claims := make(map[string]string)
	for name, value := range all {
		key, suffix, ok := s.keys.split(name)
		if !ok || suffix != headName {
			continue
		}
		head, err := decodeHead([]byte(value))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, ref := range head.Children {
			id, _ := idOf(ref)
			child := s.keys.child(key, id)
			listed[child] = true
			if content, ok := all[child]; !ok {
				t.Errorf("%s is listed, but not there", child)
			} else if hashOf([]byte(content)) != id.hash {
				t.Errorf("%s has other content than its name says", child)
			}
		}
		for _, v := range head.LoadBalancer.Vips {
			claim := s.keys.vip(netip.MustParseAddr(v))
			if other := claims[claim]; other != "" {
				t.Errorf("%s is in %s and in %s", v, other, key)
			}
			claims[claim] = key.String()
		}
	}
	for claim, owner := range claims {
		if all[claim] != owner {
			t.Errorf("%s is claimed by %q, but listed by %s", claim, all[claim], owner)
		}
	}
	for name := range all {
		if strings.HasPrefix(name, s.keys.prefix+"/vips/") && claims[name] == "" {
			t.Errorf("%s is claimed by %s, which does not list it", name, all[name])
		}
		if _, suffix, ok := s.keys.split(name); ok && clean && suffix != headName && !listed[name] {
			t.Errorf("%s is listed by no head", name)
		}
	}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}
