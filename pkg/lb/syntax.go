package lb

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printable tells whether s is UTF-8 without control characters other than
// line feeds and tabs.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) && r != '\n' && r != '\t'
	})
}

// visible tells whether s is visible ASCII only (VCHAR of RFC 5234).
func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// isToken tells whether s is a token of RFC 9110 section 5.6.2: the name of a
// header, a method, or a cookie (RFC 6265 section 4.1.1).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// isHost tells whether s is a host of RFC 3986 section 3.2.2 as HTTP uses it:
// a name of letters, digits, "-", "_" and ".", an IPv4 address, or an IPv6
// address in brackets.
func isHost(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		return ok && err == nil && a.Is6() && a.Zone() == ""
	}
	return s != "" && len(s) <= MaxText && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}

// isHostPort tells whether s is a host, with or without a port.
func isHostPort(s string) bool {
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		return isHost(s[:i]) && isPort(s[i+1:])
	}
	return isHost(s)
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && len(s) <= 5
}

// splitURL takes an absolute http or https URL apart, or a path on the same
// host, in which case host is empty.
func splitURL(s string) (host, rest string, ok bool) {
	scheme, after, found := strings.Cut(s, "://")
	if !found || strings.HasPrefix(s, "/") {
		return "", s, strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//")
	}
	if !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", "", false
	}
	end := strings.IndexAny(after, "/?#")
	if end < 0 {
		end = len(after)
	}
	return after[:end], after[end:], isHostPort(after[:end])
}
