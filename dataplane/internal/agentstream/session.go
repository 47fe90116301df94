package agentstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/pkg/snapshot"
	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// session is one stream. One goroutine receives and one sends, as gRPC wants
// it; a third looks at the node, so that no ack waits for a report.
type session struct {
	*Client
	ctx     context.Context // of the stream
	cancel  context.CancelCauseFunc
	stream  agentv1.SnapshotService_StreamClient
	target  string
	acks    chan *agentv1.Ack
	reports chan *agentv1.Report
}

// run says hello and serves the stream until one of its parts ends.
func (s *session) run(hello *agentv1.Hello) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	part := func(f func() error) {
		wg.Go(func() { s.cancel(f()) })
	}
	if err := s.stream.Send(&agentv1.AgentMessage{Message: &agentv1.AgentMessage_Hello{Hello: hello}}); err == nil {
		part(s.send)
		part(s.report)
	}
	err := s.receive() // says why, also where nothing could be sent
	s.cancel(err)
	if cause := context.Cause(s.ctx); !errors.Is(cause, context.Canceled) {
		return cause // that of the part that ended first
	}
	return err
}

func (s *session) receive() error {
	silence := time.AfterFunc(greetTimeout, func() {
		s.cancel(fmt.Errorf("no answer to the hello within %v", greetTimeout))
	})
	defer silence.Stop()
	confirmed := false
	for {
		msg, err := s.stream.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the controller ended the stream")
		}
		if err != nil {
			return err
		}
		switch m := msg.GetMessage().(type) {
		case *agentv1.ControllerMessage_NodeState:
			s.cfg.NodeState(m.NodeState.GetDrain())
		case *agentv1.ControllerMessage_Delta:
			silence.Stop()
			ack, err := s.apply(m.Delta)
			if err != nil {
				return err
			}
			if !confirmed {
				confirmed = true
				s.cfg.Metrics.connected()
				s.cfg.Logger.Info("stream to controller", "controller", s.target, "revision", ack.GetVersion().GetRevision())
			}
			select {
			case s.acks <- ack:
			case <-s.ctx.Done():
				return s.ctx.Err()
			}
		default:
			// A newer controller may say more; what it says is not configuration.
			s.cfg.Logger.Debug("message of an unknown kind ignored")
		}
	}
}

// apply puts a delta in force; an error ends the stream.
func (s *session) apply(m *agentv1.Delta) (*agentv1.Ack, error) {
	delta, err := snapshot.DeltaFromProto(m)
	if err != nil {
		return nil, err
	}
	res, err := s.cfg.Applier.Apply(s.ctx, delta)
	if err != nil {
		s.forget = s.forget || errors.Is(err, snapshot.ErrDigest)
		return nil, err
	}
	s.forget = false
	ack := &agentv1.Ack{Version: m.GetVersion()}
	for _, f := range res.Faults {
		ack.Errors = append(ack.Errors, &agentv1.ResourceFault{Kind: agentv1.Kind(f.Kind), Name: f.Name, Message: f.Message})
	}
	return ack, nil
}

// send writes acks and reports as they come.
func (s *session) send() error {
	for {
		var msg *agentv1.AgentMessage
		select {
		case <-s.ctx.Done():
			return s.ctx.Err()
		case ack := <-s.acks:
			msg = &agentv1.AgentMessage{Message: &agentv1.AgentMessage_Ack{Ack: ack}}
		case report := <-s.reports:
			msg = &agentv1.AgentMessage{Message: &agentv1.AgentMessage_Report{Report: report}}
		}
		if err := s.stream.Send(msg); errors.Is(err, io.EOF) {
			<-s.ctx.Done() // receiving tells the cause
			return s.ctx.Err()
		} else if err != nil {
			return err
		}
	}
}

// report gives the first report, which tells the controller what there is, and
// then every one that differs, with pauses between.
func (s *session) report() error {
	pause := time.NewTicker(reportInterval)
	defer pause.Stop()
	var last *agentv1.Report
	for {
		report, err := s.cfg.Report(s.ctx)
		if err != nil {
			return fmt.Errorf("report: %w", err)
		}
		if last == nil || !proto.Equal(last, report) {
			select {
			case s.reports <- report:
				last = report
			case <-s.ctx.Done():
				return s.ctx.Err()
			}
			pause.Reset(reportInterval)
		}
		select {
		case <-s.cfg.Reports:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
		select {
		case <-pause.C:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}
