package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// layout builds and takes apart keys. Names are DNS labels (listener.policy for policies), so that no name holds a slash or an @.
type layout struct{ prefix string }

// hashSize is how many bytes of a SHA-256 name a child's content.
const hashSize = 16

type hash [hashSize]byte

func hashOf(value []byte) hash {
	sum := sha256.Sum256(value)
	return hash(sum[:hashSize])
}

// headName is the last part of a head's key.
const headName = "head"

var kindWords = map[storev1.ChildKind]string{
	storev1.ChildKind_CHILD_KIND_LISTENER:    "listener",
	storev1.ChildKind_CHILD_KIND_POOL:        "pool",
	storev1.ChildKind_CHILD_KIND_BACKENDS:    "backends",
	storev1.ChildKind_CHILD_KIND_POLICY:      "policy",
	storev1.ChildKind_CHILD_KIND_CERTIFICATE: "certificate",
}

func (l layout) lbs() string             { return l.prefix + "/lb/" }
func (l layout) project(p string) string { return l.lbs() + p + "/" }
func (l layout) lb(k Key) string         { return l.project(k.Project) + k.LB + "/" }
func (l layout) head(k Key) string       { return l.lb(k) + headName }

func (l layout) child(k Key, c childID) string { return l.lb(k) + c.suffix() }

func (l layout) vip(a netip.Addr) string       { return l.prefix + "/vips/" + a.String() }
func (l layout) nodeConfigs() string           { return l.prefix + "/nodeconfig/" }
func (l layout) nodeConfig(node string) string { return l.nodeConfigs() + node }
func (l layout) nodeReports() string           { return l.prefix + "/nodes/" }
func (l layout) nodeReport(node string) string { return l.nodeReports() + node }
func (l layout) request(k Key, id string) string {
	return l.prefix + "/requests/" + k.Project + "/" + k.LB + "/" + url.PathEscape(id)
}

// deleted is the marker that every deletion of an input of the compiler writes, so that the inputs' highest ModRevision never
// goes back.
func (l layout) deleted() string { return l.prefix + "/deleted" }

// swept is the guard that every removal of children outside of their head's own transaction writes. A writer whose children
// lie there before its head does compares it, and so learns that one of them may be gone.
func (l layout) swept() string { return l.prefix + "/swept" }

// inputs is the range of all that the compiler depends on and the watch follows: the marker of deletions, load balancers and
// node configurations are neighbours in the order of keys, and the nodes' reports lie behind it. One watch over one range is what
// makes a batch consistent: etcd never splits a revision over two responses.
func (l layout) inputs() (from, end string) {
	return l.deleted(), clientv3.GetPrefixRangeEnd(l.nodeConfigs())
}

// childID names one version of one child.
type childID struct {
	kind storev1.ChildKind
	name string
	hash hash
}

func idOf(ref *storev1.ChildRef) (childID, error) {
	if kindWords[ref.GetKind()] == "" {
		return childID{}, fmt.Errorf("unknown kind %d of child %q", ref.GetKind(), ref.GetName())
	}
	if len(ref.GetHash()) != hashSize {
		return childID{}, fmt.Errorf("child %q has a hash of %d bytes, want %d", ref.GetName(), len(ref.GetHash()), hashSize)
	}
	return childID{ref.GetKind(), ref.GetName(), hash(ref.GetHash())}, nil
}

// suffix is what stands behind the load balancer's prefix: kind/name@hash.
func (c childID) suffix() string {
	return kindWords[c.kind] + "/" + c.name + "@" + hex.EncodeToString(c.hash[:])
}

// split takes the part of a key behind the load balancers' prefix apart. The suffix is "head" or kind/name@hash.
func (l layout) split(key string) (k Key, suffix string, ok bool) {
	rest, ok := strings.CutPrefix(key, l.lbs())
	if !ok {
		return Key{}, "", false
	}
	parts := strings.SplitN(rest, "/", 3)
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return Key{}, "", false
	}
	return Key{parts[0], parts[1]}, parts[2], true
}
