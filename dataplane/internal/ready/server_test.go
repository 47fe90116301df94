package ready

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds waits for what should come at once.
const patience = 10 * time.Second

// socketPath is short enough for a socket, which t.TempDir need not be.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ready")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "run", "s")
}

// serve runs a server; the function returned stops it and waits for it.
func serve(t *testing.T, path string) (*Server, func()) {
	t.Helper()
	s := NewServer(path, hclog.NewNullLogger())
	s.Publish(&agentv1.Readiness{Node: "first"})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	stop := func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return s, stop
}

// agent is a connected BGP agent.
type agent struct {
	t      *testing.T
	stream agentv1.ReadinessService_ConnectClient
	cancel context.CancelFunc
}

func connect(t *testing.T, path string) *agent {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	t.Cleanup(func() { cancel(); _ = conn.Close() })
	stream, err := agentv1.NewReadinessServiceClient(conn).Connect(ctx, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	return &agent{t, stream, cancel}
}

func (a *agent) receive() *agentv1.Readiness {
	a.t.Helper()
	r, err := a.stream.Recv()
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

func (a *agent) report(vips map[string]bool) {
	a.t.Helper()
	r := &agentv1.AnnouncementReport{}
	for vip, announced := range vips {
		r.Vips = append(r.Vips, &agentv1.VipAnnouncement{Vip: vip, Announced: announced})
	}
	if err := a.stream.Send(r); err != nil {
		a.t.Fatal(err)
	}
}

func hear(t *testing.T, s *Server) {
	t.Helper()
	select {
	case <-s.Heard():
	case <-time.After(patience):
		t.Fatal("nothing was heard of the agent")
	}
}

func TestFirstStateHeartbeatAndChanges(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	s, _ := serve(t, path)
	a := connect(t, path)
	if got := a.receive(); got.Node != "first" {
		t.Errorf("first state %v", got)
	}
	began := time.Now()
	const beats = 4
	for range beats {
		if got := a.receive(); got.Node != "first" {
			t.Errorf("heartbeat %v", got)
		}
	}
	// Measured over several, and with room for a busy machine: the contract is 300 ms each.
	if took := time.Since(began); took < beats*heartbeat/2 || took > beats*heartbeat*3 {
		t.Errorf("%d heartbeats took %v", beats, took)
	}
	next := &agentv1.Readiness{Node: "second", Vips: []*agentv1.VipReadiness{{Vip: "192.0.2.1", Ready: true}}}
	published := time.Now()
	s.Publish(next)
	for got := a.receive(); !proto.Equal(got, next); got = a.receive() {
		if time.Since(published) > patience {
			t.Fatal("the change does not come")
		}
	}
	if s.Latest() != next {
		t.Error("the latest state is another than the one published last")
	}
}

func TestWithdrawn(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	s, stop := serve(t, path)
	expect := func(when string, want bool) {
		t.Helper()
		if got := s.Withdrawn("192.0.2.1"); got != want {
			t.Errorf("%s: withdrawn is %v", when, got)
		}
	}
	expect("without an agent", true)
	a := connect(t, path)
	a.receive()
	expect("with a silent agent", false)
	a.report(map[string]bool{"192.0.2.9": false})
	hear(t, s)
	expect("with an agent that is silent about the VIP", false)
	a.report(map[string]bool{"192.0.2.1": true})
	hear(t, s)
	expect("announced", false)
	a.report(map[string]bool{"192.0.2.1": false})
	hear(t, s)
	expect("withdrawn", true)

	b := connect(t, path)
	b.receive()
	expect("with a second, silent agent", false)
	b.report(map[string]bool{"192.0.2.1": true})
	hear(t, s)
	expect("announced by the second", false)
	b.report(map[string]bool{"192.0.2.1": false})
	hear(t, s)
	expect("withdrawn by both", true)
	b.report(map[string]bool{"192.0.2.1": true})
	hear(t, s)
	b.cancel()
	hear(t, s)
	expect("announced by an agent that died", true)
	a.report(map[string]bool{"192.0.2.1": true})
	hear(t, s)
	stop()
	expect("after the stop", true)
}

func TestAgentThatSaysGoodbye(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	s, _ := serve(t, path)
	a := connect(t, path)
	a.receive()
	if err := a.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	hear(t, s)
	if !s.Withdrawn("192.0.2.1") {
		t.Error("an agent that went away counts")
	}
}

// An agent that reads nothing must delay nobody.
func TestPublishDoesNotWaitForAgents(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	s, _ := serve(t, path)
	stuck, other := connect(t, path), connect(t, path)
	stuck.receive()
	big := &agentv1.Readiness{Node: strings.Repeat("x", 1<<20)}
	for range 100 {
		s.Publish(big)
		if got := other.receive(); got.Node == "" {
			t.Fatal("an empty state")
		}
	}
	if s.Withdrawn("192.0.2.1") {
		t.Error("the stuck agent is gone")
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	_, stop := serve(t, path)
	connect(t, path).receive()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket has mode %v, %v", info.Mode(), err)
	}
	stop()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestSocketIsRefused(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	_, _ = serve(t, path)
	connect(t, path).receive()
	file := filepath.Join(filepath.Dir(path), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		path:                               "is served by another process",
		file:                               "exists and is not a socket",
		filepath.Join(file, "s"):           "not a directory",
		"/tmp/" + strings.Repeat("x", 103): "longer than the 107 bytes",
	} {
		err := NewServer(path, hclog.NewNullLogger()).Run(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error that says %q", path, err, want)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file that is not a socket has become %q, %v", b, err)
	}
	connect(t, path).receive() // the first server goes on
}

func TestWithoutSocket(t *testing.T) {
	t.Parallel()
	s, stop := serve(t, "")
	s.Publish(&agentv1.Readiness{Node: "n"})
	if s.Latest().Node != "n" || !s.Withdrawn("192.0.2.1") {
		t.Error("a server without a socket is not as one without an agent")
	}
	stop()
}
