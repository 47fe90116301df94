package h1

import (
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
)

// Body decodes one message body; see the package comment for the loop around it. Request.StartBody and Response.StartBody
// ready it. It holds no buffer.
type Body struct {
	// Raw, set before the first Next, makes Next give a chunked body in its coding, ready to be forwarded as it is, but for
	// extensions and trailers. Other bodies are the same either way.
	Raw bool

	kind       BodyKind
	side       side
	state      chunkState
	done       bool
	endWritten bool  // raw spans included the last chunk and the end
	left       int64 // of the body, or of the current chunk
	extensions int   // bytes of chunk extensions so far
	why        reason
	rules      *Rules
	trailers   *field.List // nil where nobody wants them
	discarded  field.List  // takes those
	block      block
}

type chunkState uint8

const (
	atSize chunkState = iota
	atSizeEnd
	atData
	atDataEnd
	atTrailers
)

func (b *Body) start(f Framing, of side, rules *Rules, trailers *field.List) {
	b.discarded.Reset()
	*b = Body{kind: f.Kind, side: of, left: f.Length, done: f.Empty(), rules: rules, trailers: trailers, discarded: b.discarded}
	if trailers != nil {
		trailers.Reset()
	}
}

// Done tells whether the body has come to its end. What is left in the buffer then belongs to the next message.
func (b *Body) Done() bool { return b.done }

// Remaining returns how many bytes of data come before the next point where Next must see the bytes: the end of the body, or of the
// current chunk. They may bypass Next by splice, and Advance. It is -1 for UntilClose.
func (b *Body) Remaining() int64 {
	switch {
	case b.kind == UntilClose:
		return -1
	case b.done || b.kind == Chunked && b.state != atData:
		return 0
	}
	return b.left
}

// Advance accounts for n bytes of data, at most Remaining, that were forwarded without Next.
func (b *Body) Advance(n int64) {
	if b.kind == UntilClose {
		return
	}
	b.took(n)
}

func (b *Body) took(n int64) {
	b.left -= n
	switch {
	case b.left > 0:
	case b.kind == Length:
		b.done = true
	default:
		b.state = atDataEnd
	}
}

// Next looks at the unconsumed bytes of the connection and returns data to forward, a piece of in, and how many bytes of in
// are consumed by it and before it. Both are empty when more bytes are needed behind in. With a Fault, which then stays, data is nil: the
// message is broken and so is the connection.
func (b *Body) Next(in []byte) (data []byte, n int, fault *Fault) {
	if b.why == ok && !b.done {
		switch {
		case b.kind == Length:
			data = in[:min(int64(len(in)), b.left)]
			b.took(int64(len(data)))
			return data, len(data), nil
		case b.kind == UntilClose:
			return in, len(in), nil
		case b.Raw:
			data, n, b.why = b.raw(in)
		default:
			data, n, b.why = b.decode(in)
		}
	}
	if b.why != ok {
		return nil, n, faults[b.side][b.why]
	}
	return data, n, nil
}

// EOF tells what it means that the peer closed, and nothing is left to give to Next: nil where the body is complete, which that
// makes a body of UntilClose; otherwise the body is truncated, and the receiver must be made to see that.
func (b *Body) EOF() *Fault {
	if b.kind == UntilClose {
		b.done = true
	}
	if b.why == ok && !b.done {
		b.why = bodyTruncated
	}
	if b.why != ok {
		return faults[b.side][b.why]
	}
	return nil
}

// AppendEnd appends what ends a chunked message after all data of a done body: the last chunk, the trailers, the empty line.
// Trailers lie in the buffer that the last Next was given, so this comes before that is reused.
// A raw body whose spans included all that needs nothing, and nothing is appended.
func (b *Body) AppendEnd(dst []byte) []byte {
	if b.endWritten {
		return dst
	}
	return AppendLastChunk(dst, b.trailers)
}

// decode gives the data of one chunk, or of a part of one.
func (b *Body) decode(in []byte) (data []byte, n int, why reason) {
	for {
		switch b.state {
		case atSize:
			size, _, line, why := b.sizeLine(in[n:])
			if why != ok {
				return nil, n, pending(why)
			}
			b.startChunk(size)
			n += line
		case atData:
			data = in[n:]
			data = data[:min(int64(len(data)), b.left)]
			b.took(int64(len(data)))
			return data, n + len(data), ok
		case atTrailers:
			end, why := b.trailerSection(in[n:])
			return nil, n + end, why
		default:
			if why = crlf(in[n:]); why != ok {
				return nil, n, pending(why)
			}
			n += 2
			b.state = atSize
		}
	}
}

// raw gives as much of the coded body as lies in one piece. It ends a piece before the last chunk where trailers, or bytes that
// are still to come, might follow it, and on both sides of an extension, which so drops out.
func (b *Body) raw(in []byte) (data []byte, n int, why reason) {
	for n < len(in) {
		switch b.state {
		case atData:
			took := min(int64(len(in)-n), b.left)
			b.took(took)
			n += int(took)
		case atSize:
			if n+len(emptyEnd) <= len(in) && string(in[n:n+len(emptyEnd)]) == emptyEnd {
				b.done, b.endWritten = true, true
				return in[:n+len(emptyEnd)], n + len(emptyEnd), ok
			}
			size, digits, line, why := b.sizeLine(in[n:])
			if why != ok {
				return in[:n], n, pending(why)
			}
			b.startChunk(size)
			if size == 0 {
				end, why := b.trailerSection(in[n+line:])
				return in[:n], n + line + end, why
			}
			if digits+2 != line {
				b.state = atSizeEnd
				return in[:n+digits], n + line - 2, ok
			}
			n += line
		case atTrailers:
			end, why := b.trailerSection(in[n:])
			return in[:n], n + end, why
		default:
			if why = crlf(in[n:]); why != ok {
				return in[:n], n, pending(why)
			}
			n += 2
			if b.state == atSizeEnd {
				b.state = atData
			} else {
				b.state = atSize
			}
		}
	}
	return in[:n], n, ok
}

// pending turns more into ok: nothing is wrong, nothing was consumed.
func pending(why reason) reason {
	if why == more {
		return ok
	}
	return why
}

func (b *Body) startChunk(size int64) {
	b.left, b.state = size, atData
	if size == 0 {
		b.state = atTrailers
		b.block.reset(0)
	}
}

// trailerSection parses the trailers at the start of in. It consumes all of them at once or nothing.
func (b *Body) trailerSection(in []byte) (n int, why reason) {
	l := b.trailers
	if l == nil {
		l = &b.discarded
	}
	l.Bind(in)
	n, why = b.block.parse(in, l, b.rules.trailerLimits())
	b.done = why == ok
	if l != b.trailers && why != more {
		l.Reset()
	}
	return n, pending(why)
}

// crlf judges the two bytes at the start of in, which must be CRLF.
func crlf(in []byte) reason {
	switch {
	case len(in) >= 2 && in[0] == '\r' && in[1] == '\n':
		return ok
	case len(in) == 0 || len(in) == 1 && in[0] == '\r':
		return more
	case in[0] == '\n':
		return bareLF
	}
	return badChunkEnd
}
