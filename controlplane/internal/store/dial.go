package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

// Times of connections to etcd. A connection that went silent, as behind a firewall that forgot it, is found dead within fifteen
// seconds; attempts to reach a member pause for five at most.
const (
	DefaultDialTimeout = 5 * time.Second
	keepAliveTime      = 10 * time.Second
	keepAliveTimeout   = 5 * time.Second
	maxReconnectPause  = 5 * time.Second
	// probeTimeout bounds each step of the handshake that looks for the reason of a silence.
	probeTimeout = time.Second
)

// DialConfig says where etcd is and who asks.
type DialConfig struct {
	// Endpoints, as host:port, http://host:port, https://host:port or unix:///path. At least one.
	Endpoints []string
	// CertFile and KeyFile show who we are, CAFile says whom we trust; PEM. With any of them, or an https endpoint, TLS is used; without
	// CAFile the system's authorities are trusted.
	CertFile, KeyFile, CAFile string
	// User of etcd, with a password from PasswordFile (its first line), or else from the environment variable
	// FIBERLB_ETCD_PASSWORD.
	User, PasswordFile string
	// Timeout of the first contact; 0: [DefaultDialTimeout].
	Timeout time.Duration
}

// PasswordVariable is the environment variable with the password of etcd's user.
const PasswordVariable = "FIBERLB_ETCD_PASSWORD"

// Dial connects to an etcd cluster and makes sure that it answers. The client is the caller's to close.
func Dial(ctx context.Context, cfg DialConfig) (*clientv3.Client, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("store: no etcd endpoint given")
	}
	timeout := cfg.Timeout
	if timeout <= 0 {
		timeout = DefaultDialTimeout
	}
	security, err := cfg.tls()
	if err != nil {
		return nil, fmt.Errorf("store: etcd: %w", err)
	}
	password, err := cfg.password()
	if err != nil {
		return nil, fmt.Errorf("store: etcd: %w", err)
	}
	reconnect := backoff.DefaultConfig
	reconnect.MaxDelay = maxReconnectPause
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: cfg.Endpoints, DialTimeout: timeout, DialKeepAliveTime: keepAliveTime, DialKeepAliveTimeout: keepAliveTimeout,
		TLS: security, Username: cfg.User, Password: password, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{Backoff: reconnect, MinConnectTimeout: timeout})},
	})
	if err != nil {
		return nil, fmt.Errorf("store: connect to etcd at %s: %w", strings.Join(cfg.Endpoints, ", "), cfg.unreachable(err, security))
	}
	// A linearizable read: an answer means that there is a leader, and that we may ask.
	if _, err := client.Get(ctx, DefaultPrefix+"/", clientv3.WithCountOnly()); err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("store: connect to etcd at %s: %w", strings.Join(cfg.Endpoints, ", "), cfg.unreachable(err, security))
	}
	return client, nil
}

// unreachable says in plain words that nobody answered in time and, where TLS
// is the reason, which the client of etcd keeps to itself, what is wrong with it.
func (c DialConfig) unreachable(err error, security *tls.Config) error {
	err = clean(err)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnavailable) {
		return err
	}
	if security != nil {
		for _, e := range c.Endpoints {
			if fault := handshakeFault(e, security); fault != nil {
				return fmt.Errorf("%w: TLS with %s: %w", ErrUnavailable, e, fault)
			}
		}
	}
	return fmt.Errorf("%w: no answer in time; check the addresses, the TLS files, and that etcd has a leader (%w)", ErrUnavailable, err)
}

// handshakeFault tries one handshake with an endpoint; nil where it works or
// where there is nobody to try it with.
func handshakeFault(endpoint string, security *tls.Config) error {
	address := strings.TrimPrefix(endpoint, "https://")
	if strings.Contains(address, "://") {
		return nil
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: probeTimeout}, "tcp", address, security)
	if opError := (*net.OpError)(nil); errors.As(err, &opError) && opError.Op == "dial" {
		return nil
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	// In TLS 1.3 a server that refuses our certificate says so after the handshake.
	_ = conn.SetReadDeadline(time.Now().Add(probeTimeout))
	_, err = conn.Read(make([]byte, 1))
	if alert := tls.AlertError(0); errors.As(err, &alert) {
		return err
	}
	if opError := (*net.OpError)(nil); errors.As(err, &opError) && opError.Op == "remote error" {
		return err
	}
	return nil
}

func (c DialConfig) tls() (*tls.Config, error) {
	secure := c.CertFile != "" || c.KeyFile != "" || c.CAFile != ""
	for _, e := range c.Endpoints {
		if strings.HasPrefix(e, "http://") && secure {
			return nil, fmt.Errorf("endpoint %s speaks no TLS, but TLS files are given", e)
		}
	}
	for _, e := range c.Endpoints {
		secure = secure || strings.HasPrefix(e, "https://")
	}
	if !secure {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return nil, errors.New("a client certificate needs both its file and its key's")
	}
	if c.CertFile != "" {
		// Read again for each handshake, so that a renewed certificate needs no restart; read now, so that a wrong one is told.
		load := func() (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("client certificate: %w", err)
			}
			return &pair, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("authorities: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("authorities: %s holds no certificate in PEM form", c.CAFile)
		}
	}
	return config, nil
}

func (c DialConfig) password() (string, error) {
	if c.User == "" {
		if c.PasswordFile != "" {
			return "", errors.New("a password file is given, but no user")
		}
		return "", nil
	}
	if c.PasswordFile == "" {
		password, ok := os.LookupEnv(PasswordVariable)
		if !ok {
			return "", fmt.Errorf("user %q has no password: give a file, or set %s", c.User, PasswordVariable)
		}
		return password, nil
	}
	text, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimRight(line, "\r"), nil
}
