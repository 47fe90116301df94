package route

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// subject is the part of a request whose values a predicate looks at.
type subject struct {
	kind lb.RuleType
	slot int32 // of the types with a key; 0 otherwise
}

// repeats tells whether the subject can have several values.
func (x subject) repeats() bool { return x.kind.NeedsKey() }

// predicate is a compiled rule. What it compares is already in the form in which
// requests have it.
type predicate struct {
	subject subject
	invert  bool
	place   place
	one     []byte   // the literal where there is one only
	set     [][]byte // the literals where there are several
	// One of these has to match besides the literals; both are nil where those
	// say it all.
	automaton *automaton
	regex     *regexp.Regexp // of what has no automaton
	prefix    netip.Prefix   // of RuleSourceIP
	number    uint16         // of RuleSSLVerifyResult
	rule      int            // index into the policy's rules
	// access is the condition by which an index finds the predicate, if any.
	access literals
}

// compileRule checks a rule and compiles it. What is checked here was checked
// when the rule was written; it may have been read from elsewhere since.
func (t *Table) compileRule(index int, r *Rule) (predicate, error) {
	p := predicate{subject: subject{kind: r.Type}, invert: r.Invert, rule: index}
	if !slices.Contains(r.Type.Compares(), r.Compare) {
		return p, fmt.Errorf("comparison %q does not go with type %q", r.Compare, r.Type)
	}
	if r.Type.NeedsKey() != (r.Key != "") {
		return p, fmt.Errorf("type %q with key %q", r.Type, r.Key)
	}
	if r.Value == "" {
		return p, fmt.Errorf("value is empty")
	}
	if r.Type.NeedsKey() {
		p.subject.slot = t.slots.slot(r.Type, r.Key)
	}
	switch r.Type {
	case lb.RuleSourceIP:
		prefix, err := lb.ParsePrefix(r.Value)
		p.prefix = prefix
		return p, err
	case lb.RuleSSLVerifyResult:
		n, err := strconv.ParseUint(r.Value, 10, 16)
		p.number = uint16(n)
		return p, err
	case lb.RuleSSLConnHasCert:
		if r.Value != "true" {
			return p, fmt.Errorf("value %q is not \"true\"", r.Value)
		}
		return p, nil
	}
	err := p.compileComparison(r.Compare, r.Value, &t.work)
	return p, err
}

// isFolded tells whether a subject has no case: requests have it in lower case.
func isFolded(kind lb.RuleType) bool { return kind == lb.RuleHostName || kind == lb.RuleSSLConnSNI }

func (p *predicate) compileComparison(compare lb.CompareType, value string, work *int) error {
	if compare == lb.Regex {
		return p.compileRegex(value, work)
	}
	if isFolded(p.subject.kind) {
		value = lowerString(value)
	}
	p.access = literals{place: map[lb.CompareType]place{
		lb.EqualTo: whole, lb.StartsWith: atStart, lb.EndsWith: atEnd, lb.Contains: within,
	}[compare], set: []string{value}}
	p.useAccess()
	return nil
}

func (p *predicate) compileRegex(value string, work *int) error {
	if isFolded(p.subject.kind) {
		value = "(?i)" + value
	}
	parsed, err := syntax.Parse(value, syntax.Perl)
	if err != nil {
		return err
	}
	if isFolded(p.subject.kind) {
		lowerFolded(parsed)
	}
	access, complete := analyze(parsed)
	p.access = access
	if !complete {
		p.automaton = newAutomaton(parsed, work)
	}
	if !complete && p.automaton == nil {
		if p.regex, err = regexp.Compile(value); err != nil {
			return err
		}
	}
	// Looking for several literals anywhere takes longer than the automaton does.
	slow := access.place == within && len(access.set) > 1 && p.automaton != nil
	if !access.folded && !slow {
		p.useAccess()
	}
	return nil
}

// useAccess makes the literals a part of what is compared.
func (p *predicate) useAccess() {
	p.place = p.access.place
	for _, s := range p.access.set {
		p.set = append(p.set, []byte(s))
	}
	if len(p.set) == 1 {
		p.one, p.set = p.set[0], nil
	}
}

// cost orders the predicates of a policy: what is cheap and rules out much
// comes first.
func (p *predicate) cost() int {
	cost := 0
	switch {
	case p.regex != nil:
		cost = 40
	case p.automaton != nil:
		cost = 20
	case p.place == within:
		cost = 8
	case p.place != whole:
		cost = 1
	}
	if p.invert {
		cost += 2 // rarely rules anything out
	}
	if p.subject.repeats() {
		cost += 4
	}
	return cost
}

func byCost(a, b predicate) int { return cmp.Compare(a.cost(), b.cost()) }

// holds tells whether the rule matches, inverted where it says so.
func (p *predicate) holds(s *Scratch) bool { return p.compares(s) != p.invert }

// compares tells whether a value of the subject compares. A subject that is
// not there has no values.
func (p *predicate) compares(s *Scratch) bool {
	r := s.request
	switch p.subject.kind {
	case lb.RuleHostName:
		return len(r.Host) > 0 && p.accepts(r.Host)
	case lb.RulePath:
		return p.accepts(r.Path)
	case lb.RuleMethod:
		return p.accepts(r.Method)
	case lb.RuleFileType:
		ext := extension(r.Path)
		return ext != nil && p.accepts(ext)
	case lb.RuleSourceIP:
		return p.prefix.Contains(r.address())
	case lb.RuleSSLConnSNI:
		return r.TLS != nil && len(r.TLS.SNI) > 0 && p.accepts(r.TLS.SNI)
	case lb.RuleSSLConnHasCert:
		return r.TLS != nil && r.TLS.HasCert
	case lb.RuleSSLVerifyResult:
		return r.TLS != nil && r.TLS.HasCert && r.TLS.VerifyResult == p.number
	}
	if g := s.table.slots.groups[p.subject.slot]; !s.filled[g] {
		s.fill(g)
	}
	for i := s.first[p.subject.slot]; i != 0; i = s.values[i-1].previous {
		if p.accepts(s.values[i-1].value) {
			return true
		}
	}
	return false
}

// accepts compares one value.
func (p *predicate) accepts(v []byte) bool {
	if p.place != anywhere {
		if p.set == nil {
			if !stands(p.place, v, p.one) {
				return false
			}
		} else if !p.anyStands(v) {
			return false
		}
	}
	if p.automaton != nil {
		return p.automaton.match(v)
	}
	return p.regex == nil || p.regex.Match(v)
}

func (p *predicate) anyStands(v []byte) bool {
	for _, literal := range p.set {
		if stands(p.place, v, literal) {
			return true
		}
	}
	return false
}

// stands tells whether a literal stands at its place in v.
func stands(at place, v, literal []byte) bool {
	switch at {
	case whole:
		return bytes.Equal(v, literal)
	case atStart:
		return bytes.HasPrefix(v, literal)
	case atEnd:
		return bytes.HasSuffix(v, literal)
	default:
		return bytes.Contains(v, literal)
	}
}
