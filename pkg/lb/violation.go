package lb

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Violation is one fault of a configuration.
type Violation struct {
	// Path of the field in the file format: "listeners[0].port". Empty: the
	// load balancer as a whole.
	Path string
	// Problem quotes the value: "99999 is not in 1-65535". Private keys are
	// never quoted.
	Problem string
	// Remedy says what to do, where there is something to say.
	Remedy string
}

// String gives "path: problem; remedy".
func (v Violation) String() string {
	s := v.Problem
	if v.Path != "" {
		s = v.Path + ": " + s
	}
	if v.Remedy != "" {
		s += "; " + v.Remedy
	}
	return s
}

// Violations are all faults of a configuration, never just the first.
type Violations []Violation

// Error gives one line per violation.
func (vs Violations) Error() string {
	lines := make([]string, len(vs))
	for i, v := range vs {
		lines[i] = v.String()
	}
	return strings.Join(lines, "\n")
}

// Err gives vs as an error, nil where there are none. (A Violations of length
// 0 in an error variable would not be nil.)
func (vs Violations) Err() error {
	if len(vs) == 0 {
		return nil
	}
	return vs
}

// suggestionLimit bounds how many "did you mean" one check works out: each
// looks at every name of its kind.
const suggestionLimit = 64

// checker collects violations.
type checker struct {
	found       Violations
	suggestions int
}

// report adds a violation.
func (c *checker) report(path, remedy, format string, args ...any) {
	c.found = append(c.found, Violation{Path: path, Problem: fmt.Sprintf(format, args...), Remedy: remedy})
}

// lazily runs a check with a path only where it finds something: nearly all
// objects are good, and paths cost more than checks.
func (c *checker) lazily(path func() string, check func(path string)) {
	found, suggestions := len(c.found), c.suggestions
	check("")
	if len(c.found) > found {
		c.found, c.suggestions = c.found[:found], suggestions
		check(path())
	}
}

// within reports a number outside its bounds.
func (c *checker) within(path string, n, low, high uint64) {
	if n < low || n > high {
		c.report(path, "", "%d is not in %d-%d", n, low, high)
	}
}

// enum reports a value that is missing or unknown, and tells whether it is
// good.
func enum[T Enum](c *checker, path string, v T) bool {
	switch {
	case v == 0:
		c.report(path, known[T](), "is required")
	case int(v) > len(v.vocabulary().words):
		c.report(path, known[T](), "%d is not a known %s", uint8(v), v.vocabulary().kind)
	default:
		return true
	}
	return false
}

// text reports a value over its limit in bytes, or with bytes that break a
// header or a terminal: what is not UTF-8, and control characters except tab.
func (c *checker) text(path, value string, limit int) bool {
	before := len(c.found)
	if len(value) > limit {
		c.report(path, fmt.Sprintf("shorten it to %d bytes", limit), "%s has %d bytes, more than %d", Quote(value), len(value), limit)
	}
	if !utf8.ValidString(value) {
		c.report(path, "", "%s is not UTF-8", Quote(value))
	} else if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		c.report(path, "remove CR, LF, NUL and their like", "%s has a control character", Quote(value))
	}
	return len(c.found) == before
}

// suggest gives `did you mean "x"?`, or otherwise where no name is near.
func (c *checker) suggest(word string, names []string, otherwise string) string {
	if c.suggestions++; c.suggestions <= suggestionLimit {
		if near := Nearest(word, names); near != "" {
			return "did you mean " + Quote(near) + "?"
		}
	}
	return otherwise
}

// Quote quotes a value for a message, shortened to a bearable length. A private
// key that found its way into some other field does not show.
func Quote(s string) string {
	if strings.Contains(s, "PRIVATE KEY-----") {
		return "[private key]"
	}
	const longest = 80
	if len(s) <= longest {
		return strconv.Quote(s)
	}
	cut := longest
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.Quote(s[:cut]) + "..."
}
