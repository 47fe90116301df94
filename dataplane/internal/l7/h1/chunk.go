package h1

import (
	"math"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
)

const (
	maxSizeDigits = 16
	emptyEnd      = "0\r\n\r\n"
)

// hexValue maps hex digits to their value and all other bytes to 16.
var hexValue = buildHexValue()

func buildHexValue() (t [256]uint8) {
	for c := range t {
		t[c] = 16
	}
	for v, c := range []byte("0123456789abcdef") {
		t[c] = uint8(v)
	}
	for v, c := range []byte("ABCDEF") {
		t[c] = uint8(v + 10)
	}
	return t
}

// sizeLine parses the line before a chunk (RFC 9112 section 7.1): up to 16 hex digits, extensions, CRLF. It returns the size,
// the number of digits and the length of the line; or more while the line is not complete.
func (b *Body) sizeLine(in []byte) (size int64, digits, line int, why reason) {
	var v uint64
	for digits < len(in) {
		d := hexValue[in[digits]]
		if d > 15 {
			break
		}
		if digits == maxSizeDigits {
			return 0, 0, 0, chunkSizeOverflow
		}
		v = v<<4 | uint64(d)
		digits++
	}
	switch {
	case digits == len(in):
		return 0, 0, 0, more
	case v > math.MaxInt64:
		return 0, 0, 0, chunkSizeOverflow
	case digits == 0 && in[0] != '\r':
		return 0, 0, 0, badByte(in, 0, badChunkSize)
	case digits == 0:
		return 0, 0, 0, badChunkSize
	}
	line = digits
	if in[line] == ';' {
		var length int
		if length, why = b.extension(in[digits:]); why != ok {
			return 0, 0, 0, why
		}
		line += length
	}
	switch why = lineEnd(in, line); why {
	case ok:
		b.extensions += line - digits
		return int64(v), digits, line + 2, ok
	case controlByte:
		why = badChunkSize
	}
	return 0, 0, 0, why
}

// extension returns the length of the chunk extensions at the start of in, which begins with a semicolon (RFC 9112 section
// 7.1.1), as far as the CR: names with or without a value, a token or a quoted string, white space only behind a semicolon and
// around an equals sign.
func (b *Body) extension(in []byte) (n int, why reason) {
	limit := b.rules.limits.ChunkExtension
	w, clipped := window(in, 0, limit+1)
	if b.extensions > 64*limit {
		return 0, chunkExtensionTooLarge
	}
	i := 0
	for i < len(w) && w[i] == ';' {
		if i, why = extensionPart(w, i+1); why != ok {
			break
		}
		if j := skipSpace(w, i); j == len(w) || w[j] == '=' {
			if i = j; i == len(w) {
				break
			}
			if i, why = extensionPart(w, i+1); why != ok {
				break
			}
		}
	}
	switch {
	case (why == more || i == len(w)) && clipped:
		return 0, chunkExtensionTooLarge
	case why != ok:
		return 0, why
	case i == len(w):
		return 0, more
	case w[i] != '\r':
		return 0, badByte(w, i, badChunkExtension)
	}
	return i, ok
}

func skipSpace(w []byte, i int) int {
	for i < len(w) && (w[i] == ' ' || w[i] == '\t') {
		i++
	}
	return i
}

// extensionPart skips white space and then a token, or behind an equals sign a quoted string, and returns the offset behind it.
func extensionPart(w []byte, i int) (int, reason) {
	quotable := w[i-1] == '='
	i = skipSpace(w, i)
	if i == len(w) {
		return i, more
	}
	if !quotable || w[i] != '"' {
		n := field.TokenLen(w[i:])
		if n == 0 {
			return i, badByte(w, i, badChunkExtension)
		}
		return i + n, ok
	}
	quoted := false // the byte behind a backslash
	for i++; i < len(w); i++ {
		c := w[i]
		switch {
		case c < ' ' && c != '\t' || c == 0x7f:
			return i, badByte(w, i, badChunkExtension)
		case c == '"' && !quoted:
			return i + 1, ok
		}
		quoted = c == '\\' && !quoted
	}
	return i, more
}

// AppendChunk appends data as one chunk. Empty data would end the body, so nothing is appended.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = AppendChunkSize(dst, int64(len(data)))
	dst = append(dst, data...)
	return append(dst, "\r\n"...)
}

// AppendChunkSize appends the line before a chunk of size bytes, which must be positive: for data that is written from elsewhere and
// followed by CRLF.
func AppendChunkSize(dst []byte, size int64) []byte {
	var line [maxSizeDigits + 2]byte
	return append(dst, line[putSize(line[:], size):]...)
}

const hexDigits = "0123456789abcdef"

// putSize writes the line before a chunk to the end of b and returns where it starts.
func putSize(b []byte, size int64) int {
	i := len(b) - 2
	b[i], b[i+1] = '\r', '\n'
	for v := uint64(size); v > 0 || i == len(b)-2; v >>= 4 {
		i--
		b[i] = hexDigits[v&15]
	}
	return i
}

const (
	// ChunkHeadroom is how many bytes FrameChunk may need before the data.
	ChunkHeadroom = 10
	// ChunkTailroom is how many bytes FrameChunk needs behind the data.
	ChunkTailroom = 2
)

// FrameChunk makes a chunk of buf[from:to] in place, and returns the piece of buf to write: the caller has left ChunkHeadroom bytes
// before from and ChunkTailroom behind to. The data must be shorter than 4 GiB. Empty data gives an empty piece.
func FrameChunk(buf []byte, from, to int) []byte {
	if from == to {
		return buf[from:to]
	}
	start := putSize(buf[:from], int64(to-from))
	buf[to], buf[to+1] = '\r', '\n'
	return buf[start : to+2]
}

// AppendLastChunk appends the end of a chunked body: the last chunk, those trailers that may be passed on, and the empty line. The
// list may be nil.
func AppendLastChunk(dst []byte, trailers *field.List) []byte {
	if trailers == nil || trailers.Len() == 0 {
		return append(dst, emptyEnd...)
	}
	dst = append(dst, "0\r\n"...)
	for i := trailers.First(field.Other); i >= 0; i = trailers.Next(i, field.Other) {
		if notInTrailers.Has(trailers.Aliases(i)) {
			trailers.RemoveAt(i)
		}
	}
	dst = trailers.AppendTo(dst, notInTrailers)
	return append(dst, "\r\n"...)
}
