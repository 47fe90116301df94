package controlplane

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/controlplane/internal/etcdtest"
	"github.com/fiberlb/fiberlb/pkg/tlsid"
	"github.com/fiberlb/fiberlb/pkg/tlsid/tlsidtest"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a controller at work.
type running struct {
	*Controller
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
}

func start(t *testing.T, cfg Config) *running {
	t.Helper()
	for _, address := range []*string{&cfg.Listen, &cfg.HTTP} {
		if *address == "" {
			*address = "127.0.0.1:0"
		}
	}
	if len(cfg.Etcd.Endpoints) == 0 && cfg.EmbeddedEtcd == "" {
		cfg.EmbeddedEtcd = t.TempDir()
	}
	cfg.UnsafeNoFsync = cfg.EmbeddedEtcd != ""
	if cfg.TLS.Cert == "" {
		cfg.TLS.InsecureLoopback = true
	}
	c, err := New(cfg, hclog.New(&hclog.LoggerOptions{Output: &testLog{t: t}, Level: hclog.Info}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Controller: c, t: t, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- c.Run(ctx) }()
	t.Cleanup(func() { r.stop() })
	return r
}

// testLog writes into the test's log while the test runs.
type testLog struct {
	mu sync.Mutex
	t  *testing.T
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func (r *running) await() *running {
	r.t.Helper()
	select {
	case <-r.Ready():
	case err := <-r.done:
		r.done <- err
		r.t.Fatalf("ended before it was ready: %v", err)
	case <-time.After(20 * time.Second):
		r.t.Fatal("not ready in time")
	}
	return r
}

// stop ends the controller, which must take less than five seconds, and gives its error.
func (r *running) stop() error {
	r.t.Helper()
	began := time.Now()
	r.cancel()
	err := <-r.done
	r.done <- err
	if took := time.Since(began); took > 5*time.Second {
		r.t.Errorf("stopping took %v", took)
	}
	return err
}

func (r *running) dial(flags tlsid.Flags) *grpc.ClientConn {
	r.t.Helper()
	creds, err := flags.ClientCredentials([]string{r.GRPCAddr()})
	if err != nil {
		r.t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+r.GRPCAddr(), grpc.WithTransportCredentials(creds))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// fetch makes a request and gives code and body.
func fetch(t *testing.T, client *http.Client, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func newClient(t *testing.T, config *tls.Config) *http.Client {
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func TestPlaintext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	if err := os.WriteFile(keys, []byte(strings.Repeat("ab", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := start(t, Config{EmbeddedEtcd: filepath.Join(dir, "etcd"), KeyFile: keys, Name: "one"}).await()
	client := newClient(t, nil)
	at := "http://" + r.HTTPAddr()
	for path, want := range map[string]string{
		"/readyz": `"ready": true`, "/healthz": `"ok": true`, "/metrics": "fiberlb_api_watchers 0", "/openapi.json": `"FiberLB"`, "/v1/nodes": "{}",
	} {
		if code, body := fetch(t, client, http.MethodGet, at+path, ""); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, body := fetch(t, client, http.MethodPost, at+"/v1/projects/default/loadBalancers", `{"name": "web", "vips": ["127.0.0.9"]}`); code != 200 {
		t.Fatalf("create: %d %s", code, body)
	}
	conn := r.dial(tlsid.Flags{})
	if h, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil || h.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health %v, %v", h, err)
	}
	reflected, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_ = reflected.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}})
	if services, err := reflected.Recv(); err != nil || !strings.Contains(services.String(), "fiberlb.v1.ConfigService") {
		t.Errorf("reflection %v, %v", services, err)
	}

	// A node connects, and what the API tells follows.
	agent, err := agentv1.NewSnapshotServiceClient(conn).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Send(&agentv1.AgentMessage{Message: &agentv1.AgentMessage_Hello{Hello: &agentv1.Hello{Node: "n1", SchemaVersion: 1}}}); err != nil {
		t.Fatal(err)
	}
	watch, err := fiberlbv1.NewConfigServiceClient(conn).Watch(t.Context(), &fiberlbv1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	// The first delta may be of a moment before the load balancer came to the publisher, so every one is answered.
	go func() {
		for {
			m, err := agent.Recv()
			if err != nil {
				return // the stream ends with the controller
			}
			if version := m.GetDelta().GetVersion(); version != nil {
				_ = agent.Send(&agentv1.AgentMessage{Message: &agentv1.AgentMessage_Ack{Ack: &agentv1.Ack{Version: version}}})
			}
		}
	}()
	for active := false; !active; {
		m, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		s := m.GetConfig().GetStatus()
		active = s.GetProvisioningStatus() == fiberlbv1.ProvisioningStatus_PROVISIONING_STATUS_ACTIVE && s.GetRollout().GetAcked() == 1
	}
	node, err := fiberlbv1.NewNodeServiceClient(conn).GetNode(t.Context(), &fiberlbv1.GetRequest{Name: "nodes/n1"})
	if err != nil || node.GetController() != "one" || !node.GetConnected() {
		t.Errorf("node %v, %v", node, err)
	}
	// A health watch never ends by itself, and a REST watch neither.
	if _, err := grpc_health_v1.NewHealthClient(conn).Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	open, err := client.Get(at + "/v1/config:watch")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Body.Close()
	if err := r.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	for err = nil; err == nil; {
		_, err = watch.Recv()
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("the watch ended with %v", err)
	}

	// Another one over the same folder has it all.
	r = start(t, Config{EmbeddedEtcd: filepath.Join(dir, "etcd")}).await()
	if code, body := fetch(t, client, http.MethodGet, "http://"+r.HTTPAddr()+"/v1/projects/default/loadBalancers/web", ""); code != 200 {
		t.Errorf("after a restart: %d %s", code, body)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca := tlsidtest.NewCA(t)
	files := ca.Server(t)
	r := start(t, Config{HTTPS: "127.0.0.1:0", TLS: tlsid.Flags{Cert: files.Cert, Key: files.Key, CA: files.CA}}).await()

	identity := func(files tlsidtest.Files) (tlsid.Flags, *http.Client) {
		pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca.PEM())
		return tlsid.Flags{Cert: files.Cert, Key: files.Key, CA: files.CA},
			newClient(t, &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS13})
	}
	lists := "https://" + r.HTTPSAddr() + "/v1/projects/default/loadBalancers"
	operator, client := identity(ca.Client(t, "alice"))
	if code, body := fetch(t, client, http.MethodGet, lists, ""); code != 200 {
		t.Errorf("operator over REST: %d %s", code, body)
	}
	if _, err := fiberlbv1.NewLoadBalancerServiceClient(r.dial(operator)).ListLoadBalancers(t.Context(), &fiberlbv1.ListRequest{Parent: "projects/-"}); err != nil {
		t.Errorf("operator over gRPC: %v", err)
	}
	node, nodeClient := identity(ca.Node(t, "n1"))
	if code, body := fetch(t, nodeClient, http.MethodGet, lists, ""); code != 403 || !strings.Contains(body, "only good for agent streams") {
		t.Errorf("node over REST: %d %s", code, body)
	}
	conn := r.dial(node)
	if _, err := fiberlbv1.NewLoadBalancerServiceClient(conn).ListLoadBalancers(t.Context(), &fiberlbv1.ListRequest{Parent: "projects/-"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("node over gRPC: %v", err)
	}
	for name, want := range map[string]codes.Code{"n1": codes.OK, "n2": codes.PermissionDenied} {
		agent, err := agentv1.NewSnapshotServiceClient(conn).Stream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := agent.Send(&agentv1.AgentMessage{Message: &agentv1.AgentMessage_Hello{Hello: &agentv1.Hello{Node: name, SchemaVersion: 1}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := agent.Recv(); status.Code(err) != want {
			t.Errorf("agent as %s: %v", name, err)
		}
	}
	stranger := newClient(t, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	if resp, err := stranger.Get(lists); err == nil {
		_ = resp.Body.Close()
		t.Errorf("without a certificate: %v", resp.Status)
	}
	// Scrapers need no certificate, and get no API.
	plain := newClient(t, nil)
	if code, _ := fetch(t, plain, http.MethodGet, "http://"+r.HTTPAddr()+"/metrics", ""); code != 200 {
		t.Errorf("metrics: %d", code)
	}
	if code, _ := fetch(t, plain, http.MethodGet, "http://"+r.HTTPAddr()+"/v1/nodes", ""); code != 404 {
		t.Errorf("the API in plaintext: %d", code)
	}
}

func TestTLSFilesAreReplaced(t *testing.T) {
	t.Parallel()
	ca := tlsidtest.NewCA(t)
	paths := ca.Server(t)
	files, err := newTLSFiles(tlsid.Flags{Cert: paths.Cert, Key: paths.Key, CA: paths.CA}, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	serial := func() string {
		t.Helper()
		files.mu.Lock()
		files.checked = time.Time{}
		files.mu.Unlock()
		config, err := files.config(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(config.Certificates[0].Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.String()
	}
	first := serial()
	if err := os.WriteFile(paths.Key, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if serial() != first {
		t.Error("a faulty replacement is in use")
	}
	ca.Reissue(t, paths, tlsidtest.Leaf{CommonName: "next"})
	if serial() == first {
		t.Error("the replacement is not in use")
	}
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	server := etcdtest.StartServer(t, t.TempDir())
	a := start(t, Config{Etcd: Etcd{Endpoints: []string{server.Endpoint()}}}).await()
	b := start(t, Config{Etcd: Etcd{Endpoints: []string{server.Endpoint()}}}).await()
	if _, err := fiberlbv1.NewLoadBalancerServiceClient(a.dial(tlsid.Flags{})).CreateLoadBalancer(t.Context(), &fiberlbv1.CreateLoadBalancerRequest{
		Parent: "projects/default", LoadBalancer: &fiberlbv1.LoadBalancer{Name: "web", Vips: []string{"127.0.0.3"}},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := fiberlbv1.NewLoadBalancerServiceClient(b.dial(tlsid.Flags{})).GetLoadBalancer(t.Context(), &fiberlbv1.GetRequest{Name: "projects/default/loadBalancers/web"}); err != nil {
		t.Error(err)
	}
	a.stop()
	b.stop()
}

func TestEtcdIsAway(t *testing.T) {
	t.Parallel()
	r := start(t, Config{Etcd: Etcd{Endpoints: []string{"unix://" + filepath.Join(t.TempDir(), "nobody.sock")}}})
	client := newClient(t, nil)
	for r.HTTPAddr() == "" {
		select {
		case err := <-r.done:
			t.Fatal(err)
		case <-time.After(time.Millisecond):
		}
	}
	at := "http://" + r.HTTPAddr()
	if code, body := fetch(t, client, http.MethodGet, at+"/readyz", ""); code != 503 || !strings.Contains(body, `"etcd"`) {
		t.Errorf("readyz: %d %s", code, body)
	}
	if code, body := fetch(t, client, http.MethodGet, at+"/v1/nodes", ""); code != 503 || !strings.Contains(body, "no connection to etcd yet") {
		t.Errorf("REST: %d %s", code, body)
	}
	if code, _ := fetch(t, client, http.MethodGet, at+"/healthz", ""); code != 200 {
		t.Errorf("healthz: %d", code)
	}
	if err := r.stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	loopback := tlsid.Flags{InsecureLoopback: true}
	ca := tlsidtest.NewCA(t)
	files := ca.Server(t)
	wide := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(wide, bytes.Repeat([]byte("a"), 64), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		cfg   Config
		usage bool
		words string
	}{
		{Config{TLS: loopback}, true, "--etcd-endpoints or --embedded-etcd"},
		{Config{TLS: loopback, EmbeddedEtcd: "x", Etcd: Etcd{Endpoints: []string{"y"}}}, true, "contradicts"},
		{Config{TLS: loopback, EmbeddedEtcd: "x", Etcd: Etcd{User: "u"}}, true, "takes none"},
		{Config{TLS: loopback, Etcd: Etcd{Endpoints: []string{"y"}}, UnsafeNoFsync: true}, true, "embedded"},
		{Config{TLS: loopback, EmbeddedEtcd: "x", HTTPS: "127.0.0.1:0"}, true, "--https needs"},
		{Config{TLS: loopback, EmbeddedEtcd: "x", HTTP: "0.0.0.0:7480"}, true, "plaintext on 0.0.0.0:7480"},
		{Config{TLS: loopback, EmbeddedEtcd: "x", Listen: "0.0.0.0:7400"}, true, "0.0.0.0:7400"},
		{Config{TLS: loopback, EmbeddedEtcd: "x", Listen: "nonsense"}, true, "host:port"},
		{Config{EmbeddedEtcd: "x"}, true, "--insecure-loopback"},
		{Config{EmbeddedEtcd: "x", TLS: tlsid.Flags{Cert: files.Cert}}, true, "--tls-key and --tls-ca missing"},
		{Config{EmbeddedEtcd: "x", TLS: tlsid.Flags{Cert: files.Cert, Key: files.Key, CA: files.CA, InsecureLoopback: true}}, true, "contradicts"},
		{Config{EmbeddedEtcd: "x", TLS: tlsid.Flags{Cert: files.Cert, Key: "/nope", CA: files.CA}}, false, "/nope"},
		{Config{EmbeddedEtcd: "x", TLS: loopback, KeyFile: "/nope"}, false, "/nope"},
		{Config{EmbeddedEtcd: "x", TLS: loopback, KeyFile: wide}, false, "chmod 600"},
	} {
		_, err := New(test.cfg, nil)
		if err == nil || !strings.Contains(err.Error(), test.words) || errors.Is(err, ErrUsage) != test.usage {
			t.Errorf("%+v: %v, want %q, usage %t", test.cfg, err, test.words, test.usage)
		}
	}
	for _, prefix := range DefaultBackendDenyCIDRs() {
		if prefix != prefix.Masked() || prefix == (netip.Prefix{}) {
			t.Errorf("prefix %v", prefix)
		}
	}
}

func TestTakenPort(t *testing.T) {
	t.Parallel()
	r := start(t, Config{}).await()
	other := start(t, Config{Listen: r.GRPCAddr()})
	err := <-other.done
	other.done <- err
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error %v", err)
	}
}
