package wire

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/exchange"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/h1"
)

// Body is a body that comes in over a Conn: exchange.Coded for both sides. Data lie in the buffer of the connection.
type Body struct {
	// H1 is readied by Request.StartBody or Response.StartBody, with Fields for its trailers, before Start.
	H1     h1.Body
	Fields field.List

	conn    *Conn
	sides   Sides
	failure *exchange.Failure
	data    []byte // decoded, not yet returned
	ahead   int    // bytes of the buffer consumed for data and before it
	given   int    // bytes of the buffer returned and not released
	begin   h1.Body
	moved   bool // something was released
	chunked bool
}

var _ exchange.Coded = (*Body)(nil)

// Sides says what ends a body and how it is called.
type Sides struct {
	// Timeout bounds the wait for every read; 0 is none.
	Timeout                     time.Duration
	TimedOut, Truncated, Faulty exchange.Reason
	// Exchange, if it was aborted, says why a wait was interrupted.
	Exchange *exchange.Exchange
	// Peer, of a tunnel, is the other end: what comes here keeps that one from being idle.
	Peer *Conn
}

// Start readies b, whose H1 was started with that framing, for what comes next on c.
func (b *Body) Start(c *Conn, framing h1.Framing, sides Sides) {
	b.conn, b.sides, b.failure, b.data, b.ahead, b.given = c, sides, nil, nil, 0, 0
	b.begin, b.moved, b.chunked = b.H1, false, framing.Kind == h1.Chunked
}

// Forget lets go of the exchange.
func (b *Body) Forget() {
	b.sides, b.data, b.failure = Sides{}, nil, nil
	b.Fields.Reset()
}

// Code implements exchange.Coded.
func (b *Body) Code() bool {
	b.H1.Raw = b.chunked
	return b.chunked
}

// look decodes what is buffered, until there is some data.
func (b *Body) look() {
	for len(b.data) == 0 && b.failure == nil && !b.H1.Done() {
		c := b.conn
		data, n, fault := b.H1.Next(c.in[c.from+b.given+b.ahead : c.to])
		if fault != nil {
			b.failure = exchange.FromFault(b.sides.Faulty, fault)
			return
		}
		b.ahead += n
		b.data = data
		if n == 0 {
			return
		}
	}
}

// Ready implements exchange.Body.
func (b *Body) Ready() bool {
	b.look()
	return len(b.data) > 0 || b.failure != nil || b.H1.Done()
}

// Done implements exchange.Body.
func (b *Body) Done() bool {
	if len(b.data) == 0 && b.failure == nil && !b.H1.Done() && b.chunked {
		b.look() // the end may be buffered, with no data before it
	}
	return b.H1.Done() && len(b.data) == 0
}

// Release implements exchange.Body.
func (b *Body) Release() {
	b.conn.from += b.given
	b.moved = b.moved || b.given > 0
	b.given = 0
	if b.Done() {
		b.conn.from += b.ahead
		b.ahead = 0
	}
}

// Rewind implements exchange.Body.
func (b *Body) Rewind() bool {
	if b.moved {
		return false
	}
	b.H1, b.data, b.ahead, b.given, b.failure = b.begin, nil, 0, 0, nil
	b.Fields.Reset()
	return true
}

// Trailers implements exchange.Body.
func (b *Body) Trailers() *field.List {
	if b.Fields.Len() == 0 {
		return nil
	}
	return &b.Fields
}

// Interrupt implements exchange.Body.
func (b *Body) Interrupt() { b.conn.InterruptRead() }

// AppendEnd implements exchange.Coded.
func (b *Body) AppendEnd(dst []byte) []byte { return b.H1.AppendEnd(dst) }

// Next implements exchange.Body.
func (b *Body) Next() ([]byte, *exchange.Failure) {
	for {
		b.look()
		switch {
		case len(b.data) > 0:
			data := b.data
			b.given, b.ahead, b.data = b.given+b.ahead, 0, nil
			return data, nil
		case b.failure != nil:
			return nil, b.failure
		case b.H1.Done():
			b.given, b.ahead = b.given+b.ahead, 0
			return nil, nil
		}
		b.conn.from += b.ahead // framing, no data
		b.ahead, b.moved = 0, true
		b.conn.ReadBy(b.sides.Timeout)
		err := b.conn.Fill()
		b.conn.ReadBy(0)
		if err != nil {
			b.ended(err)
		} else if b.sides.Peer != nil {
			b.sides.Peer.Extend(b.sides.Timeout)
		}
	}
}

// ended turns what Fill returned into the end of the body, or a failure.
func (b *Body) ended(err error) {
	why := b.sides.Exchange.Aborted()
	switch {
	case why != nil:
		b.failure = why
	case errors.Is(err, ErrTimeout):
		b.failure = exchange.Fail(b.sides.TimedOut)
	case err == io.EOF && b.H1.EOF() == nil:
	default:
		b.failure = exchange.Fail(b.sides.Truncated)
	}
}

// Sender writes a body to a connection in its framing.
type Sender struct {
	// Last, unless nil, is set once the end of the body is known and before the peer can see it. It is set by Bulk, and by whoever calls Next.
	Last *atomic.Bool

	conn    *Conn
	body    exchange.Body
	coded   exchange.Coded // nil where body gives plain data
	chunked bool
}

// Start readies s to write body, in chunks or as it is, to c. The body must not have been looked at.
func (s *Sender) Start(c *Conn, body exchange.Body, chunked bool) {
	*s = Sender{conn: c, body: body, chunked: chunked}
	if coded, can := body.(exchange.Coded); chunked && can && coded.Code() {
		s.coded = coded
	}
}

// Put buffers data, or sends it.
func (s *Sender) Put(data []byte) error {
	if !s.chunked || s.coded != nil {
		return s.conn.Write(data)
	}
	s.conn.SetOut(h1.AppendChunkSize(s.conn.Out(), int64(len(data))))
	if err := s.conn.Write(data); err != nil {
		return err
	}
	return s.conn.Write(crlf)
}

var crlf = []byte("\r\n")

// End buffers what ends a body that is done.
func (s *Sender) End() {
	switch {
	case s.coded != nil:
		s.conn.SetOut(s.coded.AppendEnd(s.conn.Out()))
	case s.chunked:
		s.conn.SetOut(h1.AppendLastChunk(s.conn.Out(), s.body.Trailers()))
	}
}
