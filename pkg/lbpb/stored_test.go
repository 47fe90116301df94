package lbpb

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
	fiberlbv1 "github.com/fiberlb/fiberlb/proto/fiberlb/v1"
)

// stored gives head and children as the store would, through their bytes.
func stored(t *testing.T, text string) (*storev1.Head, []*storev1.Child) {
	t.Helper()
	l := stamped(t, text)
	head := StoredHead(l)
	var children []*storev1.Child
	for _, c := range StoredChildren(l) {
		head.Children = append(head.Children, &storev1.ChildRef{Kind: c.Kind, Name: c.Name})
		child := &storev1.Child{}
		copyMessage(t, child, c.Child())
		children = append(children, child)
	}
	again := &storev1.Head{}
	copyMessage(t, again, head)
	return again, children
}

func copyMessage(t *testing.T, to, from proto.Message) {
	t.Helper()
	b, err := proto.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "PRIVATE KEY") {
		t.Error("a private key lies open in what is stored")
	}
	if err := proto.Unmarshal(b, to); err != nil {
		t.Fatal(err)
	}
}

func TestStoredRoundTrip(t *testing.T) {
	t.Parallel()
	head, children := stored(t, base)
	l, err := FromStored(head, children)
	if err != nil {
		t.Fatal(err)
	}
	want := stamped(t, base)
	same(t, l, want)
	var names []string
	for _, c := range StoredChildren(want) {
		names = append(names, strings.TrimPrefix(c.Kind.String(), "CHILD_KIND_")+" "+c.Name)
	}
	if !slices.Contains(names, "POLICY front.api") || !slices.Contains(names, "BACKENDS app") || len(names) != 4+3+3+5+3 {
		t.Errorf("children: %q", names)
	}
}

// TestStoredIsReadWhateverItSays: bounds that have become stricter since a
// value was written do not make it unreadable.
func TestStoredIsReadWhateverItSays(t *testing.T) {
	t.Parallel()
	head, children := stored(t, base)
	for _, c := range children {
		if p := c.GetPool().GetPool(); p.GetName() == "app" {
			p.FailOpenBelow, p.SlowStart.Seconds = 1_000_000, 86_400
		}
	}
	l, err := FromStored(head, children)
	if err != nil {
		t.Fatal(err)
	}
	if p := l.Pool("app"); p.FailOpenBelow != 1_000_000 || p.SlowStart.Hours() != 24 {
		t.Errorf("read %d and %s", p.FailOpenBelow, p.SlowStart)
	}
}

func TestStoredFaults(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(head *storev1.Head, children []*storev1.Child)
		want   string
	}{
		{"newer head", func(h *storev1.Head, _ []*storev1.Child) { h.SchemaVersion = 2 }, "head: is of schema version 2, this build reads up to 1; upgrade it"},
		{"no schema", func(h *storev1.Head, _ []*storev1.Child) { h.SchemaVersion = 0 }, "head: has no schema version"},
		{"newer child", func(_ *storev1.Head, c []*storev1.Child) { c[0].SchemaVersion = 9 }, `listener "db": is of schema version 9, this build reads up to 1; upgrade it`},
		{"missing child", func(h *storev1.Head, _ []*storev1.Child) { h.Children = h.Children[1:] }, "head lists 17 children, there are 18"},
		{"empty child", func(_ *storev1.Head, c []*storev1.Child) { c[0].Object = nil }, `listener "db": holds nothing this build knows`},
		{"other child", func(_ *storev1.Head, c []*storev1.Child) { c[0].Object = c[1].Object }, `listener "db": holds listener "dns"`},
		{"other kind", func(h *storev1.Head, _ []*storev1.Child) {
			h.Children[0].Kind = storev1.ChildKind_CHILD_KIND_POOL
		}, `pool "db": holds listener "db"`},
		{"backends of no pool", func(h *storev1.Head, c []*storev1.Child) {
			for _, ref := range h.Children {
				if ref.Kind == storev1.ChildKind_CHILD_KIND_BACKENDS && ref.Name == "app" {
					ref.Name = "gone"
				}
			}
		}, `there are backends of pool "gone", which is not there`},
		{"unknown number", func(_ *storev1.Head, c []*storev1.Child) {
			c[0].GetListener().Listener.Protocol = fiberlbv1.ListenerProtocol(77)
		}, `listener "db": listener.protocol: 77 is not a known listener protocol`},
		{"no address", func(h *storev1.Head, _ []*storev1.Child) { h.LoadBalancer.Vips[0] = "x" }, `head: vips[0]: "x" is not an IP address`},
		{"lost rule", func(_ *storev1.Head, c []*storev1.Child) {
			for _, child := range c {
				if p := child.GetPolicy(); p != nil {
					p.RuleMetas = nil
				}
			}
		}, `policy "front.api": has 1 rules and the times of 0`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			head, children := stored(t, base)
			tt.change(head, children)
			if _, err := FromStored(head, children); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// TestStoredChildrenFollowContent: a child's message is equal exactly where
// the object is.
func TestStoredChildrenFollowContent(t *testing.T) {
	t.Parallel()
	a, b := stamped(t, base), stamped(t, with(t, `address: "10.0.0.11"`, `address: "10.0.0.99"`))
	var changed []string
	for i, c := range StoredChildren(a) {
		if other := StoredChildren(b)[i]; !proto.Equal(c.Child(), other.Child()) {
			changed = append(changed, c.Kind.String()+" "+c.Name)
		}
	}
	if want := []string{"CHILD_KIND_BACKENDS app"}; !reflect.DeepEqual(changed, want) {
		t.Errorf("changed %q, want %q", changed, want)
	}
}
