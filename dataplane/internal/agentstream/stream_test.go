package agentstream

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

func TestHelloAckAndDeltas(t *testing.T) {
	t.Parallel()
	c := newController(t)
	a := startAgent(t, c)
	p := c.accept()
	want := &agentv1.Hello{Node: "n1", Labels: map[string]string{"rack": "7"}, SoftwareVersion: "v1",
		SchemaVersion: snapshot.SchemaVersion, Capabilities: []string{"listener.tcp"}}
	if !proto.Equal(p.hello, want) {
		t.Errorf("hello %v, want %v", p.hello, want)
	}
	if a.metrics.Unconfirmed() == 0 {
		t.Error("a stream without configuration confirms something")
	}
	first := full(1, pools(3)...)
	p.send(first)
	ack := within(t, "an ack", p.acks)
	if !proto.Equal(ack, &agentv1.Ack{Version: first.Version.Proto()}) {
		t.Errorf("ack %v", ack)
	}
	if got := a.metrics.Unconfirmed(); got != 0 {
		t.Errorf("unconfirmed for %v while a controller streams", got)
	}

	bad := pool("p1", time.Second)
	next := snapshot.NewSet(first.Upserts).With([]*snapshot.Resource{bad}, nil)
	p.send(&snapshot.Delta{Upserts: []*snapshot.Resource{bad},
		Version: snapshot.Version{Cluster: "c", Revision: 2, Digest: next.Digest()}})
	ack = within(t, "an ack", p.acks)
	fault := []*agentv1.ResourceFault{{Kind: agentv1.Kind_KIND_POOL, Name: "p1", Message: "not with this engine"}}
	if !proto.Equal(ack, &agentv1.Ack{Version: &agentv1.Version{Cluster: "c", Revision: 2, Digest: ack.Version.Digest}, Errors: fault}) {
		t.Errorf("ack %v, want the fault of p1", ack)
	}

	// The next stream begins with what the node holds, the refused form too.
	p.end <- nil
	p = c.accept()
	if !proto.Equal(&agentv1.Hello{Version: p.hello.Version, Held: p.hello.Held},
		&agentv1.Hello{Version: ack.Version, Held: next.Held()}) {
		t.Errorf("hello %v, want version %v with what is held", p.hello, ack.Version)
	}
}

func TestUnknownMessageAndNodeState(t *testing.T) {
	t.Parallel()
	c := newController(t)
	a := startAgent(t, c)
	p := c.accept()
	for _, m := range []*agentv1.ControllerMessage{
		{}, // as a kind of a later controller reads
		{Message: &agentv1.ControllerMessage_NodeState{NodeState: &agentv1.NodeState{Drain: true}}},
		{Message: &agentv1.ControllerMessage_NodeState{NodeState: &agentv1.NodeState{}}},
	} {
		if err := p.stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	if !within(t, "drain", a.drains) || within(t, "the end of drain", a.drains) {
		t.Error("the node's state is not what was sent")
	}
}

func TestForgetsAfterDigestMismatch(t *testing.T) {
	t.Parallel()
	c := newController(t)
	a := startAgent(t, c)
	p := c.accept()
	p.send(full(1, pools(2)...))
	within(t, "an ack", p.acks)
	wrong := full(2, pools(1)...)
	wrong.Version.Digest[0]++
	p.send(wrong)
	// Until a delta is accepted, whatever else goes wrong, it holds nothing.
	for range 2 {
		p = c.accept()
		if p.hello.Version != nil || len(p.hello.Held) > 0 {
			t.Fatalf("hello %v after a mismatch, want one that holds nothing", p.hello)
		}
		p.end <- status.Error(codes.Unavailable, "not yet")
	}
	if got := a.version(t); got.Revision != 1 {
		t.Errorf("version %v in force, want the first", got)
	}
	p = c.accept()
	p.send(full(3, pools(1)...))
	within(t, "an ack", p.acks)
	p.end <- nil
	if p = c.accept(); len(p.hello.Held) != 1 {
		t.Errorf("hello %v, want one that holds again", p.hello)
	}
}

func TestMalformedDeltaEndsTheStream(t *testing.T) {
	t.Parallel()
	c := newController(t)
	a := startAgent(t, c)
	p := c.accept()
	p.send(full(1, pools(1)...))
	within(t, "an ack", p.acks)
	bad := full(2, pools(2)...).Proto()
	bad.Upserts[0].Content = []byte("other")
	p.sendProto(bad)
	within(t, "the end", p.gone)
	p = c.accept()
	if len(p.hello.Held) != 1 || a.version(t).Revision != 1 {
		t.Errorf("hello %v, want the first version", p.hello)
	}
}

func TestFailover(t *testing.T) {
	t.Parallel()
	gone := &controller{addr: "127.255.255.1:1"} // where nobody listens, nor comes to listen in the meantime
	x, y := newController(t), newController(t)
	a := startAgent(t, gone, x, y)
	seen := map[*controller]bool{}
	for range 4 {
		var p *peer
		select {
		case p = <-x.streams:
			seen[x] = true
		case p = <-y.streams:
			seen[y] = true
		case <-time.After(patience):
			t.Fatal("no controller is tried")
		}
		p.send(full(1, pools(1)...))
		within(t, "an ack", p.acks)
		p.end <- status.Error(codes.Unavailable, "shutting down")
	}
	if !seen[x] || !seen[y] {
		t.Error("only one of two controllers was tried")
	}
	if a.version(t).Revision != 1 {
		t.Error("the configuration in force is lost")
	}
}

func TestOlderVersionRefusedOtherControllerTried(t *testing.T) {
	t.Parallel()
	current, lagging := newController(t), newController(t)
	a := startAgent(t, current, lagging)
	lags := func(p *peer) {
		p.send(full(3, pools(1)...))
		within(t, "the end", p.gone)
	}
	streamed := 0
	for streamed < 2 {
		select {
		case p := <-current.streams:
			streamed++
			p.send(full(5, pools(2)...))
			within(t, "an ack", p.acks)
			p.end <- nil
		case p := <-lagging.streams:
			if streamed == 0 { // chance had it first
				p.end <- status.Error(codes.Unavailable, "starting")
			} else {
				lags(p)
			}
		case <-time.After(patience):
			t.Fatal("no controller is tried")
		}
		if v := a.version(t); streamed > 0 && v.Revision != 5 {
			t.Fatalf("version %v in force, want revision 5", v)
		}
	}
}

func TestReports(t *testing.T) {
	t.Parallel()
	c := newController(t)
	a := startAgent(t, c)
	p := c.accept()
	if r := within(t, "the first report", p.reports); r.DownCount != 0 {
		t.Errorf("first report %v", r)
	}
	// A storm of changes: few reports, of which the last tells the last state.
	began := time.Now()
	stop := time.After(3 * reportInterval)
	n := uint32(0)
	for running := true; running; {
		n++
		a.down(n)
		select {
		case <-stop:
			running = false
		case <-time.After(time.Millisecond):
		}
	}
	count := 0
	for last := uint32(0); last != n; count++ {
		last = within(t, "a report", p.reports).DownCount
	}
	if most := int(time.Since(began)/reportInterval) + 1; count > most {
		t.Errorf("%d reports within %v, want at most %d", count, time.Since(began), most)
	}
	// What did not change is not sent: the next report is that of the change.
	a.down(n)
	a.down(n)
	a.down(n + 1)
	if r := within(t, "a report", p.reports); r.DownCount != n+1 {
		t.Errorf("report %v, want %d down", r, n+1)
	}
	// A new stream begins with the present state.
	p.end <- nil
	if r := within(t, "the first report", c.accept().reports); r.DownCount != n+1 {
		t.Errorf("first report of a new stream %v, want %d down", r, n+1)
	}
}

func TestNoAckWaitsForAReport(t *testing.T) {
	t.Parallel()
	c := newController(t)
	a := startAgent(t, c)
	p := c.accept()
	within(t, "the first report", p.reports)
	entered := make(chan struct{}, 1)
	a.setReport(func(ctx context.Context) (*agentv1.Report, error) {
		entered <- struct{}{}
		<-ctx.Done() // as slow as can be
		return nil, ctx.Err()
	})
	within(t, "the look at the node", entered)
	for i := range int64(5) {
		p.send(full(i+1, pools(int(i))...))
		within(t, "an ack", p.acks)
	}
	a.stop() // ends the report as well
	within(t, "the end", p.gone)
}

func TestReportThatFails(t *testing.T) {
	t.Parallel()
	c := newController(t)
	a := startAgent(t, c)
	p := c.accept()
	within(t, "the first report", p.reports)
	a.setReport(func(context.Context) (*agentv1.Report, error) { return nil, errors.New("no report today") })
	within(t, "the end", p.gone)
	a.down(1)
	for {
		p = c.accept()
		select {
		case r := <-p.reports:
			if r.DownCount != 1 {
				t.Errorf("report %v", r)
			}
			return
		case <-p.gone: // began before the report was mended
		case <-time.After(patience):
			t.Fatal("no report comes")
		}
	}
}

func TestStopIsPrompt(t *testing.T) {
	t.Parallel()
	t.Run("while streaming", func(t *testing.T) {
		t.Parallel()
		c := newController(t)
		a := startAgent(t, c)
		p := c.accept()
		p.send(full(1, pools(1)...))
		within(t, "an ack", p.acks)
		stopsWithin(t, a)
	})
	t.Run("while a controller does not answer", func(t *testing.T) {
		t.Parallel()
		silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		a := startAgent(t, &controller{addr: silent.Addr().String()})
		conn, err := silent.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		stopsWithin(t, a)
	})
}

func stopsWithin(t *testing.T, a *agent) {
	t.Helper()
	began := time.Now()
	a.stop()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if a.metrics.Unconfirmed() == 0 {
		t.Error("a stopped client counts as streaming")
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"no controller is given":   {Credentials: insecure.NewCredentials()},
		`controller "127.0.0.1:1"`: {Controllers: []string{"127.0.0.1:1"}},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v, want an error that says %q", err, name)
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"Unavailable: down":           status.Error(codes.Unavailable, "down"),
		"the controller ended itself": errors.New("the controller ended itself"),
	} {
		if got := words(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestSilentController holds a stream open on which nothing ever comes.
func TestSilentController(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		s := session{ctx: ctx, cancel: cancel, stream: silentStream{ctx: ctx},
			Client: &Client{cfg: Config{Report: func(ctx context.Context) (*agentv1.Report, error) {
				return &agentv1.Report{}, nil
			}}}, acks: make(chan *agentv1.Ack), reports: make(chan *agentv1.Report)}
		began := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := s.run(&agentv1.Hello{}); !strings.Contains(err.Error(), "no answer to the hello") {
				t.Errorf("ended with %v", err)
			}
		})
		wg.Wait()
		if took := time.Since(began); took != greetTimeout {
			t.Errorf("given up after %v, want %v", took, greetTimeout)
		}
	})
}

// silentStream takes everything and says nothing.
type silentStream struct {
	agentv1.SnapshotService_StreamClient
	ctx context.Context
}

func (s silentStream) Send(*agentv1.AgentMessage) error { return nil }

func (s silentStream) Recv() (*agentv1.ControllerMessage, error) {
	<-s.ctx.Done()
	return nil, s.ctx.Err()
}
