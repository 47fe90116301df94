package h1

import "fmt"

// Limits bound what a parser accepts. A field that is 0 takes its default.
type Limits struct {
	// RequestLine bounds the request line or status line, CRLF included. Default 64 KiB, from 256 bytes to 256 KiB.
	RequestLine int
	// HeaderBlock bounds all field lines and the empty line behind them. Default 64 KiB, from 1 KiB to 1 MiB.
	HeaderBlock int
	// Fields bounds the number of field lines. Default 128, from 8 to 4096.
	Fields int
	// Trailers bounds the trailer section in bytes, with the same limit on its fields. Default 8 KiB, from 256 bytes to 64 KiB.
	Trailers int
	// ChunkExtension bounds the extensions of one chunk in bytes; 64 times that bounds those of a body. Default 256, from 16 to
	// 4096. Extensions are never passed on.
	ChunkExtension int
	// AllowConnect accepts CONNECT, which is otherwise refused with 501.
	AllowConnect bool
}

// Rules are limits that were checked. They are immutable and shared by any number of connections.
type Rules struct {
	limits Limits
}

var defaultRules = Rules{Limits{RequestLine: 64 << 10, HeaderBlock: 64 << 10, Fields: 128, Trailers: 8 << 10, ChunkExtension: 256}}

// DefaultRules returns the rules of the zero Limits.
func DefaultRules() *Rules { return &defaultRules }

// NewRules checks limits and fills in defaults. The error names the first limit that is out of bounds.
func NewRules(limits Limits) (*Rules, error) {
	r := Rules{limits}
	d := &defaultRules.limits
	for _, x := range []struct {
		name          string
		value         *int
		preset        int
		lowest, upper int
	}{
		{"request line", &r.limits.RequestLine, d.RequestLine, 256, 256 << 10},
		{"header block", &r.limits.HeaderBlock, d.HeaderBlock, 1 << 10, 1 << 20},
		{"fields", &r.limits.Fields, d.Fields, 8, 4096},
		{"trailers", &r.limits.Trailers, d.Trailers, 256, 64 << 10},
		{"chunk extension", &r.limits.ChunkExtension, d.ChunkExtension, 16, 4096},
	} {
		if *x.value == 0 {
			*x.value = x.preset
		}
		if *x.value < x.lowest || *x.value > x.upper {
			return nil, fmt.Errorf("h1: limit of %s: %d is not in %d to %d", x.name, *x.value, x.lowest, x.upper)
		}
	}
	return &r, nil
}

// HeadSize is the length in bytes of the longest head that the rules allow, empty lines before it included.
func (r *Rules) HeadSize() int { return maxEmptyLines*2 + r.limits.RequestLine + r.limits.HeaderBlock }

// TrailerSize is how many unconsumed bytes Body.Next may need at once.
func (r *Rules) TrailerSize() int {
	return max(r.limits.Trailers, maxSizeDigits+r.limits.ChunkExtension+2)
}

// maxEmptyLines bounds the empty lines before a request line that are skipped (RFC 9112 section 2.2).
const maxEmptyLines = 4
