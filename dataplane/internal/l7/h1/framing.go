package h1

import (
	"math"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
)

// readFraming reads what Content-Length and Transfer-Encoding say, for either side, and refuses every message that another
// implementation could frame differently (RFC 9112 sections 6 and 11.2). NoBody means that neither is there.
func readFraming(l *field.List, minor uint8) (f Framing, why reason) {
	te, cl := l.First(field.TransferEncoding), l.First(field.ContentLength)
	switch {
	case te >= 0 && cl >= 0:
		return f, teWithCL
	case te >= 0 && minor == 0:
		return f, teInHTTP10
	case te >= 0 && l.Next(te, field.TransferEncoding) >= 0:
		return f, teRepeated
	case te >= 0:
		return Framing{Kind: Chunked}, judgeCoding(l.Value(te))
	case cl >= 0 && l.Next(cl, field.ContentLength) >= 0:
		return f, clRepeated
	case cl >= 0:
		f.Kind = Length
		f.Length, why = parseLength(l.Value(cl))
	}
	return f, why
}

// judgeCoding accepts the transfer coding "chunked" alone. A clean list of tokens that ends in one chunked, behind codings that we
// lack, is unsupported; everything else is invalid.
func judgeCoding(v []byte) reason {
	if field.EqualFold(v, "chunked") {
		return ok
	}
	final := false
	for e, rest, more := field.NextElement(v); more; e, rest, more = field.NextElement(rest) {
		if final || !field.IsToken(e) || field.EqualFold(e, "identity") {
			return teInvalid
		}
		final = field.EqualFold(e, "chunked")
	}
	if !final {
		return teInvalid
	}
	return teUnsupported
}

// parseLength reads a Content-Length: digits only, up to 2^63-1.
func parseLength(v []byte) (n int64, why reason) {
	if len(v) == 0 {
		return 0, clInvalid
	}
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, clInvalid
		}
	}
	for _, c := range v {
		d := int64(c - '0')
		if n > (math.MaxInt64-d)/10 {
			return 0, clOverflow
		}
		n = n*10 + d
	}
	return n, ok
}
