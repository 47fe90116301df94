package dataplane

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/fiberlb/fiberlb/pkg/canon"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// newer is a controller of a later build: it sends one delta with things that
// this data plane cannot know, and hands on what the agent says.
type newer struct {
	agentv1.UnimplementedSnapshotServiceServer
	delta *snapshot.Delta
	acks  chan *agentv1.Ack
}

func (n *newer) Stream(st agentv1.SnapshotService_StreamServer) error {
	if _, err := st.Recv(); err != nil {
		return err
	}
	if err := st.Send(&agentv1.ControllerMessage{Message: &agentv1.ControllerMessage_Delta{Delta: n.delta.Proto()}}); err != nil {
		return err
	}
	for {
		m, err := st.Recv()
		if err != nil {
			return err
		}
		if ack := m.GetAck(); ack != nil {
			n.acks <- ack
		}
	}
}

// TestNewerController has a node meet a rule type, an algorithm, a field and a
// kind of resource that it does not know. Each of these resources is nacked
// with its reason; all others serve.
func TestNewerController(t *testing.T) {
	t.Parallel()
	backend := greeter(t)
	port := freePort(t)
	const lbName = "projects/p/loadBalancers/l/"
	pool := &snapshot.Pool{
		Protocol: lb.PoolTCP, Algorithm: lb.Maglev, HashVersion: 1, TableSize: 65521,
		Backends: []snapshot.Backend{{Name: "b", Addr: backend, Monitor: backend, Weight: 1}},
	}
	listener := func(pool string, port uint16) *snapshot.Listener {
		return &snapshot.Listener{
			VIPs: []netip.Addr{netip.MustParseAddr("127.0.0.77")}, Port: port, Protocol: lb.ListenerTCP, DefaultPool: pool,
			ConnectTimeout: time.Second, TCPIdleTimeout: time.Minute,
		}
	}
	good := snapshot.EncodeListener(lbName+"listeners/good", listener(lbName+"pools/good", port))
	resources := []*snapshot.Resource{
		snapshot.EncodePool(lbName+"pools/good", pool),
		good,
		// Field 1000 of a listener: policies with a rule type of a later build, say.
		resource(snapshot.KindListener, lbName+"listeners/field", append(append([]byte(nil), good.Content...), 0xc2, 0x3e, 1, 'x')),
		resource(snapshot.KindPool, lbName+"pools/algorithm", canon.Marshal(&agentv1.PoolResource{Protocol: 1, Algorithm: 99})),
		resource(9, lbName+"quic/kind", []byte{8, 1}),
	}
	set := snapshot.NewSet(resources)
	ctl := &newer{
		delta: &snapshot.Delta{Full: true, Upserts: resources, Version: snapshot.Version{Cluster: "c", Revision: 7, Digest: set.Digest()}},
		acks:  make(chan *agentv1.Ack, 1),
	}
	addr := serve(t, ctl)
	run(t, Config{Node: "n1", Controllers: []string{addr}, StateDir: t.TempDir(), Admin: "127.0.0.1:0",
		ReadinessSocket: filepath.Join(t.TempDir(), "ready")})

	ack := <-ctl.acks
	reasons := map[string]string{}
	for _, e := range ack.GetErrors() {
		reasons[strings.TrimPrefix(e.GetName(), lbName)] = e.GetMessage()
	}
	for name, word := range map[string]string{"listeners/field": "field 1000", "pools/algorithm": "99", "quic/kind": "kind 9"} {
		if !strings.Contains(reasons[name], word) {
			t.Errorf("%s: refused with %q, want a word of %q", name, reasons[name], word)
		}
	}
	if len(reasons) != 3 || ack.GetVersion().GetRevision() != 7 {
		t.Errorf("ack of revision %d with %v", ack.GetVersion().GetRevision(), reasons)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.77:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if line, err := bufio.NewReader(conn).ReadString('\n'); line != "hello\n" {
		t.Errorf("through the good listener: %q, %v", line, err)
	}
}

func resource(kind snapshot.Kind, name string, content []byte) *snapshot.Resource {
	return &snapshot.Resource{Ref: snapshot.Ref{Kind: kind, Name: name}, Hash: sha256.Sum256(content), Content: content}
}

// greeter says hello to whoever connects.
func greeter(t *testing.T) netip.AddrPort {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lis.Close() })
	go func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("hello\n"))
			_ = conn.Close()
		}
	}()
	return lis.Addr().(*net.TCPAddr).AddrPort()
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.77:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().(*net.TCPAddr).AddrPort().Port()
}

func serve(t *testing.T, ctl *newer) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	agentv1.RegisterSnapshotServiceServer(srv, ctl)
	go func() { _ = srv.Serve(lis) }()
	t.Cleanup(srv.Stop)
	return lis.Addr().String()
}

// run runs a data plane until the test ends.
func run(t *testing.T, cfg Config) *Dataplane {
	t.Helper()
	dp, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- dp.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return dp
}
