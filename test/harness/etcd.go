package harness

import (
	"net/url"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/fiberlb/fiberlb/pkg/tlsid/tlsidtest"
)

// StartEtcd runs an etcd outside the controller, in the test's own process, and returns its endpoint. With an authority it
// speaks mutual TLS to clients that this authority knows; without, plaintext on loopback.
func StartEtcd(t testing.TB, authority *tlsidtest.CA) (endpoint string) {
	t.Helper()
	cfg := embed.NewConfig()
	cfg.Dir = t.TempDir()
	cfg.LogLevel = "fatal" // it calls the end of its listeners an error
	cfg.LogOutputs = []string{"stderr"}
	// One member needs no patience for its peers: it elects itself.
	cfg.TickMs, cfg.ElectionMs = 10, 100
	at := Endpoint(t)
	client := url.URL{Scheme: "http", Host: at.String()}
	if authority != nil {
		files := ServerFiles(t, authority, at.Addr())
		client.Scheme = "https"
		cfg.ClientTLSInfo = transport.TLSInfo{
			CertFile: files.Cert, KeyFile: files.Key, TrustedCAFile: files.CA, ClientCertAuth: true,
		}
	}
	peer := url.URL{Scheme: "http", Host: Endpoint(t).String()}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	select {
	case <-etcd.Server.ReadyNotify():
	case <-time.After(Patience):
		t.Fatal("etcd is not ready")
	}
	return client.String()
}
