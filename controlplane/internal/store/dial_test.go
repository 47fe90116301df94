package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fiberlb/fiberlb/controlplane/internal/etcdtest"
	"github.com/fiberlb/fiberlb/pkg/tlsid/tlsidtest"
)

// overTLS puts mutual TLS in front of a server and gives the address.
func overTLS(t *testing.T, ca *tlsidtest.CA, endpoint string) string {
	t.Helper()
	files := ca.Server(t)
	pair := must[tls.Certificate](t)(tls.LoadX509KeyPair(files.Cert, files.Key))
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(ca.PEM())
	listener := must[net.Listener](t)(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2"},
	}))
	var group sync.WaitGroup
	group.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer near.Close()
				if near.(*tls.Conn).HandshakeContext(t.Context()) != nil {
					return
				}
				far, err := net.Dial("unix", strings.TrimPrefix(endpoint, "unix://"))
				if err != nil {
					return
				}
				defer far.Close()
				group.Go(func() {
					_, _ = io.Copy(near, far)
					_, _ = near.Close(), far.Close()
				})
				_, _ = io.Copy(far, near)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		group.Wait()
	})
	return listener.Addr().String()
}

func TestDialOverTLS(t *testing.T) {
	t.Parallel()
	server := etcdtest.StartServer(t, t.TempDir())
	ca := tlsidtest.NewCA(t)
	address := overTLS(t, ca, server.Endpoint())
	files, strangers := ca.Client(t, "controller"), tlsidtest.NewCA(t).Client(t, "stranger")
	for _, endpoint := range []string{address, "https://" + address} {
		client, err := Dial(t.Context(), DialConfig{Endpoints: []string{endpoint}, CertFile: files.Cert, KeyFile: files.Key, CAFile: files.CA})
		if err != nil {
			t.Fatal(err)
		}
		must[*clientv3.PutResponse](t)(client.Put(t.Context(), "k", "v"))
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
	for what, cfg := range map[string]DialConfig{
		"an authority we do not know": {CertFile: files.Cert, KeyFile: files.Key, CAFile: strangers.CA},
		"no certificate of ours":      {CAFile: files.CA},
		"a stranger's certificate":    {CertFile: strangers.Cert, KeyFile: strangers.Key, CAFile: files.CA},
	} {
		cfg.Endpoints, cfg.Timeout = []string{"https://" + address}, 500*time.Millisecond
		_, err := Dial(t.Context(), cfg)
		wantError(t, err, ErrUnavailable)
		if !strings.Contains(err.Error(), "store: connect to etcd at https://"+address) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDialAsUser(t *testing.T) {
	t.Parallel()
	server := etcdtest.StartServer(t, t.TempDir())
	ctx, admin := t.Context(), server.Client()
	must[*clientv3.AuthUserAddResponse](t)(admin.UserAdd(ctx, "root", "se cret"))
	must[*clientv3.AuthUserGrantRoleResponse](t)(admin.UserGrantRole(ctx, "root", "root"))
	must[*clientv3.AuthEnableResponse](t)(admin.AuthEnable(ctx))
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("se cret\nsecond line"), 0o600); err != nil {
		t.Fatal(err)
	}
	client := must[*clientv3.Client](t)(Dial(ctx, DialConfig{Endpoints: []string{server.Endpoint()}, User: "root", PasswordFile: file}))
	s := storeOver(t, client)
	must[*Entry](t)(s.Create(ctx, web(t, "web"), Request{}))
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(file, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []DialConfig{{User: "root", PasswordFile: file}, {}} {
		cfg.Endpoints = []string{server.Endpoint()}
		if _, err := Dial(ctx, cfg); err == nil || strings.Contains(err.Error(), "wrong") || !strings.Contains(err.Error(), "store: connect to etcd") {
			t.Errorf("got %v", err)
		}
	}
}

func TestPasswordFromTheEnvironment(t *testing.T) {
	t.Setenv(PasswordVariable, "x")
	if got := must[string](t)(DialConfig{User: "u"}.password()); got != "x" {
		t.Errorf("got %q", got)
	}
}

func TestDialRefuses(t *testing.T) {
	t.Parallel()
	files := tlsidtest.NewCA(t).Client(t, "c")
	closed := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	here := []string{closed.Addr().String()}
	tests := map[string]struct {
		cfg  DialConfig
		want string
	}{
		"no endpoint":        {DialConfig{}, "store: no etcd endpoint given"},
		"nobody there":       {DialConfig{Endpoints: here, Timeout: 200 * time.Millisecond}, "store: connect to etcd at " + here[0] + ": etcd is unavailable: no answer in time"},
		"half a pair":        {DialConfig{Endpoints: here, CertFile: files.Cert}, "needs both its file and its key's"},
		"no such file":       {DialConfig{Endpoints: here, CAFile: "/nowhere"}, "store: etcd: authorities: open /nowhere"},
		"a key as authority": {DialConfig{Endpoints: here, CAFile: files.Key}, "holds no certificate in PEM form"},
		"key of another":     {DialConfig{Endpoints: here, CertFile: files.CA, KeyFile: files.Key}, "store: etcd: client certificate: "},
		"TLS not possible":   {DialConfig{Endpoints: []string{"http://" + here[0]}, CAFile: files.CA}, "speaks no TLS, but TLS files are given"},
		"password, no user":  {DialConfig{Endpoints: here, PasswordFile: "x"}, "a password file is given, but no user"},
		"no password file":   {DialConfig{Endpoints: here, User: "u", PasswordFile: "/nowhere"}, "password file: open /nowhere"},
	}
	for what, test := range tests {
		if _, err := Dial(t.Context(), test.cfg); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Dial(ctx, DialConfig{Endpoints: here})
	wantError(t, err, context.Canceled)
}
