package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/test/harness"
)

// usage is the exit code of a mistake on the command line.
const usage = 2

// TestBadCommandLines wants every mistake to end with exit code 2 and one clear sentence, before anything is done.
func TestBadCommandLines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	controller := []string{"--insecure-loopback", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"}
	embedded := append(slices.Clone(controller), "--embedded-etcd", dir)
	node := []string{"--admin", "127.0.0.1:0", "--state-dir", dir}
	tests := []struct {
		name, binary string
		args         []string
		want         []string
	}{
		{"no etcd", "fiberlb-controller", controller, []string{"--etcd-endpoints", "--embedded-etcd"}},
		{"two etcds", "fiberlb-controller", append(slices.Clone(embedded), "--etcd-endpoints", "127.0.0.1:2379"), []string{"--etcd-endpoints", "--embedded-etcd"}},
		{"credentials of an embedded etcd", "fiberlb-controller", append(slices.Clone(embedded), "--etcd-user", "root"), []string{"--etcd-user"}},
		{"VIPs that are no CIDR", "fiberlb-controller", append(slices.Clone(embedded), "--vip-cidrs", "203.0.113.0/33"), []string{"--vip-cidrs", "203.0.113.0/33"}},
		{"VIPs with bits beyond", "fiberlb-controller", append(slices.Clone(embedded), "--vip-cidrs", "203.0.113.7/24"), []string{"--vip-cidrs", "203.0.113.0/24"}},
		{"denied backends that are no CIDR", "fiberlb-controller", append(slices.Clone(embedded), "--backend-deny-cidrs", "everything"), []string{"--backend-deny-cidrs", "everything"}},
		{"listen address without a port", "fiberlb-controller", append(slices.Clone(embedded), "--listen", "127.0.0.1"), []string{"127.0.0.1", "host:port"}},
		{"TLS in part", "fiberlb-controller", []string{"--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--embedded-etcd", dir, "--tls-cert", "x.pem"}, []string{"--tls-key", "--tls-ca"}},
		{"REST over TLS without TLS", "fiberlb-controller", append(slices.Clone(embedded), "--https", "127.0.0.1:0"), []string{"--https", "--tls-cert"}},

		{"no source", "fiberlb-dataplane", node, []string{"--controller", "--config"}},
		{"two sources", "fiberlb-dataplane", append(slices.Clone(node), "--controller", "127.0.0.1:7400", "--config", "x.yaml"), []string{"--controller", "--config"}},
		{"controller without a port", "fiberlb-dataplane", append(slices.Clone(node), "--controller", "127.0.0.1"), []string{"--controller", `"127.0.0.1"`, "host:port"}},
		{"bad node name", "fiberlb-dataplane", append(slices.Clone(node), "--controller", "127.0.0.1:7400", "--node", "Not A Name"), []string{"--node", "Not A Name"}},
		{"no such interface", "fiberlb-dataplane", append(slices.Clone(node), "--controller", "127.0.0.1:7400", "--vip-interface", "nosuch0"), []string{"--vip-interface", "nosuch0"}},
		{"bad label", "fiberlb-dataplane", append(slices.Clone(node), "--controller", "127.0.0.1:7400", "--label", "zone"), []string{"--label", "zone"}},
		{"negative drain", "fiberlb-dataplane", append(slices.Clone(node), "--controller", "127.0.0.1:7400", "--drain-timeout", "-1s"), []string{"--drain-timeout", "-1s"}},
		{"all at once", "fiberlb-dataplane", append(slices.Clone(node), "--controller", "nowhere", "--node", "Not A Name", "--drain-timeout", "-1s"), []string{"--node", "--controller", "--drain-timeout"}},
		{"TLS in part", "fiberlb-dataplane", append(slices.Clone(node), "--controller", "127.0.0.1:7400", "--tls-ca", "ca.pem"), []string{"--tls-cert", "--tls-key"}},

		{"unknown command", "fiberctl", []string{"aply"}, []string{"aply", "apply"}},
		{"apply of nothing", "fiberctl", []string{"apply"}, []string{"-f"}},
		{"unknown kind", "fiberctl", []string{"get", "listner"}, []string{"listner", "listener"}},
		{"no kind", "fiberctl", []string{"get"}, []string{"kind", "loadbalancers"}},
		{"unknown output", "fiberctl", []string{"get", "lb", "-o", "jsn"}, []string{"jsn", "json"}},
		{"delete without a name", "fiberctl", []string{"delete", "lb"}, []string{"name"}},
		{"name of another kind", "fiberctl", []string{"get", "pool", "projects/p/loadBalancers/l/listeners/x"}, []string{"listener", "pool"}},
		{"short name without its parent", "fiberctl", []string{"get", "pool", "p"}, []string{"--lb"}},
		{"bad timeout", "fiberctl", []string{"get", "lb", "--timeout", "soon"}, []string{"--timeout", "soon"}},
		{"TLS in part", "fiberctl", []string{"get", "lb", "--tls-cert", "x.pem"}, []string{"--tls-key", "--tls-ca"}},

		{"bad node name", "fiberlb-dev", []string{"--node", "Not A Name"}, []string{"--node", "Not A Name"}},
	}
	// What is alike everywhere.
	for _, binary := range harness.Commands(t) {
		tests = append(tests, []struct {
			name, binary string
			args         []string
			want         []string
		}{
			{"unknown flag", binary, []string{"--nonsense"}, []string{"--nonsense"}},
			{"flag without its value", binary, []string{"--tls-cert"}, []string{"--tls-cert"}},
			{"stray argument", binary, []string{"stray"}, []string{"stray"}},
		}...)
		if binary != "fiberctl" {
			tests = append(tests, struct {
				name, binary string
				args         []string
				want         []string
			}{"unknown log level", binary, []string{"--log-level", "loud"}, []string{"--log-level", "loud", "debug"}})
		}
	}
	for _, test := range tests {
		t.Run(test.binary+"/"+test.name, func(t *testing.T) {
			t.Parallel()
			out := harness.Run(t, test.binary, "", test.args...)
			if out.Code != usage {
				t.Errorf("exit code %d, want %d", out.Code, usage)
			}
			if out.Stdout != "" {
				t.Errorf("it wrote to standard output: %s", out.Stdout)
			}
			if !containsAll(out.Stderr, test.want...) {
				t.Errorf("it does not say %q but:\n%s", test.want, out.Stderr)
			}
			if !strings.HasPrefix(out.Stderr, test.binary+": ") {
				t.Errorf("it does not begin with who speaks:\n%s", out.Stderr)
			}
			if lines := strings.Count(out.Stderr, "\n"); lines > 6 {
				t.Errorf("%d lines bury the sentence:\n%s", lines, out.Stderr)
			}
		})
	}
}

// TestHelp wants every command to tell what it is and takes, and its version, with exit code 0.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, binary := range harness.Commands(t) {
		t.Run(binary, func(t *testing.T) {
			t.Parallel()
			help := harness.Run(t, binary, "", "--help")
			if help.Code != 0 || help.Stderr != "" || !containsAll(help.Stdout, binary, "--help") {
				t.Errorf("--help: exit code %d\n%s%s", help.Code, help.Stdout, help.Stderr)
			}
			for line := range strings.Lines(help.Stdout) {
				if strings.HasPrefix(strings.TrimSpace(line), "-") && len(strings.TrimSpace(strings.TrimLeft(line, " -abcdefghijklmnopqrstuvwxyz"))) == 0 {
					t.Errorf("a flag without explanation: %s", line)
				}
			}
			args := []string{"--version"}
			if binary == "fiberctl" {
				args = []string{"version", "--client"}
			}
			if out := harness.Run(t, binary, "", args...); out.Code != 0 || out.Stdout == "" {
				t.Errorf("%v: exit code %d\n%s%s", args, out.Code, out.Stdout, out.Stderr)
			}
		})
	}
}
