package cli

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"google.golang.org/genproto/googleapis/rpc/errdetails"

	"github.com/fiberlb/fiberlb/pkg/adminhttp"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/lbpb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// today is the time of all tests.
var today = time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)

// fake is a controller without store and nodes.
type fake struct {
	address string

	mu       sync.Mutex
	lbs      map[string]*lb.LoadBalancer
	nodes    map[string]*fiberlbv1.Node
	statuses map[string]*fiberlbv1.Status
	revision int64
	fail     map[string]error // by method, such as "Apply"; sticks
	failOnce map[string]error
	calls    []string
	requests map[string]proto.Message // the last of each method
	rollouts func(name string, looks int) *fiberlbv1.Rollout
	looks    int
	events   chan *fiberlbv1.WatchResponse
	pageSize int
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{
		lbs: map[string]*lb.LoadBalancer{}, nodes: map[string]*fiberlbv1.Node{}, statuses: map[string]*fiberlbv1.Status{},
		revision: 41, fail: map[string]error{}, failOnce: map[string]error{}, requests: map[string]proto.Message{},
		rollouts: func(string, int) *fiberlbv1.Rollout { return nil }, events: make(chan *fiberlbv1.WatchResponse), pageSize: 2,
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.address = listener.Addr().String()
	server := grpc.NewServer(grpc.Creds(insecure.NewCredentials()), grpc.UnaryInterceptor(f.intercept))
	f.register(server)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); wg.Wait() })
	return f
}

func (f *fake) register(server *grpc.Server) {
	fiberlbv1.RegisterLoadBalancerServiceServer(server, fakeLoadBalancers{f: f})
	fiberlbv1.RegisterListenerServiceServer(server, fakeListeners{f: f})
	fiberlbv1.RegisterPoolServiceServer(server, fakePools{f: f})
	fiberlbv1.RegisterBackendServiceServer(server, fakeBackends{f: f})
	fiberlbv1.RegisterHealthCheckServiceServer(server, fakeHealthChecks{f: f})
	fiberlbv1.RegisterL7PolicyServiceServer(server, fakePolicies{f: f})
	fiberlbv1.RegisterL7RuleServiceServer(server, fakeRules{f: f})
	fiberlbv1.RegisterCertificateServiceServer(server, fakeCertificates{f: f})
	fiberlbv1.RegisterNodeServiceServer(server, fakeNodes{f: f})
	fiberlbv1.RegisterConfigServiceServer(server, fakeConfig{f: f})
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
}

func (f *fake) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	method := info.FullMethod[strings.LastIndexByte(info.FullMethod, '/')+1:]
	f.mu.Lock()
	f.calls = append(f.calls, method)
	if m, ok := req.(proto.Message); ok {
		f.requests[method] = proto.Clone(m)
	}
	err := f.fail[method]
	if once := f.failOnce[method]; once != nil {
		err = once
		delete(f.failOnce, method)
	}
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	_ = grpc.SetHeader(ctx, metadata.Pairs(adminhttp.VersionHeader, "v9.9.9"))
	return handler(ctx, req)
}

func (f *fake) called(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, call := range f.calls {
		if call == method {
			n++
		}
	}
	return n
}

func request[M proto.Message](f *fake, method string) M {
	f.mu.Lock()
	defer f.mu.Unlock()
	m, _ := f.requests[method].(M)
	return m
}

// config is a load balancer as the controller gives it. The caller holds mu.
func (f *fake) config(name string) *fiberlbv1.LoadBalancerConfig {
	l := f.lbs[name]
	if l == nil {
		return nil
	}
	m := lbpb.ToConfig(l)
	m.CreatedAt = timestamppb.New(today.Add(-50 * time.Hour))
	m.Status = f.statuses[m.FullName]
	for _, x := range m.Listeners {
		x.Status, x.CreatedAt = f.statuses[x.FullName], m.CreatedAt
	}
	for _, x := range m.Pools {
		x.Status, x.CreatedAt = f.statuses[x.FullName], m.CreatedAt
		for _, b := range x.Backends {
			b.Status, b.CreatedAt = f.statuses[b.FullName], m.CreatedAt
		}
	}
	if s := m.Status; s != nil && s.Rollout == nil {
		s.Rollout = &fiberlbv1.Rollout{Revision: f.revision, Nodes: 2, Acked: 2}
	}
	return m
}

func (f *fake) configs() []*fiberlbv1.LoadBalancerConfig {
	f.mu.Lock()
	defer f.mu.Unlock()
	var names []string
	for name := range f.lbs {
		names = append(names, name)
	}
	slices.Sort(names)
	var all []*fiberlbv1.LoadBalancerConfig
	for _, name := range names {
		all = append(all, f.config(name))
	}
	return all
}

func notFound(name string) error { return status.Errorf(codes.NotFound, "%q: not found", name) }

// matching tells whether a full name lies under a parent with wildcards.
func matching(name, parent string) bool {
	words, pattern := strings.Split(name, "/"), strings.Split(parent, "/")
	if len(words) != len(pattern)+2 {
		return false
	}
	for i, word := range pattern {
		if word != "-" && word != words[i] {
			return false
		}
	}
	return true
}

type named interface {
	proto.Message
	GetFullName() string
}

// children finds all objects of a kind.
func children[M named](f *fake, of func(*fiberlbv1.LoadBalancerConfig) []M) []M {
	var all []M
	for _, config := range f.configs() {
		all = append(all, of(config)...)
	}
	return all
}

func one[M named](all []M, name string) (M, error) {
	for _, m := range all {
		if m.GetFullName() == name {
			return m, nil
		}
	}
	var none M
	return none, notFound(name)
}

// page gives the objects under a parent, a few at a time.
func page[M named](f *fake, all []M, req *fiberlbv1.ListRequest) ([]M, string, error) {
	var under []M
	for _, m := range all {
		if matching(m.GetFullName(), req.GetParent()) {
			under = append(under, m)
		}
	}
	start := len(req.GetPageToken())
	if len(under) <= start+f.pageSize {
		return under[min(start, len(under)):], "", nil
	}
	return under[start : start+f.pageSize], strings.Repeat("x", start+f.pageSize), nil
}

type fakeLoadBalancers struct {
	fiberlbv1.UnimplementedLoadBalancerServiceServer
	f *fake
}

func ownParts(c *fiberlbv1.LoadBalancerConfig) []*fiberlbv1.LoadBalancer {
	return []*fiberlbv1.LoadBalancer{ownPart(c)}
}

func (s fakeLoadBalancers) GetLoadBalancer(_ context.Context, req *fiberlbv1.GetRequest) (*fiberlbv1.LoadBalancer, error) {
	m, err := one(children(s.f, ownParts), req.GetName())
	if err != nil {
		return nil, err
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.looks++
	if r := s.f.rollouts(req.GetName(), s.f.looks); r != nil {
		m.Status = &fiberlbv1.Status{Rollout: r}
	}
	return m, nil
}

func (s fakeLoadBalancers) ListLoadBalancers(_ context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListLoadBalancersResponse, error) {
	items, next, err := page(s.f, children(s.f, ownParts), req)
	return &fiberlbv1.ListLoadBalancersResponse{LoadBalancers: items, NextPageToken: next}, err
}

func (s fakeLoadBalancers) DeleteLoadBalancer(_ context.Context, req *fiberlbv1.DeleteRequest) (*emptypb.Empty, error) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	l := s.f.lbs[req.GetName()]
	switch {
	case l == nil && !req.GetAllowMissing():
		return nil, notFound(req.GetName())
	case l != nil && len(l.Listeners) > 0 && !req.GetCascade():
		return nil, status.Error(codes.FailedPrecondition, "load balancer has listeners; delete them first, or all at once with cascade")
	}
	delete(s.f.lbs, req.GetName())
	return &emptypb.Empty{}, nil
}

type fakeListeners struct {
	fiberlbv1.UnimplementedListenerServiceServer
	f *fake
}

func (s fakeListeners) GetListener(_ context.Context, req *fiberlbv1.GetRequest) (*fiberlbv1.Listener, error) {
	return one(children(s.f, (*fiberlbv1.LoadBalancerConfig).GetListeners), req.GetName())
}

func (s fakeListeners) ListListeners(_ context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListListenersResponse, error) {
	items, next, err := page(s.f, children(s.f, (*fiberlbv1.LoadBalancerConfig).GetListeners), req)
	return &fiberlbv1.ListListenersResponse{Listeners: items, NextPageToken: next}, err
}

func (s fakeListeners) DeleteListener(context.Context, *fiberlbv1.DeleteRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

type fakePools struct {
	fiberlbv1.UnimplementedPoolServiceServer
	f *fake
}

func (s fakePools) ListPools(_ context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListPoolsResponse, error) {
	items, next, err := page(s.f, children(s.f, (*fiberlbv1.LoadBalancerConfig).GetPools), req)
	return &fiberlbv1.ListPoolsResponse{Pools: items, NextPageToken: next}, err
}

type fakeBackends struct {
	fiberlbv1.UnimplementedBackendServiceServer
	f *fake
}

func backendsOf(c *fiberlbv1.LoadBalancerConfig) (all []*fiberlbv1.Backend) {
	for _, pool := range c.GetPools() {
		all = append(all, pool.GetBackends()...)
	}
	return all
}

func (s fakeBackends) GetBackend(_ context.Context, req *fiberlbv1.GetRequest) (*fiberlbv1.Backend, error) {
	return one(children(s.f, backendsOf), req.GetName())
}

func (s fakeBackends) ListBackends(_ context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListBackendsResponse, error) {
	items, next, err := page(s.f, children(s.f, backendsOf), req)
	return &fiberlbv1.ListBackendsResponse{Backends: items, NextPageToken: next}, err
}

func (s fakeBackends) DeleteBackend(context.Context, *fiberlbv1.DeleteRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

type fakeHealthChecks struct {
	fiberlbv1.UnimplementedHealthCheckServiceServer
	f *fake
}

func (s fakeHealthChecks) ListHealthChecks(_ context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListHealthChecksResponse, error) {
	items, next, err := page(s.f, children(s.f, func(c *fiberlbv1.LoadBalancerConfig) (all []*fiberlbv1.HealthCheck) {
		for _, pool := range c.GetPools() {
			if pool.GetHealthCheck() != nil {
				all = append(all, pool.GetHealthCheck())
			}
		}
		return all
	}), req)
	return &fiberlbv1.ListHealthChecksResponse{HealthChecks: items, NextPageToken: next}, err
}

type fakePolicies struct {
	fiberlbv1.UnimplementedL7PolicyServiceServer
	f *fake
}

func (s fakePolicies) ListL7Policies(_ context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListL7PoliciesResponse, error) {
	items, next, err := page(s.f, children(s.f, (*fiberlbv1.LoadBalancerConfig).GetL7Policies), req)
	return &fiberlbv1.ListL7PoliciesResponse{L7Policies: items, NextPageToken: next}, err
}

type fakeRules struct {
	fiberlbv1.UnimplementedL7RuleServiceServer
	f *fake
}

func (s fakeRules) ListL7Rules(_ context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListL7RulesResponse, error) {
	items, next, err := page(s.f, children(s.f, func(c *fiberlbv1.LoadBalancerConfig) (all []*fiberlbv1.L7Rule) {
		for _, policy := range c.GetL7Policies() {
			all = append(all, policy.GetRules()...)
		}
		return all
	}), req)
	return &fiberlbv1.ListL7RulesResponse{L7Rules: items, NextPageToken: next}, err
}

type fakeCertificates struct {
	fiberlbv1.UnimplementedCertificateServiceServer
	f *fake
}

// fakeCertificate is one that lies nowhere: what the fake shows is not parsed.
var fakeCertificate = &fiberlbv1.Certificate{
	Name: "main", FullName: "projects/default/loadBalancers/web/certificates/main", Type: fiberlbv1.CertificateType_CERTIFICATE_TYPE_SERVER,
	Subject: "CN=shop.example", DnsNames: []string{"shop.example", "www.shop.example"}, FingerprintSha256: "00ff",
	NotBefore: timestamppb.New(today.Add(-time.Hour)), ExpiresAt: timestamppb.New(today.Add(5 * 24 * time.Hour)), CreatedAt: timestamppb.New(today),
	Certificate: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
}

func (s fakeCertificates) GetCertificate(_ context.Context, req *fiberlbv1.GetRequest) (*fiberlbv1.Certificate, error) {
	return one([]*fiberlbv1.Certificate{fakeCertificate}, req.GetName())
}

func (s fakeCertificates) ListCertificates(_ context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListCertificatesResponse, error) {
	old := proto.CloneOf(fakeCertificate)
	old.Name, old.FullName, old.ExpiresAt = "old", "projects/default/loadBalancers/web/certificates/old", timestamppb.New(today.Add(-time.Hour))
	ca := proto.CloneOf(old)
	ca.Name, ca.FullName, ca.Type, ca.DnsNames, ca.ExpiresAt = "ca", "projects/shop/loadBalancers/db/certificates/ca", 2, nil, timestamppb.New(today.AddDate(10, 0, 0))
	items, next, err := page(s.f, []*fiberlbv1.Certificate{fakeCertificate, old, ca}, req)
	return &fiberlbv1.ListCertificatesResponse{Certificates: items, NextPageToken: next}, err
}

func (s fakeCertificates) UpdateCertificate(_ context.Context, req *fiberlbv1.UpdateCertificateRequest) (*fiberlbv1.Certificate, error) {
	return one([]*fiberlbv1.Certificate{fakeCertificate}, req.GetName())
}

func (s fakeCertificates) CreateCertificate(_ context.Context, req *fiberlbv1.CreateCertificateRequest) (*fiberlbv1.Certificate, error) {
	return req.GetCertificate(), nil
}

type fakeNodes struct {
	fiberlbv1.UnimplementedNodeServiceServer
	f *fake
}

func (s fakeNodes) all() []*fiberlbv1.Node {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	var all []*fiberlbv1.Node
	for _, node := range s.f.nodes {
		all = append(all, proto.CloneOf(node))
	}
	slices.SortFunc(all, func(a, b *fiberlbv1.Node) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all
}

func (s fakeNodes) GetNode(_ context.Context, req *fiberlbv1.GetRequest) (*fiberlbv1.Node, error) {
	return one(s.all(), req.GetName())
}

func (s fakeNodes) ListNodes(context.Context, *fiberlbv1.ListRequest) (*fiberlbv1.ListNodesResponse, error) {
	return &fiberlbv1.ListNodesResponse{Nodes: s.all()}, nil
}

func (s fakeNodes) UpdateNode(_ context.Context, req *fiberlbv1.UpdateNodeRequest) (*fiberlbv1.Node, error) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	node := s.f.nodes[strings.TrimPrefix(req.GetName(), "nodes/")]
	if node == nil {
		return nil, notFound(req.GetName())
	}
	switch req.GetUpdateMask().GetPaths()[0] {
	case "drain":
		node.Drain = req.GetNode().GetDrain()
	case "labels":
		node.Labels = req.GetNode().GetLabels()
	}
	return proto.CloneOf(node), nil
}

func (s fakeNodes) DeleteNode(context.Context, *fiberlbv1.DeleteRequest) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

type fakeConfig struct {
	fiberlbv1.UnimplementedConfigServiceServer
	f *fake
}

// compare is what both Plan and Apply do. The caller holds mu.
func (s fakeConfig) compare(m *fiberlbv1.LoadBalancerConfig) (*lb.LoadBalancer, []*fiberlbv1.Change, error) {
	next, violations := lbpb.FromConfig(m)
	if next == nil {
		st := status.New(codes.InvalidArgument, violations.Error())
		detail := &errdetails.BadRequest{}
		for _, v := range violations {
			detail.FieldViolations = append(detail.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Path, Description: v.Problem})
		}
		st, err := st.WithDetails(detail)
		if err != nil {
			return nil, nil, err
		}
		return nil, nil, st.Err()
	}
	var changes []*fiberlbv1.Change
	for _, change := range lb.Diff(s.f.lbs[lb.LoadBalancerName(next.Project, next.Name)], next) {
		c := &fiberlbv1.Change{Action: fiberlbv1.ChangeAction(change.Action), Resource: change.Resource}
		for _, field := range change.Fields {
			c.Fields = append(c.Fields, &fiberlbv1.FieldChange{Path: field.Path, Before: field.Before, After: field.After})
		}
		changes = append(changes, c)
	}
	return next, changes, nil
}

func (s fakeConfig) Apply(_ context.Context, req *fiberlbv1.ApplyRequest) (*fiberlbv1.ApplyResponse, error) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	next, changes, err := s.compare(req.GetConfig())
	if err != nil {
		return nil, err
	}
	if !req.GetValidateOnly() {
		s.f.revision++
		s.f.lbs[lb.LoadBalancerName(next.Project, next.Name)] = next
	}
	return &fiberlbv1.ApplyResponse{Changes: changes, Revision: s.f.revision}, nil
}

func (s fakeConfig) Plan(_ context.Context, req *fiberlbv1.PlanRequest) (*fiberlbv1.PlanResponse, error) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	_, changes, err := s.compare(req.GetConfig())
	return &fiberlbv1.PlanResponse{Changes: changes}, err
}

func (s fakeConfig) Export(_ context.Context, req *fiberlbv1.ExportRequest) (*fiberlbv1.ExportResponse, error) {
	if strings.Contains(req.GetName(), "/loadBalancers/") {
		m, err := one(s.f.configs(), req.GetName())
		if err != nil {
			return nil, err
		}
		return &fiberlbv1.ExportResponse{Configs: []*fiberlbv1.LoadBalancerConfig{m}}, nil
	}
	items, next, err := page(s.f, s.f.configs(), &fiberlbv1.ListRequest{Parent: req.GetName(), PageToken: req.GetPageToken()})
	return &fiberlbv1.ExportResponse{Configs: items, NextPageToken: next}, err
}

// Watch sends what there is, and then what the test hands out; an event without type ends the stream.
func (s fakeConfig) Watch(_ *fiberlbv1.WatchRequest, stream grpc.ServerStreamingServer[fiberlbv1.WatchResponse]) error {
	s.f.mu.Lock()
	err := s.f.fail["Watch"]
	s.f.mu.Unlock()
	if err != nil {
		return err
	}
	for _, config := range s.f.configs() {
		if err := stream.Send(&fiberlbv1.WatchResponse{Type: fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_CREATED, Config: config}); err != nil {
			return err
		}
	}
	if err := stream.Send(&fiberlbv1.WatchResponse{Type: fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_BOOKMARK}); err != nil {
		return err
	}
	for {
		select {
		case event := <-s.f.events:
			if event.GetType() == fiberlbv1.WatchEventType_WATCH_EVENT_TYPE_UNSPECIFIED {
				return status.Error(codes.Unavailable, "stopping")
			}
			if err := stream.Send(event); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}
