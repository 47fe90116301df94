package route

import (
	"bytes"
	"errors"
	"strings"
)

// Faults of a path that has no normal form.
var (
	ErrPathSyntax  = errors.New("route: path does not begin with \"/\", or has white space, a control character, \"?\" or \"#\"")
	ErrPathPercent = errors.New("route: path has a \"%\" without two hexadecimal digits after it")
	ErrPathNUL     = errors.New("route: path has an encoded NUL")
)

// Classes of octets in a path, RFC 3986 section 3.3.
const (
	octetRefused = iota
	octetPlain   // stands for itself
	octetEncoded // is no part of a URI: percent-encoded
)

var octets = func() (class [256]uint8) {
	for c := range class {
		switch {
		case c <= ' ' || c == 0x7f || c == '?' || c == '#' || c == '%':
		case isUnreserved(byte(c)) || strings.IndexByte("/:@!$&'()*+,;=", byte(c)) >= 0:
			class[c] = octetPlain
		default:
			class[c] = octetEncoded
		}
	}
	return class
}()

// isUnreserved tells whether c means the same encoded and not, RFC 3986 section 2.3.
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// NormalizePath gives the path in the one form in which it is matched and
// forwarded, RFC 3986 section 6.2.2: unreserved octets decoded, all else that
// is encoded kept so, "%2F" above all, with upper-case digits; then dot segments
// removed. Octets that no URI has in plain, such as "\" or those beyond ASCII,
// are encoded, so that they too have one form. Empty segments stay, for they
// mean something to some servers, and so do parameters ("..;" is no dot
// segment). Paths decode once: "%252e" stays as it is.
//
// The result is raw itself where that is normal already, and lies in dst's
// array otherwise, which may be overwritten, grows when it is smaller than
// three times raw, and must not overlap raw. An empty path is "/". The target
// "*" of OPTIONS is no path: do not normalize it.
func NormalizePath(dst, raw []byte) ([]byte, error) {
	if len(raw) == 0 {
		return append(dst[:0], '/'), nil
	}
	if raw[0] != '/' {
		return nil, ErrPathSyntax
	}
	if isNormalPath(raw) {
		return raw, nil
	}
	dst = dst[:0]
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '%' {
			if i+2 >= len(raw) || unhex(raw[i+1]) < 0 || unhex(raw[i+2]) < 0 {
				return nil, ErrPathPercent
			}
			c = byte(unhex(raw[i+1])<<4 | unhex(raw[i+2]))
			i += 2
			switch {
			case c == 0:
				return nil, ErrPathNUL
			case isUnreserved(c):
				dst = append(dst, c)
			default:
				dst = appendEncoded(dst, c)
			}
			continue
		}
		switch octets[c] {
		case octetPlain:
			dst = append(dst, c)
		case octetEncoded:
			dst = appendEncoded(dst, c)
		default:
			return nil, ErrPathSyntax
		}
	}
	return removeDotSegments(dst), nil
}

// isNormalPath tells whether NormalizePath would change nothing.
func isNormalPath(p []byte) bool {
	for i, c := range p {
		if octets[c] == octetPlain && c != '/' {
			continue
		}
		switch c {
		case '/':
			rest := p[i+1:]
			if len(rest) > 0 && rest[0] == '.' && startsWithDotSegment(rest) {
				return false
			}
		case '%':
			if i+2 >= len(p) || !isUpperHex(p[i+1]) || !isUpperHex(p[i+2]) {
				return false
			}
			if v := byte(unhex(p[i+1])<<4 | unhex(p[i+2])); v == 0 || isUnreserved(v) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// startsWithDotSegment tells whether p begins with the segment "." or "..".
func startsWithDotSegment(p []byte) bool {
	p = p[1:]
	if len(p) > 0 && p[0] == '.' {
		p = p[1:]
	}
	return len(p) == 0 || p[0] == '/'
}

// removeDotSegments is RFC 3986 section 5.2.4, in place. p begins with "/".
func removeDotSegments(p []byte) []byte {
	out := p[:0]
	for i := 0; i < len(p); {
		end := len(p)
		if n := bytes.IndexByte(p[i+1:], '/'); n >= 0 {
			end = i + 1 + n
		}
		switch segment := p[i+1 : end]; string(segment) {
		case ".", "..":
			if len(segment) == 2 {
				out = out[:max(bytes.LastIndexByte(out, '/'), 0)]
			}
			if end == len(p) {
				out = append(out, '/')
			}
		default:
			out = append(out, p[i:end]...) // never past i: what is dropped makes room
		}
		i = end
	}
	return out
}

const upperHex = "0123456789ABCDEF"

func appendEncoded(dst []byte, c byte) []byte {
	return append(dst, '%', upperHex[c>>4], upperHex[c&15])
}

func isUpperHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'A' && c <= 'F' }

// unhex gives the value of a hexadecimal digit, -1 for anything else.
func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	default:
		return -1
	}
}

// extension gives what follows the last "." of the path's last segment; nil
// where that is nothing.
func extension(path []byte) []byte {
	for i := len(path) - 1; i >= 0; i-- {
		switch path[i] {
		case '/':
			return nil
		case '.':
			if i+1 == len(path) {
				return nil
			}
			return path[i+1:]
		}
	}
	return nil
}
