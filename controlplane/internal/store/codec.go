package store

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/fiberlb/fiberlb/pkg/canon"
	"github.com/fiberlb/fiberlb/pkg/lb"
	"github.com/fiberlb/fiberlb/pkg/lbpb"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// encoding is a load balancer as it lies in etcd; the requests of the head are left to the caller.
type encoding struct {
	head  *storev1.Head
	puts  []child   // children that the head it was encoded over does not list
	drops []childID // children that only that head lists
}

// encode gives the stored form of l, as a change of what lies there under the head over; nil: nothing does. Objects that are kept
// have the children that head lists for them, and cost next to nothing.
func encode(l *lb.LoadBalancer, over *storev1.Head, kept func(object any) bool) (*encoding, error) {
	e := &encoding{head: lbpb.StoredHead(l)}
	old := make(map[slot]childID, len(over.GetChildren()))
	for _, ref := range over.GetChildren() {
		id, err := idOf(ref)
		if err != nil {
			return nil, err
		}
		old[slot{id.kind, id.name}] = id
	}
	for _, stored := range lbpb.StoredChildren(l) {
		at := slot{stored.Kind, stored.Name}
		was, there := old[at]
		c := child{childID: was}
		if !there || !kept(stored.Object) {
			c.value = stored.Encode()
			c.childID = childID{at.kind, at.name, hashOf(c.value)}
		}
		e.head.Children = append(e.head.Children, &storev1.ChildRef{Kind: c.kind, Name: c.name, Hash: c.hash[:]})
		if there && c.hash == was.hash {
			delete(old, at)
		} else {
			e.puts = append(e.puts, c)
		}
	}
	for _, ref := range over.GetChildren() {
		if id, ok := old[slot{ref.Kind, ref.Name}]; ok {
			e.drops = append(e.drops, id)
		}
	}
	return e, nil
}

// changes tells whether writing e over that head, which it was encoded over, would change anything.
func (e *encoding) changes(head *storev1.Head) bool {
	return len(e.puts) > 0 || len(e.drops) > 0 ||
		!bytes.Equal(canon.Marshal(e.head.LoadBalancer), canon.Marshal(head.LoadBalancer)) ||
		!bytes.Equal(canon.Marshal(e.head.Meta), canon.Marshal(head.Meta))
}

// objectName is the full name of the object that a child holds.
func objectName(k Key, id childID) string {
	switch id.kind {
	case storev1.ChildKind_CHILD_KIND_LISTENER:
		return lb.ListenerName(k.Project, k.LB, id.name)
	case storev1.ChildKind_CHILD_KIND_POLICY:
		listener, policy, _ := strings.Cut(id.name, ".")
		return lb.PolicyName(k.Project, k.LB, listener, policy)
	case storev1.ChildKind_CHILD_KIND_CERTIFICATE:
		return lb.CertificateName(k.Project, k.LB, id.name)
	case storev1.ChildKind_CHILD_KIND_BACKENDS:
		return lb.PoolName(k.Project, k.LB, id.name) + " (backends)"
	default:
		return lb.PoolName(k.Project, k.LB, id.name)
	}
}

// unmarshal decodes a stored value. What holds fields that this build does not know is refused: writing it back would lose them.
func unmarshal(value []byte, m proto.Message) error {
	if err := proto.Unmarshal(value, m); err != nil {
		return fmt.Errorf("does not decode: %w", err)
	}
	if versioned, ok := m.(interface{ GetSchemaVersion() uint32 }); ok {
		if version := versioned.GetSchemaVersion(); version == 0 || version > SchemaVersion {
			return fmt.Errorf("is of schema version %d, this build reads 1 to %d; upgrade it", version, SchemaVersion)
		}
	}
	if path, ok := canon.HasUnknown(m); ok {
		return fmt.Errorf("holds the field %s, which this build does not know; upgrade it", path)
	}
	return nil
}

func decodeHead(value []byte) (*storev1.Head, error) {
	head := &storev1.Head{}
	if err := unmarshal(value, head); err != nil {
		return nil, fmt.Errorf("head: %w", err)
	}
	for _, ref := range head.Children {
		if _, err := idOf(ref); err != nil {
			return nil, fmt.Errorf("head: %w", err)
		}
	}
	return head, nil
}

func decodeChild(id childID, value []byte) (*storev1.Child, error) {
	child := &storev1.Child{}
	if err := unmarshal(value, child); err != nil {
		return nil, fmt.Errorf("%s: %w", id.suffix(), err)
	}
	return child, nil
}

// assemble builds the load balancer that head describes. Children come from lookup. What is the same in before, an older version
// or nil, is taken from there: a small change of a large load balancer costs little, and who compares two versions sees by the
// pointers what stayed.
func assemble(key Key, head *storev1.Head, before *Entry, lookup func(childID) (*storev1.Child, error)) (*lb.LoadBalancer, error) {
	if own := head.GetLoadBalancer(); own.GetProject() != key.Project || own.GetName() != key.LB {
		return nil, fmt.Errorf("head: is that of %s", Key{own.GetProject(), own.GetName()})
	}
	kept := unchanged(head, before)
	partial := &storev1.Head{SchemaVersion: head.SchemaVersion, LoadBalancer: head.LoadBalancer, Meta: head.Meta}
	var children []*storev1.Child
	for _, ref := range head.Children {
		id, err := idOf(ref)
		if err != nil {
			return nil, err
		}
		if kept[slot{id.kind, id.name}] {
			continue
		}
		child, err := lookup(id)
		if err != nil {
			return nil, err
		}
		partial.Children = append(partial.Children, ref)
		children = append(children, child)
	}
	l, err := lbpb.FromStored(partial, children)
	if err != nil {
		return nil, err
	}
	if len(kept) > 0 {
		merge(l, before.LB, kept)
	}
	return l, nil
}

// slot is the place of a child in its load balancer.
type slot struct {
	kind storev1.ChildKind
	name string
}

// unchanged gives the slots whose objects are the same under both heads. A pool and its backends are one object.
func unchanged(head *storev1.Head, before *Entry) map[slot]bool {
	if before == nil || before.head == nil {
		return nil
	}
	old := make(map[slot][]byte, len(before.head.Children))
	for _, ref := range before.head.Children {
		old[slot{ref.Kind, ref.Name}] = ref.Hash
	}
	kept := make(map[slot]bool, len(head.Children))
	for _, ref := range head.Children {
		at := slot{ref.Kind, ref.Name}
		kept[at] = bytes.Equal(old[at], ref.Hash)
	}
	for _, ref := range head.Children {
		pool, backends := slot{storev1.ChildKind_CHILD_KIND_POOL, ref.Name}, slot{storev1.ChildKind_CHILD_KIND_BACKENDS, ref.Name}
		if ref.Kind != pool.kind {
			continue
		}
		_, had := old[backends]
		_, has := kept[backends]
		if had != has || has && kept[pool] != kept[backends] {
			kept[pool] = false
			delete(kept, backends)
		}
	}
	for at, same := range kept {
		if !same {
			delete(kept, at)
		}
	}
	return kept
}

// merge adds the kept objects of old to l, which has the others, and sorts as normal forms are sorted.
func merge(l, old *lb.LoadBalancer, kept map[slot]bool) {
	for _, x := range old.Listeners {
		if kept[slot{storev1.ChildKind_CHILD_KIND_LISTENER, x.Name}] {
			l.Listeners = append(l.Listeners, x)
		}
	}
	for _, x := range old.Pools {
		if kept[slot{storev1.ChildKind_CHILD_KIND_POOL, x.Name}] {
			l.Pools = append(l.Pools, x)
		}
	}
	for _, x := range old.Policies {
		if kept[slot{storev1.ChildKind_CHILD_KIND_POLICY, x.Listener + "." + x.Name}] {
			l.Policies = append(l.Policies, x)
		}
	}
	for _, x := range old.Certificates {
		if kept[slot{storev1.ChildKind_CHILD_KIND_CERTIFICATE, x.Name}] {
			l.Certificates = append(l.Certificates, x)
		}
	}
	slices.SortFunc(l.Listeners, func(a, b *lb.Listener) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(l.Pools, func(a, b *lb.Pool) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(l.Policies, func(a, b *lb.Policy) int {
		return cmp.Or(strings.Compare(a.Listener, b.Listener), cmp.Compare(a.Position, b.Position))
	})
	slices.SortFunc(l.Certificates, func(a, b *lb.Certificate) int { return strings.Compare(a.Name, b.Name) })
}
