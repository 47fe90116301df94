package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/fiberlb/fiberlb/pkg/tlsid"
)

// Bounds on what a client of HTTPS may cost; those of package adminhttp.
const (
	headerTimeout  = 5 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
	reloadInterval = time.Second
	httpsGrace     = time.Second
)

// serveHTTPS serves the handler over mutual TLS until ctx ends.
func serveHTTPS(ctx context.Context, listener net.Listener, handler http.Handler, files *tlsFiles, log hclog.Logger) error {
	requests, endRequests := context.WithCancel(context.WithoutCancel(ctx))
	defer endRequests()
	server := &http.Server{
		Handler:           handler,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: files.config},
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	select {
	case err := <-served:
		return fmt.Errorf("controlplane: serve https on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(requests, httpsGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		endRequests()
		_ = server.Close() // it repeats errors of connections that are gone either way
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("controlplane: serve https on %s: %w", listener.Addr(), err)
	}
	return nil
}

// tlsFiles are the TLS files of the process, read anew when they changed, as those of gRPC are.
type tlsFiles struct {
	flags tlsid.Flags
	log   hclog.Logger

	mu      sync.Mutex
	current *tls.Config // guarded by mu
	checked time.Time   // guarded by mu
}

// newTLSFiles reads the files, which must be usable.
func newTLSFiles(flags tlsid.Flags, log hclog.Logger) (*tlsFiles, error) {
	f := &tlsFiles{flags: flags, log: log, checked: time.Now()}
	var err error
	f.current, err = f.read()
	return f, err
}

// config gives the configuration of the next handshake. Files that do not fit together, as in the middle of a replacement, leave
// the last good ones in use.
func (f *tlsFiles) config(*tls.ClientHelloInfo) (*tls.Config, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.checked) >= reloadInterval {
		f.checked = now
		if next, err := f.read(); err != nil {
			f.log.Error("TLS files are not usable; the last good ones stay in use", "error", err)
		} else {
			f.current = next
		}
	}
	return f.current, nil
}

func (f *tlsFiles) read() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(f.flags.Cert, f.flags.Key)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %s and --tls-key %s: %w", f.flags.Cert, f.flags.Key, err)
	}
	text, err := os.ReadFile(f.flags.CA)
	if err != nil {
		return nil, fmt.Errorf("--tls-ca: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("--tls-ca %s: holds no PEM certificate", f.flags.CA)
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    authorities,
		NextProtos:   []string{"h2", "http/1.1"},
	}, nil
}
