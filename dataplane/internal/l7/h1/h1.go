// Package h1 is the wire level of HTTP/1.1 (RFC 9112), for both sides: requests from clients, responses from backends. It
// does no I/O, starts no goroutine, reads no clock and allocates nothing once its arenas have grown; the connection loops own
// buffers, deadlines and connections, and call it.
//
// # Reading a head
//
// A loop reads into a buffer of its own and hands Request.Parse (or Response.Parse) all bytes since the head began. The answer
// is 0 and no Fault: read more behind them and call again, the scan goes on where it was; n: the head is the first n bytes,
// what follows is body or the next message; or a Fault: nothing more is to be read from this connection. Heads are parsed in
// place: the fields are spans of the buffer (package field), which therefore keeps its bytes until the head has been written
// out, or copied by field.List.AddAll. A buffer that has been moved in the meantime is bound again (Request.Bind).
// A buffer of Rules.HeadSize bytes holds every head that the rules allow; most fit in 4 KiB.
//
// Parsing is strict: whatever two implementations could frame in two ways is refused (see the table in the tests). The
// verdict does not depend on how the bytes were cut into reads, though a faulty line that trickles in may only be refused at
// its end, or at the limit: what is known of an unfinished line is not looked at again.
//
// # Framing and persistence
//
// A parsed head says how its body is framed (Framing), whether the connection can be used again (KeepAlive), whether the
// client waits for 100 (Expects100) and whether it offers another protocol (Upgrade). Framing fields, and all others that concern one
// connection, are never passed on: the head writers leave them out and write what RequestHead and ResponseHead say. Call
// ForwardRequest or ForwardResponse once on the received fields before writing: they remove what Connection nominates. They
// touch received fields only and no field of a well-known name, so nobody can nominate away what the proxy sets, and it
// does not matter whether the proxy's own edits came before or after.
//
// # Bodies
//
// Body takes the bytes behind a head and gives spans of them to forward:
//
//	for !body.Done() {
//		data, n, fault := body.Next(buf)   // buf: all bytes not yet consumed
//		...                                // fault: the message is broken, abort both sides
//		write(data); buf = buf[n:]
//		if n == 0 { read more behind buf; at its end: fault := body.EOF() }
//	}
//
// Data points into buf: write it, or copy it, before buf is reused. Chunked bodies come either decoded (for another framing, or another protocol) or
// raw, where one span covers as many whole chunks as lie in the buffer, without chunk extensions. AppendEnd ends a chunked
// message either way, with the trailers that may be passed on. What is decoded is framed again with FrameChunk, in place, or with
// AppendChunk. Part of a chunk line and an unfinished trailer section are not consumed; a buffer of Rules.TrailerSize
// bytes always suffices. Spliced bytes are accounted for with Advance.
//
// # Writing
//
// AppendRequest and AppendResponse write heads into one buffer; Segments writes the same as pieces for a vectored write.
// Answers holds the proxy's own answers to errors.
package h1

// Method is a request method that the engine knows, or OtherMethod.
type Method uint8

// The methods of RFC 9110 section 9 and PATCH (RFC 5789).
const (
	OtherMethod Method = iota
	Get
	Head
	Post
	Put
	Delete
	Connect
	Options
	Trace
	Patch
)

// MethodOf returns the method of that name, which is case-sensitive.
func MethodOf(name []byte) Method {
	switch string(name) {
	case "GET":
		return Get
	case "HEAD":
		return Head
	case "POST":
		return Post
	case "PUT":
		return Put
	case "DELETE":
		return Delete
	case "CONNECT":
		return Connect
	case "OPTIONS":
		return Options
	case "TRACE":
		return Trace
	case "PATCH":
		return Patch
	}
	return OtherMethod
}

// Idempotent tells whether a request of method m may be sent again after its connection failed (RFC 9110 section 9.2.2).
func (m Method) Idempotent() bool {
	switch m {
	case Get, Head, Put, Delete, Options, Trace:
		return true
	}
	return false
}

// BodyKind is a way to delimit a body (RFC 9112 section 6.3).
type BodyKind uint8

const (
	// NoBody: the message ends with its head, and no framing field is or was there.
	NoBody BodyKind = iota
	// Length: Content-Length bytes, which may be 0.
	Length
	// Chunked: Transfer-Encoding: chunked.
	Chunked
	// UntilClose: all bytes until the peer closes; responses only.
	UntilClose
)

// Framing is how a body is delimited. Length is the number of bytes where Kind is Length, otherwise 0.
type Framing struct {
	Kind   BodyKind
	Length int64
}

// Empty tells whether there is no byte of body.
func (f Framing) Empty() bool { return f.Kind == NoBody || f.Kind == Length && f.Length == 0 }
