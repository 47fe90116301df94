// Command fiberlb-controller serves FiberLB's API and streams snapshots to the nodes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/fiberlb/fiberlb/cmd/internal/daemon"
	"github.com/fiberlb/fiberlb/controlplane"
	"github.com/fiberlb/fiberlb/pkg/logging"
	"github.com/fiberlb/fiberlb/pkg/sysnotify"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr, os.Getenv)
	stop()
	os.Exit(code)
}

// run is the command in the world that it is handed.
func run(ctx context.Context, args []string, stdout, stderr io.Writer, getenv func(string) string) int {
	return daemon.Execute(ctx, newCommand(stderr, getenv), args, stdout, stderr)
}

func newCommand(stderr io.Writer, getenv func(string) string) *cobra.Command {
	var cfg controlplane.Config
	var logs logging.Flags
	var vips, denied []string
	command := daemon.Command("fiberlb-controller (--etcd-endpoints ADDRESS,... | --embedded-etcd DIR)",
		"Serves FiberLB's API and streams snapshots to the nodes")
	command.Long = `Serves FiberLB's API and streams snapshots to the nodes.

With --tls-cert, --tls-key and --tls-ca, gRPC speaks mutual TLS, and so does the REST API where --https says; --http then
has metrics and health only, in plaintext, for scrapers. Without them, and with --insecure-loopback, everything is
plaintext on loopback addresses, and the REST API is on --http.`
	flags := command.Flags()
	flags.StringVar(&cfg.Listen, "listen", controlplane.DefaultListen, "address of gRPC, for clients and agents")
	flags.StringVar(&cfg.HTTP, "http", controlplane.DefaultHTTP, "address of metrics and health, and without TLS files of the REST API")
	flags.StringVar(&cfg.HTTPS, "https", "", "address of the REST API over mutual TLS (needs the TLS files; default: none)")
	flags.StringVar(&cfg.Name, "name", "", "name of this replica in what is told of nodes (default: host name and port of --listen)")
	flags.StringSliceVar(&cfg.Etcd.Endpoints, "etcd-endpoints", nil, "etcd cluster: host:port, http://, https:// or unix:// addresses")
	flags.StringVar(&cfg.Etcd.CertFile, "etcd-cert", "", "PEM file of the certificate to show to etcd")
	flags.StringVar(&cfg.Etcd.KeyFile, "etcd-key", "", "PEM file of that certificate's private key")
	flags.StringVar(&cfg.Etcd.CAFile, "etcd-ca", "", "PEM file of the authorities that etcd's certificates must chain to")
	flags.StringVar(&cfg.Etcd.User, "etcd-user", "", "user of etcd; the password comes from --etcd-password-file or $FIBERLB_ETCD_PASSWORD")
	flags.StringVar(&cfg.Etcd.PasswordFile, "etcd-password-file", "", "file whose first line is the password of etcd's user")
	flags.StringVar(&cfg.EmbeddedEtcd, "embedded-etcd", "", "folder of an etcd inside of this process, in place of --etcd-endpoints")
	flags.StringVar(&cfg.KeyFile, "key-file", "", "file of the keys that private keys are sealed by (without it certificates with private keys are refused)")
	flags.StringSliceVar(&vips, "vip-cidrs", nil, "addresses that may be VIPs, besides 127.0.0.0/8 and ::1")
	flags.StringSliceVar(&denied, "backend-deny-cidrs", prefixText(controlplane.DefaultBackendDenyCIDRs()),
		"addresses that no backend may have, unless its load balancer's VIPs are loopback addresses")
	cfg.TLS.RegisterServer(flags)
	logs.Register(flags)

	command.RunE = func(command *cobra.Command, _ []string) error {
		var err error
		if cfg.VIPCIDRs, err = parsePrefixes("--vip-cidrs", vips); err != nil {
			return err
		}
		if cfg.BackendDenyCIDRs, err = parsePrefixes("--backend-deny-cidrs", denied); err != nil {
			return err
		}
		if cfg.Name == "" {
			cfg.Name = defaultName(cfg.Listen)
		}
		log, err := logs.New("fiberlb-controller", stderr)
		if err != nil {
			return err
		}
		cfg.Notifier = sysnotify.FromEnv(getenv, log.Named("notify"))
		controller, err := controlplane.New(cfg, log)
		if errors.Is(err, controlplane.ErrUsage) {
			return err
		}
		if err != nil {
			return daemon.AtWork(err)
		}
		return daemon.AtWork(controller.Run(command.Context()))
	}
	return command
}

// defaultName tells replicas apart by machine and port.
func defaultName(listen string) string {
	host, err := os.Hostname()
	if err != nil {
		return ""
	}
	_, port, err := net.SplitHostPort(listen)
	if err != nil || port == "0" {
		return "" // the controller knows the port that it got
	}
	return net.JoinHostPort(host, port)
}

func prefixText(prefixes []netip.Prefix) []string {
	texts := make([]string, len(prefixes))
	for i, prefix := range prefixes {
		texts[i] = prefix.String()
	}
	return texts
}

// parsePrefixes reads CIDRs; an address alone is a prefix of its own length. The result is never nil.
func parsePrefixes(flag string, texts []string) ([]netip.Prefix, error) {
	prefixes := []netip.Prefix{}
	for _, text := range texts {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
			prefixes = append(prefixes, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %q is no CIDR such as 203.0.113.0/24", flag, text)
		case prefix != prefix.Masked():
			return nil, fmt.Errorf("%s: %q has bits beyond its length; write %s", flag, text, prefix.Masked())
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}
