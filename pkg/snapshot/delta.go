package snapshot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math"

	agentv1 "github.com/fiberlb/fiberlb/proto/fiberlb/agent/v1"
)

// MaxMessageSize bounds a message of the snapshot stream in either direction, in bytes: what one delta carries, and what an
// agent tells of what it holds. Both ends set it as gRPC's limits. There is no chunking: a node whose whole configuration
// does not fit cannot be served, and the controller says so.
const MaxMessageSize = 64 << 20

// ErrDigest is the error of a delta whose result is not what it claims to lead to: the two ends disagree about what the
// agent holds. The remedy is to start again with a hello that tells it.
var ErrDigest = errors.New("snapshot: the resources do not add up to the version's digest")

// Delta leads from what an agent holds to Version.
type Delta struct {
	Version  Version
	Full     bool // resources that are not named are removed; there are no removals
	Upserts  []*Resource
	Removals []Ref
}

// Apply makes the delta's set out of the one that the agent holds. It is [ErrDigest] unless that is the set which the
// version names.
//
// The set is what was asked for. An agent that refuses a resource keeps it in its set, so that both ends go on to mean the
// same by it, and keeps running the last good form beside it.
func (d *Delta) Apply(held *Set) (*Set, error) {
	if d.Full {
		held = nil
	}
	next := held.With(d.Upserts, d.Removals)
	if next.Digest() != d.Version.Digest {
		return nil, ErrDigest
	}
	return next, nil
}

// Proto is the message for the delta. It shares the resources' bytes.
func (d *Delta) Proto() *agentv1.Delta {
	m := &agentv1.Delta{
		Version:       d.Version.Proto(),
		SchemaVersion: SchemaVersion,
		Full:          d.Full,
		Upserts:       make([]*agentv1.Resource, len(d.Upserts)),
		Removals:      make([]*agentv1.ResourceRef, len(d.Removals)),
	}
	for i, r := range d.Upserts {
		m.Upserts[i] = &agentv1.Resource{Kind: agentv1.Kind(r.Kind), Name: r.Name, Hash: r.Hash[:], Content: r.Content}
	}
	for i, ref := range d.Removals {
		m.Removals[i] = &agentv1.ResourceRef{Kind: agentv1.Kind(ref.Kind), Name: ref.Name}
	}
	return m
}

// DeltaFromProto reads a message, whoever sent it. It is an error unless every resource's hash fits its content, names are
// names, no resource is named twice, and the schema is one that this build reads. Contents are shared with the message, and
// not looked into: that is [Resource.Decode], whose error refuses that resource alone.
func DeltaFromProto(m *agentv1.Delta) (*Delta, error) {
	if m.GetSchemaVersion() == 0 || m.GetSchemaVersion() > SchemaVersion {
		return nil, fmt.Errorf("snapshot: schema version %d is not in 1-%d, which this build reads: upgrade it", m.GetSchemaVersion(), SchemaVersion)
	}
	version, err := VersionFromProto(m.GetVersion())
	if err != nil {
		return nil, err
	}
	if m.Full && len(m.Removals) > 0 {
		return nil, errors.New("snapshot: a full delta has removals")
	}
	d := &Delta{Version: version, Full: m.Full}
	seen := make(map[Ref]bool, len(m.Upserts)+len(m.Removals))
	for _, x := range m.Upserts {
		r, err := resourceFromProto(x)
		if err != nil {
			return nil, err
		}
		if seen[r.Ref] {
			return nil, fmt.Errorf("snapshot: %v is named twice", r.Ref)
		}
		seen[r.Ref] = true
		d.Upserts = append(d.Upserts, r)
	}
	for _, x := range m.Removals {
		ref, err := refFromProto(x.GetKind(), x.GetName())
		if err != nil {
			return nil, err
		}
		if seen[ref] {
			return nil, fmt.Errorf("snapshot: %v is named twice", ref)
		}
		seen[ref] = true
		d.Removals = append(d.Removals, ref)
	}
	return d, nil
}

func resourceFromProto(m *agentv1.Resource) (*Resource, error) {
	ref, err := refFromProto(m.GetKind(), m.GetName())
	if err != nil {
		return nil, err
	}
	hash, err := hashFromBytes(m.GetHash())
	if err != nil {
		return nil, fmt.Errorf("snapshot: %v: %w", ref, err)
	}
	if len(m.GetContent()) > maxContentBytes {
		return nil, fmt.Errorf("snapshot: %v: content of %d bytes is longer than %d", ref, len(m.GetContent()), maxContentBytes)
	}
	if sha256.Sum256(m.GetContent()) != hash {
		return nil, fmt.Errorf("snapshot: %v: content does not have the hash it comes with", ref)
	}
	return &Resource{Ref: ref, Hash: hash, Content: m.GetContent()}, nil
}

// refFromProto passes kinds of later builds, which [Resource.Decode] refuses, one resource at a time.
func refFromProto(kind agentv1.Kind, name string) (Ref, error) {
	if kind < 1 || kind > math.MaxUint8 {
		return Ref{}, fmt.Errorf("snapshot: resource kind %d is not in 1-%d", kind, math.MaxUint8)
	}
	if err := checkName(name); err != nil {
		return Ref{}, fmt.Errorf("snapshot: %v: %w", Kind(kind), err)
	}
	return Ref{Kind(kind), name}, nil
}

func hashFromBytes(b []byte) (Hash, error) {
	if len(b) != len(Hash{}) {
		return Hash{}, fmt.Errorf("hash of %d bytes is not %d long", len(b), len(Hash{}))
	}
	return Hash(b), nil
}

// Proto is the message for the version.
func (v Version) Proto() *agentv1.Version {
	return &agentv1.Version{Cluster: v.Cluster, Revision: v.Revision, Digest: v.Digest[:]}
}

// VersionFromProto reads a message, whoever sent it. No message is the zero Version, which names no state.
func VersionFromProto(m *agentv1.Version) (Version, error) {
	if m == nil {
		return Version{}, nil
	}
	digest, err := hashFromBytes(m.Digest)
	if err != nil {
		return Version{}, fmt.Errorf("snapshot: version: %w", err)
	}
	if len(m.Cluster) > 64 || m.Revision < 0 {
		return Version{}, fmt.Errorf("snapshot: version: cluster %.64q with revision %d is none", m.Cluster, m.Revision)
	}
	return Version{Cluster: m.Cluster, Revision: m.Revision, Digest: digest}, nil
}

// Held is what the agent's hello tells of the set.
func (s *Set) Held() []*agentv1.Held {
	held := make([]*agentv1.Held, 0, s.Len())
	for r := range s.All() {
		held = append(held, &agentv1.Held{Kind: agentv1.Kind(r.Kind), Name: r.Name, Hash: r.Hash[:]})
	}
	return held
}

// HeldFromProto reads what a hello tells, whoever sent it.
func HeldFromProto(held []*agentv1.Held) (map[Ref]Hash, error) {
	hashes := make(map[Ref]Hash, len(held))
	for _, h := range held {
		ref, err := refFromProto(h.GetKind(), h.GetName())
		if err != nil {
			return nil, err
		}
		hash, err := hashFromBytes(h.GetHash())
		if err != nil {
			return nil, fmt.Errorf("snapshot: %v: %w", ref, err)
		}
		if _, twice := hashes[ref]; twice {
			return nil, fmt.Errorf("snapshot: %v is named twice", ref)
		}
		hashes[ref] = hash
	}
	return hashes, nil
}
