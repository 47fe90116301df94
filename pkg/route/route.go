// Package route owns the meaning of L7 policies: what a rule compares, which
// policy decides a request, and what its decision says. The data plane's HTTP
// engine matches live requests with it, and the command line explains made-up
// ones; both get the same answer, since it is the same code.
//
// A [Table] holds the compiled policies of one listener and never changes. The
// first policy in order of position whose enabled rules all match decides;
// without one the listener's default pool does. What is compared is the normal
// form of the request: see [NormalizePath] and [NormalizeHost].
//
// The package is pure: no clock, no I/O, no randomness. Where a weighted choice
// needs a random number, it is handed in.
package route

import (
	"slices"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// Policy is one policy of a listener, as [Compile] takes it: what [lb.Policy]
// says less what does not bear on routing, so that it can equally be read from
// a snapshot. What it holds must not change after it was handed to Compile.
type Policy struct {
	Name     string
	Position uint32
	Disabled bool
	Action   lb.PolicyAction
	Pools    []Share // RedirectToPool
	// Location is the URL of RedirectToURL, tokens included, or the prefix of
	// RedirectPrefix.
	Location    string
	Status      uint16 // of redirects, rejections and fixed responses
	ContentType string // FixedResponse
	Body        string // FixedResponse
	Rules       []Rule // at most [lb.MaxRules]
}

// Share is a pool and its weight in a choice among several.
type Share struct {
	Pool   string
	Weight uint16
}

// Rule is one condition of a policy. Key and Value are as [lb.Rule] has them.
type Rule struct {
	Name     string
	Disabled bool
	Type     lb.RuleType
	Compare  lb.CompareType
	Key      string
	Value    string
	Invert   bool
}

// FromLB converts the policies of one listener. Pools keep the names they have
// in the load balancer.
func FromLB(policies []*lb.Policy) []Policy {
	out := make([]Policy, 0, len(policies))
	for _, x := range policies {
		p := Policy{
			Name: x.Name, Position: x.Position, Disabled: !x.Enabled,
			Action: x.Action, Status: x.StatusCode,
		}
		switch x.Action {
		case lb.RedirectToPool:
			for _, w := range x.Pools {
				p.Pools = append(p.Pools, Share{w.Pool, w.Weight})
			}
		case lb.RedirectToURL:
			p.Location = x.URL
		case lb.RedirectPrefix:
			p.Location = x.Prefix
		case lb.FixedResponse:
			if r := x.FixedResponse; r != nil {
				p.Status, p.ContentType, p.Body = r.StatusCode, r.ContentType, r.Body
			}
		}
		for _, r := range x.Rules {
			p.Rules = append(p.Rules, Rule{
				Name: r.Name, Disabled: !r.Enabled, Type: r.Type, Compare: r.Compare,
				Key: r.Key, Value: r.Value, Invert: r.Invert,
			})
		}
		out = append(out, p)
	}
	return out
}

// Table is the compiled policies of one listener. It is immutable and may be
// used by many goroutines at once.
type Table struct {
	policies []Policy // all, by position
	skipped  []string // why a policy is not tried, beside policies; "" where it is
	pools    []string

	active []compiled // those that are tried, by position
	slots  slotTable
	nodes  []node // the index; none where a scan is as fast
	root   int32
	marks  int // nodes that keep a mark in Scratch.seen
	work   int // left for building automata
}

// compiled is a policy that is tried.
type compiled struct {
	source     int // index into Table.policies
	predicates []predicate
	action     lb.PolicyAction
	status     uint16
	pools      []uint32 // indexes into Table.pools
	upTo       []uint32 // sums of the weights of pools, each with its own included
	location   *template
}

// Policies lists all policies by position, those among them that are skipped.
// The index into it is what [Decision.Policy] holds. The caller must not write
// to it.
func (t *Table) Policies() []Policy { return t.policies }

// Pools lists the pools that decisions can choose, sorted by name. The index
// into it is what [Decision.Pool] returns. The caller must not write to it.
func (t *Table) Pools() []string { return t.pools }

// Skipped tells why the policy of that index is never tried; "" where it is.
func (t *Table) Skipped(policy int) string { return t.skipped[policy] }

// poolIndex gives the index of a pool in Pools.
func (t *Table) poolIndex(name string) uint32 {
	i, _ := slices.BinarySearch(t.pools, name)
	return uint32(i)
}
