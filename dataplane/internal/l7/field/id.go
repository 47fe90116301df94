// Package field holds the header fields of one message: the common currency of the L7 engine, whatever the protocol.
//
// A List is an arena. Fields that a parser found lie where they were read, in a buffer of the connection that the List
// only borrows; fields that are set or added lie in a buffer of its own. An entry is four numbers, no map and no
// string, and nothing is allocated once both have grown to what the traffic needs. Names are compared without case;
// those that the engine knows have an ID, found once when the field is entered, so that asking for one is a scan over
// small integers, and asking for one that is absent costs a bit test.
//
// Edits (Set, Add, Remove, …) leave the borrowed bytes untouched. Writing a List out (AppendTo, Segments) gives the
// fields in order, where runs of neighbours that nobody edited go out as one piece, as they came.
//
// The life of a List: Reset, Bind to the buffer of the head, entries by AddReceived (package h1 does this) or AddText
// (front ends that decode fields, as HTTP/2 does), then reading and editing, then writing, then Reset, after which
// nothing of the borrowed buffer is referenced. Every []byte a List returns is valid until the next edit, Reset or
// reuse of the borrowed buffer, whichever comes first. A List is not safe for concurrent use.
//
// Nothing that is not a field by RFC 9110 section 5 gets into a List: AddText and its like refuse names that are no tokens,
// and values with controls, so that no configuration and no other protocol can split a head.
package field

import "encoding/binary"

// ID names a header field that the engine knows. Other stands for all names it does not know.
type ID uint8

// The fields that the engine treats, or that must not be treated as unknown. At most 64, since a Set is one word.
const (
	Other ID = iota
	Host
	Connection
	ContentLength
	TransferEncoding
	Expect
	Upgrade
	TE
	Trailer
	KeepAlive
	ProxyConnection
	ProxyAuthenticate
	ProxyAuthorization
	HTTP2Settings
	Proxy
	XForwardedFor
	XForwardedProto
	XForwardedPort
	XForwardedHost
	XForwardedPrefix
	Forwarded
	XRealIP
	XRequestID
	Traceparent
	Tracestate
	Cookie
	SetCookie
	Date
	Server
	Via
	ContentType
	ContentEncoding
	ContentRange
	ContentLanguage
	ContentLocation
	StrictTransportSecurity
	Authorization
	WWWAuthenticate
	CacheControl
	Pragma
	Age
	Expires
	Vary
	Location
	RetryAfter
	UserAgent
	Referer
	Origin
	Accept
	AcceptEncoding
	AcceptLanguage
	Range
	IfMatch
	IfNoneMatch
	IfModifiedSince
	IfUnmodifiedSince
	IfRange
	MaxForwards
	ETag
	LastModified
	SecWebSocketKey
	SecWebSocketAccept
	SecWebSocketVersion
	SecWebSocketProtocol
	idCount
)

var names = [idCount]string{
	Host: "Host", Connection: "Connection", ContentLength: "Content-Length", TransferEncoding: "Transfer-Encoding",
	Expect: "Expect", Upgrade: "Upgrade", TE: "TE", Trailer: "Trailer", KeepAlive: "Keep-Alive",
	ProxyConnection: "Proxy-Connection", ProxyAuthenticate: "Proxy-Authenticate",
	ProxyAuthorization: "Proxy-Authorization", HTTP2Settings: "HTTP2-Settings", Proxy: "Proxy",
	XForwardedFor: "X-Forwarded-For", XForwardedProto: "X-Forwarded-Proto", XForwardedPort: "X-Forwarded-Port",
	XForwardedHost: "X-Forwarded-Host", XForwardedPrefix: "X-Forwarded-Prefix", Forwarded: "Forwarded",
	XRealIP: "X-Real-IP", XRequestID: "X-Request-ID", Traceparent: "Traceparent", Tracestate: "Tracestate",
	Cookie: "Cookie", SetCookie: "Set-Cookie", Date: "Date", Server: "Server", Via: "Via",
	ContentType: "Content-Type", ContentEncoding: "Content-Encoding", ContentRange: "Content-Range",
	ContentLanguage: "Content-Language", ContentLocation: "Content-Location",
	StrictTransportSecurity: "Strict-Transport-Security", Authorization: "Authorization",
	WWWAuthenticate: "WWW-Authenticate", CacheControl: "Cache-Control", Pragma: "Pragma", Age: "Age",
	Expires: "Expires", Vary: "Vary", Location: "Location", RetryAfter: "Retry-After", UserAgent: "User-Agent",
	Referer: "Referer", Origin: "Origin", Accept: "Accept", AcceptEncoding: "Accept-Encoding",
	AcceptLanguage: "Accept-Language", Range: "Range", IfMatch: "If-Match", IfNoneMatch: "If-None-Match",
	IfModifiedSince: "If-Modified-Since", IfUnmodifiedSince: "If-Unmodified-Since", IfRange: "If-Range",
	MaxForwards: "Max-Forwards", ETag: "ETag", LastModified: "Last-Modified", SecWebSocketKey: "Sec-WebSocket-Key",
	SecWebSocketAccept: "Sec-WebSocket-Accept", SecWebSocketVersion: "Sec-WebSocket-Version",
	SecWebSocketProtocol: "Sec-WebSocket-Protocol",
}

// String returns the usual spelling of the name, as in "Content-Length"; of Other, the empty string.
func (id ID) String() string { return names[id] }

// Set is a set of IDs. Other may be a member; it then stands for every unknown name.
type Set uint64

// SetOf returns the set of the given IDs.
func SetOf(ids ...ID) (s Set) {
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

// Has tells whether id is a member.
func (s Set) Has(id ID) bool { return s>>(id&63)&1 != 0 }

// The hash of a name is drawn from its first four bytes, its last four and its length. The multipliers were searched for, so
// that no two known names share a slot; a test holds them to that. ASCII letters are folded by setting bit 5, which
// leaves the digits and the hyphen of known names as they are.
const (
	hashFirst  = 0x1715cd6b
	hashLast   = 0x060e70eb
	hashLength = 0x1202a4bb
	fold4      = 0x20202020
	fold8      = 0x2020202020202020
)

var (
	slots  = buildSlots()
	folded = buildFolded()
)

func buildSlots() (t [256]ID) {
	for id := Other + 1; id < idCount; id++ {
		t[slot([]byte(names[id]))] = id
	}
	return t
}

func buildFolded() (t [idCount][]byte) {
	for id := Other + 1; id < idCount; id++ {
		t[id] = []byte(names[id])
		for i := range t[id] {
			t[id][i] |= 0x20
		}
	}
	return t
}

func slot(name []byte) uint8 {
	n := len(name)
	var first, last uint32
	if n >= 4 {
		first = binary.LittleEndian.Uint32(name) | fold4
		last = binary.LittleEndian.Uint32(name[n-4:]) | fold4
	} else {
		first = uint32(name[0]|0x20) | uint32(name[n-1]|0x20)<<8 | uint32(name[n/2]|0x20)<<16
		last = first
	}
	return uint8((first*hashFirst ^ last*hashLast + uint32(n)*hashLength) >> 24)
}

// Lookup returns the ID of a name, whatever its case, or Other. The name must be a token (see TokenLen): of the bytes that
// folding confuses with those of a known name, none is a token's.
func Lookup(name []byte) ID {
	if len(name) == 0 {
		return Other
	}
	id := slots[slot(name)]
	known := folded[id]
	n := len(known)
	if n != len(name) {
		return Other
	}
	i := 0
	for ; i+8 <= n; i += 8 {
		if binary.LittleEndian.Uint64(name[i:])|fold8 != binary.LittleEndian.Uint64(known[i:]) {
			return Other
		}
	}
	if i == n {
		return id
	}
	if n >= 8 {
		if binary.LittleEndian.Uint64(name[n-8:])|fold8 != binary.LittleEndian.Uint64(known[n-8:]) {
			return Other
		}
		return id
	}
	for ; i < n; i++ {
		if name[i]|0x20 != known[i] {
			return Other
		}
	}
	return id
}
