// Package agentstream is the node's end of the snapshot stream: it greets a
// controller with what the node holds, hands what comes to the apply loop,
// answers, and tries the next controller when a stream ends.
package agentstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	grpcbackoff "google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/dataplane/internal/apply"
	"github.com/fiberlb/fiberlb/pkg/backoff"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

const (
	// settled is how long a stream must have lived for the next attempt to come at once.
	settled = 10 * time.Second
	// connectTimeout bounds how long a controller that does not answer holds
	// up the attempt at the next one.
	connectTimeout = 5 * time.Second
	// greetTimeout bounds the wait for the first message. A controller answers
	// a hello at once; one that has lost its store might never.
	greetTimeout = 30 * time.Second
	// reportInterval is the least time between two reports.
	reportInterval = 200 * time.Millisecond
)

// Applier puts deltas in force.
type Applier interface {
	View(context.Context, func(apply.View)) error
	Apply(context.Context, *snapshot.Delta) (apply.Result, error)
}

// Config of a Client.
type Config struct {
	Node            string
	Labels          map[string]string
	SoftwareVersion string
	Capabilities    []string
	Controllers     []string
	Credentials     credentials.TransportCredentials
	Applier         Applier
	// Report gives what is not as wished on the node; it must end when the
	// context does. Reports tells, coalesced, when it changed.
	Report  func(context.Context) (*agentv1.Report, error)
	Reports <-chan struct{}
	// NodeState receives what people set of the node.
	NodeState func(drain bool)
	Logger    hclog.Logger
	Metrics   *Metrics
}

// Client keeps one stream to one of the controllers.
type Client struct {
	cfg Config
	// forget makes the next hello hold nothing: the controller and the node
	// disagreed about what the node has.
	forget bool
}

// New makes a client; it dials in Run.
func New(cfg Config) (*Client, error) {
	if len(cfg.Controllers) == 0 {
		return nil, errors.New("agentstream: no controller is given")
	}
	c := &Client{cfg: cfg}
	for _, target := range cfg.Controllers {
		conn, err := c.dial(target)
		if err != nil {
			return nil, fmt.Errorf("agentstream: controller %q: %w", target, err)
		}
		_ = conn.Close()
	}
	return c, nil
}

// dial makes a connection that is tried once, when a stream is first asked of
// it: the pauses between attempts are the client's own. The keepalive finds a
// controller that is gone without a word within 15 s.
func (c *Client) dial(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+target,
		grpc.WithTransportCredentials(c.cfg.Credentials),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: grpcbackoff.DefaultConfig, MinConnectTimeout: connectTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(snapshot.MaxMessageSize), grpc.MaxCallSendMsgSize(snapshot.MaxMessageSize)),
	)
}

// Run keeps a stream until ctx ends. Where there are several controllers it
// begins with a random one, so that nodes spread over them.
func (c *Client) Run(ctx context.Context) error {
	var wait backoff.Backoff
	n := len(c.cfg.Controllers)
	for next := rand.IntN(n); ctx.Err() == nil; next = (next + 1) % n {
		target := c.cfg.Controllers[next]
		began := time.Now()
		ended := c.stream(ctx, target)
		c.cfg.Metrics.disconnected()
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > settled {
			wait.Reset()
		}
		c.cfg.Logger.Warn("no stream to controller; the configuration in force stays", "controller", target,
			"error", words(ended))
		_ = wait.Wait(ctx) // the loop ends with ctx
	}
	return nil //nolint:nilerr // a stream that ended is no error of the loop
}

// words strips gRPC's wrapping from an error.
func words(err error) string {
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		return s.Code().String() + ": " + s.Message()
	}
	return err.Error()
}

// stream runs one stream to its end.
func (c *Client) stream(ctx context.Context, target string) error {
	conn, err := c.dial(target)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	st, err := agentv1.NewSnapshotServiceClient(conn).Stream(ctx)
	if err != nil {
		return err
	}
	hello, err := c.hello(ctx)
	if err != nil {
		return err
	}
	s := session{Client: c, ctx: ctx, cancel: cancel, stream: st, target: target,
		acks: make(chan *agentv1.Ack), reports: make(chan *agentv1.Report)}
	return s.run(hello)
}

// hello tells what the node is and holds.
func (c *Client) hello(ctx context.Context) (*agentv1.Hello, error) {
	h := &agentv1.Hello{
		Node: c.cfg.Node, Labels: c.cfg.Labels, SoftwareVersion: c.cfg.SoftwareVersion,
		SchemaVersion: snapshot.SchemaVersion, Capabilities: c.cfg.Capabilities,
	}
	if c.forget {
		return h, nil
	}
	var (
		loaded  bool
		version snapshot.Version
		set     *snapshot.Set
	)
	if err := c.cfg.Applier.View(ctx, func(v apply.View) {
		loaded = v.Loaded()
		version, set = v.Held()
	}); err != nil {
		return nil, err
	}
	if loaded {
		h.Version, h.Held = version.Proto(), set.Held()
	}
	return h, nil
}
