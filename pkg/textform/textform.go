// Package textform owns the one text form of the API's messages, shared by YAML files, the JSON of REST and the command line:
// snake_case fields in the order of their declaration, enumeration words in lower case without their prefix ("maglev"),
// durations like "500ms", times as RFC 3339, int64 as numbers. Reading accepts that and the spellings of protojson (camelCase
// names, LISTENER_PROTOCOL_TCP, enumeration numbers, int64 in quotes), and answers with all faults at once.
//
// Text is read into a tree of [Node] first, which knows lines, and decoded from there by reflection over the message's
// descriptor. Sizes and depths are bounded before anything recursive runs; aliases of YAML cannot multiply a document.
package textform

import (
	"fmt"
	"strings"

	"github.com/fiberlb/fiberlb/pkg/lb"
	"google.golang.org/protobuf/proto"
)

// Bounds of what is read.
const (
	MaxBytes = 16 << 20 // of one text
	MaxDepth = 64       // of nested lists and objects

	maxFields     = 1 << 12 // of one object in YAML; a comma between braces counts as one more
	maxAliasNodes = 1 << 16 // nodes that the aliases of one YAML document may add
	maxFaults     = 100     // faults reported of one message
)

// Options shape what [MarshalJSON] writes.
type Options struct {
	// Indent of a level; empty: all on one line.
	Indent string
	// EmitDefaults writes fields without presence even when they hold their zero value: scalars, lists and maps. Messages
	// and optional fields that are not set stay out.
	EmitDefaults bool
}

// SyntaxError tells where a text stops being YAML or JSON.
type SyntaxError struct {
	Line    int // 1 is the first; 0 where it does not apply
	Problem string
}

func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.Problem
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Problem)
}

// Fault is a violation with the place where it was read.
type Fault struct {
	lb.Violation
	Line int // 1 is the first; 0 where it is not known

	meant string // path of the field that the author seems to have meant
}

// Faults are all that [Decode] found, in the order of the text.
type Faults []Fault

// Violations are the faults without their places.
func (f Faults) Violations() lb.Violations {
	violations := make(lb.Violations, len(f))
	for i, fault := range f {
		violations[i] = fault.Violation
	}
	return violations
}

// Covers tells whether a later complaint about path follows from one of the faults: the value there, or one around it, could not
// be read, or it is missing because its name was misspelt.
func (f Faults) Covers(path string) bool {
	for _, fault := range f {
		if within(path, fault.Path) || fault.meant != "" && within(path, fault.meant) {
			return true
		}
	}
	return false
}

// within tells whether inner is outer or lies inside it.
func within(inner, outer string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && outer != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// MarshalJSON writes m. It fails for values that have no text: text that is not UTF-8, and durations and times out of the
// bounds of their types.
func MarshalJSON(m proto.Message, opts Options) ([]byte, error) {
	node, err := encode(m, opts.EmitDefaults)
	if err != nil {
		return nil, err
	}
	return appendJSON(nil, node, opts.Indent, ""), nil
}

// MarshalYAML writes m as one YAML document without a marker. It fails as [MarshalJSON] does.
func MarshalYAML(m proto.Message) ([]byte, error) {
	node, err := encode(m, false)
	if err != nil {
		return nil, err
	}
	return appendYAML(nil, node), nil
}

// UnmarshalJSON replaces what m holds by the object in b. The error is a [*SyntaxError] or lb.Violations with all faults; m is
// partly filled then.
func UnmarshalJSON(b []byte, m proto.Message) error {
	node, err := ParseJSON(b)
	if err != nil {
		return err
	}
	return decodeWhole(node, m)
}

// UnmarshalYAML replaces what m holds by the one document in b; its errors are those of [UnmarshalJSON].
func UnmarshalYAML(b []byte, m proto.Message) error {
	documents := SplitYAML(b)
	if len(documents) != 1 {
		return &SyntaxError{Problem: fmt.Sprintf("%d YAML documents where one is wanted", len(documents))}
	}
	node, err := documents[0].Parse()
	if err != nil {
		return err
	}
	return decodeWhole(node, m)
}

func decodeWhole(node *Node, m proto.Message) error {
	if faults := Decode(node, m); len(faults) > 0 {
		return faults.Violations()
	}
	return nil
}
