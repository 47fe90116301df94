package route

import "net/netip"

// Request is what rules see of a request. It borrows: nothing in it is kept
// past the call, other than in the [Scratch] handed in with it.
type Request struct {
	Method []byte // as sent; methods are case-sensitive
	// Host in the form of NormalizeHost: lower case, without port. Empty where
	// the request has none.
	Host []byte
	// Path in the form of NormalizePath, or as sent where the listener asks for
	// that; without the query.
	Path  []byte
	Query []byte // as sent, without "?"
	// Fields are the header fields, Host among them; nil is none.
	Fields Fields
	Source netip.Addr // the client's address
	Port   uint16     // of the listener
	TLS    *TLS       // nil for plaintext
}

// Fields is a list of header fields in the order of arrival. An HTTP/2 front
// end shows the :authority pseudo-header as "host".
type Fields interface {
	Len() int
	// At gives name, in any case, and value, without white space around it.
	At(i int) (name, value []byte)
}

// TLS is what rules see of a TLS connection. It is the same for all requests of
// a connection.
type TLS struct {
	SNI []byte // ASCII in lower case; empty where the client sent none
	// HasCert tells whether the client presented a certificate.
	HasCert bool
	// VerifyResult is the X509_V_ERR number of verifying it, 0 when it is good;
	// without a certificate there is no result.
	VerifyResult uint16
	// Subject holds the attributes of the certificate's subject.
	Subject []Attribute
}

// Attribute is one attribute of a distinguished name, RFC 4514: Key is a short
// name such as "CN" in any case, or an object identifier in dots.
type Attribute struct {
	Key   string
	Value []byte
}

// protocol is the scheme of the request's URL.
func (r *Request) protocol() string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// address is the client's address as prefixes hold it.
func (r *Request) address() netip.Addr { return r.Source.Unmap().WithZone("") }
