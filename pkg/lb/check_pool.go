package lb

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

func (c *scope) pool(path string, x *Pool) {
	c.identity(path, &x.Info)
	known := enum(&c.checker, path+".protocol", x.Protocol)
	knownAlgorithm := enum(&c.checker, path+".algorithm", x.Algorithm)
	if x.Persistence != nil {
		c.persistence(path+".persistence", x, known)
	}
	if x.HealthCheck != nil {
		c.healthCheck(path+".health_check", x, known)
	}
	c.between(path+".slow_start", x.SlowStart, 0, 15*time.Minute)
	if x.SlowStart > 0 && knownAlgorithm && !x.Algorithm.SlowStarts() {
		c.report(path+".slow_start", "remove it, or choose one of "+join(slowStart), "algorithm %s has no slow start", x.Algorithm)
	}
	c.between(path+".deregistration_delay", x.DeregistrationDelay, 0, time.Hour)
	c.within(path+".fail_open_below", uint64(x.FailOpenBelow), 0, 65535)
	c.backends(path+".backends", x.Backends)
}

func (c *scope) persistence(path string, x *Pool, known bool) {
	p := x.Persistence
	if !enum(&c.checker, path+".type", p.Type) {
		return
	}
	if fits := poolTraits[x.Protocol].persistences; known && !slices.Contains(fits, p.Type) {
		c.report(path+".type", "choose "+join(fits)+", or a pool of protocol "+join(listenerPools[ListenerHTTP]), "%s does not go with a pool of protocol %s", p.Type, x.Protocol)
	}
	c.within(path+".timeout_seconds", uint64(p.TimeoutSeconds), 0, 31_536_000)
	if p.Type != PersistCookie && p.TimeoutSeconds != 0 {
		c.report(path+".timeout_seconds", "remove it, or choose type cookie", "a timeout does not go with persistence of type %s", p.Type)
	}
	switch {
	case p.Type == PersistSourceIP:
		if p.CookieName != "" {
			c.report(path+".cookie_name", "remove it, or choose type cookie or app_cookie", "%s does not go with persistence of type source_ip", Quote(p.CookieName))
		}
	case p.CookieName == "":
		c.report(path+".cookie_name", "name the application's cookie", "is required by persistence of type %s", p.Type)
	case !isToken(p.CookieName) || len(p.CookieName) > MaxText:
		c.report(path+".cookie_name", "use letters, digits and !#$%&'*+-.^_`|~", "%s is not the name of a cookie", Quote(p.CookieName))
	}
}

func (c *scope) healthCheck(path string, x *Pool, knownPool bool) {
	h := x.HealthCheck
	c.identity(path, &h.Info)
	known := enum(&c.checker, path+".type", h.Type)
	if fits := poolTraits[x.Protocol].checks; known && knownPool && !slices.Contains(fits, h.Type) {
		c.report(path+".type", "choose one of "+join(fits), "%s does not go with a pool of protocol %s", h.Type, x.Protocol)
	}
	switch good := c.between(path+".interval", h.Interval, 100*time.Millisecond, time.Hour); {
	case h.Timeout < 0 || h.Timeout > time.Hour || good && h.Timeout < time.Millisecond:
		c.between(path+".timeout", h.Timeout, time.Millisecond, time.Hour)
	case good && h.Timeout >= h.Interval:
		c.report(path+".timeout", "choose a timeout below the interval", "%s is not below the interval, %s", h.Timeout, h.Interval)
	}
	c.within(path+".healthy_threshold", uint64(h.HealthyThreshold), 1, 10)
	c.within(path+".unhealthy_threshold", uint64(h.UnhealthyThreshold), 1, 10)
	if h.HTTP == nil {
		return
	}
	if known && !h.Type.IsHTTP() {
		c.report(path+".http", "remove it, or choose type http or https", "does not go with a health check of type %s", h.Type)
		return
	}
	c.httpCheck(path+".http", h.HTTP)
}

var checkMethods = []string{"GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE", "PATCH"}

func (c *scope) httpCheck(path string, h *HTTPCheck) {
	if !slices.Contains(checkMethods, h.Method) {
		remedy := "choose one of " + strings.Join(checkMethods, ", ")
		if upper := strings.ToUpper(h.Method); slices.Contains(checkMethods, upper) {
			remedy = "write " + upper
		}
		c.report(path+".method", remedy, "%s is not a method for health checks", Quote(h.Method))
	}
	switch {
	case !strings.HasPrefix(h.Path, "/") || strings.HasPrefix(h.Path, "//"):
		c.report(path+".url_path", `write a path that begins with one "/", without scheme and host`, "%s is not a path", Quote(h.Path))
	case len(h.Path) > MaxText:
		c.report(path+".url_path", "", "%s has %d bytes, more than %d", Quote(h.Path), len(h.Path), MaxText)
	case !visible(h.Path) || strings.Contains(h.Path, "#"):
		c.report(path+".url_path", `percent-encode what is not plain ASCII; a path has no "#"`, "%s has white space, a fragment or bytes beyond ASCII", Quote(h.Path))
	}
	if len(h.Codes) > 64 {
		c.report(path+".expected_codes", "use ranges, such as 200-299", "there are %d ranges, more than 64", len(h.Codes))
	}
	for _, r := range h.Codes {
		if r.First < 100 || r.Last > 599 || r.First > r.Last {
			c.report(path+".expected_codes", "use codes and ranges within 100-599", "%d-%d is not a range of status codes", r.First, r.Last)
		}
	}
	if h.Host != "" && !isHostPort(h.Host) {
		c.report(path+".host_header", `write a host, with a port if need be: "app.example:8080"`, "%s is not a Host header", Quote(h.Host))
	}
}

func (c *scope) backends(path string, backends []*Backend) {
	c.count(path, len(backends), MaxBackends)
	c.looseText(path, looseSize(backends))
	names := newNames(c, path)
	sockets := make(map[netip.AddrPort]int, len(backends))
	for i, b := range backends {
		names.add(i, b.Name)
		good := true
		c.lazily(func() string { return item(path, i) }, func(path string) { good = c.backend(path, b) })
		if socket := netip.AddrPortFrom(b.Address, b.Port); good && b.Port != 0 {
			if first, taken := sockets[socket]; taken {
				c.report(item(path, i)+".address", "remove one of them", "%s is also %s", socket, item(names.list, first))
			} else {
				sockets[socket] = i
			}
		}
	}
}

// backend tells whether the address is good.
func (c *scope) backend(path string, b *Backend) bool {
	c.identity(path, &b.Info)
	good := c.unicast(path+".address", b.Address)
	c.within(path+".port", uint64(b.Port), 1, 65535)
	c.within(path+".weight", uint64(b.Weight), 0, MaxWeight)
	if b.MonitorAddress.IsValid() {
		c.unicast(path+".monitor_address", b.MonitorAddress)
	}
	return good
}
