package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/fiberlb/fiberlb/test/harness"
)

// documents are services as one file.
func documents(services ...service) string {
	texts := make([]string, 0, len(services))
	for _, s := range services {
		texts = append(texts, s.yaml())
	}
	return strings.Join(texts, "---\n")
}

func rewrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStaticFile(t *testing.T) {
	t.Parallel()
	servers := backends(t, "s", 3)
	steady := service{name: "steady", listener: harness.Endpoint(t), pool: servers[:2]}
	other := service{name: "other", listener: harness.Endpoint(t), pool: servers[2:]}
	file := harness.WriteFile(t, "fiberlb.yaml", documents(steady, other))
	supervisor := harness.NewSupervisor(t)
	node := harness.StartNode(t, harness.NodeConfig{File: file, Env: supervisor.Env()})
	heard := supervisor.Await(t, 0, "READY=1")

	if got := harness.Spread(t, steady.listener, 100); got["s1"] == 0 || got["s2"] == 0 || got["s3"] != 0 {
		t.Errorf("the steady listener's connections went to %v", got)
	}
	load := harness.StartLoad(t, steady.listener, 1, 4)
	doomed := harness.MustDial(t, other.listener)

	// A good file: the second load balancer goes, another comes, the first is as it was.
	another := service{name: "another", listener: harness.Endpoint(t), pool: servers[2:]}
	rewrite(t, file, documents(steady, another))
	node.Signal(t, syscall.SIGHUP)
	harness.Serves(t, another.listener)
	heard = supervisor.Await(t, heard, "READY=1")
	harness.Until(t, "the removed listener closes", func() error { return harness.Refused(t.Context(), other.listener) })
	if err := doomed.Echo("a drain"); err != nil {
		t.Errorf("an open connection of the removed listener did not live on: %v", err)
	}
	harness.Until(t, "the reload is counted", func() error {
		return expectMetric(node.Metrics(t), 1, "fiberlb_dataplane_file_reload_success")
	})

	// Bad files: each refused whole, with the place of every fault, and what was in force stays.
	bad := []struct{ name, content, complaint string }{
		{"no YAML at all", "name: [", "fiberlb.yaml:1"},
		{"a port out of range", strings.Replace(steady.yaml(), fmt.Sprintf("port: %d, protocol: tcp", steady.listener.Port()), "port: 99999, protocol: tcp", 1),
			"listeners[0].port: 99999"},
		{"one of two is bad", documents(another) + "---\nname: x\nvipz: [127.0.0.9]\n", "vipz"},
		{"what this data plane cannot do", strings.Replace(steady.yaml(), "{name: front, port", "{name: udp, port: 1, protocol: udp}\n- {name: front, port", 1), "udp"},
	}
	for _, b := range bad {
		rewrite(t, file, b.content)
		mark := node.Mark()
		node.Signal(t, syscall.SIGHUP)
		line := node.AwaitLog(t, mark, `"error"`, b.complaint)
		if !strings.Contains(line, file) && !strings.Contains(line, "fiberlb.yaml") {
			t.Errorf("%s: the log does not name the file: %s", b.name, line)
		}
		harness.Until(t, b.name+": the refused reload shows", func() error {
			status, body, err := node.Ready(t.Context())
			if err != nil || status == http.StatusServiceUnavailable && strings.Contains(body, b.complaint) {
				return err
			}
			return fmt.Errorf("/readyz %d: %s", status, body)
		})
		if err := expectMetric(node.Metrics(t), 0, "fiberlb_dataplane_file_reload_success"); err != nil {
			t.Errorf("%s: %v", b.name, err)
		}
		harness.Serves(t, another.listener)
	}

	// And a good one again ends the complaint.
	rewrite(t, file, documents(steady, another, other))
	node.Signal(t, syscall.SIGHUP)
	harness.Serves(t, other.listener)
	node.AwaitReady(t)
	if err := expectMetric(node.Metrics(t), 1, "fiberlb_dataplane_file_reload_success"); err != nil {
		t.Error(err)
	}
	supervisor.Await(t, heard, "READY=1")
	result := load.MustStop(t)
	t.Logf("%d connections to the unchanged listener over six reloads, none failed", result.Made)
	mark := len(supervisor.Messages())
	node.Stop(t)
	supervisor.Await(t, mark, "STOPPING=1")
}

// expectMetric is nil when a metric has the value.
func expectMetric(m harness.Metrics, want float64, name string, labels ...string) error {
	got, ok := m.Sum(name, labels...)
	if !ok {
		return fmt.Errorf("there is no metric %s %v", name, labels)
	}
	if got != want {
		return fmt.Errorf("metric %s %v is %g, want %g", name, labels, got, want)
	}
	return nil
}

func TestStaticFileBadAtStart(t *testing.T) {
	t.Parallel()
	file := harness.WriteFile(t, "fiberlb.yaml", "name: web\nvips: [127.0.0.1]\nlisteners:\n- {name: a, port: 99999, protocol: tcp}\n- {name: b, port: 1, protocol: tcpp}\n")
	node := harness.LaunchNode(t, harness.NodeConfig{File: file})
	if code := node.Wait(t); code == 0 {
		t.Error("exit code 0")
	}
	for _, want := range []string{"fiberlb.yaml:4: listeners[0].port: 99999", "fiberlb.yaml:5: listeners[1].protocol", `"tcpp"`} {
		if !strings.Contains(node.Output(), want) {
			t.Errorf("it did not say %q", want)
		}
	}
	if _, err := os.Stat(node.Socket); err == nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a readiness socket without a configuration: %v", err)
	}
}
