// Package adminhttp owns the HTTP face that every FiberLB process shows its operator: metrics, health, readiness, version and,
// when asked for, profiles. The controller mounts its REST API on the same server.
package adminhttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Bounds on what a client may cost. There is none on writing a response, since a watch or a profile lasts as long as its reader.
const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	shutdownGrace     = 2 * time.Second
)

// Condition is one thing that must hold before a process is ready, by name.
type Condition struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"` // in words, when not OK
}

// Config is what a Server shows.
type Config struct {
	// Address to listen on, "127.0.0.1:7481"; port 0 picks a free one.
	Address string
	// Gatherer yields /metrics. Nil: there are none.
	Gatherer prometheus.Gatherer
	// Alive decides /healthz: an error is a process that should be restarted. Nil: alive while it answers.
	Alive func() error
	// Ready decides /readyz: every condition must be OK. It must not block. Nil: ready while it answers.
	Ready func() []Condition
	// PProf serves /debug/pprof/. Profiles show memory and stop the world for moments, so only when the operator asked.
	PProf bool
	// Log receives what goes wrong. Nil discards it.
	Log hclog.Logger
}

// Server is the admin face of one process. Make it with New, mount further handlers, then Run it.
type Server struct {
	cfg  Config
	mux  *http.ServeMux
	http *http.Server

	mu       sync.Mutex
	listener net.Listener // guarded by mu; nil until Listen
}

// New prepares a Server; nothing is bound yet.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = hclog.NewNullLogger()
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux()}
	s.http = &http.Server{
		Handler:           s.mux,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          cfg.Log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	if cfg.Gatherer != nil {
		s.mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Gatherer, promhttp.HandlerOpts{
			ErrorLog: cfg.Log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Warn}),
			// One broken collector must not hide all the others.
			ErrorHandling: promhttp.ContinueOnError,
		}))
	}
	s.mux.HandleFunc("GET /healthz", s.healthz)
	s.mux.HandleFunc("GET /readyz", s.readyz)
	s.mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		s.writeJSON(w, http.StatusOK, BuildInfo())
	})
	if cfg.PProf {
		s.mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		s.mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		s.mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		s.mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		s.mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
		s.mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return s
}

// Handle mounts h at a pattern of http.ServeMux. It panics, as ServeMux does, on a pattern that conflicts with another.
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// Listen binds the address, so that a caller learns of a taken port before it starts anything else. Run does it otherwise.
func (s *Server) Listen() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", s.cfg.Address)
	if err != nil {
		return fmt.Errorf("adminhttp: %w", err)
	}
	s.listener = listener
	return nil
}

// Addr is the bound address as host:port, or empty before Listen or Run bound it.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Run serves until ctx ends and then gives requests under way two seconds. It returns nil after a stop that ctx asked for. A
// Server runs once.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Listen(); err != nil {
		return err
	}
	s.mu.Lock()
	listener := s.listener
	s.mu.Unlock()

	// Requests outlive ctx by the grace, and no longer.
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	s.http.BaseContext = func(net.Listener) context.Context { return requests }

	served := make(chan error, 1)
	go func() { served <- s.http.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("adminhttp: serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}

	grace, cancel := context.WithTimeout(requests, shutdownGrace)
	defer cancel()
	if err := s.http.Shutdown(grace); err != nil {
		s.cfg.Log.Debug("requests under way were cut off", "grace", shutdownGrace)
		endRequests()
		_ = s.http.Close() // it repeats errors of connections that are gone either way
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("adminhttp: serve %s: %w", listener.Addr(), err)
	}
	return nil
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	condition := Condition{Name: "alive", OK: true}
	status := http.StatusOK
	if s.cfg.Alive != nil {
		if err := s.cfg.Alive(); err != nil {
			condition.OK, condition.Reason = false, err.Error()
			status = http.StatusServiceUnavailable
		}
	}
	s.writeJSON(w, status, condition)
}

// readiness is the body of /readyz.
type readiness struct {
	Ready      bool        `json:"ready"`
	Conditions []Condition `json:"conditions"`
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	body := readiness{Ready: true, Conditions: []Condition{}}
	if s.cfg.Ready != nil {
		body.Conditions = append(body.Conditions, s.cfg.Ready()...)
	}
	status := http.StatusOK
	for _, condition := range body.Conditions {
		if !condition.OK {
			body.Ready, status = false, http.StatusServiceUnavailable
		}
	}
	s.writeJSON(w, status, body)
}

func (s *Server) writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if _, err := w.Write(append(text, '\n')); err != nil {
		s.cfg.Log.Debug("client left before its answer", "error", err)
	}
}
