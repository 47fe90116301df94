package route

import (
	"bytes"
	"errors"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// ErrHost is the fault of a Host field or authority that names no host.
var ErrHost = errors.New("route: host is not a name, an IPv4 address or an IPv6 address in brackets, with or without a port")

// NormalizeHost gives the host of a Host field or an authority in the form in
// which it is matched: lower case, without the port, and without the dot at the
// end that makes a name absolute, since "example.com." is the same host and must
// not pass the policies of "example.com". An IPv6 address keeps its brackets; it
// is not rewritten further.
//
// A host has letters, digits, "-", "_" and "." only, up to 255 of them. An empty
// one is no error: HTTP/1.1 allows it. The result is a part of raw where that is
// normal already, and lies in dst's array otherwise.
func NormalizeHost(dst, raw []byte) ([]byte, error) {
	host := raw
	if len(raw) > 0 && raw[0] == '[' {
		end := bytes.IndexByte(raw, ']')
		if end < 0 || !isPortSuffix(raw[end+1:]) || !isIPv6Text(raw[1:end]) {
			return nil, ErrHost
		}
		return lower(dst, raw[:end+1]), nil
	}
	if i := bytes.IndexByte(raw, ':'); i >= 0 {
		if i == 0 || !isPortSuffix(raw[i:]) {
			return nil, ErrHost
		}
		host = raw[:i]
	}
	if n := len(host); n > 0 && host[n-1] == '.' {
		host = host[:n-1]
		if n == 1 || host[n-2] == '.' {
			return nil, ErrHost
		}
	}
	if len(host) > lb.MaxText {
		return nil, ErrHost
	}
	for _, c := range host {
		if !isUnreserved(c) || c == '~' {
			return nil, ErrHost
		}
	}
	return lower(dst, host), nil
}

// isPortSuffix tells whether p is what may follow a host: nothing, or ":" and a
// port, which may be empty (RFC 3986 section 3.2.3).
func isPortSuffix(p []byte) bool {
	if len(p) == 0 {
		return true
	}
	if p[0] != ':' || len(p) > 6 {
		return false
	}
	port := 0
	for _, c := range p[1:] {
		if c < '0' || c > '9' {
			return false
		}
		port = port*10 + int(c-'0')
	}
	return port <= 65535
}

// isIPv6Text tells whether p can be an IPv6 address, by its characters only.
func isIPv6Text(p []byte) bool {
	colons := 0
	for _, c := range p {
		switch {
		case c == ':':
			colons++
		case c != '.' && unhex(c) < 0:
			return false
		}
	}
	return colons >= 2 && len(p) <= len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")
}

// lower gives p in lower case, in dst's array where that differs from p.
func lower(dst, p []byte) []byte {
	for i, c := range p {
		if c >= 'A' && c <= 'Z' {
			dst = append(dst[:0], p[:i]...)
			for _, c := range p[i:] {
				dst = append(dst, lowerASCII[c])
			}
			return dst
		}
	}
	return p
}

// lowerASCII maps letters of ASCII to lower case and all else to itself.
var lowerASCII = func() (table [256]byte) {
	for c := range table {
		table[c] = byte(c)
		if c >= 'A' && c <= 'Z' {
			table[c] += 'a' - 'A'
		}
	}
	return table
}()
