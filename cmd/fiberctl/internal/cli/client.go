package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

const (
	defaultServer = "127.0.0.1:7400"
	defaultPort   = "7400"
	maxMessage    = 64 << 20 // bytes of an answer
	pageSize      = 500
)

// serviceConfig repeats calls that found no server, or lost it half way. Writes bear request IDs, so that a repetition does no harm.
const serviceConfig = `{"loadBalancingConfig": [{"pick_first": {}}], "methodConfig": [{"name": [{}], "retryPolicy":
	{"maxAttempts": 3, "initialBackoff": "0.05s", "maxBackoff": "0.5s", "backoffMultiplier": 3, "retryableStatusCodes": ["UNAVAILABLE"]}}]}`

// client is the connection to the controller with the services on it.
type client struct {
	servers []string
	conn    *grpc.ClientConn

	loadBalancers fiberlbv1.LoadBalancerServiceClient
	listeners     fiberlbv1.ListenerServiceClient
	pools         fiberlbv1.PoolServiceClient
	backends      fiberlbv1.BackendServiceClient
	healthChecks  fiberlbv1.HealthCheckServiceClient
	policies      fiberlbv1.L7PolicyServiceClient
	rules         fiberlbv1.L7RuleServiceClient
	certificates  fiberlbv1.CertificateServiceClient
	nodes         fiberlbv1.NodeServiceClient
	config        fiberlbv1.ConfigServiceClient
}

// dial gives the client; nothing is sent before the first call.
func (a *app) dial() (*client, error) {
	if a.client != nil {
		return a.client, nil
	}
	servers, err := serverList(cmp.Or(a.server, a.env("FIBERLB_SERVER"), defaultServer))
	if err != nil {
		return nil, err
	}
	tls := a.tls
	if tls.Cert == "" && tls.Key == "" && tls.CA == "" {
		tls.Cert, tls.Key, tls.CA = a.env("FIBERLB_TLS_CERT"), a.env("FIBERLB_TLS_KEY"), a.env("FIBERLB_TLS_CA")
	}
	credentials, err := tls.ClientCredentials(servers)
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(), // controllers are neighbours, whatever proxy leads out
	}
	target := servers[0]
	if !strings.HasPrefix(target, "unix:") {
		// All servers are one target: they are tried in order. Each certificate is checked against the name of its own server.
		list := manual.NewBuilderWithScheme("fiberlb")
		var state resolver.State
		for _, server := range servers {
			name, _, _ := net.SplitHostPort(server)
			state.Addresses = append(state.Addresses, resolver.Address{Addr: server, ServerName: name})
		}
		list.InitialState(state)
		options = append(options, grpc.WithResolvers(list))
		target = "fiberlb:///controller"
	}
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		return nil, usagef("--server %s: %v", strings.Join(servers, ","), err)
	}
	a.client = &client{
		servers: servers, conn: conn,
		loadBalancers: fiberlbv1.NewLoadBalancerServiceClient(conn), listeners: fiberlbv1.NewListenerServiceClient(conn),
		pools: fiberlbv1.NewPoolServiceClient(conn), backends: fiberlbv1.NewBackendServiceClient(conn),
		healthChecks: fiberlbv1.NewHealthCheckServiceClient(conn), policies: fiberlbv1.NewL7PolicyServiceClient(conn),
		rules: fiberlbv1.NewL7RuleServiceClient(conn), certificates: fiberlbv1.NewCertificateServiceClient(conn),
		nodes: fiberlbv1.NewNodeServiceClient(conn), config: fiberlbv1.NewConfigServiceClient(conn),
	}
	return a.client, nil
}

// close lets go of the connection. What could fail in it is of no interest any more.
func (c *client) close() { _ = c.conn.Close() }

// serverList splits "a:7400,b" and fills in the port.
func serverList(text string) ([]string, error) {
	var servers []string
	for server := range strings.SplitSeq(text, ",") {
		server = strings.TrimSpace(server)
		if strings.HasPrefix(server, "unix:") {
			if strings.Contains(text, ",") {
				return nil, usagef("--server %s: a unix socket must be the only server", text)
			}
			return []string{server}, nil
		}
		host, port, err := net.SplitHostPort(server)
		if missing := (*net.AddrError)(nil); errors.As(err, &missing) && missing.Err == "missing port in address" {
			host, port, err = strings.Trim(server, "[]"), defaultPort, nil
		}
		if err != nil || host == "" || port == "" || strings.ContainsAny(server, "/ ") {
			return nil, usagef("--server %q is not an address: give HOST:PORT, or several with commas", text)
		}
		servers = append(servers, net.JoinHostPort(host, port))
	}
	return servers, nil
}

// requestID marks one wish, however often it has to be sent.
func requestID() string { return "fiberctl-" + rand.Text() }

// pages collects all pages of a list.
func pages[T any](ctx context.Context, page func(ctx context.Context, token string) ([]T, string, error)) ([]T, error) {
	var all []T
	token := ""
	for {
		items, next, err := page(ctx, token)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if next == "" {
			return all, nil
		}
		token = next
	}
}
