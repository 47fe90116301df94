package publish

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// waitWarning is how long a stream may wait for configuration before that is said aloud.
const waitWarning = 3 * time.Second

// Stream serves one agent. It returns when the agent goes, when a newer stream of the node comes, when the agent breaks the
// protocol or does not answer in time, and when Run ends.
//
// The handler's goroutine only waits: returning is what frees a send to an agent that does not read.
func (p *Publisher) Stream(stream agentv1.SnapshotService_StreamServer) error {
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return errStopping
	}
	p.streams.Add(1)
	p.mu.Unlock()
	defer p.streams.Done()

	ctx, end := context.WithCancelCause(stream.Context())
	defer end(nil)
	defer context.AfterFunc(p.life, func() { end(context.Cause(p.life)) })()

	h, err := p.receiveHello(ctx, stream)
	if err != nil {
		return err
	}
	if err := p.cfg.Authorize(ctx, h.node); err != nil {
		p.log.Warn("stream refused", "node", h.node, "address", addressOf(ctx), "error", err)
		return err
	}
	s := p.newSession(h, addressOf(ctx), end)
	s.log.Info("agent connected", "version", h.caps.Version(), "runs", h.version.String(), "holds", len(h.held))
	p.register(s)
	defer p.unregister(s)
	defer time.AfterFunc(waitWarning, func() { p.warnWaiting(s) }).Stop()

	p.streams.Go(func() { end(s.receive(stream)) })
	p.streams.Go(func() { end(s.sendAll(ctx, stream)) })
	<-ctx.Done()
	err = endStatus(ctx)
	s.log.Info("agent disconnected", "reason", reason(err))
	return err
}

// receiveHello waits for the first message, for a bounded time.
func (p *Publisher) receiveHello(ctx context.Context, stream agentv1.SnapshotService_StreamServer) (*hello, error) {
	type received struct {
		message *agentv1.AgentMessage
		err     error
	}
	first := make(chan received, 1)
	p.streams.Go(func() {
		m, err := stream.Recv()
		first <- received{m, err}
	})
	timeout := time.NewTimer(p.cfg.HelloTimeout)
	defer timeout.Stop()
	select {
	case r := <-first:
		if r.err != nil {
			return nil, r.err
		}
		h, err := readHello(r.message)
		if err != nil {
			p.log.Warn("stream refused", "address", addressOf(ctx), "error", err)
		}
		return h, err
	case <-timeout.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "no hello came within %v", p.cfg.HelloTimeout)
	case <-ctx.Done():
		return nil, endStatus(ctx)
	}
}

func (p *Publisher) warnWaiting(s *session) {
	p.mu.Lock()
	waiting := p.waiting(s)
	p.mu.Unlock()
	if waiting != "" {
		s.log.Warn("agent waits for configuration and keeps its last", "reason", waiting)
	}
}

// endStatus is what the agent is told about the end of its stream.
func endStatus(ctx context.Context) error {
	err := context.Cause(ctx)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.FromContextError(err).Err()
}

func reason(err error) string {
	if err == nil {
		return "the agent closed the stream"
	}
	return status.Convert(err).Message()
}

func addressOf(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return ""
}
