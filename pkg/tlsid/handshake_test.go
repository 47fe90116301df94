package tlsid

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/pkg/tlsid/tlsidtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func flagsOf(files tlsidtest.Files) *Flags {
	return &Flags{Cert: files.Cert, Key: files.Key, CA: files.CA}
}

// loopbackIPs are the addresses that servers under test are dialled by.
var loopbackIPs = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}

// actAs is the metadata key by which a test's call asks to be a node; calls without it ask to be API clients.
const actAs = "act-as"

// serve runs gRPC's health service with the credentials of flags on a loopback port, and admits calls as FiberLB's servers do.
func serve(t *testing.T, creds credentials.TransportCredentials) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(creds), grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			err := RequireAPIClient(ctx)
			if names := metadata.ValueFromIncomingContext(ctx, actAs); len(names) > 0 {
				err = RequireNode(ctx, names[0])
			}
			if err != nil {
				return nil, err
			}
			return handler(ctx, req)
		}))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// call connects afresh and makes one call, as the named node unless node is empty.
func call(t *testing.T, target string, creds credentials.TransportCredentials, node string) error {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if node != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, actAs, node)
	}
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}

func serverCreds(t *testing.T, flags *Flags) credentials.TransportCredentials {
	t.Helper()
	creds, err := flags.ServerCredentials("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return creds
}

func clientCreds(t *testing.T, flags *Flags) credentials.TransportCredentials {
	t.Helper()
	creds, err := flags.ClientCredentials([]string{"127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	return creds
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	ca, stranger := tlsidtest.NewCA(t), tlsidtest.NewCA(t)
	target := serve(t, serverCreds(t, flagsOf(ca.Server(t))))
	elsewhere := serve(t, serverCreds(t, flagsOf(ca.Issue(t, tlsidtest.Leaf{DNSNames: []string{"controller.example"}}))))

	// mixed trusts the right authority and shows a certificate of another one.
	mixed := flagsOf(stranger.Client(t, "mallory"))
	mixed.CA = ca.Client(t, "anybody").CA

	tests := []struct {
		name   string
		target string
		flags  *Flags
		node   string
		code   codes.Code
		want   string
	}{
		{"operator", target, flagsOf(ca.Client(t, "alice")), "", codes.OK, ""},
		{"operator named like the node", target, flagsOf(ca.Client(t, "node-1")), "node-1", codes.OK, ""},
		{"operator as a node", target, flagsOf(ca.Client(t, "alice")), "node-1", codes.PermissionDenied, `may not act as node "node-1"`},
		{"node as itself", target, flagsOf(ca.Node(t, "node-1")), "node-1", codes.OK, ""},
		{"node as another", target, flagsOf(ca.Node(t, "node-1")), "node-2", codes.PermissionDenied, "fiberlb://node/node-2"},
		{"node at the API", target, flagsOf(ca.Node(t, "node-1")), "", codes.PermissionDenied, "only good for agent streams"},
		{"server of another authority", target, flagsOf(stranger.Client(t, "alice")), "", codes.Unavailable, "unknown authority"},
		{"client of another authority", target, mixed, "", codes.Unavailable, ""},
		{"server of another name", elsewhere, flagsOf(ca.Client(t, "alice")), "", codes.Unavailable, "127.0.0.1"},
		{"plaintext at a TLS server", target, &Flags{}, "", codes.Unavailable, ""},
		{"expired", target, flagsOf(ca.Issue(t, tlsidtest.Leaf{CommonName: "alice", NotAfter: time.Now().Add(-time.Minute)})), "", codes.Unavailable, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := call(t, test.target, clientCreds(t, test.flags), test.node)
			if status.Code(err) != test.code || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("call gave %v, want code %s with %q", err, test.code, test.want)
			}
		})
	}
}

func TestClientWithoutCertificateIsRefused(t *testing.T) {
	t.Parallel()
	ca := tlsidtest.NewCA(t)
	target := serve(t, serverCreds(t, flagsOf(ca.Server(t))))
	creds, err := credentials.NewClientTLSFromFile(ca.Server(t).CA, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := call(t, target, creds, ""); status.Code(err) != codes.Unavailable {
		t.Errorf("call gave %v, want it refused in the handshake", err)
	}
}

func TestLocalhostByName(t *testing.T) {
	t.Parallel()
	ca := tlsidtest.NewCA(t)
	target := serve(t, serverCreds(t, flagsOf(ca.Server(t))))
	_, port, err := net.SplitHostPort(target)
	if err != nil {
		t.Fatal(err)
	}
	if err := call(t, "passthrough:///localhost:"+port, clientCreds(t, flagsOf(ca.Client(t, "alice"))), ""); err != nil {
		t.Error(err)
	}
}

func TestPlaintextOnLoopback(t *testing.T) {
	t.Parallel()
	target := serve(t, serverCreds(t, &Flags{InsecureLoopback: true}))
	for _, node := range []string{"", "node-1", "node-2"} {
		if err := call(t, target, clientCreds(t, &Flags{}), node); err != nil {
			t.Errorf("as node %q: %v", node, err)
		}
	}
}

// remote is a connection whose other end claims to be off this machine.
type remote struct{ net.Conn }

func (remote) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

func TestPlaintextIsRefusedPerConnection(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	creds := newPlaintext().Clone()
	if _, _, err := creds.ServerHandshake(remote{near}); err == nil || !strings.Contains(err.Error(), "192.0.2.1:1, which is not loopback") {
		t.Errorf("server side: %v", err)
	}
	if _, _, err := creds.ClientHandshake(t.Context(), "x", remote{near}); err == nil || !strings.Contains(err.Error(), "192.0.2.1:1, which is not loopback") {
		t.Errorf("client side: %v", err)
	}
	if _, _, err := creds.ServerHandshake(near); err == nil {
		t.Error("a connection of unknown origin was let in")
	}
}

// A server that somebody opens without these credentials must still not take a stranger for the operator.
func TestUnverifiedPeersHaveNoIdentity(t *testing.T) {
	t.Parallel()
	ca := tlsidtest.NewCA(t)
	files := ca.Server(t)
	oneSided, err := credentials.NewServerTLSFromFile(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	target := serve(t, oneSided)
	for _, node := range []string{"", "node-1"} {
		err := call(t, target, clientCreds(t, flagsOf(ca.Client(t, "alice"))), node)
		if status.Code(err) != codes.Unauthenticated {
			t.Errorf("as node %q: %v, want UNAUTHENTICATED", node, err)
		}
	}
	if _, ok := PeerFromContext(t.Context()); ok {
		t.Error("a context outside any call has a peer")
	}
	if err := call(t, serve(t, insecure.NewCredentials()), insecure.NewCredentials(), ""); err != nil {
		t.Errorf("loopback plaintext: %v", err)
	}
}
