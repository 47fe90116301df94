package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/test/harness"
)

// cell is one controller with one node, which tests of different load balancers share.
type cell struct {
	controller *harness.Controller
	node       *harness.Node
	keyFile    string
}

func TestOperator(t *testing.T) {
	t.Parallel()
	c := &cell{keyFile: harness.KeyFile(t)}
	c.controller = harness.StartController(t, harness.ControllerConfig{
		Args: []string{"--key-file", c.keyFile, "--vip-cidrs", "203.0.113.0/24", "--log-level", "trace"},
	})
	c.node = harness.StartNode(t, harness.NodeConfig{
		Controllers: []*harness.Controller{c.controller}, Args: []string{"--label", "zone=a", "--log-level", "trace"},
	})
	t.Run("way of a file", func(t *testing.T) { testWayOfAFile(t, c) })
	t.Run("refusals", func(t *testing.T) { testRefusals(t, c) })
	t.Run("not yet", func(t *testing.T) { testNotYet(t, c) })
	t.Run("drain", func(t *testing.T) { testDrain(t, c) })
	t.Run("private keys", func(t *testing.T) { testPrivateKeys(t, c) })
	t.Run("REST", func(t *testing.T) { testREST(t, c) })
}

// readmeExample is the load balancer that README.md has its reader apply, in his own place: with another VIP and backends.
func readmeExample(t *testing.T, vip netip.AddrPort, backends [2]netip.AddrPort) string {
	t.Helper()
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "```yaml\n")
	example, _, found := strings.Cut(after, "```")
	for _, change := range [][2]string{
		{"127.0.0.10", vip.Addr().String()},
		{"port: 8080", fmt.Sprint("port: ", vip.Port())},
		{"127.0.0.1, port: 9001", fmt.Sprintf("%s, port: %d", backends[0].Addr(), backends[0].Port())},
		{"127.0.0.1, port: 9002", fmt.Sprintf("%s, port: %d", backends[1].Addr(), backends[1].Port())},
	} {
		if !strings.Contains(example, change[0]) {
			found = false
		}
		example = strings.Replace(example, change[0], change[1], 1)
	}
	if !found {
		t.Fatalf("README.md has no example any more, or another one:\n%s", example)
	}
	return example
}

// answersOf asks a VIP over HTTP so often, each time over a new connection, and counts who answered.
func answersOf(t *testing.T, vip netip.AddrPort, n int) map[string]int {
	t.Helper()
	count := map[string]int{}
	for range n {
		_, body, err := harness.Get(t.Context(), vip.String(), "/")
		if err != nil {
			t.Fatalf("through the VIP: %v", err)
		}
		count[body]++
	}
	return count
}

func testWayOfAFile(t *testing.T, c *cell) {
	t.Parallel()
	one, two := harness.NewWebBackend(t, "one"), harness.NewWebBackend(t, "two")
	vip := harness.Endpoint(t)
	file := harness.WriteFile(t, "web.yaml", readmeExample(t, vip, [2]netip.AddrPort{one.Addr, two.Addr}))
	ctl := c.controller.Ctl()

	ctl.Must(t, "", "validate", "-f", file)
	if out := ctl.Run(t, "", "plan", "-f", file); out.Code != 3 || !containsAll(out.Stdout, "web", "frontend", "servers") {
		t.Errorf("plan of what is not there: exit code %d, want 3\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
	if out := ctl.Run(t, "", "get", "lb", "web"); out.Code != 1 || !containsAll(out.Stderr, "web", "not") {
		t.Errorf("plan wrote something: get gives %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
	ctl.Must(t, "", "apply", "-f", file, "--wait")
	if out := ctl.Run(t, "", "plan", "-f", file); out.Code != 0 {
		t.Errorf("plan of what is there: exit code %d, want 0\n%s%s", out.Code, out.Stdout, out.Stderr)
	}

	// Maglev: both serve, evenly, and a client's connections of one port stay with one.
	harness.Until(t, "both backends are up", func() error {
		if count := answersOf(t, vip, 20); len(count) != 2 {
			return fmt.Errorf("answers of %v", count)
		}
		return nil
	})
	count := answersOf(t, vip, 200)
	if count["one"] < 60 || count["two"] < 60 {
		t.Errorf("200 connections were spread %v", count)
	}
	one.Sick.Store(true)
	harness.Until(t, "the sick backend is left out", func() error {
		if count := answersOf(t, vip, 20); count["one"] > 0 {
			return errors.New("it still gets connections")
		}
		return nil
	})
	harness.Until(t, "status names what is down", func() error {
		out := ctl.Must(t, "", "get", "backends", "--lb", "web")
		if line := lineWith(out, "b1"); !strings.Contains(strings.ToLower(line), "error") && !strings.Contains(strings.ToLower(line), "offline") {
			return errors.New(out)
		}
		return nil
	})
	one.Sick.Store(false)

	shown := ctl.Must(t, "", "get", "listeners", "--lb", "web")
	if line := lineWith(shown, "frontend"); !containsAll(line, "tcp", fmt.Sprint(vip.Port())) {
		t.Errorf("get listeners:\n%s", shown)
	}
	for _, format := range []string{"table", "wide", "json", "yaml", "name"} {
		if out := ctl.Must(t, "", "get", "lb", "web", "-o", format); !strings.Contains(out, "web") {
			t.Errorf("get -o %s:\n%s", format, out)
		}
	}
	if o := object(t, ctl.Must(t, "", "get", "lb", "web", "-o", "json")); o["full_name"] != "projects/default/loadBalancers/web" {
		t.Errorf("get -o json: %v", o)
	}
	if out := ctl.Must(t, "", "status"); !containsAll(out, "web", "n1") {
		t.Errorf("status:\n%s", out)
	}

	// An export is a file: applying it changes nothing.
	exported := harness.WriteFile(t, "export.yaml", ctl.Must(t, "", "export", "web"))
	ctl.Must(t, "", "validate", "-f", exported)
	if out := ctl.Run(t, "", "plan", "-f", exported); out.Code != 0 {
		t.Errorf("plan of an export: exit code %d, want 0\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
	etag := object(t, ctl.Must(t, "", "get", "lb", "web", "-o", "json"))["etag"]
	ctl.Must(t, "", "apply", "-f", exported)
	if now := object(t, ctl.Must(t, "", "get", "lb", "web", "-o", "json"))["etag"]; now != etag {
		t.Errorf("applying an export changed the etag from %v to %v", etag, now)
	}

	if out := ctl.Run(t, "", "delete", "pool", "servers", "--lb", "web"); out.Code != 1 || !containsAll(out.Stderr, "frontend") {
		t.Errorf("delete of a pool in use: exit code %d\n%s", out.Code, out.Stderr)
	}
	if out := ctl.Run(t, "", "delete", "lb", "web"); out.Code != 1 || !containsAll(out.Stderr, "1 listener", "1 pool", "cascade") {
		t.Errorf("delete with children: exit code %d\n%s", out.Code, out.Stderr)
	}
	if count := answersOf(t, vip, 20); len(count) == 0 {
		t.Error("refused deletes stopped the traffic")
	}
	ctl.Must(t, "", "delete", "lb", "web", "--cascade")
	harness.Until(t, "the listener closes", func() error { return harness.Refused(t.Context(), vip) })
	if out := ctl.Run(t, "", "delete", "lb", "web"); out.Code != 1 {
		t.Errorf("delete of what is gone: exit code %d", out.Code)
	}
}

// lineWith is the first line that holds a word.
func lineWith(text, word string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			return line
		}
	}
	return ""
}

// testRefusals applies what must not be, and looks that nothing of it was stored.
func testRefusals(t *testing.T, c *cell) {
	t.Parallel()
	ctl := c.controller.Ctl()
	taken := service{name: "first", listener: harness.Endpoint(t), pool: backends(t, "f", 1)}
	ctl.Apply(t, taken.yaml())
	document := func(vip, backend string) string {
		return fmt.Sprintf(`name: refused
vips: [%s]
listeners: [{name: a, port: 80, protocol: tcp, default_pool_id: p}]
pools: [{name: p, protocol: tcp, backends: [{name: good, address: 198.51.100.7, port: 80}, {name: bad, address: "%s", port: 50051}]}]
`, vip, backend)
	}
	const fault = "pools[0].backends[1].address"
	tests := []struct {
		name, yaml string
		want       []string
	}{
		{"backend on loopback behind a routable VIP", document("203.0.113.10", "127.0.0.1"), []string{fault, "127.0.0.1", "choose"}},
		{"backend on IPv6 loopback", document("203.0.113.10", "::1"), []string{fault, "::1"}},
		{"backend on loopback in IPv6 clothes", document("203.0.113.10", "::ffff:127.0.0.1"), []string{fault, "127.0.0.1"}},
		{"backend at a metadata service", document("203.0.113.10", "169.254.169.254"), []string{fault, "169.254.169.254", "choose"}},
		{"one VIP of two is routable", document("127.0.0.88, 203.0.113.10", "127.0.0.1"), []string{fault, "127.0.0.1"}},
		{"VIP outside --vip-cidrs", document("198.51.100.1", "198.51.100.8"), []string{"vips[0]", "198.51.100.1", "choose one in 203.0.113.0/24"}},
		{"IPv6 VIP outside --vip-cidrs", document(`"2001:db8::1"`, "198.51.100.8"), []string{"vips[0]", "2001:db8::1", "choose one in 203.0.113.0/24"}},
		{"second VIP outside", document("203.0.113.10, 198.51.100.1", "198.51.100.8"), []string{"198.51.100.1", "choose one in 203.0.113.0/24"}},
		{"VIP of another load balancer", document(taken.listener.Addr().String(), "198.51.100.8"), []string{taken.listener.Addr().String(), "first"}},
		{"everything at once", "name: refused\nvips: [198.51.100.1]\nlisteners:\n- {name: a, port: 99999, protocol: tcp, default_pool_id: nobody}\n- {name: a, port: 80, protocol: tcpp}\npools: [{nam: p}]\n",
			[]string{"listeners[0].port", "99999", "listeners[1].protocol", `"tcpp"`, "pools[0].nam", `"name"`}},
	}
	t.Run("each", func(t *testing.T) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				for _, command := range []string{"plan", "apply"} {
					out := ctl.Run(t, test.yaml, command, "-f", "-")
					if out.Code != 1 {
						t.Errorf("%s: exit code %d, want 1", command, out.Code)
					}
					if !containsAll(out.Stderr, test.want...) {
						t.Errorf("%s does not say %q but:\n%s", command, test.want, out.Stderr)
					}
				}
			})
		}
	})
	if out := ctl.Must(t, "", "export", "--all"); strings.Contains(out, "refused") {
		t.Errorf("something refused was stored:\n%s", out)
	}
}

// testNotYet applies what the data plane cannot do: it is stored, told as an error of just that object, and all else works.
func testNotYet(t *testing.T, c *cell) {
	t.Parallel()
	ctl := c.controller.Ctl()
	s := service{name: "mixed", listener: harness.Endpoint(t), pool: backends(t, "n", 1)}
	yaml := strings.Replace(s.yaml(), "pools:\n", "- {name: datagrams, port: 53, protocol: udp, default_pool_id: datagrams}\npools:\n- {name: datagrams, protocol: udp}\n", 1)
	if out := ctl.Run(t, yaml, "apply", "-f", "-", "--wait", "--timeout", "20s"); out.Code != 1 || !containsAll(out.Stdout+out.Stderr, "datagrams", "listener.udp") {
		t.Errorf("apply --wait of what no node can do: exit code %d\n%s%s", out.Code, out.Stdout, out.Stderr)
	}
	harness.Serves(t, s.listener)
	harness.Until(t, "the status tells", func() error {
		lb := object(t, ctl.Must(t, "", "get", "listener", "datagrams", "--lb", "mixed", "-o", "json"))
		status, _ := lb["status"].(map[string]any)
		if status["provisioning_status"] != "error" || !strings.Contains(fmt.Sprint(status["reason"]), "listener.udp") {
			return fmt.Errorf("status %v", status)
		}
		good := object(t, ctl.Must(t, "", "get", "listener", "front", "--lb", "mixed", "-o", "json"))
		status, _ = good["status"].(map[string]any)
		if status["provisioning_status"] != "active" {
			return fmt.Errorf("status of the good listener %v", status)
		}
		return nil
	})
	// It stays editable.
	ctl.Apply(t, s.yaml())
}

// testDrain drains the node and takes that back: traffic that still comes is served all the time.
func testDrain(t *testing.T, c *cell) {
	t.Parallel()
	ctl := c.controller.Ctl()
	s := service{name: "drained", listener: harness.Endpoint(t), pool: backends(t, "dr", 1)}
	ctl.Apply(t, s.yaml())
	agent := connectAgent(t, c.node.Socket)
	load := harness.StartLoad(t, s.listener, 1, 1)
	ctl.Must(t, "", "drain", "n1")
	agent.await(t, "the BGP agent hears of the drain", draining(true))
	if out := ctl.Must(t, "", "get", "nodes"); !strings.Contains(strings.ToLower(lineWith(out, "n1")), "drain") {
		t.Errorf("get nodes does not show the drain:\n%s", out)
	}
	ctl.Must(t, "", "undrain", "n1")
	agent.await(t, "the BGP agent hears of its end", draining(false))
	load.MustStop(t)
}
