package controlplane

import (
	"context"
	"errors"

	"github.com/fiberlb/fiberlb/controlplane/internal/etcdserver"
	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/backoff"
)

// etcd is the connection to where everything is stored.
type etcd struct {
	client *etcdserver.Client
	failed <-chan struct{} // closed when an embedded etcd stops by itself; nil otherwise
	close  func()
}

// openEtcd starts the embedded etcd, or connects to a cluster. A cluster that does not answer is tried until ctx ends.
func (c *Controller) openEtcd(ctx context.Context) (*etcd, error) {
	if dir := c.cfg.EmbeddedEtcd; dir != "" {
		server, err := etcdserver.Start(ctx, etcdserver.Config{Dir: dir, NoFsync: c.cfg.UnsafeNoFsync, Logger: c.log.Named("etcd")})
		if err != nil {
			return nil, err
		}
		return &etcd{client: server.Client(), failed: server.Failed(), close: server.Close}, nil
	}
	at := c.cfg.Etcd
	pause := backoff.Backoff{}
	for {
		client, err := store.Dial(ctx, store.DialConfig{
			Endpoints: at.Endpoints, CertFile: at.CertFile, KeyFile: at.KeyFile, CAFile: at.CAFile,
			User: at.User, PasswordFile: at.PasswordFile,
		})
		if err == nil {
			return &etcd{client: client, close: func() { _ = client.Close() }}, nil // it repeats why ctx ended
		}
		if !errors.Is(err, store.ErrUnavailable) {
			return nil, err
		}
		c.etcdIs(err)
		c.log.Warn("waiting for etcd", "error", err)
		if waitErr := pause.Wait(ctx); waitErr != nil {
			return nil, err
		}
	}
}

// watch fails when the embedded etcd does.
func (e *etcd) watch(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-e.failed:
		return errors.New("the embedded etcd stopped by itself")
	}
}
