package controlplane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fiberlb/fiberlb/pkg/sysnotify"
	"github.com/fiberlb/fiberlb/pkg/tlsid"
)

// Default addresses.
const (
	DefaultListen = "127.0.0.1:7400"
	DefaultHTTP   = "127.0.0.1:7480"
)

// Config of a controller.
type Config struct {
	// Name of this replica in the reports of nodes; empty: the address that gRPC is bound to.
	Name string
	// Listen is the address of gRPC, for clients and agents; empty: [DefaultListen]. Port 0 picks a free one.
	Listen string
	// HTTP is the address of /metrics, /healthz and /readyz, in plaintext; empty: [DefaultHTTP]. Without TLS files, when it must be
	// a loopback address as Listen is, the REST API is there too.
	HTTP string
	// HTTPS is the address of the REST API over mutual TLS, by the same files as gRPC; empty: none.
	HTTPS string
	// TLS files of gRPC and HTTPS, or the permission to speak plaintext on loopback.
	TLS tlsid.Flags

	// Etcd is the cluster to store everything in.
	Etcd Etcd
	// EmbeddedEtcd is the folder of an etcd inside of this process instead, which listens on nothing but a unix socket or a loopback
	// port of its own choice.
	EmbeddedEtcd string
	// UnsafeNoFsync has the embedded etcd not wait for the disk: a crash of the machine loses data. For tests and measurements.
	UnsafeNoFsync bool

	// KeyFile holds the keys that private keys are sealed by; empty: certificates with private keys are refused.
	KeyFile string
	// VIPCIDRs are the addresses that may be VIPs, besides 127.0.0.0/8 and ::1.
	VIPCIDRs []netip.Prefix
	// BackendDenyCIDRs are the addresses that no backend may have, unless all VIPs of its load balancer are loopback addresses. Nil:
	// [DefaultBackendDenyCIDRs].
	BackendDenyCIDRs []netip.Prefix

	// Registry of metrics; nil: one of the controller's own.
	Registry *prometheus.Registry
	// Notifier of the service supervisor; nil: none.
	Notifier *sysnotify.Notifier
}

// Etcd says where an etcd cluster is and who asks. All but Endpoints is optional.
type Etcd struct {
	Endpoints                 []string // host:port, http://, https:// or unix://
	CertFile, KeyFile, CAFile string   // PEM
	User, PasswordFile        string
}

// DefaultBackendDenyCIDRs are loopback, link-local and multicast addresses, and those of no host: ways into the machines of
// the operator.
func DefaultBackendDenyCIDRs() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32"),
		netip.MustParsePrefix("::/128"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
	}
}

// ErrUsage marks errors of New that lie in the configuration itself, as opposed to the files that it names.
var ErrUsage = errors.New("bad configuration")

// usageError keeps ErrUsage out of the words.
type usageError struct{ error }

func (usageError) Is(target error) bool { return target == ErrUsage }

// complete fills in defaults and gives what is contradictory or missing.
func (c *Config) complete() error {
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if c.HTTP == "" {
		c.HTTP = DefaultHTTP
	}
	if c.BackendDenyCIDRs == nil {
		c.BackendDenyCIDRs = DefaultBackendDenyCIDRs()
	}
	secure := c.secure()
	switch {
	case len(c.Etcd.Endpoints) == 0 && c.EmbeddedEtcd == "":
		return errors.New("no etcd: give --etcd-endpoints or --embedded-etcd")
	case len(c.Etcd.Endpoints) > 0 && c.EmbeddedEtcd != "":
		return errors.New("--etcd-endpoints contradicts --embedded-etcd: give one or the other")
	case c.EmbeddedEtcd != "" && c.Etcd.CertFile+c.Etcd.KeyFile+c.Etcd.CAFile+c.Etcd.User+c.Etcd.PasswordFile != "":
		return errors.New("--etcd-cert, --etcd-key, --etcd-ca, --etcd-user and --etcd-password-file are for --etcd-endpoints: an embedded etcd takes none")
	case c.UnsafeNoFsync && c.EmbeddedEtcd == "":
		return errors.New("only an embedded etcd can be told not to wait for the disk")
	case !secure && c.TLS.Cert+c.TLS.Key+c.TLS.CA != "":
		return nil // package tlsid tells what is missing
	case c.HTTPS != "" && !secure:
		return errors.New("--https needs --tls-cert, --tls-key and --tls-ca")
	case !secure && !isLoopback(c.HTTP):
		return fmt.Errorf("refusing to serve the REST API in plaintext on %s, which is not loopback: give --tls-cert, --tls-key and --tls-ca, and --https for REST", c.HTTP)
	}
	return c.checkAddresses()
}

func (c *Config) checkAddresses() error {
	for _, address := range []string{c.Listen, c.HTTP, c.HTTPS} {
		if _, _, err := net.SplitHostPort(address); err != nil && address != "" {
			return fmt.Errorf("address %q: want host:port", address)
		}
	}
	return nil
}

// secure tells whether all TLS files are given; some of them are an error of the flags.
func (c *Config) secure() bool { return c.TLS.Cert != "" && c.TLS.Key != "" && c.TLS.CA != "" }

// isLoopback tells whether a listen address is on this machine only.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}
