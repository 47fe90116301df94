package route

import (
	"strconv"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// Trace tells how a decision came about.
type Trace struct {
	Decision Decision
	// Policies are those up to the one that decided, or all where none did, by
	// position: tried ones and skipped ones.
	Policies []PolicyTrace
	// Omitted is how many policies were left out of Policies to keep it short:
	// the ones that fewest rules of theirs matched.
	Omitted int
}

// PolicyTrace tells what one policy said to the request.
type PolicyTrace struct {
	Index   int // into Table.Policies
	Name    string
	Matched bool
	Skipped string // why it was not tried; then there is nothing else to tell
	Rules   []RuleTrace
}

// RuleTrace tells what one rule said to the request.
type RuleTrace struct {
	Index    int    // into the policy's rules
	Matched  bool   // with invert applied
	Disabled bool   // then it was not asked
	Saw      []Seen // what it compared; empty where the request has none of it
	More     int    // values beyond those in Saw
}

// Seen is one value that a rule compared, cut to 128 octets.
type Seen struct {
	Value string
	Cut   bool
}

// Bounds of a trace, so that a huge request explains itself in a few lines.
const (
	maxSeen     = 8
	maxSeenText = 128
)

// Explain gives the decision that [Table.Match] makes, and how it came about, in
// at most limit policies. It looks at all rules of a policy, where matching
// stops at the first that does not match.
func (t *Table) Explain(r *Request, s *Scratch, limit int) Trace {
	trace := Trace{Decision: t.Match(r, s)}
	end := len(t.policies)
	if trace.Decision.Policy >= 0 {
		end = trace.Decision.Policy + 1
	}
	active := make(map[int]*compiled, len(t.active))
	for i := range t.active {
		active[t.active[i].source] = &t.active[i]
	}
	matched := make([]int, end) // rules that matched, by policy
	var byMatched [lb.MaxRules + 2]int
	for i := range end {
		if c := active[i]; c != nil {
			for j := range c.predicates {
				if c.predicates[j].holds(s) {
					matched[i]++
				}
			}
			if i == trace.Decision.Policy {
				matched[i] = lb.MaxRules + 1 // stays, whatever else goes
			}
		}
		byMatched[matched[i]]++
	}
	// The policies with more than least matches all fit, and some of those with just as many.
	least, room := len(byMatched)-1, max(limit, 1)
	for ; least > 0 && byMatched[least] <= room; least-- {
		room -= byMatched[least]
	}
	for i := range end {
		if matched[i] < least || matched[i] == least && room == 0 {
			trace.Omitted++
			continue
		}
		if matched[i] == least {
			room--
		}
		trace.Policies = append(trace.Policies, t.explainPolicy(i, active[i], s))
	}
	return trace
}

func (t *Table) explainPolicy(index int, c *compiled, s *Scratch) PolicyTrace {
	p := &t.policies[index]
	trace := PolicyTrace{Index: index, Name: p.Name, Skipped: t.skipped[index]}
	if c == nil {
		return trace
	}
	trace.Matched = c.holds(s)
	trace.Rules = make([]RuleTrace, len(p.Rules))
	for i := range p.Rules {
		trace.Rules[i] = RuleTrace{Index: i, Disabled: p.Rules[i].Disabled}
	}
	for i := range c.predicates {
		x := &c.predicates[i]
		r := &trace.Rules[x.rule]
		r.Matched = x.holds(s)
		r.Saw, r.More = x.saw(s)
	}
	return trace
}

// saw gives the values of the predicate's subject in the order of the request.
func (p *predicate) saw(s *Scratch) (seen []Seen, more int) {
	r := s.request
	switch p.subject.kind {
	case lb.RuleSourceIP:
		if r.Source.IsValid() {
			seen = append(seen, Seen{Value: r.address().String()})
		}
		return seen, 0
	case lb.RuleSSLConnHasCert:
		return []Seen{{Value: strconv.FormatBool(r.TLS != nil && r.TLS.HasCert)}}, 0
	case lb.RuleSSLVerifyResult:
		if r.TLS != nil && r.TLS.HasCert {
			seen = append(seen, Seen{Value: strconv.Itoa(int(r.TLS.VerifyResult))})
		}
		return seen, 0
	}
	values := s.subjectValues(p.subject)
	for i := len(values) - 1; i >= 0 && len(seen) < maxSeen; i-- {
		v := values[i]
		n := min(len(v), maxSeenText)
		seen = append(seen, Seen{string(v[:n]), n < len(v)})
	}
	return seen, len(values) - len(seen)
}
