package h1

import "github.com/fiberlb/fiberlb/dataplane/internal/l7/field"

// Fields that concern one connection (RFC 9110 section 7.6.1) or frame one message (RFC 9112 section 6). Head writers leave
// them out, whoever set them. Proxy-Authenticate and Proxy-Authorization are for proxies that a client chose, which
// this is not; Proxy is nobody's field but becomes a CGI program's HTTP_PROXY.
var hopByHop = field.SetOf(field.Connection, field.KeepAlive, field.ProxyConnection, field.TE, field.TransferEncoding,
	field.ContentLength, field.Upgrade, field.HTTP2Settings, field.ProxyAuthenticate, field.ProxyAuthorization, field.Proxy)

// Fields that a back end which takes underscores for hyphens would believe.
var unspoofable = hopByHop | field.SetOf(field.Host, field.XForwardedFor, field.XForwardedProto, field.XForwardedPort,
	field.XForwardedHost, field.XForwardedPrefix, field.Forwarded, field.XRealIP, field.XRequestID, field.Authorization)

// Fields that are never taken from a trailer section (RFC 9110 section 6.5.1): those that frame, route, authenticate,
// modify the request, or say how the content is to be read.
var notInTrailers = unspoofable | field.SetOf(field.Trailer, field.Expect, field.MaxForwards, field.Cookie, field.SetCookie,
	field.WWWAuthenticate, field.ContentType, field.ContentEncoding, field.ContentRange, field.ContentLanguage,
	field.ContentLocation, field.CacheControl, field.Pragma, field.Age, field.Expires, field.Date, field.Vary, field.Location,
	field.RetryAfter, field.Range, field.IfMatch, field.IfNoneMatch, field.IfModifiedSince, field.IfUnmodifiedSince,
	field.IfRange, field.StrictTransportSecurity, field.Origin, field.Referer, field.UserAgent, field.Accept, field.AcceptEncoding,
	field.AcceptLanguage, field.Via, field.Traceparent, field.Tracestate, field.SecWebSocketKey, field.SecWebSocketAccept,
	field.SecWebSocketVersion, field.SecWebSocketProtocol)

// ForbiddenTrailer tells whether a field of that ID in a trailer section is to be ignored: AppendTrailers leaves it out, and
// nobody else must merge it into anything.
func ForbiddenTrailer(id field.ID) bool { return notInTrailers.Has(id) }

// options is what the Connection fields of a message say (RFC 9110 section 7.6.1).
type options struct {
	close, keepAlive, upgrade bool
	// nominates: some option names a field that is not well known.
	nominates bool
}

// readOptions reads all Connection fields. An option that is no token names nothing; as it may be a garbled "close",
// it is taken for one.
func readOptions(l *field.List) (o options) {
	for i := l.First(field.Connection); i >= 0; i = l.Next(i, field.Connection) {
		switch string(l.Value(i)) { // what nearly all messages say
		case "keep-alive":
			o.keepAlive = true
			continue
		case "close":
			o.close = true
			continue
		}
		for e, rest, more := field.NextElement(l.Value(i)); more; e, rest, more = field.NextElement(rest) {
			switch {
			case len(e) == 0:
			case field.EqualFold(e, "keep-alive"):
				o.keepAlive = true
			case field.EqualFold(e, "close"):
				o.close = true
			case field.EqualFold(e, "upgrade"):
				o.upgrade = true
			case !field.IsToken(e):
				o.close = true
			default:
				o.nominates = o.nominates || field.Lookup(e) == field.Other
			}
		}
	}
	return o
}

// removeNominated removes the received fields that Connection nominates. A well-known field is either one of hopByHop, which the
// head writers leave out, or meant for all recipients, which nobody may nominate: so Host, X-Forwarded-For and their like stay.
func removeNominated(l *field.List) {
	for i := l.First(field.Connection); i >= 0; i = l.Next(i, field.Connection) {
		for e, rest, more := field.NextElement(l.Value(i)); more; e, rest, more = field.NextElement(rest) {
			if !field.IsToken(e) || field.Lookup(e) != field.Other {
				continue
			}
			for k := l.NextAny(-1); k >= 0; k = l.NextAny(k) {
				if l.ID(k) == field.Other && l.Received(k) && field.EqualFold(l.Name(k), e) {
					l.RemoveAt(k)
				}
			}
		}
	}
}

// ForwardRequest removes from the fields of a request what must not reach a backend and is not left out by AppendRequest anyway:
// fields that Connection nominates, and names that only differ by underscores from a field that decides about framing or trust
// (Content_Length, X_Forwarded_For). It touches received fields only.
func ForwardRequest(r *Request) {
	if r.options.nominates {
		removeNominated(&r.Fields)
	}
	for i := r.Fields.First(field.Other); i >= 0; i = r.Fields.Next(i, field.Other) {
		if r.Fields.Received(i) && unspoofable.Has(r.Fields.Aliases(i)) {
			r.Fields.RemoveAt(i)
		}
	}
}

// ForwardResponse removes from the fields of a response those that Connection nominates.
func ForwardResponse(r *Response) {
	if r.options.nominates {
		removeNominated(&r.Fields)
	}
}

// readUpgrade returns the value of the one Upgrade field, where Connection has the option "upgrade" too; otherwise nil. Several
// fields, an empty one, and any offer of HTTP/2 count as none: cleartext HTTP/2 by Upgrade is gone (RFC 9113 section 3.1), and a
// backend that still took it would be out of the proxy's sight.
func readUpgrade(l *field.List, o options) []byte {
	i := l.First(field.Upgrade)
	if i < 0 || !o.upgrade || l.Next(i, field.Upgrade) >= 0 || len(l.Value(i)) == 0 {
		return nil
	}
	for e, rest, more := field.NextElement(l.Value(i)); more; e, rest, more = field.NextElement(rest) {
		if !validProtocol(e) || len(e) >= 2 && field.EqualFold(e[:2], "h2") || len(e) >= 4 && field.EqualFold(e[:4], "http") {
			return nil
		}
	}
	return l.Value(i)
}

// validProtocol: name, or name/version, both tokens (RFC 9110 section 7.8).
func validProtocol(e []byte) bool {
	n := field.TokenLen(e)
	return n > 0 && (n == len(e) || e[n] == '/' && field.IsToken(e[n+1:]))
}

// MatchUpgrade tells whether a 101 response that switches to answered may open a tunnel for a request that offered: each
// protocol of answered must be one of offered. Either is what Upgrade returned, and nil never matches.
func MatchUpgrade(offered, answered []byte) bool {
	for a, rest, more := field.NextElement(answered); more; a, rest, more = field.NextElement(rest) {
		found := false
		for o, left, any := field.NextElement(offered); any; o, left, any = field.NextElement(left) {
			found = found || field.EqualFold(a, o)
		}
		if !found {
			return false
		}
	}
	return answered != nil && offered != nil
}
