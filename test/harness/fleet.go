package harness

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/fiberlb/fiberlb/pkg/tlsid"
	"github.com/fiberlb/fiberlb/pkg/tlsid/tlsidtest"
)

// ControllerConfig says how to run a controller. The zero value has embedded etcd and plaintext on loopback.
type ControllerConfig struct {
	Name string
	// Etcd are endpoints of an etcd outside; empty: the controller embeds one.
	Etcd []string
	// Authority issues the controller's certificate and decides on its clients'; nil: plaintext.
	Authority *tlsidtest.CA
	// Args follow all others.
	Args      []string
	Env       []string
	Namespace *Namespace
}

// Controller is a running fiberlb-controller.
type Controller struct {
	*Process
	GRPC, HTTP netip.AddrPort
	// HTTPS is the REST API's address where there is an Authority; else HTTP is.
	HTTPS netip.AddrPort
	// EtcdDir is the embedded etcd's folder.
	EtcdDir string

	spec Spec
}

// StartController starts a controller and waits until it is ready.
func StartController(t testing.TB, cfg ControllerConfig) *Controller {
	t.Helper()
	if cfg.Name == "" {
		cfg.Name = "controller"
	}
	addr := Loopback()
	c := &Controller{
		GRPC: netip.AddrPortFrom(addr, Port(t, addr)),
		HTTP: Endpoint(t),
		spec: Spec{Binary: "fiberlb-controller", Env: cfg.Env, Namespace: cfg.Namespace},
	}
	args := []string{"--listen", c.GRPC.String(), "--http", c.HTTP.String()}
	if len(cfg.Etcd) > 0 {
		args = append(args, "--etcd-endpoints", strings.Join(cfg.Etcd, ","))
	} else {
		c.EtcdDir = filepath.Join(t.TempDir(), "etcd")
		args = append(args, "--embedded-etcd", c.EtcdDir)
	}
	if cfg.Authority == nil {
		args = append(args, "--insecure-loopback")
	} else {
		c.HTTPS = netip.AddrPortFrom(addr, Port(t, addr))
		args = append(args, "--https", c.HTTPS.String())
		args = append(args, TLSArgs(ServerFiles(t, cfg.Authority, addr))...)
	}
	c.spec.Args = append(args, cfg.Args...)
	c.Process = &Process{Name: cfg.Name}
	c.Restart(t)
	return c
}

// Restart starts the controller again after its end, on the same addresses and folder, and waits until it is ready.
func (c *Controller) Restart(t testing.TB) {
	t.Helper()
	c.Process = Start(t, c.Name, c.spec)
	AwaitReady(t, c.Process, c.HTTP.String())
}

// Dial connects to the controller's API as one with the files would; nil: in plaintext.
func (c *Controller) Dial(t testing.TB, files *tlsidtest.Files) *grpc.ClientConn {
	t.Helper()
	flags := tlsid.Flags{}
	if files != nil {
		flags = tlsid.Flags{Cert: files.Cert, Key: files.Key, CA: files.CA}
	}
	creds, err := flags.ClientCredentials([]string{c.GRPC.String()})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+c.GRPC.String(), grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Ctl is fiberctl for this controller, in plaintext.
func (c *Controller) Ctl() Ctl { return Ctl{Server: c.GRPC.String()} }

// CtlAs is fiberctl for this controller with a certificate.
func (c *Controller) CtlAs(files tlsidtest.Files) Ctl {
	return Ctl{Server: c.GRPC.String(), TLS: &files}
}

// TLSArgs are the files as flags.
func TLSArgs(files tlsidtest.Files) []string {
	return []string{"--tls-cert", files.Cert, "--tls-key", files.Key, "--tls-ca", files.CA}
}

// ServerFiles are for a server on an address, which its certificate carries.
func ServerFiles(t testing.TB, ca *tlsidtest.CA, addr netip.Addr) tlsidtest.Files {
	t.Helper()
	return ca.Issue(t, tlsidtest.Leaf{CommonName: "server", IPs: []net.IP{addr.AsSlice()}})
}

// KeyFile writes a fresh key that private keys are encrypted with, for a controller's --key-file.
func KeyFile(t testing.TB) string {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return WriteFile(t, "key", hex.EncodeToString(key)+"\n")
}

// WriteFile writes a file that only its owner reads, in a folder of its own, and returns its path.
func WriteFile(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// NodeConfig says how to run a data plane. Exactly one of Controllers and File is given.
type NodeConfig struct {
	Name        string
	Controllers []*Controller
	// File is the YAML file of static mode.
	File string
	// TLS are the node's files towards controllers; nil: plaintext.
	TLS *tlsidtest.Files
	// Args follow all others.
	Args      []string
	Env       []string
	Namespace *Namespace
}

// Node is a running fiberlb-dataplane.
type Node struct {
	*Process
	Admin netip.AddrPort
	// StateDir is the folder of the last good snapshot, and Socket that of readiness.
	StateDir, Socket string

	spec Spec
}

// StartNode starts a data plane and waits until a configuration is in force.
func StartNode(t testing.TB, cfg NodeConfig) *Node {
	t.Helper()
	n := LaunchNode(t, cfg)
	AwaitReady(t, n.Process, n.Admin.String())
	t.Cleanup(func() {
		if t.Failed() {
			n.tell(t)
		}
	})
	return n
}

// tell shows how the node stands: what it runs, and whom it refused why.
func (n *Node) tell(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if _, body, err := Get(ctx, n.Admin.String(), "/state"); err == nil {
		t.Logf("%s: state: %s", n.Name, body)
	}
	if _, body, err := Get(ctx, n.Admin.String(), "/metrics"); err == nil {
		for line := range strings.Lines(body) {
			if strings.Contains(line, "refused") && !strings.HasPrefix(line, "#") && !strings.HasSuffix(line, " 0\n") {
				t.Logf("%s: %s", n.Name, strings.TrimSpace(line))
			}
		}
	}
}

// LaunchNode starts a data plane and waits for nothing. In a Namespace its admin address is that namespace's own, so that
// nobody outside can wait for it.
func LaunchNode(t testing.TB, cfg NodeConfig) *Node {
	t.Helper()
	if cfg.Name == "" {
		cfg.Name = "n1"
	}
	dir := ShortDir(t)
	n := &Node{
		Admin: Endpoint(t), StateDir: filepath.Join(dir, "state"), Socket: filepath.Join(dir, "ready.sock"),
		spec: Spec{Binary: "fiberlb-dataplane", Env: cfg.Env, Namespace: cfg.Namespace},
	}
	args := []string{"--node", cfg.Name, "--admin", n.Admin.String(), "--readiness-socket", n.Socket, "--state-dir", n.StateDir}
	for _, c := range cfg.Controllers {
		args = append(args, "--controller", c.GRPC.String())
	}
	if cfg.File != "" {
		args = append(args, "--config", cfg.File)
	}
	if cfg.TLS != nil {
		args = append(args, TLSArgs(*cfg.TLS)...)
	}
	n.spec.Args = append(args, cfg.Args...)
	n.Process = Start(t, cfg.Name, n.spec)
	return n
}

// Relaunch starts the data plane again after its end, with the same folder and addresses, and waits for nothing.
func (n *Node) Relaunch(t testing.TB) {
	t.Helper()
	n.Process = Start(t, n.Name, n.spec)
}

// AwaitReady waits until a configuration is in force.
func (n *Node) AwaitReady(t testing.TB) {
	t.Helper()
	AwaitReady(t, n.Process, n.Admin.String())
}

// Metrics are the node's own.
func (n *Node) Metrics(t testing.TB) Metrics {
	t.Helper()
	return Scrape(t, n.Admin.String())
}

// Metrics are the controller's own.
func (c *Controller) Metrics(t testing.TB) Metrics {
	t.Helper()
	return Scrape(t, c.HTTP.String())
}

// Ready tells what /readyz answers.
func (n *Node) Ready(ctx context.Context) (status int, body string, err error) {
	return Get(ctx, n.Admin.String(), "/readyz")
}
