// Package stack runs all of FiberLB in one process, on loopback and in a
// directory of its own: what fiberlb-dev shows, and what end-to-end tests and
// benchmarks drive.
package stack

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/fiberlb/fiberlb/controlplane"
	"github.com/fiberlb/fiberlb/dataplane"
	"github.com/fiberlb/fiberlb/pkg/tlsid"
)

// Config of a Stack.
type Config struct {
	// Dir keeps etcd's data, the key file and the nodes' state; it must exist.
	Dir string
	// Listen and HTTP are the controller's addresses; empty: free ports of 127.0.0.1.
	Listen, HTTP string
	// Nodes to run; empty: one, "n1".
	Nodes  []string
	Logger hclog.Logger
}

// Stack is a controller with embedded etcd, and data planes.
type Stack struct {
	cfg        Config
	controller *process
	nodes      map[string]*process
	grpcAddr   string
	httpAddr   string
	conn       *grpc.ClientConn
}

// process is one part of the stack while it runs.
type process struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid once done is closed
	admin  string
}

func start(ctx context.Context, run func(context.Context) error) *process {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &process{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = run(ctx)
	}()
	return p
}

func (p *process) stop() error {
	p.cancel()
	<-p.done
	return p.err
}

const anyPort = "127.0.0.1:0"

// Start starts everything and returns once the controller answers and every
// node streams.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	if len(cfg.Nodes) == 0 {
		cfg.Nodes = []string{"n1"}
	}
	s := &Stack{cfg: cfg, nodes: map[string]*process{}, grpcAddr: cfg.Listen, httpAddr: cfg.HTTP}
	if s.grpcAddr == "" {
		s.grpcAddr = anyPort
	}
	if s.httpAddr == "" {
		s.httpAddr = anyPort
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context) error {
	if err := s.StartController(ctx); err != nil {
		return err
	}
	creds, err := (&tlsid.Flags{}).ClientCredentials([]string{s.grpcAddr})
	if err != nil {
		return err
	}
	if s.conn, err = grpc.NewClient("passthrough:///"+s.grpcAddr, grpc.WithTransportCredentials(creds)); err != nil {
		return err
	}
	for _, node := range s.cfg.Nodes {
		if err := s.StartNode(ctx, node); err != nil {
			return err
		}
	}
	return nil
}

// GRPC is the controller's API address.
func (s *Stack) GRPC() string { return s.grpcAddr }

// HTTP is the controller's REST address.
func (s *Stack) HTTP() string { return s.httpAddr }

// Conn is a connection to the controller's API.
func (s *Stack) Conn() *grpc.ClientConn { return s.conn }

// StartController starts the controller, on the addresses it had before if it
// ran already, and returns once it is ready.
func (s *Stack) StartController(ctx context.Context) error {
	key := filepath.Join(s.cfg.Dir, "key")
	if err := controlplane.GenerateKeyFile(key); err != nil {
		return err
	}
	c, err := controlplane.New(controlplane.Config{
		Name:         "dev",
		Listen:       s.grpcAddr,
		HTTP:         s.httpAddr,
		EmbeddedEtcd: filepath.Join(s.cfg.Dir, "etcd"),
		KeyFile:      key,
		TLS:          tlsid.Flags{InsecureLoopback: true},
	}, s.cfg.Logger.Named("controller"))
	if err != nil {
		return err
	}
	p := start(ctx, c.Run)
	select {
	case <-c.Ready():
	case <-p.done:
		return fmt.Errorf("stack: controller: %w", p.err)
	case <-ctx.Done():
		return errors.Join(ctx.Err(), p.stop())
	}
	s.controller, s.grpcAddr, s.httpAddr = p, c.GRPCAddr(), c.HTTPAddr()
	return nil
}

// StopController stops the controller and its etcd. Nodes go on.
func (s *Stack) StopController() error {
	p := s.controller
	s.controller = nil
	if p == nil {
		return nil
	}
	return p.stop()
}

// StartNode starts the data plane of a node and returns once it has a
// configuration in force.
func (s *Stack) StartNode(ctx context.Context, node string) error {
	dp, err := dataplane.New(dataplane.Config{
		Node:            node,
		Controllers:     []string{s.grpcAddr},
		StateDir:        filepath.Join(s.cfg.Dir, node),
		Admin:           anyPort,
		ReadinessSocket: filepath.Join(s.cfg.Dir, node, "readiness.sock"),
		Labels:          map[string]string{"node": node},
		Logger:          s.cfg.Logger.Named(node),
	})
	if err != nil {
		return err
	}
	p := start(ctx, dp.Run)
	select {
	case <-dp.Ready():
	case <-p.done:
		return fmt.Errorf("stack: node %s: %w", node, p.err)
	case <-ctx.Done():
		return errors.Join(ctx.Err(), p.stop())
	}
	p.admin = dp.AdminAddr()
	s.nodes[node] = p
	return nil
}

// Admin is the admin address of a node that runs; empty otherwise.
func (s *Stack) Admin(node string) string {
	if p := s.nodes[node]; p != nil {
		return p.admin
	}
	return ""
}

// StopNode stops the data plane of a node.
func (s *Stack) StopNode(node string) error {
	p := s.nodes[node]
	delete(s.nodes, node)
	if p == nil {
		return nil
	}
	return p.stop()
}

// Stop stops everything that runs.
func (s *Stack) Stop() error {
	var errs []error
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	for node := range s.nodes {
		errs = append(errs, s.StopNode(node))
	}
	return errors.Join(append(errs, s.StopController())...)
}
