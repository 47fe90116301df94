package api

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fiberlb/fiberlb/controlplane/internal/etcdserver"
	"github.com/fiberlb/fiberlb/controlplane/internal/secrets"
	nodestatus "github.com/fiberlb/fiberlb/controlplane/internal/status"
	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/textform"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// etcd is shared by all tests, each of which has a prefix of its own.
var etcd *etcdserver.Server

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fiberlb-api")
	if err == nil {
		etcd, err = etcdserver.Start(context.Background(), etcdserver.Config{Dir: dir, NoFsync: true})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	etcd.Close()
	_ = os.RemoveAll(dir)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

var prefixes atomic.Int64

// env is one or more replicas of the API over one store.
type env struct {
	t      testing.TB
	ctx    context.Context
	prefix string
	log    *lockedBuffer
	st     *store.Store
	lease  *store.NodeLease
	conns  []*grpc.ClientConn // to each replica
	conn   *grpc.ClientConn   // to the first
	server *Server            // the first
	rest   string             // address of the first replica's REST face

	mu      sync.Mutex
	answers bytes.Buffer // guarded by mu: everything that was ever answered
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newEnv(t testing.TB, replicas int) *env {
	t.Helper()
	e := &env{t: t, ctx: t.Context(), prefix: fmt.Sprintf("/test-%d", prefixes.Add(1)), log: &lockedBuffer{}}
	sealer, err := secrets.New(bytes.Repeat([]byte{7}, secrets.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: e.log})
	for i := range replicas {
		st := store.New(etcd.Client(), store.Config{Prefix: e.prefix, Sealer: sealer, Logger: log})
		hub := NewHub()
		statuses := nodestatus.New(nil, hub.Status)
		server := New(Config{
			Store: st, Status: statuses, Hub: hub, Sealing: true, Logger: log,
			Addresses: lb.AddressPolicy{
				VIPCIDRs:         []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")},
				BackendDenyCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16")},
			},
		})
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { statuses.Run(ctx) })
		configs, reports := st.WatchConfig(ctx), st.WatchReports(ctx)
		wg.Go(func() {
			for batch := range configs {
				statuses.Config(batch)
				hub.Config(batch)
			}
		})
		wg.Go(func() {
			for batch := range reports {
				statuses.Reports(batch)
			}
		})
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		calls := grpc.NewServer(server.ServerOptions()...)
		server.Register(calls)
		wg.Go(func() { _ = calls.Serve(listener) })
		conn, err := grpc.NewClient("passthrough:///"+listener.Addr().String(),
			grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUnaryInterceptor(e.record))
		if err != nil {
			t.Fatal(err)
		}
		e.conns = append(e.conns, conn)
		t.Cleanup(func() {
			_ = conn.Close()
			server.Stop()
			calls.Stop()
			cancel()
			wg.Wait()
		})
		if i > 0 {
			continue
		}
		e.st, e.server, e.conn = st, server, conn
		e.lease = st.HoldReports()
		t.Cleanup(func() { _ = e.lease.Close(context.Background()) })
		rest, err := NewREST(server)
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		rest.Mount(mux.Handle)
		face := httptest.NewServer(mux)
		e.rest = face.URL
		t.Cleanup(func() {
			server.Stop()
			face.Close()
			rest.Close()
		})
	}
	return e
}

// record keeps what was answered, errors included.
func (e *env) record(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, conn, opts...)
	e.mu.Lock()
	defer e.mu.Unlock()
	b, _ := proto.Marshal(reply.(proto.Message))
	e.answers.Write(b)
	if err != nil {
		b, _ := proto.Marshal(status.Convert(err).Proto())
		e.answers.Write(b)
	}
	return err
}

// request makes a call's request from its text form. A line "mask: a,b" in front is its field mask.
func (e *env) request(method, text string) (req, reply proto.Message) {
	e.t.Helper()
	service, call, _ := strings.Cut(method, "/")
	descriptor := fiberlbv1.File_fiberlb_v1_services_proto.Services().ByName(protoreflect.Name(service)).Methods().ByName(protoreflect.Name(call))
	if descriptor == nil {
		e.t.Fatalf("no method %s", method)
	}
	fresh := func(d protoreflect.MessageDescriptor) proto.Message {
		kind, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
		if err != nil {
			e.t.Fatal(err)
		}
		return kind.New().Interface()
	}
	req, reply = fresh(descriptor.Input()), fresh(descriptor.Output())
	mask := ""
	if rest, ok := strings.CutPrefix(text, "mask: "); ok {
		mask, text, _ = strings.Cut(rest, "\n")
	}
	if err := textform.UnmarshalYAML([]byte(text), req); err != nil {
		e.t.Fatalf("%s %s: %v", method, text, err)
	}
	if mask != "" {
		field := req.ProtoReflect().Descriptor().Fields().ByName("update_mask")
		req.ProtoReflect().Set(field, protoreflect.ValueOfMessage((&fieldmaskpb.FieldMask{Paths: strings.Split(mask, ",")}).ProtoReflect()))
	}
	return req, reply
}

// try makes a call on the first replica.
func (e *env) try(method, text string) (proto.Message, error) {
	e.t.Helper()
	return e.tryOn(e.conn, method, text)
}

func (e *env) tryOn(conn *grpc.ClientConn, method, text string) (proto.Message, error) {
	e.t.Helper()
	req, reply := e.request(method, text)
	ctx, cancel := context.WithTimeout(e.ctx, 30*time.Second)
	defer cancel()
	err := conn.Invoke(ctx, "/fiberlb.v1."+method, req, reply)
	return reply, err
}

// must makes a call that has to succeed.
func (e *env) must(method, text string) proto.Message {
	e.t.Helper()
	reply, err := e.try(method, text)
	if err != nil {
		e.t.Fatalf("%s %s: %v", method, text, err)
	}
	return reply
}

// refused makes a call that has to fail with the code and words.
func (e *env) refused(code codes.Code, words, method, text string) {
	e.t.Helper()
	reply, err := e.try(method, text)
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), words) {
		e.t.Errorf("%s %s: %v, %v; want %s with %q", method, text, reply, err, code, words)
	}
}

// dump is everything that lies in etcd for this test, with revisions.
func (e *env) dump() string {
	e.t.Helper()
	resp, err := etcd.Client().Get(e.ctx, e.prefix+"/", clientv3.WithPrefix())
	if err != nil {
		e.t.Fatal(err)
	}
	var b strings.Builder
	for _, kv := range resp.Kvs {
		fmt.Fprintf(&b, "%s@%d %x\n", kv.Key, kv.ModRevision, kv.Value)
	}
	return b.String()
}

// get reads a field of a message by path.
func get(m proto.Message, path string) any {
	at := m.ProtoReflect()
	for {
		name, rest, more := strings.Cut(path, ".")
		field := at.Descriptor().Fields().ByName(protoreflect.Name(name))
		if !more {
			value := at.Get(field)
			if field.Message() != nil && !field.IsList() && !field.IsMap() {
				return value.Message().Interface()
			}
			return value.Interface()
		}
		at, path = at.Get(field).Message(), rest
	}
}

// pair makes a certificate and its private key, in PEM.
func pair(t testing.TB, name string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// base applies a load balancer with one object of each kind.
const base = `
config:
  name: web
  vips: [203.0.113.10]
  listeners:
  - {name: front, port: 80, protocol: http, default_pool_id: main}
  pools:
  - name: main
    protocol: http
    health_check: {type: http, interval: 5s}
    backends:
    - {name: b1, address: 10.0.0.1, port: 8080}
    - {name: b2, address: 10.0.0.2, port: 8080}
  - {name: spare, protocol: http}
  l7_policies:
  - {name: api, listener_id: front, action: redirect_to_pool, redirect_pool_id: spare, rules: [{name: r1, rule_type: path, compare_type: starts_with, value: /api}]}
`

// await asks until the answer is yes. Every question is a call to a server, which is pause enough.
func (e *env) await(yes func() bool) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			e.t.Fatal("it did not come true in time")
		}
	}
}

// http makes a REST call like curl and gives the body.
func (e *env) http(method, path, body string, want int) string {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.ctx, method, e.rest+path, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	if resp.StatusCode != want {
		e.t.Errorf("%s %s %s: %d, want %d: %s", method, path, body, resp.StatusCode, want, b)
	}
	return string(b)
}
