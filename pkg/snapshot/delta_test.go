package snapshot

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

func TestDeltaOverTheWire(t *testing.T) {
	t.Parallel()
	held := NewSet([]*Resource{numbered(1, 1), numbered(2, 1), numbered(3, 1)})
	want := NewSet([]*Resource{numbered(1, 1), numbered(2, 2), numbered(4, 1)})
	version := Version{Cluster: "c0ffee", Revision: 7, Digest: want.Digest()}
	upserts, removals := Diff(held, want)
	for name, delta := range map[string]*Delta{
		"delta": {Version: version, Upserts: upserts, Removals: removals},
		"full":  {Version: version, Full: true, Upserts: []*Resource{numbered(4, 1), numbered(1, 1), numbered(2, 2)}},
	} {
		wire, err := proto.Marshal(delta.Proto())
		if err != nil {
			t.Fatal(err)
		}
		m := new(agentv1.Delta)
		if err := proto.Unmarshal(wire, m); err != nil {
			t.Fatal(err)
		}
		got, err := DeltaFromProto(m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		set, err := got.Apply(held)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if set.Digest() != want.Digest() || set.Len() != want.Len() || got.Version != version {
			t.Errorf("%s does not lead to its version", name)
		}
		if _, err := got.Apply(NewSet([]*Resource{numbered(9, 9)})); delta.Full != (err == nil) || err != nil && !errors.Is(err, ErrDigest) {
			t.Errorf("%s on a set that it is not for: %v", name, err)
		}
	}
}

func TestDeltaFromProtoRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spoil func(m *agentv1.Delta)
		want  string
	}{
		"no schema":       {func(m *agentv1.Delta) { m.SchemaVersion = 0 }, "schema version 0"},
		"later schema":    {func(m *agentv1.Delta) { m.SchemaVersion = SchemaVersion + 1 }, "schema version 2 is not in 1-1, which this build reads: upgrade it"},
		"short digest":    {func(m *agentv1.Delta) { m.Version.Digest = m.Version.Digest[1:] }, "hash of 31 bytes"},
		"revision":        {func(m *agentv1.Delta) { m.Version.Revision = -1 }, "revision -1"},
		"cluster":         {func(m *agentv1.Delta) { m.Version.Cluster = strings.Repeat("a", 65) }, "version: cluster"},
		"content":         {func(m *agentv1.Delta) { m.Upserts[0].Content = []byte("x") }, "content does not have the hash"},
		"no hash":         {func(m *agentv1.Delta) { m.Upserts[0].Hash = nil }, "hash of 0 bytes"},
		"kind 0":          {func(m *agentv1.Delta) { m.Upserts[0].Kind = 0 }, "resource kind 0 is not in 1-255"},
		"kind 256":        {func(m *agentv1.Delta) { m.Upserts[0].Kind = 256 }, "resource kind 256"},
		"negative kind":   {func(m *agentv1.Delta) { m.Removals[0].Kind = -1 }, "resource kind -1"},
		"no name":         {func(m *agentv1.Delta) { m.Upserts[0].Name = "" }, "name is empty"},
		"long name":       {func(m *agentv1.Delta) { m.Upserts[0].Name = strings.Repeat("a", 1025) }, "1025 bytes"},
		"control":         {func(m *agentv1.Delta) { m.Removals[0].Name = "a\nb" }, "control characters"},
		"not UTF-8":       {func(m *agentv1.Delta) { m.Removals[0].Name = "\xff" }, "not UTF-8"},
		"twice put":       {func(m *agentv1.Delta) { m.Upserts = append(m.Upserts, m.Upserts[0]) }, "named twice"},
		"put and removed": {func(m *agentv1.Delta) { m.Removals[0].Kind, m.Removals[0].Name = m.Upserts[0].Kind, m.Upserts[0].Name }, "named twice"},
		"full removes":    {func(m *agentv1.Delta) { m.Full = true }, "full delta has removals"},
		"nil upsert":      {func(m *agentv1.Delta) { m.Upserts[0] = nil }, "resource kind 0"},
		"nil removal":     {func(m *agentv1.Delta) { m.Removals[0] = nil }, "resource kind 0"},
		"large":           {func(m *agentv1.Delta) { m.Upserts[0].Content = make([]byte, maxContentBytes+1) }, "is longer than"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := (&Delta{Upserts: []*Resource{numbered(1, 1)}, Removals: []Ref{numbered(2, 1).Ref}}).Proto()
			test.spoil(m)
			if _, err := DeltaFromProto(m); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q in it", err, test.want)
			}
		})
	}
	if _, err := DeltaFromProto(nil); err == nil {
		t.Error("no message is no error")
	}
}

// A kind of a later build passes, so that the resource is refused alone.
func TestLaterKindIsRefusedAlone(t *testing.T) {
	t.Parallel()
	later := numbered(1, 1)
	later.Kind = 77
	want := NewSet([]*Resource{later, numbered(2, 1)})
	d, err := DeltaFromProto((&Delta{Version: Version{Digest: want.Digest()}, Full: true, Upserts: []*Resource{later, numbered(2, 1)}}).Proto())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Apply(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Upserts[0].Decode(); err == nil || !strings.Contains(err.Error(), "resource kind 77 is unknown") {
		t.Errorf("error is %v", err)
	}
}

func TestHeld(t *testing.T) {
	t.Parallel()
	set := NewSet([]*Resource{numbered(1, 1), numbered(2, 1)})
	held, err := HeldFromProto(set.Held())
	if err != nil || len(held) != 2 || held[numbered(1, 1).Ref] != numbered(1, 1).Hash {
		t.Fatalf("held is %v, %v", held, err)
	}
	for name, bad := range map[string][]*agentv1.Held{
		"nil":   {nil},
		"hash":  {{Kind: 1, Name: "x", Hash: []byte{1}}},
		"twice": append(set.Held(), set.Held()...),
	} {
		if _, err := HeldFromProto(bad); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	f := &File{
		Set:      NewSet([]*Resource{EncodePool("projects/p/loadBalancers/l/pools/x", testPool()), numbered(2, 1)}),
		LastGood: NewSet([]*Resource{numbered(2, 0)}),
	}
	f.Version = Version{Cluster: "c0ffee", Revision: 42, Digest: f.Set.Digest()}
	whole, err := MarshalFile(f)
	if err != nil {
		t.Fatal(err)
	}
	got, err := UnmarshalFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != f.Version || got.Set.Digest() != f.Set.Digest() || got.LastGood.Digest() != f.LastGood.Digest() {
		t.Errorf("file holds %v, want %v", got, f)
	}
	again, err := MarshalFile(got)
	if err != nil || !bytes.Equal(again, whole) {
		t.Errorf("a file read and written again differs: %v", err)
	}
	for i := range whole {
		if _, err := UnmarshalFile(whole[:i]); err == nil {
			t.Fatalf("truncated after %d bytes: no error", i)
		}
		broken := bytes.Clone(whole)
		broken[i] ^= 1
		if _, err := UnmarshalFile(broken); err == nil {
			t.Fatalf("byte %d flipped: no error", i)
		}
	}
	if _, err := UnmarshalFile(append(whole, 0)); err == nil {
		t.Error("a byte behind the end: no error")
	}
	if empty, err := MarshalFile(&File{}); err != nil {
		t.Error(err)
	} else if got, err := UnmarshalFile(empty); err != nil || got.Set.Len() != 0 {
		t.Errorf("empty file: %v, %v", got, err)
	}
}

func TestFileOfAnotherVersionIsRefused(t *testing.T) {
	t.Parallel()
	b, err := MarshalFile(&File{Version: Version{Digest: Hash{1}}, Set: NewSet([]*Resource{numbered(1, 1)})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := UnmarshalFile(b); !errors.Is(err, ErrDigest) {
		t.Errorf("error is %v, want one of the digest", err)
	}
}
