package route

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// Compile builds the table of one listener from its policies, in any order.
// usable tells of a pool whether it is there and enabled; nil is all. What is not
// tried is skipped once and for all: policies that are disabled, that have no
// enabled rules, or whose pools are all unusable or without weight.
//
// An error names the policy and the rule that cannot be compiled; nothing that
// pkg/lb let pass gives one.
func Compile(policies []Policy, usable func(pool string) bool) (*Table, error) {
	t := &Table{policies: slices.Clone(policies), root: none, work: tableWork}
	slices.SortStableFunc(t.policies, func(a, b Policy) int { return cmp.Compare(a.Position, b.Position) })
	t.skipped = make([]string, len(t.policies))
	pools := make(map[string]bool)
	shares := make([][]Share, len(t.policies))
	for i := range t.policies {
		shares[i], t.skipped[i] = tried(&t.policies[i], usable)
		for _, s := range shares[i] {
			pools[s.Pool] = true
		}
	}
	for name := range pools {
		t.pools = append(t.pools, name)
	}
	slices.Sort(t.pools)
	for i := range t.policies {
		if t.skipped[i] != "" {
			continue
		}
		c, err := t.compilePolicy(i, shares[i])
		if err != nil {
			return nil, fmt.Errorf("route: policy %q: %w", t.policies[i].Name, err)
		}
		t.active = append(t.active, c)
	}
	t.buildIndex()
	return t, nil
}

// tried gives the pools a policy can choose, or why it is not tried.
func tried(p *Policy, usable func(pool string) bool) (shares []Share, skipped string) {
	if p.Disabled {
		return nil, "the policy is disabled"
	}
	if !slices.ContainsFunc(p.Rules, func(r Rule) bool { return !r.Disabled }) {
		return nil, "the policy has no enabled rules"
	}
	if p.Action != lb.RedirectToPool {
		return nil, ""
	}
	for _, s := range p.Pools {
		if s.Weight > 0 && (usable == nil || usable(s.Pool)) {
			shares = append(shares, s)
		}
	}
	if len(shares) == 0 {
		return nil, "no pool of the policy is enabled and has a weight"
	}
	return shares, ""
}

func (t *Table) compilePolicy(index int, shares []Share) (compiled, error) {
	p := &t.policies[index]
	c := compiled{source: index, action: p.Action, status: p.Status}
	switch p.Action {
	case lb.RedirectToPool:
		c.status = 0
		sum := uint32(0)
		for _, s := range shares {
			sum += uint32(s.Weight)
			c.pools, c.upTo = append(c.pools, t.poolIndex(s.Pool)), append(c.upTo, sum)
		}
	case lb.RedirectToURL, lb.RedirectPrefix:
		if p.Location == "" {
			return c, fmt.Errorf("action %q without a location", p.Action)
		}
		location := parseTemplate(p.Action, p.Location)
		c.location = &location
	case lb.Reject, lb.FixedResponse:
	default:
		return c, fmt.Errorf("unknown action %q", p.Action)
	}
	if len(p.Rules) > lb.MaxRules {
		return c, fmt.Errorf("%d rules are more than %d", len(p.Rules), lb.MaxRules)
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		if r.Disabled {
			continue
		}
		x, err := t.compileRule(i, r)
		if err != nil {
			return c, fmt.Errorf("rule %q: %w", r.Name, err)
		}
		c.predicates = append(c.predicates, x)
	}
	slices.SortStableFunc(c.predicates, byCost)
	return c, nil
}
