package publish

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/compile"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// serve makes the publisher's service reachable over loopback.
func serve(t *testing.T, p *Publisher) agentv1.SnapshotServiceClient {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(snapshot.MaxMessageSize), grpc.MaxSendMsgSize(snapshot.MaxMessageSize))
	agentv1.RegisterSnapshotServiceServer(server, p)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(snapshot.MaxMessageSize)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		server.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return agentv1.NewSnapshotServiceClient(conn)
}

// large is a load balancer whose pool takes about 250 kB.
func large(t *testing.T, name string, variant int) *lb.LoadBalancer {
	l := balancer(t, name, variant).Clone()
	for i := range 4000 {
		b := *l.Pools[0].Backends[0]
		b.Name, b.Port = fmt.Sprintf("backend-with-a-rather-long-name-%d", i), uint16(1000+i)
		l.Pools[0].Backends = append(l.Pools[0].Backends, &b)
	}
	return normalize(t, l)
}

// An agent that never reads costs nobody anything, and stays one delta and a set of marks, over a real connection whose
// window is full.
func TestStuckAgentDelaysNobody(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*within)
	defer cancel()
	const rounds = 1000
	w := newWorld(1)
	p := start(t, Config{})
	client := serve(t, p.Publisher)
	for i := range 4 {
		w.put(large(t, fmt.Sprintf("large-%d", i), 0))
	}
	w.put(balancer(t, "small", 0))
	p.batches <- w.everything()

	stuck, err := client.Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stuck.Send(helloOf(newAgent(t, "stuck", nil, compile.DataPlane()))); err != nil {
		t.Fatal(err)
	}
	stuckSession := sessionOf(ctx, t, p.Publisher, "stuck")

	a := newAgent(t, "lively", nil, compile.DataPlane())
	lively, err := client.Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := lively.Send(helloOf(a)); err != nil {
		t.Fatal(err)
	}
	until := func(revision int64) {
		for a.version.Revision < revision {
			m, err := lively.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if answer := a.take(m); answer != nil {
				if err := lively.Send(answer); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	until(w.revision)
	before := heap()
	began := time.Now()
	for i := range rounds {
		p.batches <- w.put(balancer(t, "small", i))
		until(w.revision)
	}
	w.check(t, a)
	t.Logf("%d changes took %v beside a stuck agent, heap grew by %d kB", rounds, time.Since(began), (heap()-before)/1024)
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("heap grew by %d bytes over %d changes", grown, rounds)
	}
	stuckSession.mu.Lock()
	marks, inflight := len(stuckSession.marks), stuckSession.inflight != nil
	stuckSession.mu.Unlock()
	if marks != 1 || !inflight {
		t.Errorf("the stuck agent has %d marks, want 1 beside a delta in flight", marks)
	}

	began = time.Now()
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("stopping took %v with a stuck agent", took)
	}
	if _, err := lively.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the lively agent's stream ended with %v", err)
	}
}

func helloOf(a *agent) *agentv1.AgentMessage {
	return &agentv1.AgentMessage{Message: &agentv1.AgentMessage_Hello{Hello: a.hello()}}
}

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// sessionOf waits for a node to be connected.
func sessionOf(ctx context.Context, t *testing.T, p *Publisher, node string) *session {
	t.Helper()
	changes, cancel := p.Subscribe()
	defer cancel()
	for {
		p.mu.Lock()
		s := p.sessions[node]
		p.mu.Unlock()
		if s != nil {
			return s
		}
		select {
		case <-changes:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
}

// A change costs what it changes, however much else there is.
func BenchmarkChange(b *testing.B) {
	for _, others := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(others), func(b *testing.B) {
			w := newWorld(1)
			p := start(b, Config{})
			for i := range others {
				w.put(balancer(b, fmt.Sprintf("other-%d", i), 0))
			}
			forms := []*lb.LoadBalancer{balancer(b, "changing", 0), balancer(b, "changing", 1)}
			w.put(forms[0])
			p.batches <- w.everything()
			a := newAgent(b, "node", nil, compile.DataPlane())
			a.acks = make(chan snapshot.Version, 1)
			a.connect(p.Publisher)
			<-a.acks
			b.ReportAllocs()
			for i := 1; b.Loop(); i++ {
				w.revision++
				e := &store.Entry{LB: forms[i%2], Revision: w.revision}
				p.batches <- store.Batch{Cluster: cluster, Revision: w.revision, LBs: map[store.Key]*store.Entry{store.KeyOf(e.LB): e}}
				for (<-a.acks).Revision < w.revision {
				}
			}
			b.StopTimer()
			_ = a.end()
		})
	}
}
