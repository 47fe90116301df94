package lb

import (
	"slices"
	"strings"
)

// Action says what becomes of an object.
type Action uint8

// Actions, with the numbers of fiberlb.v1.ChangeAction.
const (
	Create Action = 1
	Update Action = 2
	Delete Action = 3
)

// String gives "create", "update" or "delete".
func (a Action) String() string {
	switch a {
	case Create:
		return "create"
	case Update:
		return "update"
	case Delete:
		return "delete"
	default:
		return ""
	}
}

// Change of one object.
type Change struct {
	Action   Action
	Resource string // full name
	// Fields that differ, in the order of the file format. All that are set
	// for Create, none for Delete.
	Fields []FieldChange
}

// FieldChange is one field before and after, as text; "" where it is not set.
// Certificates show as fingerprints, private keys never.
type FieldChange struct{ Path, Before, After string }

// Diff tells what leads from one normal form to the other; nil stands for "not
// there". The order is that of the file format, in each list by name; deleting
// an object lists what is in it too. Equal etags give no changes, different
// ones give some. Load balancers of different names are two objects: the old
// one is deleted, the new one created.
func Diff(old, new *LoadBalancer) []Change {
	if old != nil && new != nil && (old.Project != new.Project || old.Name != new.Name) {
		return append(Diff(old, nil), Diff(nil, new)...)
	}
	var d differ
	one := new
	if one == nil {
		one = old
	}
	if one == nil {
		return nil
	}
	if old == nil {
		old = &LoadBalancer{}
		d.compare(LoadBalancerName(one.Project, one.Name), nil, new)
	} else if new == nil {
		new = &LoadBalancer{}
		d.compare(LoadBalancerName(one.Project, one.Name), old, nil)
	} else {
		d.compare(LoadBalancerName(one.Project, one.Name), old, new)
	}
	project, name := one.Project, one.Name
	diffList(old.Listeners, new.Listeners, byOwnName, func(key string, a, b *Listener) {
		d.compare(ListenerName(project, name, key), orNone(a), orNone(b))
	})
	diffList(old.Pools, new.Pools, byOwnName, func(key string, a, b *Pool) {
		d.compare(PoolName(project, name, key), orNone(a), orNone(b))
		d.poolParts(project, name, key, a, b)
	})
	diffList(old.Policies, new.Policies, policyKey, func(_ string, a, b *Policy) {
		d.policy(project, name, a, b)
	})
	diffList(old.Certificates, new.Certificates, byOwnName, func(key string, a, b *Certificate) {
		d.compare(CertificateName(project, name, key), orNone(a), orNone(b))
	})
	return d.changes
}

type differ struct{ changes []Change }

// compare adds the change of one object; a nil interface stands for "not there".
func (d *differ) compare(resource string, old, new object) {
	if old == new {
		return // two versions share it
	}
	action := Update
	before, after := fieldsOf(old), fieldsOf(new)
	switch {
	case old == nil:
		action = Create
	case new == nil:
		d.changes = append(d.changes, Change{Action: Delete, Resource: resource})
		return
	}
	if fields := diffFields(before, after); len(fields) > 0 {
		d.changes = append(d.changes, Change{action, resource, fields})
	}
}

func (d *differ) poolParts(project, name, pool string, a, b *Pool) {
	if a == nil {
		a = &Pool{}
	}
	if b == nil {
		b = &Pool{}
	}
	diffList(healthChecks(a), healthChecks(b), byOwnName, func(key string, a, b *HealthCheck) {
		d.compare(HealthCheckName(project, name, pool, key), orNone(a), orNone(b))
	})
	diffList(a.Backends, b.Backends, byOwnName, func(key string, a, b *Backend) {
		d.compare(BackendName(project, name, pool, key), orNone(a), orNone(b))
	})
}

func (d *differ) policy(project, name string, a, b *Policy) {
	one := b
	if one == nil {
		one = a
	}
	mark := len(d.changes)
	resource := PolicyName(project, name, one.Listener, one.Name)
	d.compare(resource, orNone(a), orNone(b))
	if a == nil {
		a = &Policy{}
	}
	if b == nil {
		b = &Policy{}
	}
	rules := len(d.changes)
	diffList(a.Rules, b.Rules, byOwnName, func(key string, a, b *Rule) {
		d.compare(RuleName(project, name, one.Listener, one.Name, key), orNone(a), orNone(b))
	})
	// The order of rules is content too, though it shows in none of them.
	before, after := namesOf(a.Rules), namesOf(b.Rules)
	if len(d.changes) > rules || slices.Equal(before, after) {
		return
	}
	order := FieldChange{"rules", strings.Join(before, ", "), strings.Join(after, ", ")}
	if rules > mark {
		d.changes[mark].Fields = append(d.changes[mark].Fields, order)
	} else {
		d.changes = append(d.changes, Change{Update, resource, []FieldChange{order}})
	}
}

func healthChecks(p *Pool) []*HealthCheck {
	if p.HealthCheck == nil {
		return nil
	}
	return []*HealthCheck{p.HealthCheck}
}

func byOwnName[T named](x T) string { return x.info().Name }

// policyKey orders policies by listener, then name.
func policyKey(p *Policy) string { return p.Listener + "/" + p.Name }

// orNone turns a nil pointer into a nil interface.
func orNone[T any, P interface {
	*T
	object
}](x P) object {
	if x == nil {
		return nil
	}
	return x
}

// diffList pairs two lists by key and visits each pair in the order of keys.
func diffList[T any](old, new []*T, key func(*T) string, visit func(key string, old, new *T)) {
	type pair struct{ old, new *T }
	pairs := make(map[string]pair, max(len(old), len(new)))
	keys := make([]string, 0, len(pairs))
	for _, x := range old {
		pairs[key(x)] = pair{old: x}
		keys = append(keys, key(x))
	}
	for _, x := range new {
		p, known := pairs[key(x)]
		if !known {
			keys = append(keys, key(x))
		}
		p.new = x
		pairs[key(x)] = p
	}
	slices.Sort(keys)
	for _, k := range keys {
		visit(k, pairs[k].old, pairs[k].new)
	}
}

type fieldValue struct{ path, value string }

func fieldsOf(x object) []fieldValue {
	if x == nil {
		return nil
	}
	var out []fieldValue
	x.fields(func(path, value string) { out = append(out, fieldValue{path, value}) })
	return out
}

// diffFields lists what differs in the order of the new fields, then what is gone.
func diffFields(before, after []fieldValue) []FieldChange {
	old := make(map[string]string, len(before))
	for _, f := range before {
		old[f.path] = f.value
	}
	var changes []FieldChange
	for _, f := range after {
		if was, there := old[f.path]; !there || was != f.value {
			changes = append(changes, FieldChange{f.path, was, f.value})
		}
		delete(old, f.path)
	}
	for _, f := range before {
		if _, gone := old[f.path]; gone {
			changes = append(changes, FieldChange{f.path, f.value, ""})
		}
	}
	return changes
}
