package api

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/tlsid"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
	"github.com/fiberlb/fiberlb/proto/fiberlb/v1/gateway"
)

// pipeBuffer is how much of a call waits in the pipe between the REST face and the services.
const pipeBuffer = 256 << 10

// REST is the API in JSON over HTTP. It calls the services over a pipe inside of the process, where nobody else can call, and
// checks for itself who its own callers are.
type REST struct {
	handler http.Handler
	server  *grpc.Server
	conn    *grpc.ClientConn
	done    sync.WaitGroup
}

// NewREST starts the REST form of the API; Close ends it.
func NewREST(s *Server) (*REST, error) {
	pipe := bufconn.Listen(pipeBuffer)
	r := &REST{server: grpc.NewServer(s.ServerOptions()...)}
	s.Register(r.server)
	r.done.Go(func() {
		if err := r.server.Serve(pipe); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.log.Error("REST is cut off from the services", "error", err)
		}
	})
	var err error
	r.conn, err = grpc.NewClient("passthrough:///rest",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(2*MaxMessage)))
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("api: rest: %w", err)
	}
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, textMarshaler{}),
		runtime.WithErrorHandler(writeError),
		runtime.WithRoutingErrorHandler(writeRoutingError),
		runtime.WithMetadata(annotate),
		// Headers mean nothing to the services, and theirs nothing to HTTP.
		runtime.WithIncomingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithOutgoingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
	)
	for _, register := range []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
		gateway.RegisterLoadBalancerServiceHandler, gateway.RegisterListenerServiceHandler, gateway.RegisterPoolServiceHandler,
		gateway.RegisterBackendServiceHandler, gateway.RegisterHealthCheckServiceHandler, gateway.RegisterL7PolicyServiceHandler,
		gateway.RegisterL7RuleServiceHandler, gateway.RegisterCertificateServiceHandler, gateway.RegisterNodeServiceHandler,
		gateway.RegisterConfigServiceHandler,
	} {
		if err := register(context.Background(), mux, r.conn); err != nil {
			r.Close()
			return nil, fmt.Errorf("api: rest: %w", err)
		}
	}
	r.handler = gate(mux)
	return r, nil
}

// Close cuts off calls that are under way.
func (r *REST) Close() {
	if r.conn != nil {
		_ = r.conn.Close() // it only tells that it was closed before
	}
	r.server.Stop()
	r.done.Wait()
}

// Mount puts the API under /v1/ and its description at /openapi.json of a server.
func (r *REST) Mount(handle func(pattern string, h http.Handler)) {
	handle("/v1/", r.handler)
	handle("GET /openapi.json", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(fiberlbv1.OpenAPI) // a client that left needs no answer
	}))
}

// gate refuses what must not or cannot reach the services: callers that may not use the API, requests that a web page made a
// browser send, bodies that are not JSON or too large, and parameters that nobody knows.
func gate(next http.Handler) http.Handler {
	known := queryNames()
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		ctx := withPeer(req)
		if err := tlsid.RequireAPIClient(ctx); err != nil {
			writeStatus(w, status.Convert(err), 0)
			return
		}
		// In plaintext the caller's address is all that admits it, which a page in a browser on this machine shares. Such a
		// page can neither choose the Host header nor send JSON across origins.
		if req.TLS == nil && !isLocalHost(req.Host) {
			writeStatus(w, status.Newf(codes.PermissionDenied, "host %q is not this machine: call the API by its loopback address", req.Host), 0)
			return
		}
		if kind, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); req.ContentLength != 0 && (err != nil || kind != "application/json") {
			writeStatus(w, status.Newf(codes.InvalidArgument, "content type %q: send JSON as application/json", req.Header.Get("Content-Type")), http.StatusUnsupportedMediaType)
			return
		}
		if req.ContentLength > MaxMessage {
			writeStatus(w, status.Newf(codes.ResourceExhausted, "the body has %d bytes, more than %d", req.ContentLength, MaxMessage), http.StatusRequestEntityTooLarge)
			return
		}
		if err := checkQuery(req, known); err != nil {
			writeStatus(w, status.Convert(err), 0)
			return
		}
		req.Body = http.MaxBytesReader(w, req.Body, MaxMessage)
		next.ServeHTTP(w, req.WithContext(ctx))
	})
}

// withPeer gives the request's context the peer that package tlsid looks at.
func withPeer(req *http.Request) context.Context {
	p := &peer.Peer{}
	if addr, err := netip.ParseAddrPort(req.RemoteAddr); err == nil {
		p.Addr = net.TCPAddrFromAddrPort(addr)
	}
	if req.TLS != nil {
		p.AuthInfo = credentials.TLSInfo{State: *req.TLS}
	}
	return peer.NewContext(req.Context(), p)
}

// isLocalHost tells whether a Host header names this machine.
func isLocalHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

// queryNames are the fields of requests that may be parameters: all but the objects themselves, in both spellings.
func queryNames() []string {
	var names []string
	messages := fiberlbv1.File_fiberlb_v1_services_proto.Messages()
	for i := range messages.Len() {
		if !strings.HasSuffix(string(messages.Get(i).Name()), "Request") {
			continue
		}
		for j := range messages.Get(i).Fields().Len() {
			if field := messages.Get(i).Fields().Get(j); field.Message() == nil || !mergeable(field) && !field.IsList() {
				names = append(names, string(field.Name()), field.JSONName())
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func checkQuery(req *http.Request, known []string) error {
	var found lb.Violations
	for name := range req.URL.Query() {
		if !slices.Contains(known, name) {
			v := lb.Violation{Path: name, Problem: "is no parameter of the API"}
			if near := lb.Nearest(name, known); near != "" {
				v.Remedy = fmt.Sprintf("did you mean %q?", near)
			}
			found = append(found, v)
		}
	}
	slices.SortFunc(found, func(a, b lb.Violation) int { return strings.Compare(a.Path, b.Path) })
	return violationsError(found)
}

// annotate tells the services what only HTTP knows.
func annotate(ctx context.Context, req *http.Request) metadata.MD {
	md := metadata.MD{}
	if id, ok := tlsid.PeerFromContext(ctx); ok {
		md.Set(restPeerKey, id.String())
	}
	query := req.URL.Query()
	if req.Method == http.MethodPatch && !query.Has("update_mask") && !query.Has("updateMask") {
		md.Set(derivedMaskKey, "1")
	}
	return md
}
