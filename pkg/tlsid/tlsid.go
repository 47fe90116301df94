// Package tlsid owns who is at the other end of a gRPC connection: mutual TLS from three files that may be replaced at any time,
// plaintext only where it cannot leave the machine, and the identity that a peer's certificate proves.
package tlsid

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"
	"google.golang.org/grpc/credentials"
)

// Flags are what one process was told about TLS. Cert, Key and CA are paths of PEM files and are given all three or not at all.
type Flags struct {
	Cert string // this process's certificate, followed by its intermediates
	Key  string // the certificate's private key
	CA   string // the authorities that the other side's certificate must chain to

	// InsecureLoopback allows a server to speak plaintext on a loopback address.
	InsecureLoopback bool

	// Log receives what goes wrong with replaced files. Nil discards it.
	Log hclog.Logger
}

// RegisterServer adds --tls-cert, --tls-key, --tls-ca and --insecure-loopback to fs.
func (f *Flags) RegisterServer(fs *pflag.FlagSet) {
	f.RegisterClient(fs)
	fs.BoolVar(&f.InsecureLoopback, "insecure-loopback", false, "serve plaintext to this machine when no TLS files are given (only on a loopback address)")
}

// RegisterClient adds --tls-cert, --tls-key and --tls-ca to fs.
func (f *Flags) RegisterClient(fs *pflag.FlagSet) {
	fs.StringVar(&f.Cert, "tls-cert", "", "PEM file of this process's certificate, followed by its intermediates")
	fs.StringVar(&f.Key, "tls-key", "", "PEM file of the certificate's private key")
	fs.StringVar(&f.CA, "tls-ca", "", "PEM file of the authorities that the other side's certificate must chain to")
}

// ServerCredentials are for a gRPC server on listenAddr (host:port, or unix:path): mutual TLS 1.3 when the files are given,
// plaintext when they are not, the address is loopback and --insecure-loopback was given. Anything else is an error that names
// the flag to mend it. Connections that are not local are refused in plaintext even if the listener let them in.
func (f *Flags) ServerCredentials(listenAddr string) (credentials.TransportCredentials, error) {
	given, err := f.filesGiven()
	switch {
	case err != nil:
		return nil, err
	case given && f.InsecureLoopback:
		return nil, errors.New("tls: --insecure-loopback contradicts --tls-cert, --tls-key and --tls-ca: give one or the other")
	case given:
		return newReloading(f)
	case !isLocalTarget(listenAddr):
		return nil, fmt.Errorf("tls: refusing to serve plaintext on %s, which is not loopback: give --tls-cert, --tls-key and --tls-ca", listenAddr)
	case !f.InsecureLoopback:
		return nil, fmt.Errorf("tls: refusing to serve plaintext on %s: give --tls-cert, --tls-key and --tls-ca, or --insecure-loopback to trust everybody on this machine", listenAddr)
	}
	return newPlaintext(), nil
}

// ClientCredentials are for connections to the targets (host:port, unix:path, or those with gRPC's dns: or passthrough:
// scheme): mutual TLS 1.3 when the files are given, else plaintext if every target is on this machine, else an error that names
// the flags to mend it. The server's certificate must carry the host name or address that was dialled.
func (f *Flags) ClientCredentials(targets []string) (credentials.TransportCredentials, error) {
	if len(targets) == 0 {
		return nil, errors.New("tls: no server to connect to")
	}
	given, err := f.filesGiven()
	if err != nil {
		return nil, err
	}
	if given {
		return newReloading(f)
	}
	for _, target := range targets {
		if !isLocalTarget(target) {
			return nil, fmt.Errorf("tls: refusing to speak plaintext to %s, which is not loopback: give --tls-cert, --tls-key and --tls-ca", target)
		}
	}
	return newPlaintext(), nil
}

// filesGiven reports whether all three files are named; one or two alone are an error.
func (f *Flags) filesGiven() (bool, error) {
	var missing []string
	for _, file := range []struct{ flag, path string }{{"--tls-cert", f.Cert}, {"--tls-key", f.Key}, {"--tls-ca", f.CA}} {
		if file.path == "" {
			missing = append(missing, file.flag)
		}
	}
	switch len(missing) {
	case 0:
		return true, nil
	case 3:
		return false, nil
	}
	return false, fmt.Errorf("tls: %s missing: give all of --tls-cert, --tls-key and --tls-ca, or none", strings.Join(missing, " and "))
}

func (f *Flags) logger() hclog.Logger {
	if f.Log == nil {
		return hclog.NewNullLogger()
	}
	return f.Log
}

// isLocalTarget reports whether a listen address or a gRPC target names this machine and nothing else: a unix socket, a loopback
// address, or localhost (RFC 6761 section 6.3). An empty host is every address.
func isLocalTarget(target string) bool {
	for _, scheme := range []string{"dns:///", "passthrough:///", "dns:", "passthrough:"} {
		if rest, ok := strings.CutPrefix(target, scheme); ok {
			target = rest
			break
		}
	}
	if strings.HasPrefix(target, "unix:") || strings.HasPrefix(target, "unix-abstract:") {
		return true
	}
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		host = strings.Trim(target, "[]")
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
