package route

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fiberlb/fiberlb/pkg/lb"
)

// place is where in a value a literal has to stand.
type place uint8

const (
	anywhere place = iota // no literal is known
	whole
	atStart
	atEnd
	within
)

// literals is a condition on a value that needs no regex: one of set stands at
// place. No member of set is empty.
type literals struct {
	place place
	set   []string
	// folded tells that the members are in lower case and stand in the value
	// with letters of ASCII in any case; place is within then.
	folded bool
}

// maxAlternatives bounds a set of literals. Beyond it, running the regex is
// no dearer than trying them.
const maxAlternatives = 16

// maxLiteral bounds each of them in octets. Only repetition makes longer ones,
// as in "a{1000}".
const maxLiteral = lb.MaxText

// analyze finds what a value has to have for a regex to match it, and tells
// whether that is all there is to the regex, so that it need never run. Regexes
// people write are mostly literals with anchors, such as `\.(js|css)$`: those
// become comparisons; what is left is run rarely, and can be found by an index.
func analyze(re *syntax.Regexp) (l literals, complete bool) {
	parts := sequence(re.Simplify())
	start, end := false, false
	for len(parts) > 0 && parts[0].Op == syntax.OpBeginText {
		start, parts = true, parts[1:]
	}
	for len(parts) > 0 && parts[len(parts)-1].Op == syntax.OpEndText {
		end, parts = true, parts[:len(parts)-1]
	}
	if set, n := leading(parts); n == len(parts) && !slices.Contains(set, "") {
		switch {
		case start && end:
			return literals{whole, set, false}, true
		case start:
			return literals{atStart, set, false}, true
		case end:
			return literals{atEnd, set, false}, true
		default:
			return literals{within, set, false}, true
		}
	}
	if set, _ := leading(parts); start && worth(set) > 1 {
		l = literals{atStart, set, false}
	}
	if set := trailing(parts); end && worth(set) > max(1, worth(l.set)) {
		l = literals{atEnd, set, false}
	}
	if set, folded := required(parts); worth(set) > max(1, worth(l.set)+1) {
		l = literals{within, set, folded}
	}
	return l, false
}

// sequence gives what is matched one after the other.
func sequence(re *syntax.Regexp) []*syntax.Regexp {
	switch re.Op {
	case syntax.OpCapture:
		return sequence(re.Sub[0])
	case syntax.OpConcat:
		var parts []*syntax.Regexp
		for _, sub := range re.Sub {
			parts = append(parts, sequence(sub)...)
		}
		return parts
	case syntax.OpEmptyMatch:
		return nil
	default:
		return []*syntax.Regexp{re}
	}
}

// worth ranks sets of literals: by the length of the shortest, 0 for none.
func worth(set []string) int {
	if len(set) == 0 {
		return 0
	}
	shortest := len(set[0])
	for _, s := range set {
		shortest = min(shortest, len(s))
	}
	return shortest
}

// leading gives the texts that the first n parts match, with n as large as it
// can be.
func leading(parts []*syntax.Regexp) (set []string, n int) {
	set = []string{""}
	for _, part := range parts {
		more, ok := finite(part)
		if !ok {
			break
		}
		product, ok := cross(set, more)
		if !ok {
			break
		}
		set, n = product, n+1
	}
	return set, n
}

// trailing gives the texts that as many of the last parts as possible match.
func trailing(parts []*syntax.Regexp) []string {
	set := []string{""}
	for _, part := range slices.Backward(parts) {
		more, ok := finite(part)
		if !ok {
			break
		}
		product, ok := cross(more, set)
		if !ok {
			break
		}
		set = product
	}
	return set
}

// required gives literals one of which is in every text that the parts match;
// none are known where set is empty.
func required(parts []*syntax.Regexp) (set []string, folded bool) {
	consider := func(candidate []string, fold bool) {
		if worth(candidate) > worth(set) {
			set, folded = candidate, fold
		}
	}
	for len(parts) > 0 {
		run, n := leading(parts)
		consider(run, false)
		parts = parts[n:]
		if n == 0 {
			consider(requiredBy(parts[0]))
			parts = parts[1:]
		}
	}
	return set, folded
}

func requiredBy(re *syntax.Regexp) (set []string, folded bool) {
	switch re.Op {
	case syntax.OpCapture, syntax.OpPlus:
		return required(sequence(re.Sub[0]))
	case syntax.OpLiteral:
		return []string{foldable(re.Rune)}, true
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			some, fold := required(sequence(sub))
			if worth(some) == 0 || len(set)+len(some) > maxAlternatives {
				return nil, false
			}
			set, folded = append(set, some...), folded || fold
		}
		if folded {
			for i, s := range set {
				set[i] = lowerString(s)
			}
		}
		return set, folded
	default:
		return nil, false
	}
}

// foldable gives the longest stretch of the runes, in lower case, that no text
// beyond ASCII matches when case is folded: the Kelvin sign is a "k" too.
func foldable(runes []rune) string {
	var best, run strings.Builder
	for _, r := range runes {
		if r >= utf8.RuneSelf || strings.ContainsRune("kKsS", r) {
			run.Reset()
			continue
		}
		run.WriteByte(lowerASCII[r])
		if run.Len() > best.Len() {
			best.Reset()
			best.WriteString(run.String())
		}
	}
	return best.String()
}

// finite lists the texts that re matches where these are few and only they,
// whatever stands around them.
func finite(re *syntax.Regexp) (set []string, ok bool) {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return []string{""}, true
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			// An octet that is no UTF-8 matches U+FFFD without being it.
			if r == utf8.RuneError || re.Flags&syntax.FoldCase != 0 && unicode.SimpleFold(r) != r {
				return nil, false
			}
		}
		return []string{string(re.Rune)}, true
	case syntax.OpCharClass:
		for i := 0; i < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if r == utf8.RuneError || len(set) == maxAlternatives {
					return nil, false
				}
				set = append(set, string(r))
			}
		}
		return set, len(set) > 0
	case syntax.OpCapture:
		return finite(re.Sub[0])
	case syntax.OpQuest:
		set, ok = finite(re.Sub[0])
		return append(slices.Clone(set), ""), ok && len(set) < maxAlternatives
	case syntax.OpConcat:
		set, n := leading(re.Sub)
		return set, n == len(re.Sub)
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			more, ok := finite(sub)
			if !ok || len(set)+len(more) > maxAlternatives {
				return nil, false
			}
			set = append(set, more...)
		}
		return set, true
	default:
		return nil, false
	}
}

// cross joins each of a with each of b, where that makes few and short ones.
func cross(a, b []string) (set []string, ok bool) {
	if len(a)*len(b) > maxAlternatives {
		return nil, false
	}
	for _, x := range a {
		for _, y := range b {
			if len(x)+len(y) > maxLiteral {
				return nil, false
			}
			set = append(set, x+y)
		}
	}
	return set, true
}

// lowerString puts the letters of ASCII in lower case.
func lowerString(s string) string { return string(lower(nil, []byte(s))) }

// lowerFolded gives re for values that are ASCII in lower case: what matches
// a letter in any case needs to match that one only.
func lowerFolded(re *syntax.Regexp) {
	if re.Op == syntax.OpLiteral && re.Flags&syntax.FoldCase != 0 {
		for i, r := range re.Rune {
			if r < utf8.RuneSelf {
				re.Rune[i] = rune(lowerASCII[r])
			}
		}
		re.Flags &^= syntax.FoldCase
	}
	for _, sub := range re.Sub {
		lowerFolded(sub)
	}
}
