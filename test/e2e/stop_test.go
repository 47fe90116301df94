package e2e

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
	"github.com/fiberlb/fiberlb/test/harness"
)

// stopLimit is how long a controller may take to stop, whatever streams are open.
const stopLimit = 5 * time.Second

func TestStop(t *testing.T) {
	t.Parallel()
	supervisor := harness.NewSupervisor(t)
	controller := harness.StartController(t, harness.ControllerConfig{Env: supervisor.Env()})
	supervisor.Await(t, 0, "READY=1")
	node := harness.StartNode(t, harness.NodeConfig{Controllers: []*harness.Controller{controller}})
	web := service{name: "web", listener: harness.Endpoint(t), pool: backends(t, "w", 1)}
	controller.Ctl().Apply(t, web.yaml())

	// A Watch and the node's stream are open, and stay so until the controller ends them.
	watched := make(chan error, 1)
	watch, err := fiberlbv1.NewConfigServiceClient(controller.Dial(t, nil)).Watch(t.Context(), &fiberlbv1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	bookmark := make(chan struct{})
	go func() {
		for {
			m, err := watch.Recv()
			if err != nil {
				watched <- err
				return
			}
			if m.GetType() == fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_BOOKMARK {
				close(bookmark)
			}
		}
	}()
	<-bookmark
	conn := harness.MustDial(t, web.listener)

	took := controller.Stop(t)
	t.Logf("controller stopped within %s with a node's stream and a Watch open", took.Round(time.Millisecond))
	if took > stopLimit {
		t.Errorf("the controller took %s to stop", took)
	}
	supervisor.Await(t, 0, "STOPPING=1")
	if err := <-watched; err == nil || errors.Is(err, io.EOF) || strings.Contains(err.Error(), "DeadlineExceeded") {
		t.Errorf("the Watch ended with %v, which does not tell that the server went away", err)
	}

	// The data plane drains: what is open goes on, nothing new gets in, and it ends as soon as the last connection does.
	node.Signal(t, syscall.SIGTERM)
	harness.Until(t, "the listener closes", func() error { return harness.Refused(t.Context(), web.listener) })
	for n := range 5 {
		if err := conn.Echo(fmt.Sprint("while draining ", n)); err != nil {
			t.Fatalf("an open connection was cut: %v", err)
		}
	}
	select {
	case <-node.Done():
		t.Fatal("the data plane ended with a connection open")
	default:
	}
	began := time.Now()
	_ = conn.Close()
	if code := node.Wait(t); code != 0 {
		t.Errorf("exit code %d after a drain", code)
	}
	t.Logf("data plane ended %s after its last connection", time.Since(began).Round(time.Millisecond))
	if late := time.Since(began); late > 2*time.Second {
		t.Errorf("the data plane ended only %s after its last connection", late)
	}
}

// TestDrainTimeout bounds the wait for a connection that does not end.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	web := service{name: "web", listener: harness.Endpoint(t), pool: backends(t, "t", 1)}
	file := harness.WriteFile(t, "fiberlb.yaml", web.yaml())
	node := harness.StartNode(t, harness.NodeConfig{File: file, Args: []string{"--drain-timeout", "300ms"}})
	conn := harness.MustDial(t, web.listener)
	began := time.Now()
	node.Stop(t)
	if took := time.Since(began); took < 300*time.Millisecond || took > 3*time.Second {
		t.Errorf("a connection that does not end held the data plane for %s, the drain timeout being 300ms", took)
	}
	if err := conn.Echo("anybody there?"); err == nil {
		t.Error("the connection outlived the data plane")
	}
}

// TestWatchdog feeds a supervisor's watchdog at half the interval it asks for.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	supervisor := harness.NewSupervisor(t)
	file := harness.WriteFile(t, "fiberlb.yaml", service{name: "web", listener: harness.Endpoint(t), pool: backends(t, "g", 1)}.yaml())
	harness.StartNode(t, harness.NodeConfig{File: file, Env: append(supervisor.Env(), "WATCHDOG_USEC=200000")})
	after := 0
	for range 3 {
		after = supervisor.Await(t, after, "WATCHDOG=1")
	}
}
