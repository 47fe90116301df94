package lbpb

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/fiberlb/fiberlb/pkg/canon"
	"github.com/fiberlb/fiberlb/pkg/lb"
	storev1 "github.com/fiberlb/fiberlb/proto/fiberlb/store/v1"
)

// SchemaVersion of stored values that this build writes, and the highest it reads.
const SchemaVersion = 1

// StoredChild is an immutable part of a load balancer as it is stored. Kind
// and Name are those of its storev1.ChildRef.
type StoredChild struct {
	Kind storev1.ChildKind
	Name string
	// Object that the child holds: a listener, a pool for itself and for its
	// backends, a policy or a certificate.
	Object any
}

// Encode gives the child's value, which is canonical.
func (c StoredChild) Encode() []byte {
	if c.Kind == storev1.ChildKind_CHILD_KIND_BACKENDS {
		return appendBackends(nil, c.Object.(*lb.Pool))
	}
	return canon.Marshal(c.Child())
}

// Child gives the child's message.
func (c StoredChild) Child() *storev1.Child {
	switch x := c.Object.(type) {
	case *lb.Listener:
		return StoredListener(x)
	case *lb.Pool:
		if c.Kind == storev1.ChildKind_CHILD_KIND_BACKENDS {
			return StoredBackends(x)
		}
		return StoredPool(x)
	case *lb.Policy:
		return StoredPolicy(x)
	default:
		return StoredCertificate(x.(*lb.Certificate))
	}
}

// StoredHead gives the head without children and requests, which are the
// store's.
func StoredHead(l *lb.LoadBalancer) *storev1.Head {
	return &storev1.Head{SchemaVersion: SchemaVersion, LoadBalancer: loadBalancer(l), Meta: storedMeta(&l.Meta)}
}

// StoredChildren gives all children of l, sorted by kind and name. A pool
// without backends has no child of that kind.
func StoredChildren(l *lb.LoadBalancer) []StoredChild {
	var out []StoredChild
	for _, x := range l.Listeners {
		out = append(out, StoredChild{storev1.ChildKind_CHILD_KIND_LISTENER, x.Name, x})
	}
	for _, x := range l.Pools {
		out = append(out, StoredChild{storev1.ChildKind_CHILD_KIND_POOL, x.Name, x})
		if len(x.Backends) > 0 {
			out = append(out, StoredChild{storev1.ChildKind_CHILD_KIND_BACKENDS, x.Name, x})
		}
	}
	for _, x := range l.Policies {
		out = append(out, StoredChild{storev1.ChildKind_CHILD_KIND_POLICY, x.Listener + "." + x.Name, x})
	}
	for _, x := range l.Certificates {
		out = append(out, StoredChild{storev1.ChildKind_CHILD_KIND_CERTIFICATE, x.Name, x})
	}
	slices.SortStableFunc(out, func(a, b StoredChild) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return out
}

// StoredListener gives a listener as it is stored.
func StoredListener(x *lb.Listener) *storev1.Child {
	return &storev1.Child{SchemaVersion: SchemaVersion, Object: &storev1.Child_Listener{
		Listener: &storev1.ListenerChild{Meta: storedMeta(&x.Meta), Listener: listener(x)},
	}}
}

// StoredPool gives a pool with its health check, without backends, as it is stored.
func StoredPool(x *lb.Pool) *storev1.Child {
	child := &storev1.PoolChild{Meta: storedMeta(&x.Meta), Pool: pool(x)}
	if h := x.HealthCheck; h != nil {
		child.Pool.HealthCheck, child.HealthCheckMeta = healthCheck(h), storedMeta(&h.Meta)
	}
	return &storev1.Child{SchemaVersion: SchemaVersion, Object: &storev1.Child_Pool{Pool: child}}
}

// StoredBackends gives the backends of a pool as they are stored, under the
// pool's name.
func StoredBackends(x *lb.Pool) *storev1.Child {
	child := &storev1.BackendsChild{}
	for _, b := range x.Backends {
		child.Backends = append(child.Backends, &storev1.BackendEntry{Meta: storedMeta(&b.Meta), Backend: backend(b)})
	}
	return &storev1.Child{SchemaVersion: SchemaVersion, Object: &storev1.Child_Backends{Backends: child}}
}

// StoredPolicy gives a policy with its rules as it is stored.
func StoredPolicy(x *lb.Policy) *storev1.Child {
	child := &storev1.PolicyChild{Meta: storedMeta(&x.Meta), Policy: policy(x)}
	for _, r := range x.Rules {
		child.Policy.Rules = append(child.Policy.Rules, rule(r))
		child.RuleMetas = append(child.RuleMetas, storedMeta(&r.Meta))
	}
	return &storev1.Child{SchemaVersion: SchemaVersion, Object: &storev1.Child_Policy{Policy: child}}
}

// StoredCertificate gives a certificate as it is stored: with the sealed key,
// never with the plain one.
func StoredCertificate(x *lb.Certificate) *storev1.Child {
	child := &storev1.CertificateChild{Meta: storedMeta(&x.Meta), Certificate: certificate(x)}
	if s := x.Sealed; s != nil {
		child.Key = &storev1.SealedKey{
			KekId: s.KEKID, WrappedKey: s.Wrapped, WrappedNonce: s.WrapNonce,
			Ciphertext: s.Ciphertext, Nonce: s.Nonce, SpkiSha256: s.SPKI,
		}
	}
	return &storev1.Child{SchemaVersion: SchemaVersion, Object: &storev1.Child_Certificate{Certificate: child}}
}

// appendBackends appends what canon makes of [StoredBackends], many times
// faster: a change of one backend encodes all of its pool.
func appendBackends(b []byte, x *lb.Pool) []byte {
	var list, entry, part []byte
	for _, y := range x.Backends {
		part = appendText(part[:0], 1, y.UID)
		part = appendNumber(part, 2, uint64(micros(y.CreatedAt)))
		part = appendNumber(part, 3, uint64(micros(y.UpdatedAt)))
		entry = appendBytes(entry[:0], 1, part)

		part = appendText(part[:0], 1, y.Name)
		part = appendText(part, 6, y.Description)
		for _, key := range slices.Sorted(maps.Keys(y.Labels)) {
			label := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), key)
			label = protowire.AppendString(protowire.AppendTag(label, 2, protowire.BytesType), y.Labels[key])
			part = appendBytes(part, 7, label)
		}
		part = appendText(part, 10, address(y.Address))
		part = appendNumber(part, 11, uint64(y.Port))
		part = protowire.AppendVarint(protowire.AppendTag(part, 12, protowire.VarintType), uint64(y.Weight))
		part = appendNumber(part, 13, protowire.EncodeBool(y.Backup))
		part = protowire.AppendVarint(protowire.AppendTag(part, 14, protowire.VarintType), protowire.EncodeBool(y.Enabled))
		part = appendText(part, 15, address(y.MonitorAddress))
		part = appendNumber(part, 16, uint64(y.MonitorPort))
		entry = appendBytes(entry, 2, part)

		list = appendBytes(list, 1, entry)
	}
	b = appendNumber(b, 1, SchemaVersion)
	return appendBytes(b, 4, list)
}

func appendText(b []byte, field protowire.Number, text string) []byte {
	if text == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), text)
}

func appendNumber(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

func appendBytes(b []byte, field protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), content)
}

func storedMeta(m *lb.Meta) *storev1.Meta {
	return &storev1.Meta{Uid: m.UID, CreatedUs: micros(m.CreatedAt), UpdatedUs: micros(m.UpdatedAt)}
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func meta(m *storev1.Meta) lb.Meta {
	return lb.Meta{UID: m.GetUid(), CreatedAt: fromMicros(m.GetCreatedUs()), UpdatedAt: fromMicros(m.GetUpdatedUs())}
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// FromStored puts a load balancer together from its head and the children that
// the head refers to: children[i] is that of head.Children[i]. It refuses what
// a newer build wrote in a newer schema, and what does not decode; it does not
// check again what was checked when it was written.
func FromStored(head *storev1.Head, children []*storev1.Child) (*lb.LoadBalancer, error) {
	if err := checkSchema(head.GetSchemaVersion()); err != nil {
		return nil, fmt.Errorf("head: %w", err)
	}
	if len(children) != len(head.GetChildren()) {
		return nil, fmt.Errorf("head lists %d children, there are %d", len(head.GetChildren()), len(children))
	}
	own := head.GetLoadBalancer()
	d := decoder{stored: true}
	l := &lb.LoadBalancer{
		Info: info(own), Meta: meta(head.GetMeta()),
		Project: own.GetProject(), NodeSelector: own.GetNodeSelector(), Enabled: orTrue(orEmpty(own).Enabled),
	}
	for i, text := range own.GetVips() {
		l.VIPs = append(l.VIPs, d.address(item("vips", i), text))
	}
	if len(d.found) > 0 {
		return nil, fmt.Errorf("head: %s", d.found.Error())
	}
	backends := make(map[string][]*lb.Backend)
	for i, ref := range head.GetChildren() {
		name := strings.ToLower(strings.TrimPrefix(ref.GetKind().String(), "CHILD_KIND_")) + " " + lb.Quote(ref.GetName())
		if err := checkSchema(children[i].GetSchemaVersion()); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := d.child(l, ref, children[i], backends); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if len(d.found) > 0 {
			return nil, fmt.Errorf("%s: %s", name, d.found.Error())
		}
	}
	for _, p := range l.Pools {
		p.Backends = backends[p.Name]
		delete(backends, p.Name)
	}
	for pool := range backends {
		return nil, fmt.Errorf("there are backends of pool %s, which is not there", lb.Quote(pool))
	}
	return lb.Restore(l), nil
}

func checkSchema(version uint32) error {
	switch {
	case version == 0:
		return fmt.Errorf("has no schema version")
	case version > SchemaVersion:
		return fmt.Errorf("is of schema version %d, this build reads up to %d; upgrade it", version, SchemaVersion)
	}
	return nil
}

// child adds one stored child to l. Backends wait in the map for their pool.
func (d *decoder) child(l *lb.LoadBalancer, ref *storev1.ChildRef, child *storev1.Child, backends map[string][]*lb.Backend) error {
	kind, name := storev1.ChildKind_CHILD_KIND_UNSPECIFIED, ref.GetName()
	switch object := child.GetObject().(type) {
	case *storev1.Child_Listener:
		kind = storev1.ChildKind_CHILD_KIND_LISTENER
		x := d.listener("listener", orEmpty(object.Listener.GetListener()))
		x.Meta, name = meta(object.Listener.GetMeta()), x.Name
		l.Listeners = append(l.Listeners, x)
	case *storev1.Child_Pool:
		kind = storev1.ChildKind_CHILD_KIND_POOL
		x := d.pool("pool", orEmpty(object.Pool.GetPool()))
		x.Meta, name = meta(object.Pool.GetMeta()), x.Name
		if x.HealthCheck != nil {
			x.HealthCheck.Meta = meta(object.Pool.GetHealthCheckMeta())
		}
		l.Pools = append(l.Pools, x)
	case *storev1.Child_Backends:
		kind = storev1.ChildKind_CHILD_KIND_BACKENDS
		for i, entry := range object.Backends.GetBackends() {
			b := d.backend("", orEmpty(entry.GetBackend()))
			if len(d.found) > 0 { // once more, to tell where
				d.found = nil
				d.backend(item("backends", i), orEmpty(entry.GetBackend()))
				return nil
			}
			b.Meta = meta(entry.GetMeta())
			backends[name] = append(backends[name], b)
		}
	case *storev1.Child_Policy:
		kind = storev1.ChildKind_CHILD_KIND_POLICY
		x := d.policy("policy", orEmpty(object.Policy.GetPolicy()))
		x.Meta, name = meta(object.Policy.GetMeta()), x.Listener+"."+x.Name
		if len(object.Policy.GetRuleMetas()) != len(x.Rules) {
			return fmt.Errorf("has %d rules and the times of %d", len(x.Rules), len(object.Policy.GetRuleMetas()))
		}
		for i, m := range object.Policy.GetRuleMetas() {
			x.Rules[i].Meta = meta(m)
		}
		l.Policies = append(l.Policies, x)
	case *storev1.Child_Certificate:
		kind = storev1.ChildKind_CHILD_KIND_CERTIFICATE
		x := d.certificate("certificate", orEmpty(object.Certificate.GetCertificate()))
		x.Meta, name = meta(object.Certificate.GetMeta()), x.Name
		if k := object.Certificate.GetKey(); k != nil {
			x.Sealed = &lb.SealedKey{
				KEKID: k.GetKekId(), Wrapped: k.GetWrappedKey(), WrapNonce: k.GetWrappedNonce(),
				Ciphertext: k.GetCiphertext(), Nonce: k.GetNonce(), SPKI: k.GetSpkiSha256(),
			}
		}
		l.Certificates = append(l.Certificates, x)
	default:
		return fmt.Errorf("holds nothing this build knows")
	}
	if kind != ref.GetKind() || name != ref.GetName() {
		return fmt.Errorf("holds %s %s", strings.ToLower(strings.TrimPrefix(kind.String(), "CHILD_KIND_")), lb.Quote(name))
	}
	return nil
}
