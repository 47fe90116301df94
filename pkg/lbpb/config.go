package lbpb

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/fiberlb/fiberlb/pkg/lb"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// Option tells [FromConfig] about the world around the message.
type Option func(*options)

type options struct {
	previous   *lb.LoadBalancer
	addresses  *lb.AddressPolicy
	storedKeys bool
	kept       Origins
}

// Over says what is stored under the same project and name: objects that were
// there before, under the same name in the same parent, keep their Meta, and
// certificates without a private key keep the sealed one. Nil, or a load
// balancer of another name, changes nothing.
func Over(previous *lb.LoadBalancer) Option {
	return func(o *options) { o.previous = previous }
}

// WithAddresses checks addresses against the operator's policy too.
func WithAddresses(p lb.AddressPolicy) Option {
	return func(o *options) { o.addresses = &p }
}

// Unedited takes the messages of [ToDraft] that have these origins still for
// the very objects that they were made from, which the result shares.
func Unedited(kept Origins) Option {
	return func(o *options) { o.kept = kept }
}

// KeysMayBeStored accepts server certificates without private keys, as an
// export has them, where what is stored is out of sight: the controller, which
// sees it, decides. Such certificates come with a Sealed that has nothing but
// the hash of the public key; they cannot be stored or used.
func KeysMayBeStored() Option {
	return func(o *options) { o.storedKeys = true }
}

// FromConfig decodes and normalizes a message. Output-only fields are ignored.
// Either the load balancer or the list of all violations is nil; paths are
// those of the file format, in the order of the message.
func FromConfig(m *fiberlbv1.LoadBalancerConfig, opts ...Option) (*lb.LoadBalancer, lb.Violations) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	if m == nil {
		m = &fiberlbv1.LoadBalancerConfig{}
	}
	d := decoder{kept: o.kept}
	draft := d.config(m)
	if o.previous != nil && (o.previous.Name != draft.Name || o.previous.Project != cmp.Or(draft.Project, lb.DefaultProject)) {
		o.previous = nil
	}
	o.keys(draft)
	normalize := lb.Normalize
	if o.kept != nil {
		normalize = lb.Renormalize
	}
	l, violations := normalize(draft)
	for i, v := range violations {
		violations[i].Path = cmp.Or(d.renamed[v.Path], v.Path)
	}
	found := d.found
	if o.addresses != nil {
		found = append(found, o.addresses.Check(draft)...)
	}
	if found = merge(found, violations); len(found) > 0 {
		return nil, found
	}
	if o.previous != nil {
		carryOver(o.previous, l)
	}
	return l, nil
}

// keys hands over the sealed keys of certificates.
func (o *options) keys(draft *lb.LoadBalancer) {
	for _, c := range draft.Certificates {
		if o.previous != nil {
			if old := o.previous.Certificate(c.Name); old != nil && old != c && old.Sealed != nil {
				c.Sealed = old.Clone().Sealed
			}
		}
		if o.storedKeys && c.Sealed == nil && c.Key.IsZero() && c.Type.NeedsKey() {
			if hash, err := c.KeyHash(); err == nil {
				c.Sealed = &lb.SealedKey{SPKI: hash}
			}
		}
	}
}

// merge joins what the decoder and Normalize found. Where the decoder found a
// fault, what Normalize says about the same field speaks of the zero value
// that stands in for it, so that is left out.
func merge(decoded, normalized lb.Violations) lb.Violations {
	faulty := make(map[string]bool, len(decoded))
	for _, v := range decoded {
		faulty[v.Path] = true
	}
	all := slices.Clone(decoded)
	for _, v := range normalized {
		if !faulty[v.Path] {
			all = append(all, v)
		}
	}
	keys := make(map[string][]int, len(all))
	for _, v := range all {
		if keys[v.Path] == nil {
			keys[v.Path] = order(v.Path)
		}
	}
	slices.SortStableFunc(all, func(a, b lb.Violation) int { return slices.Compare(keys[a.Path], keys[b.Path]) })
	return all
}

// order tells where in the message a path points: the index of each field in
// its message's declaration, and that of each element in its list.
func order(path string) []int {
	key := []int{}
	message := (&fiberlbv1.LoadBalancerConfig{}).ProtoReflect().Descriptor()
	for segment := range strings.SplitSeq(path, ".") {
		name, index, isItem := strings.Cut(segment, "[")
		if message == nil {
			break
		}
		field := message.Fields().ByName(protoreflect.Name(name))
		if field == nil {
			break
		}
		key = append(key, field.Index())
		message = field.Message()
		if n, err := strconv.Atoi(strings.TrimSuffix(index, "]")); isItem && err == nil {
			key = append(key, n)
		}
	}
	return key
}

// carryOver gives the objects of next the Meta of those of the same name and
// parent in previous, and has next share those that stayed the same. Both are
// normal forms; next is nobody else's yet. Certificates are not shared, since
// their etags say nothing about keys.
func carryOver(previous, next *lb.LoadBalancer) {
	next.Meta = previous.Meta
	carry(previous.Listeners, next.Listeners, func(x *lb.Listener) string { return x.Name }, func(old, x *lb.Listener) { x.Meta = old.Meta })
	carry(previous.Pools, next.Pools, func(x *lb.Pool) string { return x.Name }, func(old, x *lb.Pool) {
		x.Meta = old.Meta
		if h := x.HealthCheck; h != nil && old.HealthCheck != nil && old.HealthCheck.Name == h.Name && old.HealthCheck != h {
			h.Meta = old.HealthCheck.Meta
		}
		carry(old.Backends, x.Backends, func(x *lb.Backend) string { return x.Name }, func(old, x *lb.Backend) { x.Meta = old.Meta })
	})
	carry(previous.Policies, next.Policies, func(x *lb.Policy) [2]string { return [2]string{x.Listener, x.Name} }, func(old, x *lb.Policy) {
		x.Meta = old.Meta
		carry(old.Rules, x.Rules, func(x *lb.Rule) string { return x.Name }, func(old, x *lb.Rule) { x.Meta = old.Meta })
	})
	sealed := make(map[string]*lb.Certificate, len(previous.Certificates))
	for _, x := range previous.Certificates {
		sealed[x.Name] = x
	}
	for _, x := range next.Certificates {
		if old := sealed[x.Name]; old != nil && old != x {
			x.Meta = old.Meta
		}
	}
}

// carry replaces what stayed the same in a list by what it was, and visits what
// did not, with its former self.
func carry[K comparable, T any, P interface {
	*T
	Etag() string
}](previous, next []P, key func(P) K, visit func(old, x P)) {
	former := make(map[K]P, len(previous))
	for _, x := range previous {
		former[key(x)] = x
	}
	for i, x := range next {
		switch old := former[key(x)]; {
		case old == nil || old == x:
		case old.Etag() == x.Etag():
			next[i] = old
		default:
			visit(old, x)
		}
	}
}
