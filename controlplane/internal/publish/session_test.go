package publish

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/compile"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

func wantStatus(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("stream ended with %v, want %v with %q", err, code, text)
	}
}

func TestHelloIsChecked(t *testing.T) {
	t.Parallel()
	many := make([]string, maxCapabilities+1)
	for i := range many {
		many[i] = "x"
	}
	for name, test := range map[string]struct {
		spoil func(h *agentv1.Hello)
		code  codes.Code
		text  string
	}{
		"name":         {func(h *agentv1.Hello) { h.Node = "Node_1" }, codes.InvalidArgument, `"Node_1" is not a host name`},
		"schema":       {func(h *agentv1.Hello) { h.SchemaVersion = 0 }, codes.FailedPrecondition, "upgrade the data plane"},
		"label":        {func(h *agentv1.Hello) { h.Labels = map[string]string{"a": strings.Repeat("x", 256)} }, codes.InvalidArgument, `label "a"`},
		"version":      {func(h *agentv1.Hello) { h.SoftwareVersion = strings.Repeat("x", 256) }, codes.InvalidArgument, "software version"},
		"capabilities": {func(h *agentv1.Hello) { h.Capabilities = many }, codes.InvalidArgument, "257 capabilities"},
		"word":         {func(h *agentv1.Hello) { h.Capabilities = []string{""} }, codes.InvalidArgument, "capability"},
		"digest":       {func(h *agentv1.Hello) { h.Version = &agentv1.Version{Digest: []byte{1}} }, codes.InvalidArgument, "hash of 1 bytes"},
		"held":         {func(h *agentv1.Hello) { h.Held = []*agentv1.Held{{Kind: 1, Name: "x"}} }, codes.InvalidArgument, "hash of 0 bytes"},
		"identity":     {func(h *agentv1.Hello) { h.Node = "stranger" }, codes.PermissionDenied, "not you"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := start(t, Config{Authorize: func(_ context.Context, node string) error {
					if node == "stranger" {
						return status.Error(codes.PermissionDenied, "not you")
					}
					return nil
				}})
				a := newAgent(t, "node", nil, nil)
				h := a.hello()
				test.spoil(h)
				a.dial(p.Publisher, h)
				<-a.ended
				wantStatus(t, a.end(), test.code, test.text)
			})
		})
	}
}

func TestProtocolIsEnforced(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		message *agentv1.AgentMessage
		text    string
	}{
		"second hello": {&agentv1.AgentMessage{Message: &agentv1.AgentMessage_Hello{Hello: &agentv1.Hello{}}}, "a second hello"},
		"nothing":      {&agentv1.AgentMessage{}, "does not know"},
		"wrong ack":    {ack(snapshot.Version{Cluster: cluster, Revision: 5}), "was not sent or is answered"},
		"bad ack":      {&agentv1.AgentMessage{Message: &agentv1.AgentMessage_Ack{Ack: &agentv1.Ack{Version: &agentv1.Version{}}}}, "ack: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := start(t, Config{})
				p.batches <- newWorld(1).everything()
				a := newAgent(t, "node", nil, nil)
				a.connect(p.Publisher)
				synctest.Wait()
				a.send(test.message)
				<-a.ended
				wantStatus(t, a.end(), codes.InvalidArgument, test.text)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{})
		a := newAgent(t, "node", nil, nil)
		a.dial(p.Publisher, nil)
		a.send(ack(snapshot.Version{}))
		<-a.ended
		wantStatus(t, a.end(), codes.InvalidArgument, "must be a hello")
	})
}

func TestSilenceIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := start(t, Config{})
		p.batches <- newWorld(1).everything()
		began := time.Now()
		mute := newAgent(t, "mute", nil, nil)
		mute.dial(p.Publisher, nil)
		<-mute.ended
		wantStatus(t, mute.end(), codes.DeadlineExceeded, "no hello came within 10s")
		if waited := time.Since(began); waited != 10*time.Second {
			t.Errorf("waited %v for a hello", waited)
		}

		// One that reads and does not answer, and one that does not even read the delta.
		for _, reads := range []bool{true, false} {
			began = time.Now()
			a := newAgent(t, "node", nil, nil)
			a.dial(p.Publisher, a.hello())
			<-a.pipe.out
			if reads {
				<-a.pipe.out
			}
			<-a.ended
			wantStatus(t, a.end(), codes.DeadlineExceeded, "node node did not answer version 100/000000000000 within 30s")
			if waited := time.Since(began); waited != 30*time.Second {
				t.Errorf("waited %v for an answer", waited)
			}
		}
	})
}

func TestNewerStreamReplacesOlder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		p := start(t, Config{})
		p.batches <- w.everything()
		older, newer := newAgent(t, "node", nil, compile.DataPlane()), newAgent(t, "node", nil, compile.DataPlane())
		older.connect(p.Publisher)
		synctest.Wait()
		newer.connect(p.Publisher)
		<-older.ended
		wantStatus(t, older.end(), codes.Aborted, "a newer stream of node node")
		p.batches <- w.put(balancer(t, "a", 1))
		synctest.Wait()
		w.check(t, newer)
		if nodes := p.Nodes(); len(nodes) != 1 {
			t.Errorf("%d nodes are connected, want 1", len(nodes))
		}
		_ = newer.end()
	})
}

func TestNothingIsSentBeforeConfigurationIsThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		p := start(t, Config{})
		a := newAgent(t, "node", nil, compile.DataPlane())
		a.connect(p.Publisher)
		time.Sleep(time.Hour)
		if a.states != 0 || len(a.deltas) != 0 {
			t.Fatal("something was sent without a configuration")
		}
		if waiting := p.Nodes()[0].Waiting; !strings.Contains(waiting, "not read the configuration") {
			t.Errorf("the node waits because %q", waiting)
		}
		w.configure("node", &store.NodeConfig{Drain: true})
		w.put(balancer(t, "a", 1))
		p.batches <- w.everything()
		synctest.Wait()
		w.check(t, a)
		if a.states != 1 || !*a.drain || p.Nodes()[0].Waiting != "" {
			t.Error("the node does not know that it drains, or still waits")
		}
		_ = a.end()
	})
}

// A replica that lags has nodes wait rather than take them back.
func TestLaggingReplicaWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		ahead, behind := start(t, Config{}), start(t, Config{})
		behind.batches <- w.everything()
		change := w.put(balancer(t, "a", 1))
		ahead.batches <- w.everything()
		a := newAgent(t, "node", nil, compile.DataPlane())
		a.connect(ahead.Publisher)
		synctest.Wait()
		_ = a.end()
		a.connect(behind.Publisher)
		time.Sleep(time.Minute)
		if _, _, deltas := a.state(); len(deltas) != 0 {
			t.Fatal("a replica that lags sent something")
		}
		if waiting := behind.Nodes()[0].Waiting; !strings.Contains(waiting, "runs revision 101, this controller has read up to 100") {
			t.Errorf("the node waits because %q", waiting)
		}
		behind.batches <- change
		synctest.Wait()
		w.check(t, a)
		_ = a.end()
	})
}

// An etcd that is another one and empty is more likely a mishap than a wish.
func TestAnotherCluster(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		p := start(t, Config{})
		w.put(balancer(t, "a", 1))
		p.batches <- w.everything()
		a := newAgent(t, "node", nil, compile.DataPlane())
		a.connect(p.Publisher)
		synctest.Wait()

		p.batches <- store.Batch{Cluster: "another", Revision: 1, Reset: true}
		<-a.ended
		wantStatus(t, a.end(), codes.Aborted, "another one now")
		a.connect(p.Publisher)
		synctest.Wait()
		if set, _, deltas := a.state(); len(deltas) != 0 || set.Len() == 0 {
			t.Fatal("an empty etcd emptied a node")
		}
		if waiting := p.Nodes()[0].Waiting; !strings.Contains(waiting, "cluster another has no load balancer at all") {
			t.Errorf("the node waits because %q", waiting)
		}
		e := &store.Entry{LB: balancer(t, "b", 1), Revision: 2}
		p.batches <- store.Batch{Cluster: "another", Revision: 2, LBs: map[store.Key]*store.Entry{store.KeyOf(e.LB): e}}
		synctest.Wait()
		if set, version, _ := a.state(); version.Cluster != "another" || set.Digest() != snapshot.NewSet(compile.Compile(e.LB, a.caps).Resources).Digest() {
			t.Errorf("the node runs %v of cluster %s", version, version.Cluster)
		}
		_ = a.end()
	})
}

// A write that changes nothing for the node, and one that others alone are concerned with.
func TestRevisionAdvancesForNodesConcerned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		p := start(t, Config{})
		w.put(balancer(t, "a", 1))
		p.batches <- w.everything()
		a := newAgent(t, "node", map[string]string{"rack": "1"}, compile.DataPlane())
		a.connect(p.Publisher)
		synctest.Wait()

		described := balancer(t, "a", 1).Clone()
		described.Description = "the same to nodes"
		p.batches <- w.put(normalize(t, described))
		synctest.Wait()
		_, version, deltas := a.state()
		if last := deltas[len(deltas)-1]; len(deltas) != 2 || len(last.Upserts)+len(last.Removals) != 0 || version.Revision != w.revision {
			t.Errorf("%d deltas up to revision %d, want an empty one for revision %d", len(deltas), version.Revision, w.revision)
		}
		p.batches <- w.everything()
		synctest.Wait()
		if _, _, deltas := a.state(); len(deltas) != 2 {
			t.Error("a node was told again what had not changed")
		}
		elsewhere := balancer(t, "b", 1).Clone()
		elsewhere.NodeSelector = map[string]string{"rack": "2"}
		p.batches <- w.put(normalize(t, elsewhere))
		synctest.Wait()
		if _, _, deltas := a.state(); len(deltas) != 2 {
			t.Error("a node was told of a load balancer that is not its own")
		}
		p.batches <- w.configure("node", &store.NodeConfig{Labels: map[string]string{"rack": "2"}})
		synctest.Wait()
		w.check(t, a)
		if _, version, deltas := a.state(); len(deltas) != 3 || len(deltas[2].Upserts) != 3 || version.Revision != w.revision {
			t.Errorf("%d deltas after the node's label changed", len(deltas))
		}
		_ = a.end()
	})
}

func TestDrainIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		p := start(t, Config{})
		p.batches <- w.everything()
		a := newAgent(t, "node", nil, nil)
		a.connect(p.Publisher)
		synctest.Wait()
		for i, drain := range []bool{true, false} {
			p.batches <- w.configure("node", &store.NodeConfig{Drain: drain})
			synctest.Wait()
			if *a.drain != drain || a.states != i+2 {
				t.Errorf("told %d times, last %v, want %v", a.states, *a.drain, drain)
			}
		}
		p.batches <- w.configure("node", nil)
		synctest.Wait()
		if a.states != 3 {
			t.Error("the node was told what it knew")
		}
		_ = a.end()
	})
}

func TestStopEndsStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		p := start(t, Config{})
		p.batches <- w.everything()
		busy, stuck, mute := newAgent(t, "busy", nil, nil), newAgent(t, "stuck", nil, nil), newAgent(t, "mute", nil, nil)
		busy.connect(p.Publisher)
		stuck.dial(p.Publisher, stuck.hello())
		mute.dial(p.Publisher, nil)
		synctest.Wait()
		began := time.Now()
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("stopping took %v", took)
		}
		for _, a := range []*agent{busy, stuck, mute} {
			wantStatus(t, a.end(), codes.Unavailable, "connect to another replica")
		}
		late := newAgent(t, "late", nil, nil)
		late.dial(p.Publisher, nil)
		<-late.ended
		wantStatus(t, late.end(), codes.Unavailable, "connect to another replica")
	})
}

func TestRunEndsWithItsBatches(t *testing.T) {
	t.Parallel()
	p := New(Config{})
	batches := make(chan store.Batch)
	close(batches)
	if err := p.Run(t.Context(), batches); err == nil {
		t.Error("no error though the batches ended")
	}
}

// One kind of node lacks something: it gets the rest, everybody hears why, and other nodes get all.
func TestPoorNodeGetsTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		p := start(t, Config{})
		l := balancer(t, "a", 1).Clone()
		l.Pools[0].Algorithm = lb.Maglev
		w.put(normalize(t, l))
		w.put(balancer(t, "b", 1))
		p.batches <- w.everything()
		var words []string
		for _, word := range compile.DataPlane() {
			if word != compile.Word(lb.Maglev) {
				words = append(words, word)
			}
		}
		rich, poor := newAgent(t, "rich", nil, compile.DataPlane()), newAgent(t, "poor", nil, words)
		rich.connect(p.Publisher)
		poor.connect(p.Publisher)
		synctest.Wait()
		w.check(t, rich)
		w.check(t, poor)
		if rich.set.Len() != 6 || poor.set.Len() != 4 {
			t.Errorf("nodes hold %d and %d resources, want 6 and 4", rich.set.Len(), poor.set.Len())
		}
		const pool = "projects/p/loadBalancers/a/pools/main"
		nodes := p.Nodes()
		if e := nodes[0].Report.Errors; len(e) != 1 || e[0].Resource != pool || !strings.Contains(e[0].Message, `needs "algorithm.maglev"`) || nodes[0].Report.ErrorCount != 1 {
			t.Errorf("errors of the poor node are %v", e)
		}
		if e := nodes[1].Report.Errors; len(e) != 0 {
			t.Errorf("errors of the rich node are %v", e)
		}
		if d := p.Diagnostics(store.Key{Project: "p", LB: "a"}); len(d) != 1 || d[0].Resource != pool {
			t.Errorf("diagnostics are %v", d)
		}
		if d := p.Diagnostics(store.Key{Project: "p", LB: "no"}); len(d) != 0 {
			t.Errorf("diagnostics of nothing are %v", d)
		}

		// Once nothing needs it any more, nothing is wrong any more.
		p.batches <- w.put(balancer(t, "a", 1))
		synctest.Wait()
		if e := p.Nodes()[0].Report.Errors; len(e) != 0 {
			t.Errorf("errors of the poor node are still %v", e)
		}
		_, _ = rich.end(), poor.end()
	})
}

func TestConfigurationTooLargeForAMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		p := start(t, Config{})
		p.most = 1000
		w.put(balancer(t, "a", 1))
		p.batches <- w.everything()
		a := newAgent(t, "node", nil, compile.DataPlane())
		a.connect(p.Publisher)
		synctest.Wait()
		w.check(t, a)
		for _, name := range []string{"b", "c", "d"} {
			w.put(balancer(t, name, 1))
		}
		p.batches <- w.everything()
		<-a.ended
		wantStatus(t, a.end(), codes.ResourceExhausted, "spread load balancers over nodes")
	})
}
