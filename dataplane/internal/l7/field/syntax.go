package field

import (
	"encoding/binary"
	"math/bits"
)

type text interface{ ~string | ~[]byte }

// lower maps the bytes of a token (RFC 9110 section 5.6.2) to their lower case and all others to 0.
var lower = buildLower()

func buildLower() (t [256]byte) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") {
		t[c] = c
	}
	for c := byte('A'); c <= 'Z'; c++ {
		t[c] = c | 0x20
	}
	return t
}

// TokenLen returns how many bytes at the start of b are those of a token (RFC 9110 section 5.6.2).
func TokenLen(b []byte) int {
	for i, c := range b {
		if lower[c] == 0 {
			return i
		}
	}
	return len(b)
}

// IsToken tells whether all of s is one token, which an empty s is not.
func IsToken[T text](s T) bool {
	for i := range len(s) {
		if lower[s[i]] == 0 {
			return false
		}
	}
	return len(s) > 0
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// ValueLen returns how many bytes at the start of b may stand in a field value (RFC 9110 section 5.5): all but controls, of
// which HTAB is the only one that may.
func ValueLen(b []byte) int {
	i := 0
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		del := x ^ 0x7f*ones
		// The lowest byte that either term flags is truly below 0x20 or DEL; a borrow can only add flags above it.
		stop := ((x-0x20*ones)&^x | (del-ones)&^del) & highs
		if stop == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(stop) >> 3
		if b[i] != '\t' {
			return i
		}
		i++
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < ' ' && c != '\t' || c == 0x7f {
			return i
		}
	}
	return i
}

// IsValue tells whether s can be a field value as the engine stores it: no controls but HTAB, and neither space nor HTAB at
// its ends. The empty value is one.
func IsValue[T text](s T) bool {
	if n := len(s); n > 0 && (isSpace(s[0]) || isSpace(s[n-1])) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// Trim returns s without the spaces and tabs (OWS of RFC 9110 section 5.6.3) at its ends.
func Trim(s []byte) []byte {
	for len(s) > 0 && isSpace(s[0]) {
		s = s[1:]
	}
	for len(s) > 0 && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// EqualFold tells whether a and b are equal but for the case of ASCII letters.
func EqualFold[A, B text](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z' {
			return false
		}
	}
	return true
}

// NextElement splits a comma-separated list (RFC 9110 section 5.6.1): it returns the first element, trimmed, and what
// follows its comma. Empty elements are returned as such; more tells whether there was an element at all, so that a loop reads
//
//	for e, rest, more := NextElement(v); more; e, rest, more = NextElement(rest)
//
// A nil list has none, and rest is nil behind the last one.
func NextElement(list []byte) (element, rest []byte, more bool) {
	if list == nil {
		return nil, nil, false
	}
	for i, c := range list {
		if c == ',' {
			return Trim(list[:i]), list[i+1:], true
		}
	}
	return Trim(list), nil, true
}
