package dataplane

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/pflag"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/sysnotify"
	"github.com/fiberlb/fiberlb/pkg/tlsid"
)

// ErrConfig is wrapped by every error of New that a change of the Config mends.
var ErrConfig = errors.New("configuration")

// Config of a data plane. Flags names the field on the command line.
type Config struct {
	// Node is this node's name, a DNS label; empty: the host name's first label.
	Node string
	// Controllers to dial, host:port each. Exactly one of this and ConfigFile is set.
	Controllers []string
	// ConfigFile replaces the controllers.
	ConfigFile string
	// StateDir holds the last good snapshot; used with Controllers.
	StateDir string
	// Admin is the address of metrics, health and state over HTTP.
	Admin string
	// ReadinessSocket is the unix socket for the BGP agent; empty: none.
	ReadinessSocket string
	// VIPInterface carries the VIPs; empty: they are bound without being on any.
	VIPInterface string
	// Labels of the node.
	Labels map[string]string
	// DrainTimeout bounds how long open connections may go on after a stop. 0: they are closed at once.
	DrainTimeout time.Duration
	// PProf serves profiles on the admin address.
	PProf bool
	// TLS identity towards controllers.
	TLS tlsid.Flags

	// Reload asks for the ConfigFile to be read again.
	Reload   <-chan os.Signal
	Notifier *sysnotify.Notifier
	Logger   hclog.Logger
}

// Register adds the flags that fill the Config.
func (c *Config) Register(fs *pflag.FlagSet) {
	fs.StringVar(&c.Node, "node", "", "name of this node, a DNS label (default: the host name)")
	fs.StringSliceVar(&c.Controllers, "controller", nil, "controllers to take configuration from, host:port, comma separated")
	fs.StringVar(&c.ConfigFile, "config", "", "YAML file to take configuration from instead of a controller; reloaded on SIGHUP")
	fs.StringVar(&c.StateDir, "state-dir", "/var/lib/fiberlb", "directory for the last good configuration")
	fs.StringVar(&c.Admin, "admin", "127.0.0.1:7481", "address of /metrics, /healthz, /readyz and /state")
	fs.StringVar(&c.ReadinessSocket, "readiness-socket", "", "unix socket that tells the BGP agent which VIPs are ready (default: none)")
	fs.StringVar(&c.VIPInterface, "vip-interface", "", "interface to put VIPs on (default: none; they are bound all the same)")
	fs.StringToStringVar(&c.Labels, "label", nil, "label of this node, k=v; may be repeated")
	fs.DurationVar(&c.DrainTimeout, "drain-timeout", 10*time.Second, "how long open connections may go on after SIGTERM")
	fs.BoolVar(&c.PProf, "pprof", false, "serve /debug/pprof/ on the admin address")
	c.TLS.RegisterClient(fs)
}

// check completes the configuration, or tells all that is wrong with it.
func (c *Config) check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Node == "" {
		host, err := os.Hostname()
		if err != nil {
			fault("--node: not given, and the host name is unknown: %w", err)
		}
		c.Node, _, _ = strings.Cut(strings.ToLower(host), ".")
	}
	if err := lb.ValidName(c.Node); err != nil {
		fault("--node: %w", err)
	}
	switch {
	case len(c.Controllers) == 0 && c.ConfigFile == "":
		fault("one of --controller and --config is needed")
	case len(c.Controllers) > 0 && c.ConfigFile != "":
		fault("--controller and --config exclude one another")
	}
	for _, target := range c.Controllers {
		if host, port, ok := cutPort(target); !ok || host == "" || port == "" {
			fault("--controller: %q is not host:port", target)
		}
	}
	if len(c.Controllers) > 0 && c.StateDir == "" {
		fault("--state-dir: needed with --controller, so that a restart does not depend on one")
	}
	if c.DrainTimeout < 0 {
		fault("--drain-timeout: %s is negative", c.DrainTimeout)
	}
	c.Labels = maps.Clone(c.Labels)
	if len(faults) > 0 {
		return fmt.Errorf("%w: %w", ErrConfig, errors.Join(faults...))
	}
	return nil
}

// cutPort splits host:port, also where the host is an IPv6 address in brackets.
func cutPort(target string) (host, port string, ok bool) {
	i := strings.LastIndexByte(target, ':')
	if i < 0 {
		return "", "", false
	}
	host, port = target[:i], target[i+1:]
	if strings.Contains(host, ":") {
		_, err := netip.ParseAddrPort(target)
		return host, port, err == nil
	}
	return host, port, true
}
