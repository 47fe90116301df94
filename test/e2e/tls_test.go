package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/fiberlb/fiberlb/pkg/tlsid/tlsidtest"
	"github.com/fiberlb/fiberlb/test/harness"
)

// etcdArgs are a controller's flags towards an etcd that wants a certificate.
func etcdArgs(files tlsidtest.Files) []string {
	return []string{"--etcd-cert", files.Cert, "--etcd-key", files.Key, "--etcd-ca", files.CA}
}

func TestMutualTLS(t *testing.T) {
	t.Parallel()
	ours, etcdCA, theirs := tlsidtest.NewCA(t), tlsidtest.NewCA(t), tlsidtest.NewCA(t)
	etcd := harness.StartEtcd(t, etcdCA)
	controller := harness.StartController(t, harness.ControllerConfig{
		Etcd: []string{etcd}, Authority: ours, Args: etcdArgs(etcdCA.Client(t, "fiberlb-controller")),
	})
	nodeFiles, operator := ours.Node(t, "n1"), ours.Client(t, "alice")
	node := harness.StartNode(t, harness.NodeConfig{Controllers: []*harness.Controller{controller}, TLS: &nodeFiles})
	web := service{name: "web", listener: harness.Endpoint(t), pool: backends(t, "m", 1)}
	controller.CtlAs(operator).Apply(t, web.yaml())
	harness.Serves(t, web.listener)

	t.Run("a node's certificate under another node's name", func(t *testing.T) {
		t.Parallel()
		mark := controller.Mark()
		impostor := harness.LaunchNode(t, harness.NodeConfig{Name: "n2", Controllers: []*harness.Controller{controller}, TLS: &nodeFiles})
		impostor.AwaitLog(t, 0, "PermissionDenied", "n1", "may not act as node", "n2", "fiberlb://node/n2")
		controller.AwaitLog(t, mark, "n1", "n2", "may not act as node")
		if status, _, err := impostor.Ready(t.Context()); err == nil && status == http.StatusOK {
			t.Error("the impostor got a configuration")
		}
		if out := controller.CtlAs(operator).Must(t, "", "get", "nodes", "-o", "name"); strings.Contains(out, "n2") {
			t.Errorf("the impostor is known as a node: %s", out)
		}
	})
	t.Run("a node's certificate at the API", func(t *testing.T) {
		t.Parallel()
		refusedCtl(t, controller.CtlAs(nodeFiles), "node's", "operator's certificate")
	})
	t.Run("an operator's certificate as a node", func(t *testing.T) {
		t.Parallel()
		impostor := harness.LaunchNode(t, harness.NodeConfig{Name: "n3", Controllers: []*harness.Controller{controller}, TLS: &operator})
		impostor.AwaitLog(t, 0, "PermissionDenied", "alice", "may not act as node")
	})
	t.Run("certificates of another authority", func(t *testing.T) {
		t.Parallel()
		// Both sides differ: the server's is not trusted.
		refusedCtl(t, controller.CtlAs(theirs.Client(t, "mallory")), "certificate", "unknown authority")
		// The server is trusted, but does not trust the client. TLS 1.3 tells a client so after its handshake, by an alert that
		// may or may not arrive before the connection breaks.
		half := theirs.Client(t, "mallory")
		half.CA = operator.CA
		refusedCtl(t, controller.CtlAs(half), controller.GRPC.String())
		node := theirs.Node(t, "n4")
		stranger := harness.LaunchNode(t, harness.NodeConfig{Name: "n4", Controllers: []*harness.Controller{controller}, TLS: &node})
		stranger.AwaitLog(t, 0, "unknown authority")
	})
	t.Run("no certificate", func(t *testing.T) {
		t.Parallel()
		refusedCtl(t, controller.Ctl(), "--tls-cert")
		stranger := harness.LaunchNode(t, harness.NodeConfig{Name: "n5", Controllers: []*harness.Controller{controller}})
		stranger.AwaitLog(t, 0, "no stream to controller")
	})
	t.Run("etcd's authority is another", func(t *testing.T) {
		t.Parallel()
		var strangers []*harness.Process
		for _, args := range [][]string{etcdArgs(theirs.Client(t, "fiberlb-controller")), nil} {
			addr := harness.Loopback().String()
			refused := harness.Start(t, "controller-refused", harness.Spec{Binary: "fiberlb-controller", Args: append([]string{
				"--listen", addr + ":0", "--http", addr + ":0", "--insecure-loopback", "--etcd-endpoints", etcd}, args...)})
			strangers = append(strangers, refused)
		}
		for _, stranger := range strangers {
			stranger.AwaitLog(t, 0, "waiting for etcd", etcd, "unknown authority")
		}
	})
	t.Run("REST", func(t *testing.T) {
		t.Parallel()
		restOverTLS(t, controller, operator, nodeFiles)
	})
	if status, body, err := node.Ready(t.Context()); err != nil || status != http.StatusOK {
		t.Errorf("the node: %d %s %v", status, body, err)
	}
}

// refusedCtl wants a read and a write to fail, in words.
func refusedCtl(t *testing.T, ctl harness.Ctl, words ...string) {
	t.Helper()
	yaml := "name: stolen\nvips: [127.0.0.99]\n"
	for _, args := range [][]string{{"get", "loadbalancers"}, {"apply", "-f", "-"}} {
		out := ctl.Run(t, yaml, append(args, "--timeout", "5s")...)
		if out.Code != 1 {
			t.Errorf("fiberctl %v: exit code %d", args, out.Code)
		}
		if !containsAll(out.Stderr, words...) {
			t.Errorf("fiberctl %v does not say %q but:\n%s", args, words, out.Stderr)
		}
	}
}

// restOverTLS speaks to --https as an operator, as a node and as nobody.
func restOverTLS(t *testing.T, controller *harness.Controller, operator, node tlsidtest.Files) {
	t.Helper()
	url := "https://" + controller.HTTPS.String() + "/v1/projects/default/loadBalancers"
	status := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "curl", append([]string{"-s", "-o", os.DevNull, "-w", "%{http_code}", url}, args...)...).Output()
		if err != nil && len(out) == 0 {
			t.Fatal(err)
		}
		return string(out)
	}
	as := func(f tlsidtest.Files) []string { return []string{"--cacert", f.CA, "--cert", f.Cert, "--key", f.Key} }
	if got := status(as(operator)...); got != "200" {
		t.Errorf("REST as an operator: status %s", got)
	}
	if got := status(as(node)...); got != "403" {
		t.Errorf("REST as a node: status %s, want 403", got)
	}
	if got := status("--cacert", operator.CA); got != "000" && got != "401" {
		t.Errorf("REST as nobody: status %s", got)
	}
	if code, _, err := harness.Get(t.Context(), controller.HTTP.String(), "/v1/projects/default/loadBalancers"); err != nil || code != http.StatusNotFound {
		t.Errorf("REST in plaintext beside TLS: status %d, %v", code, err)
	}
}

func TestPlaintextOffLoopback(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tests := []struct {
		name, binary string
		args         []string
		want         []string
	}{
		{"controller on all addresses", "fiberlb-controller",
			[]string{"--insecure-loopback", "--listen", "0.0.0.0:0", "--http", "127.0.0.1:0", "--embedded-etcd", dir}, []string{"not loopback", "--tls-cert"}},
		{"controller on loopback, not asked for", "fiberlb-controller",
			[]string{"--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--embedded-etcd", dir}, []string{"--insecure-loopback", "--tls-cert"}},
		{"REST on all addresses", "fiberlb-controller",
			[]string{"--insecure-loopback", "--listen", "127.0.0.1:0", "--http", "0.0.0.0:0", "--embedded-etcd", dir}, []string{"not loopback", "--tls-cert"}},
		{"data plane", "fiberlb-dataplane",
			[]string{"--admin", "127.0.0.1:0", "--state-dir", dir, "--controller", "192.0.2.1:7400"}, []string{"192.0.2.1:7400", "not loopback", "--tls-cert"}},
		{"data plane, one of two", "fiberlb-dataplane",
			[]string{"--admin", "127.0.0.1:0", "--state-dir", dir, "--controller", "127.0.0.1:7400,controller.example:7400"}, []string{"controller.example:7400", "--tls-cert"}},
		{"fiberctl", "fiberctl", []string{"get", "loadbalancers", "--server", "192.0.2.1:7400"}, []string{"192.0.2.1:7400", "not loopback", "--tls-cert"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			out := harness.Run(t, test.binary, "", test.args...)
			if out.Code != 1 && out.Code != 2 {
				t.Errorf("exit code %d", out.Code)
			}
			if !containsAll(out.Stderr, test.want...) {
				t.Errorf("it does not say %q but:\n%s", test.want, out.Stderr)
			}
		})
	}
}
