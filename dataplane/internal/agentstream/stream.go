// Package agentstream is the node's end of the snapshot stream: it greets a
// controller with what the node holds, hands what comes to the apply loop,
// answers, and tries the next controller when a stream ends.
package agentstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/fiberlb/fiberlb/dataplane/internal/apply"
	"github.com/fiberlb/fiberlb/pkg/backoff"
	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// settled is how long a stream must have lived for the next attempt to come at once.
const settled = 10 * time.Second

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
	// Report gives what is not as wished on the node. Reports tells, coalesced, when it changed.
	Report  func(context.Context) (*agentv1.Report, error)
	Reports <-chan struct{}
	// NodeState receives what people set of the node.
	NodeState func(drain bool)
	Logger    hclog.Logger
	Metrics   *Metrics
}

// Client keeps one stream to one of the controllers.
type Client struct {
	cfg   Config
	conns []*grpc.ClientConn
	// forget makes the next hello hold nothing: the controller and the node
	// disagreed about what the node has.
	forget bool
}

// New makes a client; it dials in Run.
func New(cfg Config) (*Client, error) {
	c := &Client{cfg: cfg}
	for _, target := range cfg.Controllers {
		conn, err := grpc.NewClient("passthrough:///"+target,
			grpc.WithTransportCredentials(cfg.Credentials),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(snapshot.MaxMessageSize), grpc.MaxCallSendMsgSize(snapshot.MaxMessageSize)),
		)
		if err != nil {
			c.close()
			return nil, fmt.Errorf("agentstream: controller %q: %w", target, err)
		}
		c.conns = append(c.conns, conn)
	}
	return c, nil
}

func (c *Client) close() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
}

// Run keeps a stream until ctx ends. Where there are several controllers it
// begins with a random one, so that nodes spread over them.
func (c *Client) Run(ctx context.Context) error {
	defer c.close()
	var wait backoff.Backoff
	for next := rand.IntN(len(c.conns)); ctx.Err() == nil; next = (next + 1) % len(c.conns) {
		target := c.cfg.Controllers[next]
		began := time.Now()
		err := c.stream(ctx, c.conns[next], target)
		c.cfg.Metrics.disconnected()
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > settled {
			wait.Reset()
		}
		c.cfg.Logger.Warn("no stream to controller; the configuration in force stays", "controller", target,
			"error", words(err))
		if wait.Wait(ctx) != nil {
			return nil
		}
	}
	return nil
}

// words strips gRPC's wrapping from an error.
func words(err error) string {
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		return s.Code().String() + ": " + s.Message()
	}
	return err.Error()
}

// stream runs one stream to its end.
func (c *Client) stream(ctx context.Context, conn *grpc.ClientConn, target string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st, err := agentv1.NewSnapshotServiceClient(conn).Stream(ctx)
	if err != nil {
		return err
	}
	hello, err := c.hello(ctx)
	if err != nil {
		return err
	}
	if err := st.Send(&agentv1.AgentMessage{Message: &agentv1.AgentMessage_Hello{Hello: hello}}); err != nil {
		_, err = st.Recv() // says why
		return err
	}
	// One goroutine receives and one sends, as gRPC wants it.
	out := make(chan *agentv1.AgentMessage, 1)
	sent := make(chan error, 1)
	go func() { sent <- c.send(ctx, st, out) }()
	err = c.receive(ctx, st, target, out)
	cancel()
	<-sent
	return err
}

func (c *Client) hello(ctx context.Context) (*agentv1.Hello, error) {
	h := &agentv1.Hello{
		Node: c.cfg.Node, Labels: c.cfg.Labels, SoftwareVersion: c.cfg.SoftwareVersion,
		SchemaVersion: snapshot.SchemaVersion, Capabilities: c.cfg.Capabilities,
	}
	forget := c.forget
	c.forget = false
	err := c.cfg.Applier.View(ctx, func(v apply.View) {
		if v.Loaded() && !forget {
			version, set := v.Held()
			h.Version, h.Held = version.Proto(), set.Held()
		}
	})
	return h, err
}

func (c *Client) receive(ctx context.Context, st agentv1.SnapshotService_StreamClient, target string, out chan<- *agentv1.AgentMessage) error {
	greeted := false
	for {
		msg, err := st.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the controller ended the stream")
		}
		if err != nil {
			return err
		}
		if !greeted {
			greeted = true
			c.cfg.Metrics.connected()
			c.cfg.Logger.Info("stream to controller", "controller", target)
		}
		switch m := msg.GetMessage().(type) {
		case *agentv1.ControllerMessage_NodeState:
			c.cfg.NodeState(m.NodeState.GetDrain())
		case *agentv1.ControllerMessage_Delta:
			ack, err := c.apply(ctx, m.Delta)
			if err != nil {
				return err
			}
			select {
			case out <- &agentv1.AgentMessage{Message: &agentv1.AgentMessage_Ack{Ack: ack}}:
			case <-ctx.Done():
				return ctx.Err()
			}
		default:
			// A newer controller may say more; what it says is not configuration.
			c.cfg.Logger.Debug("message of an unknown kind ignored")
		}
	}
}

func (c *Client) apply(ctx context.Context, m *agentv1.Delta) (*agentv1.Ack, error) {
	delta, err := snapshot.DeltaFromProto(m)
	if err != nil {
		return nil, err
	}
	res, err := c.cfg.Applier.Apply(ctx, delta)
	if err != nil {
		c.forget = errors.Is(err, snapshot.ErrDigest)
		return nil, err
	}
	ack := &agentv1.Ack{Version: m.GetVersion()}
	for _, f := range res.Faults {
		ack.Errors = append(ack.Errors, &agentv1.ResourceFault{Kind: agentv1.Kind(f.Kind), Name: f.Name, Message: f.Message})
	}
	return ack, nil
}

// send writes acks as they come, and reports as they change.
func (c *Client) send(ctx context.Context, st agentv1.SnapshotService_StreamClient, out <-chan *agentv1.AgentMessage) error {
	report := make(chan struct{}, 1)
	report <- struct{}{} // the first tells the controller what there is
	for {
		var msg *agentv1.AgentMessage
		select {
		case <-ctx.Done():
			return ctx.Err()
		case msg = <-out:
		case <-report:
		case <-c.cfg.Reports:
		}
		if msg == nil {
			r, err := c.cfg.Report(ctx)
			if err != nil {
				return err
			}
			msg = &agentv1.AgentMessage{Message: &agentv1.AgentMessage_Report{Report: r}}
		}
		if err := st.Send(msg); err != nil {
			return err
		}
	}
}
