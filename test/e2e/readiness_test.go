package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
	"github.com/fiberlb/fiberlb/test/harness"
)

// heartbeatLimit is what the readiness protocol promises as the longest silence.
const heartbeatLimit = 300 * time.Millisecond

// agent is a BGP agent at a node's readiness socket.
type agent struct {
	stream   agentv1.ReadinessService_ConnectClient
	messages chan heard // closed at the end of the stream
	err      error      // why it ended; valid once messages is closed
	ended    time.Time
}

type heard struct {
	*agentv1.Readiness
	at time.Time
}

func connectAgent(t *testing.T, socket string) *agent {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	stream, err := agentv1.NewReadinessServiceClient(conn).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{stream: stream, messages: make(chan heard, 10_000)}
	go func() {
		defer close(a.messages)
		for {
			m, err := stream.Recv()
			if err != nil {
				a.err, a.ended = err, time.Now()
				return
			}
			a.messages <- heard{m, time.Now()}
		}
	}()
	return a
}

// await takes messages until one is as wished.
func (a *agent) await(t *testing.T, what string, ok func(*agentv1.Readiness) error) heard {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	last := errors.New("nothing was said")
	for {
		select {
		case m, open := <-a.messages:
			if !open {
				t.Fatalf("%s: the stream ended: %v", what, a.err)
			}
			if last = ok(m.Readiness); last == nil {
				return m
			}
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, last)
		}
	}
}

// vipIs wants a VIP to be ready, or not to be for a reason that holds the words.
func vipIs(vip string, ready bool, words string) func(*agentv1.Readiness) error {
	return func(r *agentv1.Readiness) error {
		for _, v := range r.GetVips() {
			if v.GetVip() != vip {
				continue
			}
			if v.GetReady() != ready || !strings.Contains(v.GetReason(), words) {
				return fmt.Errorf("ready %t: %q", v.GetReady(), v.GetReason())
			}
			return nil
		}
		return fmt.Errorf("no word of %s in %v", vip, r)
	}
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	servers := backends(t, "r", 2)
	good := service{name: "good", listener: harness.Endpoint(t), pool: servers[:1], check: quickCheck}
	dead := service{name: "dead", listener: harness.Endpoint(t), pool: servers[1:], check: quickCheck}
	servers[1].Stop()
	// An address and port that somebody else holds.
	taken := service{name: "taken", listener: harness.NewBackend(t, "squatter").Addr, pool: servers[:1]}
	file := harness.WriteFile(t, "fiberlb.yaml", documents(good, dead, taken))
	node := harness.LaunchNode(t, harness.NodeConfig{Name: "node-r", File: file})
	harness.Until(t, "the readiness socket opens", func() error { return dialSocket(node.Socket) })
	agent := connectAgent(t, node.Socket)

	first := agent.await(t, "a VIP with a healthy backend is ready", vipIs(good.listener.Addr().String(), true, ""))
	if first.GetNode() != "node-r" || first.GetDraining() {
		t.Errorf("readiness of node %q, draining %t", first.GetNode(), first.GetDraining())
	}
	agent.await(t, "one without is not", vipIs(dead.listener.Addr().String(), false, "no listener has a healthy backend"))
	agent.await(t, "one whose port is taken is not", vipIs(taken.listener.Addr().String(), false, "in use"))

	began := time.Now()
	servers[1].Start(t)
	up := agent.await(t, "the backend came back", vipIs(dead.listener.Addr().String(), true, ""))
	t.Logf("a backend that came back made its VIP ready after %s", up.at.Sub(began).Round(time.Millisecond))
	began = time.Now()
	servers[1].Stop()
	down := agent.await(t, "the backend died", vipIs(dead.listener.Addr().String(), false, "healthy backend"))
	t.Logf("a backend that died made it unready after %s", down.at.Sub(began).Round(time.Millisecond))

	removal(t, agent, node, file, good, dead)
	agent.await(t, "all that left the file is gone", func(r *agentv1.Readiness) error {
		if len(r.GetVips()) != 2 {
			return fmt.Errorf("VIPs %v", r.GetVips())
		}
		return nil
	})
	heartbeats(t, agent)

	began = time.Now()
	node.Kill(t)
	for range agent.messages {
	}
	took := agent.ended.Sub(began)
	t.Logf("the end of a killed data plane was seen after %s: %v", took.Round(time.Microsecond), agent.err)
	if took > heartbeatLimit {
		t.Errorf("a killed data plane was noticed after %s only", took)
	}

	// The socket file of the dead is replaced by the next one's.
	node.Relaunch(t)
	harness.Until(t, "the readiness socket opens again", func() error { return dialSocket(node.Socket) })
	connectAgent(t, node.Socket).await(t, "ready again", vipIs(good.listener.Addr().String(), true, ""))
}

// heartbeats wants silence never to last longer than promised while nothing changes. A busy machine delays reader and writer
// alike, so it is most pauses that count, and the longest only by far.
func heartbeats(t *testing.T, a *agent) {
	t.Helper()
	drained := false
	for !drained {
		select {
		case <-a.messages:
		default:
			drained = true
		}
	}
	const beats = 8
	last, longest, late := time.Now(), time.Duration(0), 0
	for range beats {
		pause := a.await(t, "a heartbeat", func(*agentv1.Readiness) error { return nil }).at.Sub(last)
		last = last.Add(pause)
		longest = max(longest, pause)
		if pause > heartbeatLimit {
			late++
		}
	}
	t.Logf("longest pause of %d heartbeats: %s", beats, longest.Round(time.Millisecond))
	if late > beats/4 || longest > 5*heartbeatLimit {
		t.Errorf("%d of %d heartbeats were later than %s, the longest %s", late, beats, heartbeatLimit, longest)
	}
}

// removal takes a VIP out of the configuration while the agent announces it: its listener stays until the agent says withdrawn.
func removal(t *testing.T, a *agent, node *harness.Node, file string, goes, stays service) {
	t.Helper()
	vip := goes.listener.Addr().String()
	report := func(announced bool) {
		t.Helper()
		if err := a.stream.Send(&agentv1.AnnouncementReport{Vips: []*agentv1.VipAnnouncement{{Vip: vip, Announced: announced}}}); err != nil {
			t.Fatal(err)
		}
	}
	report(true)
	a.await(t, "a heartbeat after the report", func(*agentv1.Readiness) error { return nil })
	rewrite(t, file, documents(stays))
	node.Signal(t, syscall.SIGHUP)
	a.await(t, "the VIP leaves", func(r *agentv1.Readiness) error {
		for _, v := range r.GetVips() {
			if v.GetVip() == vip && v.GetRemoving() && !v.GetReady() {
				return nil
			}
		}
		return fmt.Errorf("no removal of %s in %v", vip, r)
	})
	harness.MustDial(t, goes.listener) // still served: routers still send
	report(false)
	took := harness.Until(t, "the listener closes after the withdrawal", func() error { return harness.Refused(t.Context(), goes.listener) })
	if took > time.Second {
		t.Errorf("the listener closed only %s after the withdrawal", took)
	}
	rewrite(t, file, documents(goes, stays))
	node.Signal(t, syscall.SIGHUP)
	harness.Serves(t, goes.listener)
}

// dialSocket is nil when somebody listens on a unix socket.
func dialSocket(path string) error {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	return conn.Close()
}

// draining wants the node to be draining, or not to be.
func draining(want bool) func(*agentv1.Readiness) error {
	return func(r *agentv1.Readiness) error {
		if r.GetDraining() != want {
			return fmt.Errorf("draining is %t", r.GetDraining())
		}
		return nil
	}
}
