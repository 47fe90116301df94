package ready

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"

	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// heartbeat is how often the state is sent when nothing changes. The agent
// suspects a data plane that is silent for 1.5 s; the contract allows 300 ms.
const heartbeat = 250 * time.Millisecond

// maxReport bounds what an agent reports, in bytes: that is 100,000 VIPs.
const maxReport = 16 << 20

// maxPath is the longest path of a unix socket on Linux, unix(7).
const maxPath = 107

// Server is the data plane's end of the readiness socket.
type Server struct {
	agentv1.UnimplementedReadinessServiceServer
	path   string
	logger hclog.Logger
	// heard receives, coalesced, after every report of an agent.
	heard chan struct{}

	mu       sync.Mutex // guards all below
	latest   *agentv1.Readiness
	updated  chan struct{} // closed and replaced at each Publish
	sessions map[*session]struct{}
}

// session is one connected agent; announced is what it said of each VIP.
type session struct{ announced map[string]bool }

// NewServer makes a server for a socket at path; empty: it never listens, and
// nothing waits for an agent.
func NewServer(path string, logger hclog.Logger) *Server {
	return &Server{
		path: path, logger: logger, heard: make(chan struct{}, 1), updated: make(chan struct{}),
		latest: &agentv1.Readiness{}, sessions: map[*session]struct{}{},
	}
}

// Publish hands out a new state.
func (s *Server) Publish(r *agentv1.Readiness) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = r
	close(s.updated)
	s.updated = make(chan struct{})
}

// Latest is the state last published.
func (s *Server) Latest() *agentv1.Readiness {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest
}

// Heard receives, coalesced, when an agent reported or went away.
func (s *Server) Heard() <-chan struct{} { return s.heard }

// Withdrawn is true when no agent is connected, or none of those connected
// announces the VIP by its own word. Silence about a VIP is no such word.
func (s *Server) Withdrawn(vip string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sess := range s.sessions {
		if announced, known := sess.announced[vip]; announced || !known {
			return false
		}
	}
	return true
}

// Run serves the socket until ctx ends. A socket left by a dead process is replaced.
func (s *Server) Run(ctx context.Context) error {
	if s.path == "" {
		<-ctx.Done()
		return nil
	}
	l, err := listen(s.path)
	if err != nil {
		return err
	}
	srv := grpc.NewServer(grpc.MaxRecvMsgSize(maxReport), grpc.WaitForHandlers(true))
	agentv1.RegisterReadinessServiceServer(srv, s)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err = <-done:
		return fmt.Errorf("ready: %w", err)
	case <-ctx.Done():
		srv.Stop()
		<-done
		return nil
	}
}

// listen binds the socket, for its owner and group alone.
func listen(path string) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("ready: %s is longer than the %d bytes that a socket's path may have", path, maxPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("ready: create the socket's directory: %w", err)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("ready: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("ready: %w", err)
	}
	return l, nil
}

// removeStale removes a socket that nobody serves, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ready: %w", err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("ready: %s exists and is not a socket", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("ready: %s is served by another process; give this one another --readiness-socket", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("ready: whether the socket is served is not known: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ready: remove the stale socket: %w", err)
	}
	return nil
}

// Connect serves one agent.
func (s *Server) Connect(st agentv1.ReadinessService_ConnectServer) error {
	sess := &session{announced: map[string]bool{}}
	s.mu.Lock()
	s.sessions[sess] = struct{}{}
	s.mu.Unlock()
	s.logger.Info("BGP agent connected")
	defer func() {
		s.mu.Lock()
		delete(s.sessions, sess)
		s.mu.Unlock()
		s.tell()
		s.logger.Info("BGP agent disconnected")
	}()
	ctx, cancel := context.WithCancel(st.Context())
	defer cancel()
	go func() {
		defer cancel()
		s.receive(st, sess)
	}()
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		s.mu.Lock()
		latest, updated := s.latest, s.updated
		s.mu.Unlock()
		if err := st.Send(latest); err != nil {
			return err
		}
		select {
		case <-updated:
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// receive keeps what the agent reports until its end of the stream is closed.
func (s *Server) receive(st agentv1.ReadinessService_ConnectServer, sess *session) {
	for {
		report, err := st.Recv()
		if err != nil {
			return
		}
		announced := make(map[string]bool, len(report.GetVips()))
		for _, v := range report.GetVips() {
			announced[v.GetVip()] = v.GetAnnounced()
		}
		s.mu.Lock()
		sess.announced = announced
		s.mu.Unlock()
		s.tell()
	}
}

func (s *Server) tell() {
	select {
	case s.heard <- struct{}{}:
	default:
	}
}
