// Package etcdtest gives tests a real etcd of their own.
package etcdtest

import (
	"testing"

	"github.com/fiberlb/fiberlb/controlplane/internal/etcdserver"
)

// Start runs an etcd, without syncing its files, until the test ends, and gives a client of it.
func Start(t testing.TB) *etcdserver.Client {
	t.Helper()
	return StartServer(t, t.TempDir()).Client()
}

// StartServer runs an etcd over a directory until the test ends or Close is called.
func StartServer(t testing.TB, dir string) *etcdserver.Server {
	t.Helper()
	server, err := etcdserver.Start(t.Context(), etcdserver.Config{Dir: dir, NoFsync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}
