package tlsid

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc/credentials"
)

// checkInterval is how often, at most, handshakes look whether the files changed.
const checkInterval = time.Second

// reloading are TLS credentials whose certificate and authorities follow their files: each handshake uses what is current, so
// that certificates rotate without a restart and without touching streams that are open.
type reloading struct {
	credentials.TransportCredentials // those of start-up, for Info

	files *files
}

func newReloading(f *Flags) (credentials.TransportCredentials, error) {
	files := &files{cert: f.Cert, key: f.Key, ca: f.CA, log: f.logger(), checked: time.Now()}
	contents, err := files.read()
	if err != nil {
		return nil, err
	}
	if files.current, err = files.parse(contents); err != nil {
		return nil, err
	}
	files.contents = contents
	return &reloading{TransportCredentials: files.current.client, files: files}, nil
}

func (r *reloading) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return r.files.latest().client.ClientHandshake(ctx, authority, conn)
}

func (r *reloading) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return r.files.latest().server.ServerHandshake(conn)
}

// Clone shares the files: what one copy has learned is current for all.
func (r *reloading) Clone() credentials.TransportCredentials { return r }

// OverrideServerName is part of gRPC's interface, which has no caller for it.
func (r *reloading) OverrideServerName(string) error {
	return errors.New("tls: the server's name is that of its target: use grpc.WithAuthority")
}

// sides are the credentials made from one state of the files, for either end of a connection. They are never modified.
type sides struct {
	server, client credentials.TransportCredentials
}

// files is the certificate, its key and the authorities on disk.
type files struct {
	cert, key, ca string
	log           hclog.Logger

	mu       sync.Mutex
	current  *sides    // guarded by mu: the last state that was usable
	contents [3][]byte // guarded by mu: the last state that was read, usable or not
	checked  time.Time // guarded by mu: when the files were last read
	failure  string    // guarded by mu: the last read error, said once
}

// latest is the newest usable state. A file that cannot be read, or that does not fit the others, as happens in the middle of
// a replacement, leaves the last usable state in force and is logged once.
func (f *files) latest() *sides {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.checked) < checkInterval {
		return f.current
	}
	f.checked = now

	contents, err := f.read()
	if err != nil {
		if err.Error() != f.failure {
			f.failure = err.Error()
			f.log.Error("TLS files cannot be read; the last good ones stay in use", "error", err)
		}
		return f.current
	}
	f.failure = ""
	if equal(contents, f.contents) {
		return f.current
	}
	f.contents = contents
	next, err := f.parse(contents)
	if err != nil {
		f.log.Error("replaced TLS files are not usable; the last good ones stay in use", "error", err)
		return f.current
	}
	f.current = next
	f.log.Info("TLS files were replaced and are in use", "cert", f.cert, "ca", f.ca)
	return f.current
}

// read returns the contents of cert, key and ca.
func (f *files) read() (contents [3][]byte, err error) {
	for i, path := range []string{f.cert, f.key, f.ca} {
		if contents[i], err = os.ReadFile(path); err != nil {
			return contents, fmt.Errorf("tls: %w", err)
		}
	}
	return contents, nil
}

func (f *files) parse(contents [3][]byte) (*sides, error) {
	pair, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return nil, fmt.Errorf("tls: --tls-cert %s and --tls-key %s: %w", f.cert, f.key, err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(contents[2]) {
		return nil, fmt.Errorf("tls: --tls-ca %s: holds no PEM certificate", f.ca)
	}
	return &sides{
		server: credentials.NewTLS(&tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{pair},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    authorities,
		}),
		client: credentials.NewTLS(&tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{pair},
			RootCAs:      authorities,
		}),
	}, nil
}

func equal(a, b [3][]byte) bool {
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}
