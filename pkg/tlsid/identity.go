package tlsid

import (
	"context"
	"crypto/x509"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Identity is who a peer has proved to be.
type Identity struct {
	// Local is a peer in plaintext on this machine. It has proved nothing more and is trusted like the operator.
	Local bool
	// CommonName, DNSNames and URIs are the names in a verified certificate.
	CommonName string
	DNSNames   []string
	URIs       []string

	node  bool     // a URI marks the certificate as a node's
	nodes []string // the nodes it names
}

// PeerFromContext is the peer of the call that ctx belongs to. It is false for a call whose peer is neither verified nor local.
// A caller inside the process (gRPC's bufconn) is local: whoever forwards calls that way answers for where they came from.
func PeerFromContext(ctx context.Context) (Identity, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Identity{}, false
	}
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
		if len(info.State.VerifiedChains) == 0 || len(info.State.VerifiedChains[0]) == 0 {
			return Identity{}, false
		}
		return identify(info.State.VerifiedChains[0][0]), true
	}
	// Absent for calls inside the process, "insecure" for plaintext.
	if p.AuthInfo != nil && p.AuthInfo.AuthType() != "insecure" || !isLocalAddr(p.Addr) {
		return Identity{}, false
	}
	return Identity{Local: true}, true
}

func identify(leaf *x509.Certificate) Identity {
	id := Identity{CommonName: leaf.Subject.CommonName, DNSNames: leaf.DNSNames}
	for _, uri := range leaf.URIs {
		id.URIs = append(id.URIs, uri.String())
		name, marked := nodeOf(uri)
		id.node = id.node || marked
		if name != "" {
			id.nodes = append(id.nodes, name)
		}
	}
	return id
}

// nodeOf reads spiffe://<trust domain>/fiberlb/node/<name> and fiberlb://node/<name>. A URI that begins like one but is
// malformed still marks its certificate as a node's, of no name: a slip must not turn a node into an operator.
func nodeOf(uri *url.URL) (name string, marked bool) {
	var rest string
	switch strings.ToLower(uri.Scheme) {
	case "spiffe":
		rest, marked = strings.CutPrefix(uri.Path, "/fiberlb/node")
		marked = marked && (rest == "" || rest[0] == '/')
	case "fiberlb":
		rest, marked = uri.Path, strings.EqualFold(uri.Hostname(), "node")
	}
	if !marked {
		return "", false
	}
	name, ok := strings.CutPrefix(rest, "/")
	plain := uri.User == nil && uri.Port() == "" && uri.RawPath == "" && uri.RawQuery == "" && uri.Fragment == ""
	if !ok || !plain || uri.Host == "" || strings.Contains(name, "/") {
		return "", true
	}
	return name, true
}

// Names are the common name, the DNS names and the URIs, each once.
func (id Identity) Names() []string {
	var names []string
	for _, name := range slices.Concat([]string{id.CommonName}, id.DNSNames, id.URIs) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// IsNode reports whether the certificate is a node's: a URI SAN spiffe://<trust domain>/fiberlb/node/<name> or
// fiberlb://node/<name>. Such a certificate is for agent streams only.
func (id Identity) IsNode() bool { return id.node }

// MayActAsNode reports whether the peer may speak for the node: its certificate names it in a node URI or, if it has no node
// URI at all, as common name or DNS name. A local peer may speak for any node.
func (id Identity) MayActAsNode(name string) bool {
	switch {
	case name == "":
		return false
	case id.Local:
		return true
	case id.node:
		return slices.Contains(id.nodes, name)
	}
	return id.CommonName == name || slices.Contains(id.DNSNames, name)
}

// String names the peer in logs.
func (id Identity) String() string {
	if id.Local {
		return "local"
	}
	return strings.Join(id.Names(), ",")
}

// RequireAPIClient returns nil when the call's peer may use the API, a gRPC status of UNAUTHENTICATED when nobody knows who it
// is, and one of PERMISSION_DENIED when it is a node.
func RequireAPIClient(ctx context.Context) error {
	id, ok := PeerFromContext(ctx)
	switch {
	case !ok:
		return status.Error(codes.Unauthenticated, "the connection proves no identity: connect with a client certificate, or in plaintext over loopback")
	case id.IsNode():
		return status.Errorf(codes.PermissionDenied, "the certificate of %s is a node's and only good for agent streams: use an operator's certificate", id)
	}
	return nil
}

// RequireNode returns nil when the call's peer may act as the named node, a gRPC status of UNAUTHENTICATED when nobody knows who
// it is, and one of PERMISSION_DENIED when it is somebody else.
func RequireNode(ctx context.Context, name string) error {
	id, ok := PeerFromContext(ctx)
	switch {
	case !ok:
		return status.Error(codes.Unauthenticated, "the connection proves no identity: connect with the node's certificate, or in plaintext over loopback")
	case name == "":
		return status.Error(codes.PermissionDenied, "the agent names no node: give it --node")
	case !id.MayActAsNode(name):
		return status.Errorf(codes.PermissionDenied, "the certificate of %s may not act as node %q: give the node a certificate with the URI SAN fiberlb://node/%s", id, name, name)
	}
	return nil
}
