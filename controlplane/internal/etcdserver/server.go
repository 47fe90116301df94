// Package etcdserver owns the etcd that runs inside a controller: for one machine, a laptop, or tests. It listens on nothing but a
// Unix socket that only its own user can open.
package etcdserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// Client speaks to an etcd server.
type Client = clientv3.Client

// Config of an embedded etcd.
type Config struct {
	// Dir holds the data, and the socket where its path is short enough. It is created, for the owner alone.
	Dir    string
	Logger hclog.Logger // nil: silent
	// NoFsync trades the data's safety for speed. For tests.
	NoFsync bool
}

// What a single member wants. No peer waits for its heartbeats, so that they only set how long it takes to elect itself; and none
// has to catch up, so that old entries, of up to 1.5 MiB each, need not stay in memory.
const (
	memberName       = "fiberlb"
	heartbeat        = 25   // milliseconds
	election         = 250  // milliseconds
	snapshotEvery    = 2000 // entries between two snapshots
	catchUpEntries   = 50
	keptFiles        = 2
	quota            = 4 << 30 // bytes
	defragmentAbove  = 64      // megabytes that a start can free
	compactionAge    = "5m"    // revisions older than this are compacted
	progressInterval = 30 * time.Second
)

// Server is a running etcd.
type Server struct {
	etcd     *embed.Etcd
	grpc     *grpc.Server
	serving  sync.WaitGroup
	client   *clientv3.Client
	endpoint string
	cleanup  func()
	once     sync.Once
}

// Start starts etcd over a directory and waits until it serves. A directory that another process uses, and data that is damaged
// beyond what etcd repairs by itself, are errors.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	log := cfg.Logger
	if log == nil {
		log = hclog.NewNullLogger()
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("etcd: start in %s: %w", cfg.Dir, err)
		}
	}()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(cfg.Dir, "lock"))
	if err != nil {
		return nil, err
	}
	path, removeSocket, err := socketPath(cfg.Dir)
	if err != nil {
		unlock()
		return nil, err
	}
	s := &Server{endpoint: "unix://" + path, cleanup: func() { removeSocket(); unlock() }}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.etcd, err = startMember(memberConfig(cfg, path, log)); err != nil {
		return nil, err
	}
	select {
	case <-s.etcd.Server.ReadyNotify():
	case err := <-s.etcd.Err():
		return nil, err
	case <-s.etcd.Server.StopNotify():
		return nil, errors.New("it stopped before it was ready")
	case <-ctx.Done():
		return nil, fmt.Errorf("not ready: %w", ctx.Err())
	}
	if err := s.serve(path); err != nil {
		return nil, err
	}
	s.client, err = clientv3.New(clientv3.Config{Endpoints: []string{s.endpoint}, Logger: zap.NewNop()})
	return s, err
}

func memberConfig(cfg Config, socket string, log hclog.Logger) *embed.Config {
	// Nobody dials the peer's address of a single member; it is part of its identity only.
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	c := embed.NewConfig()
	// Revisions of a new directory begin from the start, so that its cluster must not have the id of any other; etcd derives that
	// from this token, when it makes the member, and keeps it.
	c.InitialClusterToken = rand.Text()
	c.Name, c.Dir = memberName, filepath.Join(cfg.Dir, "etcd")
	c.ListenPeerUrls, c.AdvertisePeerUrls = nil, []url.URL{peer}
	c.ListenClientUrls, c.AdvertiseClientUrls = nil, []url.URL{{Scheme: "unix", Path: socket}}
	c.InitialCluster = memberName + "=" + peer.String()
	c.TickMs, c.ElectionMs = heartbeat, election
	c.SnapshotCount, c.SnapshotCatchUpEntries = snapshotEvery, catchUpEntries
	c.MaxWalFiles = keptFiles
	c.QuotaBackendBytes = quota
	c.BootstrapDefragThresholdMegabytes = defragmentAbove
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModePeriodic, compactionAge
	c.WatchProgressNotifyInterval = progressInterval
	c.UnsafeNoFsync = cfg.NoFsync
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(bridge{log: log}, zap.WithFatalHook(fatal{})))
	return c
}

// startMember starts etcd. Where it meets damaged files it logs at a level that would end the process; here that is an error.
func startMember(c *embed.Config) (e *embed.Etcd, err error) {
	defer func() {
		if p := recover(); p != nil {
			e, err = nil, fmt.Errorf("the data is damaged, restore the directory from a copy: %v", p)
		}
	}()
	return embed.StartEtcd(c)
}

// serve opens the socket. The server is our own, not embed's: that one waits at its end for every open watch.
func (s *Server) serve(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(err, listener.Close())
	}
	s.grpc = v3rpc.Server(s.etcd.Server, nil, nil)
	s.serving.Go(func() { _ = s.grpc.Serve(listener) }) // gives an error only after Stop
	return nil
}

// Client is one that stays open until Close.
func (s *Server) Client() *Client { return s.client }

// Endpoint is where further clients find the server: unix:///path.
func (s *Server) Endpoint() string { return s.endpoint }

// Failed is closed when etcd stops by itself, as after a failing disk.
func (s *Server) Failed() <-chan struct{} { return s.etcd.Server.StopNotify() }

// Close stops etcd: requests under way are broken off, what was acknowledged is on disk. Calls after the first do nothing.
func (s *Server) Close() {
	s.once.Do(func() {
		if s.client != nil {
			_ = s.client.Close()
		}
		if s.grpc != nil {
			s.grpc.Stop()
			s.serving.Wait()
		}
		if s.etcd != nil {
			s.etcd.Close()
		}
		s.cleanup()
	})
}

// lock makes sure that no other process uses the directory: etcd's own lock waits instead of telling.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder := make([]byte, 32)
		n, _ := file.ReadAt(holder, 0)
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("another process (%s) uses the directory", holder[:n])
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	// The number is a hint for people; the lock is what counts.
	if err := errors.Join(file.Truncate(0), writeAt(file, fmt.Sprintf("pid %d", os.Getpid()))); err != nil {
		_ = file.Close()
		return nil, err
	}
	return func() { _ = file.Close() }, nil
}

func writeAt(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}

// maxSocketPath is what fits into sockaddr_un with its final zero: unix(7).
const maxSocketPath = 107

// socketPath is in the directory, or where that is too long a path, in a new one of a short name that only we may enter.
func socketPath(dir string) (path string, remove func(), err error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", nil, err
	}
	if path = filepath.Join(absolute, "etcd.sock"); len(path) <= maxSocketPath {
		return path, func() { _ = os.Remove(path) }, nil
	}
	short, err := os.MkdirTemp("", "fiberlb-etcd-")
	if err != nil {
		return "", nil, err
	}
	if path = filepath.Join(short, "etcd.sock"); len(path) > maxSocketPath {
		_ = os.Remove(short)
		return "", nil, fmt.Errorf("no place for a socket: both %s and %s are longer than %d bytes; set TMPDIR to a short path", absolute, short, maxSocketPath)
	}
	return path, func() { _ = os.RemoveAll(short) }, nil
}
