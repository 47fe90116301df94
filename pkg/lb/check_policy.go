package lb

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

// policies checks all policies, each listener's names and positions for ties.
func (c *scope) policies() {
	type key struct{ listener, name string }
	type place struct {
		listener string
		position uint32
	}
	names, places := make(map[key]int, len(c.l.Policies)), make(map[place]int, len(c.l.Policies))
	for i, x := range c.l.Policies {
		path := func() string { return item("l7_policies", i) }
		c.lazily(path, func(path string) { c.policy(path, x) })
		if first, taken := names[key{x.Listener, x.Name}]; taken && x.Name != "" {
			c.report(path()+".name", "give it a name of its own", "%s is also the name of %s on the same listener", Quote(x.Name), item("l7_policies", first))
		} else {
			names[key{x.Listener, x.Name}] = i
		}
		if first, taken := places[place{x.Listener, x.Position}]; taken {
			c.report(path()+".position", "choose a position of its own, or leave it out to come last", "%d is also the position of %s", x.Position, item("l7_policies", first))
		} else {
			places[place{x.Listener, x.Position}] = i
		}
	}
}

func (c *scope) policy(path string, x *Policy) {
	c.identity(path, &x.Info)
	listener := c.listeners[x.Listener]
	var protocol ListenerProtocol
	switch {
	case x.Listener == "":
		c.report(path+".listener_id", "name the listener whose requests it decides", "is required")
	case listener == nil:
		c.missing(path+".listener_id", x.Listener, "listener", namesOf(c.l.Listeners))
	case listener.Protocol.String() != "" && !listener.Protocol.IsHTTP():
		c.report(path+".listener_id", "policies need a listener of protocol http or https", "listener %s is of protocol %s", Quote(x.Listener), listener.Protocol)
	default:
		protocol = listener.Protocol
	}
	c.within(path+".position", uint64(x.Position), 1, MaxPosition)
	if enum(&c.checker, path+".action", x.Action) {
		c.action(path, x, protocol)
	}
	if len(x.Rules) > MaxRules {
		c.report(path+".rules", "split the policy", "there are %d, more than %d", len(x.Rules), MaxRules)
	}
	c.looseText(path+".rules", looseSize(x.Rules))
	names := newNames(c, path+".rules")
	for i, r := range x.Rules {
		names.add(i, r.Name)
		c.lazily(func() string { return item(path+".rules", i) }, func(path string) { c.rule(path, r, protocol) })
	}
}

var redirectCodes = []uint16{301, 302, 303, 307, 308}

// action checks that the fields of the action are there, and no others.
func (c *scope) action(path string, x *Policy, protocol ListenerProtocol) {
	redirect := x.Action == RedirectToURL || x.Action == RedirectPrefix
	c.belongs(path+".redirect_pool_id", len(x.Pools) > 0, x.Action == RedirectToPool, x.Action)
	c.belongs(path+".redirect_url", x.URL != "", x.Action == RedirectToURL, x.Action)
	c.belongs(path+".redirect_prefix", x.Prefix != "", x.Action == RedirectPrefix, x.Action)
	c.belongs(path+".fixed_response", x.FixedResponse != nil, x.Action == FixedResponse, x.Action)
	switch status := path + ".redirect_http_status_code"; {
	case redirect && !slices.Contains(redirectCodes, x.StatusCode):
		c.report(status, "choose one of 301, 302, 303, 307, 308", "%d is not a redirect", x.StatusCode)
	case x.Action == Reject && (x.StatusCode < 400 || x.StatusCode > 599):
		c.report(status, "", "%d is not in 400-599", x.StatusCode)
	case !redirect && x.Action != Reject && x.StatusCode != 0:
		c.report(status, "remove it", "%d does not go with action %s", x.StatusCode, x.Action)
	}
	switch {
	case x.Action == RedirectToPool:
		c.redirectPools(path, x, protocol)
	case x.URL != "" && x.Action == RedirectToURL:
		c.redirectURL(path+".redirect_url", x.URL)
	case x.Prefix != "" && x.Action == RedirectPrefix:
		c.redirectPrefix(path+".redirect_prefix", x.Prefix)
	case x.FixedResponse != nil && x.Action == FixedResponse:
		c.fixedResponse(path+".fixed_response", x.FixedResponse)
	}
}

// belongs reports a field that is missing although the action needs it, or
// there although the action has no use for it.
func (c *scope) belongs(path string, there, wanted bool, action PolicyAction) {
	switch {
	case wanted && !there:
		c.report(path, "", "is required by action %s", action)
	case there && !wanted:
		c.report(path, "remove it, or choose another action", "does not go with action %s", action)
	}
}

func (c *scope) redirectPools(path string, x *Policy, protocol ListenerProtocol) {
	if name, single := x.SinglePool(); single {
		c.poolFor(path+".redirect_pool_id", name, protocol)
		return
	}
	path += ".redirect_pools"
	c.count(path, len(x.Pools), 64)
	total, seen := 0, make(map[string]bool)
	for i, p := range x.Pools {
		if seen[p.Pool] {
			c.report(item(path, i)+".pool_id", "add up the weights", "pool %s is there twice", Quote(p.Pool))
			continue
		}
		seen[p.Pool] = true
		c.within(item(path, i)+".weight", uint64(p.Weight), 0, MaxWeight)
		c.poolFor(item(path, i)+".pool_id", p.Pool, protocol)
		total += int(p.Weight)
	}
	if total == 0 && len(x.Pools) > 0 {
		c.report(path, "give at least one pool a weight", "all weights are 0")
	}
}

// urlTokens are what a redirect_url may take from the request.
var urlTokens = strings.NewReplacer("#{protocol}", "http", "#{host}", "host", "#{port}", "80", "#{path}", "path", "#{query}", "query")

const maxURL = 2048

func (c *scope) redirectURL(path, value string) {
	const remedy = `write "https://host/path" or "/path", with #{protocol}, #{host}, #{port}, #{path} and #{query} for the request's own`
	plain := urlTokens.Replace(value)
	switch {
	case len(value) > maxURL:
		c.report(path, "", "%s has %d bytes, more than %d", Quote(value), len(value), maxURL)
	case strings.Contains(plain, "#{"):
		c.report(path, remedy, "%s has an unknown token", Quote(value))
	case !visible(plain):
		c.report(path, "percent-encode what is not plain ASCII", "%s has white space, control characters or bytes beyond ASCII", Quote(value))
	default:
		if _, _, ok := splitURL(plain); !ok {
			c.report(path, remedy, "%s is not a URL to redirect to", Quote(value))
		}
	}
}

func (c *scope) redirectPrefix(path, value string) {
	_, _, ok := splitURL(value)
	switch {
	case len(value) > maxURL:
		c.report(path, "", "%s has %d bytes, more than %d", Quote(value), len(value), maxURL)
	case strings.ContainsAny(value, "?#"):
		c.report(path, "the request's own path and query follow the prefix", "%s has a query, a fragment or a token", Quote(value))
	case !ok || !visible(value):
		c.report(path, `write "https://host" or "/path"`, "%s is not a prefix of a URL", Quote(value))
	}
}

func (c *scope) fixedResponse(path string, r *Response) {
	c.within(path+".status_code", uint64(r.StatusCode), 200, 599)
	kind, parameters, _ := strings.Cut(r.ContentType, ";")
	major, minor, _ := strings.Cut(strings.TrimSpace(kind), "/")
	if !isToken(major) || !isToken(minor) || len(r.ContentType) > MaxText || strings.ContainsFunc(parameters, func(c rune) bool { return c < ' ' || c > '~' }) {
		c.report(path+".content_type", `write a media type, such as "text/html; charset=utf-8"`, "%s is not a media type", Quote(r.ContentType))
	}
	if len(r.Body) > 1024 {
		c.report(path+".body", "", "has %d bytes, more than 1024", len(r.Body))
	}
	if r.Body != "" && (r.StatusCode == 204 || r.StatusCode == 205 || r.StatusCode == 304) {
		c.report(path+".body", "remove it, or choose another status", "an answer %d has no body", r.StatusCode)
	}
}

// rule checks one condition; protocol is the listener's, 0 if not known.
func (c *scope) rule(path string, x *Rule, protocol ListenerProtocol) {
	c.identity(path, &x.Info)
	knownType := enum(&c.checker, path+".rule_type", x.Type)
	knownCompare := enum(&c.checker, path+".compare_type", x.Compare)
	traits := ruleTraits[x.Type]
	if knownType && knownCompare && !slices.Contains(traits.compares, x.Compare) {
		c.report(path+".compare_type", "choose "+join(traits.compares), "%s does not go with rule type %s", x.Compare, x.Type)
	}
	if knownType && traits.tls && protocol != 0 && !protocol.TerminatesTLS() {
		c.report(path+".rule_type", "use it on a listener of protocol https", "%s does not go with a listener of protocol %s", x.Type, protocol)
	}
	if knownType {
		c.ruleKey(path+".key", x, traits.key)
	}
	switch {
	case x.Value == "":
		c.report(path+".value", "", "is required")
	case !c.text(path+".value", x.Value, MaxText):
	case knownCompare && x.Compare == Regex:
		c.regex(path+".value", x.Value)
	case knownType && knownCompare:
		if problem, remedy := literal(x); problem != "" {
			c.report(path+".value", remedy, "%s %s", Quote(x.Value), problem)
		}
	}
}

func (c *scope) ruleKey(path string, x *Rule, wanted bool) {
	switch {
	case !wanted && x.Key != "":
		c.report(path, "remove it", "%s does not go with rule type %s, which has no key", Quote(x.Key), x.Type)
	case !wanted:
	case x.Key == "":
		c.report(path, "", "is required by rule type %s", x.Type)
	case !c.text(path, x.Key, MaxText):
	case (x.Type == RuleHeader || x.Type == RuleCookie) && !isToken(x.Key):
		c.report(path, "use letters, digits and !#$%&'*+-.^_`|~", "%s is not the name of a %s", Quote(x.Key), x.Type)
	case x.Type == RuleSSLDNField && strings.Trim(x.Key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.") != "":
		c.report(path, "name a field such as CN, O or OU", "%s is not a field of a distinguished name", Quote(x.Key))
	}
}

// regexLimit bounds the instructions of a compiled expression. RE2 matches in
// time proportional to text times instructions.
const regexLimit = 10_000

func (c *scope) regex(path, value string) {
	re, err := syntax.Parse(value, syntax.Perl)
	if err != nil {
		c.report(path, "write RE2 syntax: https://github.com/google/re2/wiki/Syntax", "%s does not compile: %s", Quote(value), strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return
	}
	program, err := syntax.Compile(re.Simplify())
	if err != nil {
		c.report(path, "", "%s does not compile: %v", Quote(value), err)
	} else if len(program.Inst) > regexLimit {
		c.report(path, "use smaller repetition counts", "%s compiles to %d instructions, more than %d", Quote(value), len(program.Inst), regexLimit)
	}
}

// literal tells what keeps a value that is not a regex from ever matching.
func literal(x *Rule) (problem, remedy string) {
	v := x.Value
	switch x.Type {
	case RuleHostName:
		if x.Compare == EqualTo && !isHost(v) {
			if isHostPort(v) {
				return "has a port", "leave the port away: it is not part of what is compared"
			}
			if suffix, ok := strings.CutPrefix(v, "*."); ok && isHost(suffix) {
				return "is not a host name", fmt.Sprintf("for all hosts of a domain compare ends_with %q", "."+suffix)
			}
			return "is not a host name", ""
		}
		if strings.ContainsAny(v, "/ ") {
			return "is no part of a host name", ""
		}
	case RulePath:
		if (x.Compare == EqualTo || x.Compare == StartsWith) && !strings.HasPrefix(v, "/") {
			return `does not begin with "/", as every path does`, fmt.Sprintf("write %q", "/"+v)
		}
		if strings.ContainsAny(v, "?#") {
			return `has "?" or "#", which no path has`, "use a rule of type query for the query"
		}
	case RuleFileType:
		if strings.ContainsAny(v, "./") {
			return "is not a bare extension", `write it without ".", such as "jpg"`
		}
	case RuleMethod:
		if !isToken(v) {
			return "is not a method", ""
		}
		if upper := strings.ToUpper(v); upper != v && slices.Contains(checkMethods, upper) {
			return "is not the method meant: methods are case-sensitive", "write " + upper
		}
	case RuleSourceIP:
		if _, err := ParsePrefix(v); err != nil {
			return "is not a CIDR", `write one such as "192.0.2.0/24" or "2001:db8::/32"`
		}
	case RuleSSLConnHasCert:
		if v != "true" {
			return `is not "true"`, "use invert for the opposite"
		}
	case RuleSSLVerifyResult:
		if n, err := strconv.ParseUint(v, 10, 16); err != nil || strconv.FormatUint(n, 10) != v {
			return "is not a verification result", "use a number such as 0 (verified) or 10 (expired)"
		}
	}
	return "", ""
}
