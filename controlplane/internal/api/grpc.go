package api

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/pkg/adminhttp"
	"github.com/fiberlb/fiberlb/pkg/canon"
	"github.com/fiberlb/fiberlb/pkg/tlsid"
)

// callTimeout bounds every call that is not a stream, so that none hangs on an etcd that does not answer.
const callTimeout = 30 * time.Second

// Metadata keys between the REST face and the services. Whoever sets them by hand gains nothing: the one only makes field masks
// more lenient, the other only shows in debug logs.
const (
	derivedMaskKey = "fiberlb-derived-mask" // the field mask was made from a body
	restPeerKey    = "fiberlb-rest-peer"    // who called the REST face
)

// ServerOptions are those of every gRPC server that the API is registered on: bounds, identity checks, recovery from panics,
// the request log (at debug, without bodies) and metrics.
func (s *Server) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.ChainUnaryInterceptor(s.unary),
		grpc.ChainStreamInterceptor(s.stream),
	}
}

// authorize admits operators to the API. Other services see to themselves: agents' streams know their node only after its
// hello, health and reflection tell nothing that matters, to peers who have proved an identity anyway.
func authorize(ctx context.Context, method string) error {
	if strings.HasPrefix(method, "/fiberlb.v1.") {
		return tlsid.RequireAPIClient(ctx)
	}
	return nil
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	began := time.Now()
	defer func() {
		err = s.finish(ctx, info.FullMethod, began, recover(), err)
		s.metrics.duration.WithLabelValues(info.FullMethod).Observe(time.Since(began).Seconds())
		if err != nil {
			answer = nil
		}
	}()
	if err := authorize(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	_ = grpc.SetHeader(ctx, metadata.Pairs(adminhttp.VersionHeader, adminhttp.Version()))
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if m, ok := req.(proto.Message); ok && strings.HasPrefix(info.FullMethod, "/fiberlb.v1.") {
		// What this build does not know it must not drop without a word.
		if path, unknown := canon.HasUnknown(m); unknown {
			return nil, fieldError(path, "has a field that this controller does not know; it is older than the client")
		}
	}
	return handler(ctx, req)
}

func (s *Server) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	began := time.Now()
	defer func() { err = s.finish(stream.Context(), info.FullMethod, began, recover(), err) }()
	if err := authorize(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	return handler(srv, stream)
}

// finish counts and logs a call, and turns a panic into INTERNAL.
func (s *Server) finish(ctx context.Context, method string, began time.Time, panicked any, err error) error {
	if panicked != nil {
		s.metrics.panics.Inc()
		s.log.Error("call panicked", "method", method, "panic", fmt.Sprint(panicked), "stack", string(debug.Stack()))
		err = status.Error(codes.Internal, "the controller met a fault of its own, which its log tells more about")
	}
	code := status.Code(err)
	s.metrics.requests.WithLabelValues(method, code.String()).Inc()
	if s.log.IsDebug() {
		s.log.Debug("call", "method", method, "code", code.String(), "duration", time.Since(began), "peer", callerOf(ctx))
	}
	return err
}

// callerOf names who made the call.
func callerOf(ctx context.Context) string {
	if names := metadata.ValueFromIncomingContext(ctx, restPeerKey); len(names) > 0 {
		return "rest: " + names[0]
	}
	if id, ok := tlsid.PeerFromContext(ctx); ok {
		return id.String()
	}
	return ""
}

// maskIsDerived tells whether the REST face made the field mask from the request's body.
func maskIsDerived(ctx context.Context) bool {
	return len(metadata.ValueFromIncomingContext(ctx, derivedMaskKey)) > 0
}
