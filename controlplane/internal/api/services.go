package api

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// The services of the kinds inside of a load balancer: all they do is in package-wide descriptions of the kinds.

type listenerService struct {
	fiberlbv1.UnimplementedListenerServiceServer
	s *Server
}

func (v listenerService) CreateListener(ctx context.Context, req *fiberlbv1.CreateListenerRequest) (*fiberlbv1.Listener, error) {
	return listenerKind.create(ctx, v.s, req, req.GetListener())
}

func (v listenerService) GetListener(ctx context.Context, req *fiberlbv1.GetRequest) (*fiberlbv1.Listener, error) {
	return listenerKind.get(ctx, v.s, req)
}

func (v listenerService) ListListeners(ctx context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListListenersResponse, error) {
	page, next, err := listenerKind.list(ctx, v.s, req)
	if err != nil {
		return nil, err
	}
	return &fiberlbv1.ListListenersResponse{Listeners: page, NextPageToken: next}, nil
}

func (v listenerService) UpdateListener(ctx context.Context, req *fiberlbv1.UpdateListenerRequest) (*fiberlbv1.Listener, error) {
	return listenerKind.update(ctx, v.s, req, req.GetListener())
}

func (v listenerService) DeleteListener(ctx context.Context, req *fiberlbv1.DeleteRequest) (*emptypb.Empty, error) {
	return listenerKind.delete(ctx, v.s, req)
}

type poolService struct {
	fiberlbv1.UnimplementedPoolServiceServer
	s *Server
}

func (v poolService) CreatePool(ctx context.Context, req *fiberlbv1.CreatePoolRequest) (*fiberlbv1.Pool, error) {
	return poolKind.create(ctx, v.s, req, req.GetPool())
}

func (v poolService) GetPool(ctx context.Context, req *fiberlbv1.GetRequest) (*fiberlbv1.Pool, error) {
	return poolKind.get(ctx, v.s, req)
}

func (v poolService) ListPools(ctx context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListPoolsResponse, error) {
	page, next, err := poolKind.list(ctx, v.s, req)
	if err != nil {
		return nil, err
	}
	return &fiberlbv1.ListPoolsResponse{Pools: page, NextPageToken: next}, nil
}

func (v poolService) UpdatePool(ctx context.Context, req *fiberlbv1.UpdatePoolRequest) (*fiberlbv1.Pool, error) {
	return poolKind.update(ctx, v.s, req, req.GetPool())
}

func (v poolService) DeletePool(ctx context.Context, req *fiberlbv1.DeleteRequest) (*emptypb.Empty, error) {
	return poolKind.delete(ctx, v.s, req)
}

type backendService struct {
	fiberlbv1.UnimplementedBackendServiceServer
	s *Server
}

func (v backendService) CreateBackend(ctx context.Context, req *fiberlbv1.CreateBackendRequest) (*fiberlbv1.Backend, error) {
	return backendKind.create(ctx, v.s, req, req.GetBackend())
}

func (v backendService) GetBackend(ctx context.Context, req *fiberlbv1.GetRequest) (*fiberlbv1.Backend, error) {
	return backendKind.get(ctx, v.s, req)
}

func (v backendService) ListBackends(ctx context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListBackendsResponse, error) {
	page, next, err := backendKind.list(ctx, v.s, req)
	if err != nil {
		return nil, err
	}
	return &fiberlbv1.ListBackendsResponse{Backends: page, NextPageToken: next}, nil
}

func (v backendService) UpdateBackend(ctx context.Context, req *fiberlbv1.UpdateBackendRequest) (*fiberlbv1.Backend, error) {
	return backendKind.update(ctx, v.s, req, req.GetBackend())
}

func (v backendService) DeleteBackend(ctx context.Context, req *fiberlbv1.DeleteRequest) (*emptypb.Empty, error) {
	return backendKind.delete(ctx, v.s, req)
}

type healthCheckService struct {
	fiberlbv1.UnimplementedHealthCheckServiceServer
	s *Server
}

func (v healthCheckService) CreateHealthCheck(ctx context.Context, req *fiberlbv1.CreateHealthCheckRequest) (*fiberlbv1.HealthCheck, error) {
	return healthCheckKind.create(ctx, v.s, req, req.GetHealthCheck())
}

func (v healthCheckService) GetHealthCheck(ctx context.Context, req *fiberlbv1.GetRequest) (*fiberlbv1.HealthCheck, error) {
	return healthCheckKind.get(ctx, v.s, req)
}

func (v healthCheckService) ListHealthChecks(ctx context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListHealthChecksResponse, error) {
	page, next, err := healthCheckKind.list(ctx, v.s, req)
	if err != nil {
		return nil, err
	}
	return &fiberlbv1.ListHealthChecksResponse{HealthChecks: page, NextPageToken: next}, nil
}

func (v healthCheckService) UpdateHealthCheck(ctx context.Context, req *fiberlbv1.UpdateHealthCheckRequest) (*fiberlbv1.HealthCheck, error) {
	return healthCheckKind.update(ctx, v.s, req, req.GetHealthCheck())
}

func (v healthCheckService) DeleteHealthCheck(ctx context.Context, req *fiberlbv1.DeleteRequest) (*emptypb.Empty, error) {
	return healthCheckKind.delete(ctx, v.s, req)
}

type policyService struct {
	fiberlbv1.UnimplementedL7PolicyServiceServer
	s *Server
}

func (v policyService) CreateL7Policy(ctx context.Context, req *fiberlbv1.CreateL7PolicyRequest) (*fiberlbv1.L7Policy, error) {
	return policyKind.create(ctx, v.s, req, req.GetL7Policy())
}

func (v policyService) GetL7Policy(ctx context.Context, req *fiberlbv1.GetRequest) (*fiberlbv1.L7Policy, error) {
	return policyKind.get(ctx, v.s, req)
}

func (v policyService) ListL7Policies(ctx context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListL7PoliciesResponse, error) {
	page, next, err := policyKind.list(ctx, v.s, req)
	if err != nil {
		return nil, err
	}
	return &fiberlbv1.ListL7PoliciesResponse{L7Policies: page, NextPageToken: next}, nil
}

func (v policyService) UpdateL7Policy(ctx context.Context, req *fiberlbv1.UpdateL7PolicyRequest) (*fiberlbv1.L7Policy, error) {
	return policyKind.update(ctx, v.s, req, req.GetL7Policy())
}

func (v policyService) DeleteL7Policy(ctx context.Context, req *fiberlbv1.DeleteRequest) (*emptypb.Empty, error) {
	return policyKind.delete(ctx, v.s, req)
}

type ruleService struct {
	fiberlbv1.UnimplementedL7RuleServiceServer
	s *Server
}

func (v ruleService) CreateL7Rule(ctx context.Context, req *fiberlbv1.CreateL7RuleRequest) (*fiberlbv1.L7Rule, error) {
	return ruleKind.create(ctx, v.s, req, req.GetL7Rule())
}

func (v ruleService) GetL7Rule(ctx context.Context, req *fiberlbv1.GetRequest) (*fiberlbv1.L7Rule, error) {
	return ruleKind.get(ctx, v.s, req)
}

func (v ruleService) ListL7Rules(ctx context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListL7RulesResponse, error) {
	page, next, err := ruleKind.list(ctx, v.s, req)
	if err != nil {
		return nil, err
	}
	return &fiberlbv1.ListL7RulesResponse{L7Rules: page, NextPageToken: next}, nil
}

func (v ruleService) UpdateL7Rule(ctx context.Context, req *fiberlbv1.UpdateL7RuleRequest) (*fiberlbv1.L7Rule, error) {
	return ruleKind.update(ctx, v.s, req, req.GetL7Rule())
}

func (v ruleService) DeleteL7Rule(ctx context.Context, req *fiberlbv1.DeleteRequest) (*emptypb.Empty, error) {
	return ruleKind.delete(ctx, v.s, req)
}

type certificateService struct {
	fiberlbv1.UnimplementedCertificateServiceServer
	s *Server
}

func (v certificateService) CreateCertificate(ctx context.Context, req *fiberlbv1.CreateCertificateRequest) (*fiberlbv1.Certificate, error) {
	return certificateKind.create(ctx, v.s, req, req.GetCertificate())
}

func (v certificateService) GetCertificate(ctx context.Context, req *fiberlbv1.GetRequest) (*fiberlbv1.Certificate, error) {
	return certificateKind.get(ctx, v.s, req)
}

func (v certificateService) ListCertificates(ctx context.Context, req *fiberlbv1.ListRequest) (*fiberlbv1.ListCertificatesResponse, error) {
	page, next, err := certificateKind.list(ctx, v.s, req)
	if err != nil {
		return nil, err
	}
	return &fiberlbv1.ListCertificatesResponse{Certificates: page, NextPageToken: next}, nil
}

func (v certificateService) UpdateCertificate(ctx context.Context, req *fiberlbv1.UpdateCertificateRequest) (*fiberlbv1.Certificate, error) {
	return certificateKind.update(ctx, v.s, req, req.GetCertificate())
}

func (v certificateService) DeleteCertificate(ctx context.Context, req *fiberlbv1.DeleteRequest) (*emptypb.Empty, error) {
	return certificateKind.delete(ctx, v.s, req)
}
