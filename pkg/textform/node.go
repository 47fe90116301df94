package textform

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Kind is the shape of a node.
type Kind uint8

// The shapes.
const (
	Null   Kind = iota // nothing: "null", "~" or no text at all
	Scalar             // text, number, true or false
	List
	Object
)

// Node is a value as it was written.
type Node struct {
	Kind Kind
	Line int // where it begins; 1 is the first

	Text   string // of a Scalar
	Quoted bool   // the Scalar is text and nothing else, whatever it looks like

	Items  []*Node // of a List
	Fields []Field // of an Object, in the order written; names may repeat
}

// Field is a named value of an object.
type Field struct {
	Name  string
	Line  int // of the name
	Value *Node
}

// Take removes the fields called name from an object and returns the first, or nil.
func (n *Node) Take(name string) *Field {
	var taken *Field
	kept := n.Fields[:0]
	for _, field := range n.Fields {
		switch {
		case field.Name != name:
			kept = append(kept, field)
		case taken == nil:
			taken = &field
		}
	}
	n.Fields = kept
	return taken
}

// Get finds the field called name in any of its spellings ("tls_config", "tlsConfig"), or gives nil.
func (n *Node) Get(name string) *Field {
	for i := range n.Fields {
		if n.Fields[i].Name == name || camelCase(name) == n.Fields[i].Name {
			return &n.Fields[i]
		}
	}
	return nil
}

// LineOf gives the line of the value at a path like "listeners[0].tls_config.min_version", or of the nearest value around it
// that was written.
func (n *Node) LineOf(path string) int {
	line := n.Line
	for path != "" {
		var step string
		if path[0] == '[' {
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return line
			}
			step, path = path[1:end], strings.TrimPrefix(path[end+1:], ".")
			if index, err := strconv.Atoi(step); err == nil && n.Kind == List {
				if index < 0 || index >= len(n.Items) {
					return line
				}
				n = n.Items[index]
				line = n.Line
				continue
			}
			if unquoted, err := strconv.Unquote(step); err == nil {
				step = unquoted
			}
		} else {
			end := strings.IndexAny(path, ".[")
			if end < 0 {
				end = len(path)
			}
			step, path = path[:end], strings.TrimPrefix(path[end:], ".")
		}
		field := n.Get(step)
		if field == nil {
			return line
		}
		n, line = field.Value, field.Line
	}
	return line
}

// describe names the shape for a sentence: "is ..., wants ...".
func (n *Node) describe() string {
	switch {
	case n.Kind == Null:
		return "is empty"
	case n.Kind == List:
		return "is a list"
	case n.Kind == Object:
		return "is an object"
	case n.Quoted:
		return "is text"
	case n.Text == "true" || n.Text == "false":
		return "is " + n.Text
	case isNumber(n.Text):
		return "is a number"
	}
	return "is text"
}

// size counts the nodes below and including n.
func (n *Node) size() int {
	count := 1
	for _, item := range n.Items {
		count += item.size()
	}
	for _, field := range n.Fields {
		count += field.Value.size()
	}
	return count
}

// clone copies n deeply, so that who edits one use of an alias does not edit the others.
func (n *Node) clone() *Node {
	c := *n
	c.Items, c.Fields = nil, nil
	for _, item := range n.Items {
		c.Items = append(c.Items, item.clone())
	}
	for _, field := range n.Fields {
		c.Fields = append(c.Fields, Field{field.Name, field.Line, field.Value.clone()})
	}
	return &c
}

// depth is the number of lists and objects nested in n, itself included.
func (n *Node) depth() int {
	deepest := 0
	for _, item := range n.Items {
		deepest = max(deepest, item.depth())
	}
	for _, field := range n.Fields {
		deepest = max(deepest, field.Value.depth())
	}
	if n.Kind == List || n.Kind == Object {
		deepest++
	}
	return deepest
}

// camelCase is protobuf's JSON name of a field: "l7_policies" is "l7Policies".
func camelCase(name string) string {
	var b strings.Builder
	upper := false
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '_':
			upper = true
			continue
		case upper && 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		}
		upper = false
		b.WriteByte(c)
	}
	return b.String()
}

// snakeCase undoes camelCase.
func snakeCase(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			b.WriteByte('_')
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}

// isNumber tells whether text is a number in the grammar of JSON (RFC 8259 section 6).
func isNumber(text string) bool {
	rest := strings.TrimPrefix(text, "-")
	whole := digits(rest)
	if whole == 0 || whole > 1 && rest[0] == '0' {
		return false
	}
	rest = rest[whole:]
	if fraction, ok := strings.CutPrefix(rest, "."); ok {
		n := digits(fraction)
		if n == 0 {
			return false
		}
		rest = fraction[n:]
	}
	if rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
		rest = strings.TrimPrefix(strings.TrimPrefix(rest[1:], "+"), "-")
		return rest != "" && digits(rest) == len(rest)
	}
	return rest == ""
}

// digits counts the decimal digits that text begins with.
func digits(text string) int {
	n := 0
	for n < len(text) && '0' <= text[n] && text[n] <= '9' {
		n++
	}
	return n
}

// fieldNames are the names under which a message's fields are known, in the order of declaration.
func fieldNames(md protoreflect.MessageDescriptor) []string {
	fields := md.Fields()
	names := make([]string, fields.Len())
	for i := range fields.Len() {
		names[i] = string(fields.Get(i).Name())
	}
	return names
}
