// Package exchange is the seam of the L7 engine: what a front end (HTTP/1.1, and any other protocol that clients speak) and an
// upstream (HTTP/1.1, and any other that backends speak) say to one another about one request and its response. One Exchange is one
// stream; whether streams share a connection is nobody's business on the other side.
//
// # Course
//
// The front end fills in Exchange.Request and calls Upstream.Exchange on its own goroutine. The upstream sends the request, hands every
// interim response to Client.Interim, and returns when the head of the final response is in Exchange.Response, or with the Failure
// that kept it from coming. After a Failure nothing is left open. Otherwise the front end pulls Response.Body, while the upstream
// may still be pulling Request.Body on a goroutine of its own (streams run both ways at once), and then calls Stream.Close exactly once.
//
// # Heads
//
// Heads are a field.List and a few values beside it; there are no maps. A list borrows the buffer that its bytes were received in. That of the
// request may be read until the upstream first pulls a byte of body that was not there yet (see Body), and whoever needs it for longer copies it
// (field.List.AddAll). That of the response may be read until the front end calls Body.Next. What concerns one connection (RFC 9110
// section 7.6.1) is not part of an exchange: receivers remove what Connection nominates before they hand a head over, and
// writers leave the rest out. Framing says how long the body is: none, a length that is then exactly kept, or not known in advance.
// Edits of fields are the front end's.
//
// # Bodies
//
// A Body is pulled, with credit: what Next has returned stays where it is until Release, and only Release lets the sender send more
// (a window update, or free space in a read buffer). So a slow receiver slows the sender down, on its own stream only; and
// a request whose body was never released can be sent again. A body ends in one of two ways: Done, after which Trailers are there
// (a half-close: the other direction goes on), or a Failure, which Next goes on to return. A receiver must make a Failure visible to its
// peer (RFC 9112 section 8): it must never end the message as if it were whole.
//
// Coded is an optimisation between ends that both frame by chunks: it gives the body in chunked coding, as it lies in the buffer.
// What arrives is the same either way.
//
// # Interim responses, upgrades, tunnels
//
// Client.Interim is called on the goroutine that called Upstream.Exchange, for every 1xx but 101, in order. A request may offer to switch
// protocols (Request.Upgrade). Status 101 reaches the front end only where the upstream found that it matches the offer; Response.Body then is
// the byte stream from the backend, and Stream.Tunnel hands over the one from the client.
//
// # Cancellation and reset codes
//
// Exchange.Abort, from any goroutine, ends an exchange: whoever waits inside the upstream returns, with the Failure it was given. The context
// of Upstream.Exchange does the same and is meant for what outlives single streams (the connection, the server). A Failure carries a Reason, which
// is the word for logs and metrics, the status that the front end answers if no byte of a response went out yet, and a reset code
// (RFC 9113 section 7) for protocols that reset single streams; HTTP/1.1 closes the connection instead.
//
// # Sending again
//
// Retries are the upstream's, since only it knows what was written. It may send a request again only where no byte of it was written; or where the
// connection had been used before, no byte of a response came, nothing of the body was released, and the method is idempotent (RFC 9110 section 9.2.2).
package exchange

import (
	"context"
	"net/netip"
	"sync"

	"github.com/fiberlb/fiberlb/dataplane/internal/l7/field"
	"github.com/fiberlb/fiberlb/dataplane/internal/l7/h1"
)

// Upstream takes requests to some pool of backends.
type Upstream interface {
	// Exchange does what the package comment says. It blocks; the exchange is its own until it returns.
	Exchange(ctx context.Context, x *Exchange) *Failure
}

// Client is the front end as an upstream sees it.
type Client interface {
	// Interim passes on the interim response in x.Response, of which it must keep nothing. A Failure ends the exchange.
	Interim(x *Exchange) *Failure
}

// Request is the head of a request and its body.
type Request struct {
	Method     h1.Method
	MethodName []byte
	// Target is in origin form or "*"; see h1.RequestHead.
	Target []byte
	Fields *field.List // Host among them
	// Framing is that of Body: h1.Chunked where its length is not known, whatever the protocol.
	Framing h1.Framing
	Body    Body // nil where Framing.Empty
	// Upgrade is what the client offers to switch to; nil for nothing.
	Upgrade        []byte
	AcceptTrailers bool
	// Client and VIP are the two ends of the client's connection, by which backends are chosen.
	Client, VIP netip.AddrPort
}

// Response is the head of a response, interim or final, and the body of the latter.
type Response struct {
	Status int
	Phrase []byte // may be empty
	Fields *field.List
	// Framing is what the head is to say, and that of Body unless it is nil (a response to HEAD states a length). UntilClose is a
	// body whose length is not known, and whose end may have been a loss.
	Framing h1.Framing
	Body    Body // nil where nothing follows
	Upgrade []byte
	// Stream is there from the final response on.
	Stream Stream
}

// Body is one direction of content. One goroutine uses it at a time.
type Body interface {
	// Ready tells whether Next will return without waiting. It invalidates nothing.
	Ready() bool
	// Next waits for data and returns some; or nil where the body is done, or a Failure. What it has returned is valid until Release.
	// Unless Ready, it must not be called before Release.
	Next() ([]byte, *Failure)
	// Done tells that all data were returned.
	Done() bool
	// Release gives back all that Next has returned.
	Release()
	// Rewind makes Next begin again, to send a request once more. It returns false where something was released, and then does nothing.
	Rewind() bool
	// Trailers are those of a done body; nil where there are none.
	Trailers() *field.List
	// Interrupt makes Next return, and wait for nothing any more. It is for any goroutine.
	Interrupt()
}

// Coded is a Body that can give itself in chunked coding.
type Coded interface {
	Body
	// Code, called before Ready and Next, makes Next return pieces of the coded body. It returns false where the body has no coding.
	Code() bool
	// AppendEnd appends to dst what ends the coded body, trailers included, once it is done.
	AppendEnd(dst []byte) []byte
}

// Stream is what is open after an Exchange that succeeded.
type Stream interface {
	// Taken tells whether the upstream has pulled all of the request's body: then the next request can be read behind it.
	Taken() bool
	// Tunnel, after a 101, sends up to the backend until it is done, which closes that direction, or fails.
	Tunnel(up Body)
	// Wait returns when the body of the request, or what Tunnel was given, has been sent or cannot be.
	Wait()
	// Close ends the exchange. What was not sent yet will not be, and what was not read is lost.
	Close()
}

// Interrupter is what Abort interrupts: it makes waits end, from any goroutine, without waiting itself.
type Interrupter interface{ Interrupt() }

// Exchange is one request with its response. It is reused; Reset readies it.
type Exchange struct {
	Request  Request
	Response Response
	Client   Client

	mu      sync.Mutex // guards what follows
	aborted *Failure
	target  Interrupter
}

// Reset forgets the last request.
func (x *Exchange) Reset() {
	x.Request, x.Response, x.Client = Request{}, Response{}, nil
	x.mu.Lock()
	x.aborted, x.target = nil, nil
	x.mu.Unlock()
}

// Abort ends the exchange for that reason, of which the first one counts.
func (x *Exchange) Abort(why *Failure) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.aborted == nil {
		x.aborted = why
		if x.target != nil {
			x.target.Interrupt()
		}
	}
}

// Aborted returns why the exchange was aborted, nil if it was not.
func (x *Exchange) Aborted() *Failure {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.aborted
}

// Guard makes t what Abort interrupts; nil ends that, after which t is never interrupted on behalf of x. It returns what Aborted does: t was not
// interrupted by an Abort that came before.
func (x *Exchange) Guard(t Interrupter) *Failure {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.target = t
	return x.aborted
}
