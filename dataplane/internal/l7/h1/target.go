package h1

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
)

// Form is one of the four forms of a request target (RFC 9112 section 3.2).
type Form uint8

const (
	// OriginForm is a path with an optional query.
	OriginForm Form = iota
	// AbsoluteForm is a URI; its authority replaces Host.
	AbsoluteForm
	// AuthorityForm is host and port, of CONNECT only.
	AuthorityForm
	// AsteriskForm is "*", of OPTIONS only.
	AsteriskForm
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// targetLen returns how many bytes at the start of b may stand in a request target: printable ASCII but space and "#". RFC 3986
// allows fewer; those others pass since clients send them, and they neither end the target nor look like its end.
func targetLen(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		del, hash := x^0x7f*ones, x^'#'*ones
		// As in field.ValueLen: the lowest flagged byte is truly one to stop at.
		if stop := ((x-0x21*ones)&^x | x | (del-ones)&^del | (hash-ones)&^hash) & highs; stop != 0 {
			return i + bits.TrailingZeros64(stop)>>3
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return i
		}
	}
	return i
}

// ValidTarget tells whether t can be a request target in origin form ("/path?query"), or is "*". Front ends that get targets
// by other protocols ask this before they write them.
func ValidTarget(t []byte) bool {
	return len(t) > 0 && (t[0] == '/' && targetLen(t) == len(t) || string(t) == "*")
}

// ValidAuthority tells whether a is "host" or "host:port" without userinfo (RFC 3986 section 3.2): an IPv6 address in
// brackets, or a name or IPv4 address of unreserved characters and sub-delims. Not allowed, though the grammar has them, are
// an empty host, the comma (which makes two fields of one), and percent-encoding (which makes two names of one host).
func ValidAuthority(a []byte) bool {
	host, port, hasPort := splitAuthority(a)
	if hasPort && !validPort(port) {
		return false
	}
	if len(host) > 0 && host[0] == '[' {
		return len(host) > 2 && host[len(host)-1] == ']' && validIPv6(host[1:len(host)-1])
	}
	for _, c := range host {
		if !hostByte[c] {
			return false
		}
	}
	return len(host) > 0 && len(host) <= 255
}

// Hostname returns the host of a valid authority, without the port; an IPv6 address keeps its brackets.
func Hostname(authority []byte) []byte {
	host, _, _ := splitAuthority(authority)
	return host
}

func splitAuthority(a []byte) (host, port []byte, hasPort bool) {
	for i := len(a) - 1; i >= 0 && a[i] != ']'; i-- {
		if a[i] == ':' {
			return a[:i], a[i+1:], true
		}
	}
	return a, nil, false
}

var hostByte = buildHostByte()

func buildHostByte() (t [256]bool) {
	for _, c := range []byte("-._~!$&'()*+;=0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}

// validPort allows the empty port, as the grammar does.
func validPort(p []byte) bool {
	n := 0
	for _, c := range p {
		if c < '0' || c > '9' || n > 0xffff {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 0xffff && len(p) <= 5
}

// validIPv6 holds an address to RFC 4291 section 2.2, without a zone: up to eight groups of up to four hex digits, one "::",
// the last two groups perhaps in IPv4's form.
func validIPv6(a []byte) bool {
	groups, compressed := 0, false
	if bytes.HasPrefix(a, []byte("::")) {
		compressed, a = true, a[2:]
	}
	for len(a) > 0 {
		n := 0
		for n < len(a) && hexValue[a[n]] < 16 {
			n++
		}
		if n < len(a) && a[n] == '.' {
			return validIPv4(a) && (compressed && groups < 6 || !compressed && groups == 6)
		}
		if n == 0 || n > 4 {
			return false
		}
		groups++
		a = a[n:]
		switch {
		case len(a) == 0:
		case len(a) >= 2 && a[0] == ':' && a[1] == ':':
			if compressed {
				return false
			}
			compressed, a = true, a[2:]
		case len(a) >= 2 && a[0] == ':':
			a = a[1:]
		default:
			return false
		}
	}
	return compressed && groups < 8 || !compressed && groups == 8
}

func validIPv4(a []byte) bool {
	parts := 0
	for {
		n, v := 0, 0
		for n < len(a) && n < 4 && a[n] >= '0' && a[n] <= '9' {
			v = v*10 + int(a[n]-'0')
			n++
		}
		if n == 0 || n > 3 || v > 255 || n > 1 && a[0] == '0' {
			return false
		}
		parts++
		if a = a[n:]; len(a) == 0 {
			return parts == 4
		}
		if a[0] != '.' {
			return false
		}
		a = a[1:]
	}
}

// splitTarget sorts the target out once method and target are known. It sets form, authority and the span to forward.
func (r *Request) splitTarget() reason {
	t := r.buf[r.target.from:r.target.to]
	r.forward = r.target
	switch {
	case r.Method == Connect:
		if !r.rules.limits.AllowConnect {
			return connectRefused
		}
		r.Form, r.authority = AuthorityForm, r.target
		if _, port, hasPort := splitAuthority(t); !hasPort || len(port) == 0 || !ValidAuthority(t) {
			return badTarget
		}
		return ok
	case t[0] == '/':
		r.Form = OriginForm
		return ok
	case len(t) == 1 && t[0] == '*':
		r.Form = AsteriskForm
		if r.Method != Options {
			return badTarget
		}
		return ok
	}
	r.Form = AbsoluteForm
	scheme := bytes.IndexByte(t, ':')
	if scheme < 0 || !bytes.HasPrefix(t[scheme:], []byte("://")) {
		return badTarget
	}
	r.HTTPS = field.EqualFold(t[:scheme], "https")
	if !r.HTTPS && !field.EqualFold(t[:scheme], "http") {
		return badTarget
	}
	from := scheme + len("://")
	to := from
	for to < len(t) && t[to] != '/' && t[to] != '?' {
		to++
	}
	if !ValidAuthority(t[from:to]) {
		return badTarget
	}
	r.authority = span{r.target.from + from, r.target.from + to}
	r.forward.from += to
	return ok
}
