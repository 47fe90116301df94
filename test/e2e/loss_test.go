package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fiberlb/fiberlb/test/harness"
)

// restartLimit is how soon traffic must be back after a data plane starts again without any controller.
const restartLimit = time.Second

func TestLossOfProcesses(t *testing.T) {
	t.Parallel()
	controller := harness.StartController(t, harness.ControllerConfig{})
	node := harness.StartNode(t, harness.NodeConfig{Controllers: []*harness.Controller{controller}})
	servers := backends(t, "l", 3)
	web := service{name: "web", listener: harness.Endpoint(t), pool: servers[:2], check: quickCheck}
	controller.Ctl().Apply(t, web.yaml())
	harness.Serves(t, web.listener)

	load := harness.StartLoad(t, web.listener, 1, 2)
	began := load.Made()
	controller.Kill(t)
	harness.Until(t, "the node notices", func() error {
		return expectMetric(node.Metrics(t), 0, "fiberlb_dataplane_stream_connected")
	})
	harness.Until(t, "traffic goes on without a controller", func() error {
		if load.Made() < began+100 {
			return fmt.Errorf("%d connections", load.Made()-began)
		}
		return nil
	})
	result := load.MustStop(t)
	t.Logf("controller killed: %d connections, none failed, longest gap %s", result.Made, result.Gap.Round(time.Millisecond))
	if age := node.Metrics(t).Must(t, "fiberlb_dataplane_config_unconfirmed_seconds"); age <= 0 {
		t.Errorf("nobody confirms the configuration, but its age without that is %g", age)
	}

	// Without a controller the data plane dies and comes back. Its last good configuration is on disk within moments of
	// having been acknowledged, not in the same one.
	node.Kill(t)
	if err := harness.Refused(t.Context(), web.listener); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	node.Relaunch(t)
	harness.Serves(t, web.listener)
	took := time.Since(start)
	t.Logf("data plane restarted without a controller: the first connection was served after %s", took.Round(time.Millisecond))
	if took > restartLimit {
		t.Errorf("traffic was back only after %s", took)
	}
	node.AwaitReady(t)
	if got := harness.Spread(t, web.listener, 60); len(got) != 2 {
		t.Errorf("after the restart connections went to %v", got)
	}

	// The controller comes back to its old data and is in charge again.
	controller.Restart(t)
	harness.Until(t, "the node streams again", func() error {
		return expectMetric(node.Metrics(t), 1, "fiberlb_dataplane_stream_connected")
	})
	web.pool = servers[2:]
	controller.Ctl().Apply(t, web.yaml())
	harness.Until(t, "the new backend takes over", func() error {
		c, err := harness.Dial(t.Context(), web.listener)
		if err != nil {
			return err
		}
		defer c.Close()
		if c.Backend != "l3" {
			return errors.New("still " + c.Backend)
		}
		return nil
	})
}

// TestDamagedStateFile boots a data plane whose last good snapshot is of no use: it says so, waits, and takes what a controller gives.
func TestDamagedStateFile(t *testing.T) {
	t.Parallel()
	controller := harness.StartController(t, harness.ControllerConfig{})
	node := harness.StartNode(t, harness.NodeConfig{Controllers: []*harness.Controller{controller}})
	web := service{name: "web", listener: harness.Endpoint(t), pool: backends(t, "d", 1)}
	controller.Ctl().Apply(t, web.yaml())
	harness.Serves(t, web.listener)
	node.Stop(t)
	damage(t, node.StateDir)
	node.Relaunch(t)
	node.AwaitLog(t, 0, `"error"`, "last good snapshot")
	harness.Serves(t, web.listener)
}

// damage flips a byte in the middle of every file of a folder.
func damage(t *testing.T, dir string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Fatalf("no state to damage in %s: %v", dir, err)
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) > 0 {
			content[len(content)/2] ^= 0xff
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
