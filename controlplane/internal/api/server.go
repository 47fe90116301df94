// Package api owns the public API of the controller: the gRPC services of package fiberlb.v1 over the store and the status, and
// their REST form.
//
// Every write goes the same way: the stored load balancer becomes a message, the request edits that message, the result is
// parsed and checked as a whole, and one compare-and-swap of the head stores it. All kinds of objects inside of a load balancer
// share one implementation, which a description of each kind drives.
package api

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	"github.com/fiberlb/fiberlb/controlplane/internal/status"
	"github.com/fiberlb/fiberlb/controlplane/internal/store"
	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// MaxMessage bounds a request and an answer, in bytes.
const MaxMessage = 16 << 20

// Store is what the API needs of the store.
type Store interface {
	Get(ctx context.Context, project, name string) (*store.Entry, error)
	List(ctx context.Context, options store.ListOptions) (*store.Page, error)
	Create(ctx context.Context, l *lb.LoadBalancer, request store.Request) (*store.Entry, error)
	Update(ctx context.Context, old *store.Entry, next *lb.LoadBalancer, request store.Request) (*store.Entry, error)
	Delete(ctx context.Context, old *store.Entry, request store.Request) error
	FindDeleted(ctx context.Context, project, name string, request store.Request) (bool, error)
	GetNodeConfig(ctx context.Context, node string) (*store.NodeConfig, error)
	ListNodeConfigs(ctx context.Context) (map[string]*store.NodeConfig, int64, []store.Fault, error)
	PutNodeConfig(ctx context.Context, node string, next *store.NodeConfig) (*store.NodeConfig, error)
	DeleteNodeConfig(ctx context.Context, node string, revision int64) error
}

// Config of a Server. All but Sealing, Metrics and Now are required.
type Config struct {
	Store Store
	// Status of load balancers and nodes.
	Status *status.Aggregator
	// Hub of the changes that watchers see.
	Hub *Hub
	// Addresses that VIPs and backends may have.
	Addresses lb.AddressPolicy
	// Sealing tells that the store can keep private keys.
	Sealing bool
	Logger  hclog.Logger
	Metrics *Metrics         // nil: nobody looks
	Now     func() time.Time // nil: time.Now
}

// Server implements the services. Make it with New, Register it on any number of gRPC servers, and Stop it before those, so that
// watches end.
type Server struct {
	store     Store
	status    *status.Aggregator
	hub       *Hub
	addresses lb.AddressPolicy
	sealing   bool
	log       hclog.Logger
	metrics   *Metrics
	now       func() time.Time
	turns     *turns
	written   atomic.Int64 // highest revision that this replica wrote

	stopping chan struct{} // closed by Stop
	stop     sync.Once
}

// New makes a Server.
func New(cfg Config) *Server {
	s := &Server{
		store: cfg.Store, status: cfg.Status, hub: cfg.Hub, addresses: cfg.Addresses, sealing: cfg.Sealing,
		log: cfg.Logger, metrics: cfg.Metrics, now: cfg.Now, turns: newTurns(), stopping: make(chan struct{}),
	}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if s.metrics == nil {
		s.metrics = newMetrics()
	}
	if s.now == nil {
		s.now = time.Now
	}
	return s
}

// Stop ends all watches, with UNAVAILABLE.
func (s *Server) Stop() { s.stop.Do(func() { close(s.stopping) }) }

// Register adds all services of the API to a gRPC server.
func (s *Server) Register(registrar grpc.ServiceRegistrar) {
	fiberlbv1.RegisterLoadBalancerServiceServer(registrar, loadBalancerService{s: s})
	fiberlbv1.RegisterListenerServiceServer(registrar, listenerService{s: s})
	fiberlbv1.RegisterPoolServiceServer(registrar, poolService{s: s})
	fiberlbv1.RegisterBackendServiceServer(registrar, backendService{s: s})
	fiberlbv1.RegisterHealthCheckServiceServer(registrar, healthCheckService{s: s})
	fiberlbv1.RegisterL7PolicyServiceServer(registrar, policyService{s: s})
	fiberlbv1.RegisterL7RuleServiceServer(registrar, ruleService{s: s})
	fiberlbv1.RegisterCertificateServiceServer(registrar, certificateService{s: s})
	fiberlbv1.RegisterNodeServiceServer(registrar, nodeService{s: s})
	fiberlbv1.RegisterConfigServiceServer(registrar, configService{s: s})
}
